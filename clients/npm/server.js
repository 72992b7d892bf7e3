// The running servers, which clients/run has started, and the list of results that it keeps.
"use strict";

const fs = require("node:fs");
const path = require("node:path");

function address(variable) {
  const { hostname, port } = new URL(process.env[variable].replace(/^grpc(\+tls)?:/, "http:"));
  return { host: hostname, port: Number(port) };
}

exports.plain = address("KALAMFLIGHT_URL");
exports.tls = address("KALAMFLIGHT_TLS_URL");
// The proxy that writes down the calls of one client.
exports.recorded = (client) => address("KALAMFLIGHT_RECORDED_" + client);
exports.tlsPassword = process.env.KALAMFLIGHT_TLS_PASSWORD;

// A test notes for its package that an area works, or what the client itself lacks.
exports.results = (name) => {
  const { version } = JSON.parse(fs.readFileSync(path.join(__dirname, "node_modules", name, "package.json")));
  const note = (verdict) => (text) => {
    if (process.env.KALAMFLIGHT_RESULTS) {
      fs.appendFileSync(process.env.KALAMFLIGHT_RESULTS, [name, version, verdict, text].join("\t") + "\n");
    }
  };
  return { works: note("works"), lacks: note("lacks") };
};

exports.objects = (table) => table.toArray().map((row) => row.toJSON());
exports.sample = "SELECT 1 AS x, 'Grüße' AS y, 9007199254740993 AS big, NULL AS nil";
exports.sampleRows = [{ x: 1, y: "Grüße", big: 9007199254740993n, nil: null }];
