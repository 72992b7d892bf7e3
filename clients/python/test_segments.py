"""The segments on the disk, read by programs that know nothing of the server."""

import json

import duckdb
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from conftest import DATA_DIR, PASSWORD, SPACE, connect
from results import lacks, works

COLUMNS = "id BIGINT PRIMARY KEY, name TEXT, price DECIMAL(10,2), at TIMESTAMP, day DATE, ok BOOLEAN, u UUID, e EMBEDDING(2), x BYTES"


def folder(table, *owner):
    return DATA_DIR.joinpath("storage", *(("user", *owner) if owner else ("shared",)), SPACE, table)


def fill(cur, table, first, end):
    cur.executemany(
        f"INSERT INTO {SPACE}.{table} (id, name, price, ok) VALUES (?, ?, ?, ?)",
        [(i, None if i % 5 == 0 else f"name {i % 17}", i / 4, i % 2 == 0) for i in range(first, end)],
    )


def selected(cur, table):
    cur.execute(f"SELECT id, name, CAST(price AS DOUBLE), ok FROM {SPACE}.{table} ORDER BY id")
    return cur.fetchall()


def by_duckdb(table, *owner):
    files = str(folder(table, *owner) / "*.parquet")
    return duckdb.sql(f"SELECT id, name, CAST(price AS DOUBLE), ok FROM read_parquet('{files}') ORDER BY id").fetchall()


def check_all_readers(cur, table):
    want = selected(cur, table)
    assert want and by_duckdb(table) == want
    files = sorted(folder(table).glob("*.parquet"))
    by_arrow = ds.dataset(files).to_table(columns=["id", "name"]).sort_by("id")
    assert by_arrow["id"].to_pylist() == [r[0] for r in want]
    assert by_arrow["name"].to_pylist() == [r[1] for r in want]
    by_pandas = pd.concat(pd.read_parquet(f, columns=["id"]) for f in files)
    assert sorted(by_pandas.id) == [r[0] for r in want]
    for f in files:
        pq.ParquetFile(f, page_checksum_verification=True).read()


def test_append_only_table(cur):
    cur.execute(f"CREATE SHARED TABLE {SPACE}.appended ({COLUMNS})")
    for first in (0, 500, 1000):
        fill(cur, "appended", first, first + 500)
        cur.execute(f"FLUSH TABLE {SPACE}.appended")
    assert len(list(folder("appended").glob("*.parquet"))) == 3
    check_all_readers(cur, "appended")
    manifest = json.loads((folder("appended") / "manifest.json").read_text())
    assert manifest


def test_compacted_table(cur):
    cur.execute(f"CREATE SHARED TABLE {SPACE}.compacted ({COLUMNS})")
    fill(cur, "compacted", 0, 1000)
    cur.execute(f"FLUSH TABLE {SPACE}.compacted")
    cur.execute(f"UPDATE {SPACE}.compacted SET name = 'changed' WHERE id % 3 = 0")
    cur.execute(f"DELETE FROM {SPACE}.compacted WHERE id % 4 = 1")
    cur.execute(f"FLUSH TABLE {SPACE}.compacted")
    cur.execute(f"COMPACT TABLE {SPACE}.compacted PURGE")
    check_all_readers(cur, "compacted")


def test_each_users_folder_has_their_rows_only(cur, users):
    cur.execute(f"CREATE USER TABLE {SPACE}.diaries ({COLUMNS})")
    for n, name in enumerate(users):
        with connect(name, PASSWORD) as db, db.cursor() as c:
            fill(c, "diaries", n * 1000, n * 1000 + 100)
            c.execute(f"FLUSH TABLE {SPACE}.diaries")
    for n, name in enumerate(users):
        assert [r[0] for r in by_duckdb("diaries", name)] == list(range(n * 1000, n * 1000 + 100))


def test_bulk_rows_are_in_segments_at_once(cur):
    import pyarrow as pa

    n = 1_000_000
    rows = pa.table({"id": pa.array(range(n), pa.int64()), "v": pa.array(range(n), pa.int64())})
    cur.adbc_ingest("bulk", rows, mode="create", db_schema_name=SPACE)
    files = str(folder("bulk") / "*.parquet")
    assert duckdb.sql(f"SELECT count(*), sum(v) FROM read_parquet('{files}')").fetchone() == (n, n * (n - 1) // 2)


def test_the_calls_of_duckdbs_extension(cur):
    """adbc_scanner asks for the schema, then executes the query twice: a stream that is left must leave nothing behind."""
    import pyarrow as pa

    cur.execute(f"CREATE SHARED TABLE {SPACE}.scanned (id BIGINT PRIMARY KEY)")
    cur.executemany(f"INSERT INTO {SPACE}.scanned VALUES (?)", [(i,) for i in range(1000)])
    for sql in (f"SELECT id FROM {SPACE}.scanned", f"SUBSCRIBE TO {SPACE}.scanned UP TO NOW"):
        schema = cur.adbc_execute_schema(sql)
        tables = []
        for _ in range(2):
            with connect() as db, db.cursor() as c:
                c.execute(sql)
                tables.append(pa.Table.from_batches(c.fetch_record_batch()))
        assert tables[0].schema.names == schema.names
        rows = tables[1]  # DuckDB finds it by its name
        assert duckdb.sql("SELECT count(id), sum(id) FROM rows").fetchone() == (1000, 499500)
    works("duckdb", "segments, results and subscriptions as Arrow; GetSchema and both executions of adbc_scanner")
    lacks("duckdb", "its ADBC extension is not on npm or PyPI: not run here")
