"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { tableFromIPC } = require("apache-arrow");
const { createFlightSqlClient } = require("@lakehouse-rs/flight-sql-client");
const { objects, plain, recorded, results, sample, sampleRows, tls, tlsPassword } = require("./server.js");

const { works, lacks } = results("@lakehouse-rs/flight-sql-client");

const login = { username: "root", password: "" };
const connect = (options) => createFlightSqlClient({ headers: [], tls: false, ...plain, ...options });
const rows = (buffer) => objects(tableFromIPC(buffer));

test("queries, changes and subscriptions", async () => {
  const c = await connect(login);
  assert.deepEqual(rows(await c.query(sample)), sampleRows);
  await c.query("CREATE NAMESPACE IF NOT EXISTS npm");
  await c.query("CREATE SHARED TABLE npm.lake (id BIGINT PRIMARY KEY, name TEXT)");
  await c.query("INSERT INTO npm.lake VALUES (1, 'a')");
  assert.deepEqual(rows(await c.query("SELECT * FROM npm.lake")), [{ id: 1n, name: "a" }]);
  works("queries, changes");
  const ops = rows(await c.query("SUBSCRIBE TO npm.lake UP TO NOW")).map((row) => row._op);
  assert.deepEqual(ops, ["progress", "snapshot", "progress", "end"]);
  works("subscriptions");
});

test("metadata", async () => {
  const c = await connect(login);
  assert.deepEqual(rows(await c.getCatalogs()), [{ catalog_name: "kalam" }]);
  assert.ok(rows(await c.getDbSchemas({})).some((row) => row.db_schema_name === "information_schema"));
  const tables = rows(await c.getTables({ dbSchemaFilterPattern: "information\\_schema", includeSchema: true }));
  assert.ok(tables.some((row) => row.table_name === "tables"));
  works("metadata");
});

test("tokens", async () => {
  const c = await connect(login);
  const [{ token }] = rows(await c.query("CREATE TOKEN lake FOR USER 'root' EXPIRES IN '1 day'"));
  const t = await connect({ token });
  assert.deepEqual(rows(await t.query("SELECT CURRENT_USER() AS who")), [{ who: "root" }]);
  works("passwords and tokens");
});

test("what the client does not do", async () => {
  const c = await connect(login);
  // The server's message does not come through. A wrong password is not tried: the client's thread dies of it.
  await assert.rejects(c.query("SELEC 1"), /^Error: failed to prepare statement$/);
  lacks("errors lose the server's message; a wrong password hangs");
  await assert.rejects(connect({ tls: true, host: "localhost", port: tls.port, username: "root", password: tlsPassword }),
    /failed setting up/);
  lacks("no authority but those built in for TLS");
});

test("the calls, for clients/rpcs", async () => {
  const c = await connect({ ...login, ...recorded("LAKEHOUSE") });
  await c.query("CREATE SHARED TABLE npm.lake_calls (id BIGINT)");
  await c.query("SELECT * FROM npm.lake_calls");
  await c.getCatalogs();
  await c.getDbSchemas({});
  await c.getTables({ dbSchemaFilterPattern: "npm" });
});
