"""pandas over the stock ADBC driver."""

import pandas as pd
import pytest
from conftest import SPACE, connect
from results import lacks, works


def frame():
    return pd.DataFrame(
        {
            "id": pd.Series([1, 2, 3], dtype="int64"),
            "name": ["a", "Grüße 日本", None],
            "price": [1.5, -2.25, float("nan")],
            "at": pd.to_datetime(["2026-01-02 03:04:05.000006", "1969-12-31", "2038-01-19"], format="ISO8601").astype("datetime64[us]"),
        }
    )


def test_to_sql_and_read_sql(root):
    df = frame()
    assert df.to_sql("frames", root, schema=SPACE, index=False) == 3
    got = pd.read_sql(f"SELECT id, name, price, at FROM {SPACE}.frames ORDER BY id", root)
    assert list(got.id) == [1, 2, 3]
    assert list(got.name[:2]) == ["a", "Grüße 日本"] and pd.isna(got.name[2])
    assert list(got.price[:2]) == [1.5, -2.25]
    assert list(got["at"]) == list(df["at"])


def test_to_sql_appends_and_replaces(root):
    df = frame()
    for mode, rows in [("append", 3), ("append", 6), ("replace", 3)]:
        df.to_sql("more_frames", root, schema=SPACE, index=False, if_exists=mode)
        got = pd.read_sql(f"SELECT count(*) AS n FROM {SPACE}.more_frames", root)
        assert got.n[0] == rows


def test_to_sql_in_transactions():
    """The stock connection has autocommit off; pandas commits."""
    df = frame()
    with connect(autocommit=False) as db:
        for mode, rows in [("fail", 3), ("append", 6), ("replace", 3)]:
            df.to_sql("tx_frames", db, schema=SPACE, index=False, if_exists=mode)
            with connect() as other:
                got = pd.read_sql(f"SELECT count(*) AS n FROM {SPACE}.tx_frames", other)
            assert got.n[0] == rows
        df[["id"]].to_sql("tx_frames", db, schema=SPACE, index=False, if_exists="replace")
        got = pd.read_sql(f"SELECT * FROM {SPACE}.tx_frames", db)
        assert list(got.columns) == ["id"] and len(got) == 3
    works("pandas", "to_sql, read_sql, transactions")


def test_read_sql_with_arrow_types(root):
    got = pd.read_sql("SELECT 9007199254740993 AS big, 'x' AS word", root, dtype_backend="pyarrow")
    assert got.big[0] == 9007199254740993 and got.word[0] == "x"


def test_read_sql_over_a_subscription(root):
    """UP TO NOW ends the stream, so that a subscription can be read like a table: change data capture for a cron job."""
    frame().to_sql("captured", root, schema=SPACE, index=False)
    got = pd.read_sql(f"SUBSCRIBE TO {SPACE}.captured UP TO NOW", root)
    assert list(got._op)[0] == "progress" and list(got._op)[-1] == "end"
    assert sorted(got[got._op == "snapshot"].id) == [1, 2, 3]
    last = int(got._seq.iloc[-1])
    with connect() as db, db.cursor() as cur:
        cur.execute(f"DELETE FROM {SPACE}.captured WHERE id = 2")
        cur.execute(f"UPDATE {SPACE}.captured SET name = 'b' WHERE id = 1")
    more = pd.read_sql(f"SUBSCRIBE TO {SPACE}.captured AS OF SEQ {last} UP TO NOW", root)
    changes = more[more._op.isin(["insert", "update", "delete"])]
    # Without a key a row has no name: an update is the end of one row and a new one.
    assert list(changes._op) == ["delete", "delete", "insert"] and list(changes.id) == [2, 1, 1]
    works("pandas", "subscriptions")


def test_read_sql_has_no_parameters(root):
    """pandas (3.1) refuses them for every ADBC driver: a cursor takes them."""
    with pytest.raises(NotImplementedError, match="params"):
        pd.read_sql("SELECT ? AS x", root, params=(1,))
    with root.cursor() as cur:
        cur.execute("SELECT ? + 1 AS x", (1,))
        assert list(cur.fetch_df().x) == [2]
    lacks("pandas", "params of read_sql: cur.execute(sql, params), then cur.fetch_df()")
