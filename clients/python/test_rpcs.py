"""The calls that the driver makes, for the record in clients/rpcs: clients/run puts a proxy before the server and compares."""

import os

import adbc_driver_flightsql.dbapi as adbc
import pyarrow
import pytest

URL = os.environ.get("KALAMFLIGHT_RECORDED_URL")
pytestmark = pytest.mark.skipif(not URL, reason="no proxy records")


@pytest.fixture
def part(root):
    with root.cursor() as cur:
        cur.execute("CREATE SHARED TABLE IF NOT EXISTS default.rpcs (id BIGINT, name TEXT)")
        cur.execute("DELETE FROM default.rpcs")

    def connect(name, **options):
        header = "adbc.flight.sql.rpc.call_header.x-recorded"
        options.setdefault("autocommit", True)
        return adbc.connect(URL, db_kwargs={"username": "root", "password": "", header: "python-adbc/" + name}, **options)

    return connect


def test_connect(part):
    with part("connect"):
        pass


def test_query(part):
    with part("query") as db, db.cursor() as cur:
        cur.execute("SELECT 1")
        assert cur.fetchall() == [(1,)]


def test_parameters(part):
    with part("parameters") as db, db.cursor() as cur:
        cur.execute("SELECT id FROM default.rpcs WHERE id = ?", (1,))
        assert cur.fetchall() == []
        cur.executemany("INSERT INTO default.rpcs VALUES (?, ?)", [(1, "a"), (2, "b")])


def test_ingest(part):
    with part("ingest") as db, db.cursor() as cur:
        assert cur.adbc_ingest("rpcs", pyarrow.table({"id": [3], "name": ["c"]}), mode="append") == 1


def test_transaction(part):
    with part("transaction", autocommit=False) as db, db.cursor() as cur:
        cur.executemany("INSERT INTO default.rpcs VALUES (?, ?)", [(4, "d")])
        db.commit()


def test_metadata(part):
    with part("metadata") as db:
        assert db.adbc_get_info()["vendor_name"] == "kalamflight"
        assert "TABLE" in db.adbc_get_table_types()
        db.adbc_get_objects(depth="all").read_all()
        assert db.adbc_get_table_schema("rpcs").names == ["id", "name"]
