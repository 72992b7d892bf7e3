"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { Client } = require("@lancedb/arrow-flight-sql-client");
const { plain, recorded, results, sample, sampleRows, tls, tlsPassword } = require("./server.js");

const { works, lacks } = results("@lancedb/arrow-flight-sql-client");

const at = ({ host, port }) => `${host}:${port}`;

async function rows(sql, options) {
  const client = await Client.connect({ host: at(plain), username: "root", password: "", insecure: true, ...options });
  return (await client.query(sql)).collectToObjects();
}

const plainObjects = (list) => list.map((row) => ({ ...row }));

test("queries, changes and subscriptions", async () => {
  assert.deepEqual(plainObjects(await rows(sample)), sampleRows);
  await rows("CREATE NAMESPACE IF NOT EXISTS npm");
  await rows("CREATE SHARED TABLE npm.lance (id BIGINT PRIMARY KEY, name TEXT)");
  await rows("INSERT INTO npm.lance VALUES (1, 'a')");
  assert.deepEqual(plainObjects(await rows("SELECT * FROM npm.lance")), [{ id: 1n, name: "a" }]);
  works("queries, changes");
  const ops = (await rows("SUBSCRIBE TO npm.lance UP TO NOW")).map((row) => row._op);
  assert.deepEqual(ops, ["progress", "snapshot", "progress", "end"]);
  works("subscriptions");
  lacks("queries are all it has: no parameters, metadata or tokens");
});

test("errors say where", async () => {
  await assert.rejects(rows("SELEC 1"), /line 1, column 1/);
  await assert.rejects(rows("SELECT 1", { password: "wrong" }), /password is wrong/);
  works("passwords");
});

test("TLS", async () => {
  // The client (0.3.0) connects in plaintext whatever it is told: insecure, secure, tls.
  await assert.rejects(rows(sample, { host: `localhost:${tls.port}`, password: tlsPassword, insecure: false }),
    /this port speaks TLS/);
  lacks("TLS");
});

test("the calls, for clients/rpcs", async () => {
  const host = at(recorded("LANCEDB"));
  await rows("CREATE SHARED TABLE npm.lance_calls (id BIGINT)", { host });
  await rows("SELECT * FROM npm.lance_calls", { host });
});
