"""The DB-API of the stock ADBC driver: statements, parameters, transactions, metadata and errors."""

import datetime
import decimal

import adbc_driver_manager
import pyarrow as pa
import pytest
from conftest import PASSWORD, SPACE, connect
from results import works


def test_ddl_and_dml_run_once(cur):
    cur.execute(f"CREATE SHARED TABLE {SPACE}.once (id BIGINT PRIMARY KEY, n INT)")
    cur.execute(f"INSERT INTO {SPACE}.once VALUES (1, 0), (2, 0)")
    assert cur.rowcount in (2, -1)
    cur.execute(f"UPDATE {SPACE}.once SET n = n + 1")
    cur.execute(f"SELECT id, n FROM {SPACE}.once ORDER BY id")
    assert cur.fetchall() == [(1, 1), (2, 1)]


def test_parameters(cur):
    cur.execute(f"CREATE SHARED TABLE {SPACE}.params (id BIGINT PRIMARY KEY, name TEXT, price DECIMAL(10,2), at TIMESTAMP)")
    at = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901)
    cur.execute(f"INSERT INTO {SPACE}.params VALUES (?, ?, ?, ?)", (1, "Grüße 日本", decimal.Decimal("12.50"), at))
    cur.executemany(f"INSERT INTO {SPACE}.params (id, name) VALUES (?, ?)", [(i, f"n{i}") for i in range(2, 102)])
    cur.execute(f"SELECT name, price, at FROM {SPACE}.params WHERE id = ?", (1,))
    assert cur.fetchall() == [("Grüße 日本", decimal.Decimal("12.50"), at)]
    cur.execute(f"SELECT count(*) FROM {SPACE}.params WHERE price IS NULL AND id > ?", (1,))
    assert cur.fetchone() == (100,)
    works("adbc-driver-flightsql", "parameters, batches")


def test_types_come_back(cur):
    cur.execute(
        f"""CREATE SHARED TABLE {SPACE}.types (b BOOLEAN, s SMALLINT, i INT, l BIGINT PRIMARY KEY, f FLOAT, d DOUBLE,
        n DECIMAL(38,10), t TEXT, x BYTES, u UUID, j JSON, day DATE, clock TIME, ts TIMESTAMP, dt DATETIME, e EMBEDDING(3), file FILE)"""
    )
    cur.execute(
        f"""INSERT INTO {SPACE}.types VALUES (true, -32768, 2147483647, 9007199254740993, 0.5, 1e300, 1234567890123456789012345678.0123456789,
        'it''s', '\\x00ff', '00112233-4455-6677-8899-aabbccddeeff', '{{"a": 1}}', '1969-12-31', '23:59:59.999999',
        '2026-01-02 03:04:05.000006', '2026-01-02 03:04:05+01:00', [1, 2.5, -3], 'a.png')"""
    )
    cur.execute(f"SELECT * FROM {SPACE}.types")
    row = cur.fetch_arrow_table()
    assert row.schema.field("l").type == pa.int64()
    assert row.schema.field("dt").type == pa.timestamp("us", tz="UTC")
    got = row.to_pylist()[0]
    assert got["l"] == 9007199254740993 and got["s"] == -32768
    assert got["n"] == decimal.Decimal("1234567890123456789012345678.0123456789")
    assert got["u"].hex() == "00112233445566778899aabbccddeeff" if isinstance(got["u"], bytes) else str(got["u"])
    assert got["day"] == datetime.date(1969, 12, 31)
    assert got["clock"] == datetime.time(23, 59, 59, 999999)
    assert got["dt"] == datetime.datetime(2026, 1, 2, 2, 4, 5, tzinfo=datetime.timezone.utc)
    assert got["e"] == [1, 2.5, -3]
    works("adbc-driver-flightsql", "every type read")


def count(db, table):
    with db.cursor() as c:
        c.execute(f"SELECT count(*) FROM {SPACE}.{table}")
        return c.fetchone()[0]


def test_transactions(root):
    """DB-API turns autocommit off: everything is in a transaction until commit(), definitions and ingests too."""
    with connect(autocommit=False) as db, db.cursor() as c:
        c.execute(f"CREATE SHARED TABLE {SPACE}.tx (id BIGINT PRIMARY KEY, s TEXT)")
        c.execute(f"INSERT INTO {SPACE}.tx VALUES (?, ?)", (1, "one"))
        assert count(db, "tx") == 1
        with pytest.raises(adbc_driver_manager.Error):
            count(root, "tx")
        db.commit()
        assert count(root, "tx") == 1

        # The same cursor has the statement prepared from before the commit.
        c.execute(f"INSERT INTO {SPACE}.tx VALUES (?, ?)", (2, "two"))
        c.executemany(f"INSERT INTO {SPACE}.tx VALUES (?, ?)", [(3, "three"), (4, "four")])
        assert (count(db, "tx"), count(root, "tx")) == (4, 1)
        db.rollback()
        assert count(db, "tx") == 1

        rows = pa.table({"id": pa.array([10, 11], pa.int64()), "s": ["x", None]})
        assert c.adbc_ingest("tx", rows, mode="append", db_schema_name=SPACE) == 2
        c.adbc_ingest("tx_made", rows, mode="create", db_schema_name=SPACE)
        assert (count(db, "tx"), count(db, "tx_made"), count(root, "tx")) == (3, 2, 1)
        db.commit()
        assert (count(root, "tx"), count(root, "tx_made")) == (3, 2)
    works("adbc-driver-flightsql", "transactions")


def test_a_failed_statement_fails_the_transaction(root):
    with connect(autocommit=False) as db, db.cursor() as c:
        c.execute(f"CREATE SHARED TABLE {SPACE}.tx_failed (id BIGINT PRIMARY KEY)")
        db.commit()
        c.execute(f"INSERT INTO {SPACE}.tx_failed VALUES (1)")
        with pytest.raises(adbc_driver_manager.Error):
            c.execute(f"INSERT INTO {SPACE}.tx_failed VALUES (1)")
        with pytest.raises(adbc_driver_manager.Error, match="ROLLBACK"):
            c.execute(f"INSERT INTO {SPACE}.tx_failed VALUES (2)")
        db.rollback()
        c.execute(f"INSERT INTO {SPACE}.tx_failed VALUES (3)")
        db.commit()
    assert count(root, "tx_failed") == 1


def test_the_first_committer_wins(root):
    """After a commit that failed the driver (1.12) has no transaction any more and does not begin another: connect anew."""
    with connect(autocommit=False) as one, connect(autocommit=False) as two, one.cursor() as a, two.cursor() as b:
        a.execute(f"CREATE SHARED TABLE {SPACE}.tx_won (id BIGINT PRIMARY KEY, n INT)")
        a.execute(f"INSERT INTO {SPACE}.tx_won VALUES (1, 0)")
        one.commit()
        for c in (a, b):
            c.execute(f"UPDATE {SPACE}.tx_won SET n = n + 1 WHERE id = 1")
        one.commit()
        with pytest.raises(adbc_driver_manager.Error, match="repeat the transaction"):
            two.commit()
    with connect(autocommit=False) as again, again.cursor() as c:
        c.execute(f"UPDATE {SPACE}.tx_won SET n = n + 1 WHERE id = 1")
        again.commit()
    with root.cursor() as c:
        c.execute(f"SELECT n FROM {SPACE}.tx_won")
        assert c.fetchone() == (2,)


def test_metadata(root, cur):
    cur.execute(f"CREATE SHARED TABLE {SPACE}.meta_a (id BIGINT PRIMARY KEY, name TEXT NOT NULL)")
    info = root.adbc_get_info()
    assert info["vendor_name"]
    objects = root.adbc_get_objects(depth="columns", db_schema_filter=SPACE, table_name_filter="meta%").read_all().to_pylist()
    tables = [t for o in objects for s in o["catalog_db_schemas"] for t in s["db_schema_tables"]]
    assert [t["table_name"] for t in tables] == ["meta_a"]
    assert [c["column_name"] for c in tables[0]["table_columns"]] == ["id", "name"]
    schema = root.adbc_get_table_schema("meta_a", db_schema_filter=SPACE)
    assert schema.field("id").type == pa.int64() and not schema.field("name").nullable
    assert "TABLE" in root.adbc_get_table_types()
    works("adbc-driver-flightsql", "metadata")


def test_errors_say_where(cur):
    with pytest.raises(adbc_driver_manager.ProgrammingError) as e:
        cur.execute("SELECT nosuch FROM information_schema.tables")
    assert "nosuch" in str(e.value)
    with pytest.raises(adbc_driver_manager.Error):
        cur.execute("SELEC 1")
    with pytest.raises(adbc_driver_manager.Error):
        connect("root", "wrong")


def test_each_user_has_their_own_rows(cur, users):
    cur.execute(f"CREATE USER TABLE {SPACE}.notes (id BIGINT PRIMARY KEY, body TEXT)")
    for name in users:
        with connect(name, PASSWORD) as db, db.cursor() as c:
            c.execute(f"INSERT INTO {SPACE}.notes VALUES (1, ?)", (f"of {name}",))
    for name in users:
        with connect(name, PASSWORD) as db, db.cursor() as c:
            c.execute(f"SELECT id, body FROM {SPACE}.notes")
            assert c.fetchall() == [(1, f"of {name}")]


def test_ingest_modes(cur):
    rows = pa.table({"id": pa.array([1, 2], pa.int64()), "name": ["a", None]})

    def count():
        cur.execute(f"SELECT count(*) FROM {SPACE}.ingested")
        return cur.fetchone()[0]

    assert cur.adbc_ingest("ingested", rows, mode="create", db_schema_name=SPACE) == 2
    with pytest.raises(adbc_driver_manager.Error):
        cur.adbc_ingest("ingested", rows, mode="create", db_schema_name=SPACE)
    assert cur.adbc_ingest("ingested", rows, mode="append", db_schema_name=SPACE) == 2
    assert count() == 4
    assert cur.adbc_ingest("ingested", rows, mode="replace", db_schema_name=SPACE) == 2
    assert count() == 2
    assert cur.adbc_ingest("ingested", rows, mode="create_append", db_schema_name=SPACE) == 2
    assert count() == 4


def test_ingest_of_many_rows(cur):
    n = 300_000
    rows = pa.table({"id": pa.array(range(n), pa.int64()), "v": pa.array([float(i % 7) for i in range(n)])})
    assert cur.adbc_ingest("many", rows, mode="create", db_schema_name=SPACE) == n
    cur.execute(f"SELECT count(*), sum(v), count(DISTINCT id) FROM {SPACE}.many")
    assert cur.fetchone() == (n, sum(float(i % 7) for i in range(n)), n)
