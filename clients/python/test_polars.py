"""polars over the stock ADBC driver."""

import datetime

import polars as pl
import pytest
from conftest import SPACE
from results import lacks, works


@pytest.fixture
def frame():
    return pl.DataFrame(
        {
            "id": [1, 2, 3],
            "name": ["a", "Grüße", None],
            "day": [datetime.date(2026, 1, 2), None, datetime.date(1969, 12, 31)],
            "at": [datetime.datetime(2026, 1, 2, 3, 4, 5, 6)] * 3,
            "price": [1.5, None, -2.0],
            "kind": pl.Series(["x", "y", "x"], dtype=pl.Categorical),
            "size": pl.Series(["s", None, "l"], dtype=pl.Enum(["s", "m", "l"])),
            "small": pl.Series([1, 2, None], dtype=pl.UInt8),
        }
    )


def test_write_and_read(root, frame):
    table = f"{SPACE}.polars"
    for mode, rows in [("replace", 3), ("append", 6), ("replace", 3)]:
        frame.write_database(table, root, if_table_exists=mode, engine="adbc")
        assert pl.read_database(f"SELECT count(*) AS n FROM {table}", root)["n"].to_list() == [rows]
    got = pl.read_database(f"SELECT * FROM {table} ORDER BY id", root)
    assert got.to_dicts() == frame.to_dicts()
    by_parameter = pl.read_database(f"SELECT name FROM {table} WHERE id = ?", root, execute_options={"parameters": [2]})
    assert by_parameter["name"].to_list() == ["Grüße"]
    batches = pl.read_database(f"SELECT id FROM {table}", root, iter_batches=True, batch_size=2)
    assert sum(len(b) for b in batches) == 3
    works("polars", "read_database, write_database, parameters, batches")


def test_subscription(root, frame):
    frame.write_database(f"{SPACE}.polars_live", root, if_table_exists="replace", engine="adbc")
    got = pl.read_database(f"SUBSCRIBE TO {SPACE}.polars_live UP TO NOW", root)
    assert got["_op"].to_list().count("snapshot") == 3
    works("polars", "subscriptions")


def test_lists(root):
    rows = pl.DataFrame({"k": [1, 2, 3], "l": [[1, None], [], None], "t": [["a"], None, ["é", ""]]})
    rows.write_database(f"{SPACE}.polars_lists", root, if_table_exists="replace", engine="adbc")
    assert pl.read_database(f"SELECT * FROM {SPACE}.polars_lists ORDER BY k", root).equals(rows)
    with pytest.raises(Exception, match="no column type holds"):
        pl.DataFrame({"l": [[[1]]]}).write_database(f"{SPACE}.polars_nested", root, engine="adbc")


def test_addresses_are_always_tls():
    """read_database_uri gives the driver the address alone: no name of a user, and flightsql:// means TLS to the driver."""
    with pytest.raises(Exception), pytest.warns(Warning):
        pl.read_database_uri("SELECT 1", "flightsql://127.0.0.1:1", engine="adbc")
    lacks("polars", "read_database_uri has no login: give a connection")
