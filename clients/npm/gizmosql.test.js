"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { FlightSQLClient } = require("@gizmodata/gizmosql-client");
const { objects, plain, recorded, results, sample, sampleRows, tls, tlsPassword } = require("./server.js");

const { works, lacks } = results("@gizmodata/gizmosql-client");

async function using(options, f) {
  const client = new FlightSQLClient({ ...plain, plaintext: true, username: "root", password: "", ...options });
  try {
    return await f(client);
  } finally {
    await client.close();
  }
}

const secure = { ...tls, plaintext: false, password: tlsPassword };

test("queries, changes and subscriptions", () => using({}, async (c) => {
  assert.deepEqual(objects(await c.execute(sample)), sampleRows);
  await c.execute("CREATE NAMESPACE IF NOT EXISTS npm");
  await c.execute("CREATE SHARED TABLE npm.gizmo (id BIGINT PRIMARY KEY, name TEXT)");
  await c.execute("INSERT INTO npm.gizmo VALUES (1, 'a'), (2, NULL)");
  assert.deepEqual(objects(await c.execute("SELECT * FROM npm.gizmo ORDER BY id")),
    [{ id: 1n, name: "a" }, { id: 2n, name: null }]);
  works("queries, changes");
  const ops = objects(await c.execute("SUBSCRIBE TO npm.gizmo UP TO NOW")).map((row) => row._op);
  assert.deepEqual(ops, ["progress", "snapshot", "snapshot", "progress", "end"]);
  works("subscriptions");
}));

test("metadata", () => using({}, async (c) => {
  assert.deepEqual(await c.getCatalogs(), ["kalam"]);
  assert.ok((await c.getSchemas()).some(({ schema }) => schema === "information_schema"));
  assert.ok((await c.getTables(undefined, "information_schema")).some(({ tableName }) => tableName === "tables"));
  assert.ok((await c.getTableTypes()).includes("SYSTEM TABLE"));
  assert.equal((await c.getSqlInfo()).size, 89);
  works("metadata");
}));

test("what the client does not do", () => using({}, async (c) => {
  // These put names or SQL where a Flight SQL command belongs.
  await assert.rejects(c.getQuerySchema("SELECT 1"), /is not a Flight SQL command/);
  await assert.rejects(c.getPrimaryKeys("kalam", "npm", "gizmo"), /is not a Flight SQL command/);
  await assert.rejects(c.getForeignKeys("kalam", "npm", "gizmo"), /is not a Flight SQL command/);
  await assert.rejects(c.prepare("SELECT 1"), /serialization failure/);
  lacks("prepared statements, keys and getQuerySchema do not make Flight SQL commands");
}));

test("errors say where", () => using({}, async (c) => {
  await assert.rejects(c.execute("SELEC 1"), /line 1, column 1/);
  await assert.rejects(using({ password: "wrong" }, (w) => w.execute("SELECT 1")), /password is wrong/);
}));

test("tokens", () => using({}, async (c) => {
  const [{ token }] = objects(await c.execute("CREATE TOKEN gizmo FOR USER 'root' EXPIRES IN '1 day'"));
  const who = await using({ username: undefined, password: undefined, token },
    (t) => t.execute("SELECT CURRENT_USER() AS who"));
  assert.deepEqual(objects(who), [{ who: "root" }]);
  works("passwords and tokens");
}));

test("TLS", async () => {
  assert.deepEqual(objects(await using({ ...secure, tlsSkipVerify: true }, (c) => c.execute(sample))), sampleRows);
  // clients/run puts the authority into GRPC_DEFAULT_SSL_ROOTS_FILE_PATH, which grpc-js reads.
  assert.deepEqual(objects(await using({ ...secure, host: "localhost" }, (c) => c.execute(sample))), sampleRows);
  works("TLS");
});

test("the calls, for clients/rpcs", () => using(recorded("GIZMOSQL"), async (c) => {
  await c.execute("CREATE SHARED TABLE npm.gizmo_calls (id BIGINT)");
  await c.execute("SELECT * FROM npm.gizmo_calls");
  await c.getCatalogs();
  await c.getSchemas();
  await c.getTables(undefined, "npm");
  await c.getTableTypes();
  await c.getSqlInfo();
}));
