"""Bulk ingest of each Arrow type, and what it comes back as."""

import datetime
import decimal

import adbc_driver_manager
import pyarrow as pa
import pytest
from conftest import SPACE
from results import works

DAY = datetime.date(2026, 1, 2)
AT = datetime.datetime(2026, 1, 2, 3, 4, 5)
MONEY = decimal.Decimal("12.50")

# name: the type, a value, the type that comes back, the type of the column.
KEPT = {
    "null": (pa.null(), None, pa.string(), "TEXT"),
    "bool": (pa.bool_(), True, pa.bool_(), "BOOLEAN"),
    "int8": (pa.int8(), -7, pa.int16(), "SMALLINT"),
    "int16": (pa.int16(), -7, pa.int16(), "SMALLINT"),
    "int32": (pa.int32(), -7, pa.int32(), "INT"),
    "int64": (pa.int64(), 9007199254740993, pa.int64(), "BIGINT"),
    "uint8": (pa.uint8(), 255, pa.int16(), "SMALLINT"),
    "uint16": (pa.uint16(), 65535, pa.int32(), "INT"),
    "uint32": (pa.uint32(), 4294967295, pa.int64(), "BIGINT"),
    "uint64": (pa.uint64(), 18446744073709551615, pa.decimal128(20, 0), "DECIMAL(20,0)"),
    "float16": (pa.float16(), 0.5, pa.float32(), "FLOAT"),
    "float32": (pa.float32(), 0.5, pa.float32(), "FLOAT"),
    "float64": (pa.float64(), 1e300, pa.float64(), "DOUBLE"),
    "decimal32": (pa.decimal32(7, 2), MONEY, pa.decimal128(7, 2), "DECIMAL(7,2)"),
    "decimal64": (pa.decimal64(15, 2), MONEY, pa.decimal128(15, 2), "DECIMAL(15,2)"),
    "decimal128": (pa.decimal128(38, 10), MONEY, pa.decimal128(38, 10), "DECIMAL(38,10)"),
    "decimal256": (pa.decimal256(38, 2), MONEY, pa.decimal128(38, 2), "DECIMAL(38,2)"),
    "string": (pa.string(), "Grüße 日本", pa.string(), "TEXT"),
    "large_string": (pa.large_string(), "Grüße", pa.string(), "TEXT"),
    "string_view": (pa.string_view(), "longer than twelve bytes", pa.string(), "TEXT"),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), "Grüße", pa.string(), "TEXT"),
    "json": (pa.json_(pa.string()), '{"a": 1}', pa.string(), "JSON"),
    "binary": (pa.binary(), b"\x00\xff", pa.binary(), "BYTES"),
    "large_binary": (pa.large_binary(), b"\x00\xff", pa.binary(), "BYTES"),
    "binary_view": (pa.binary_view(), b"\x00\xff", pa.binary(), "BYTES"),
    "fixed_size_binary": (pa.binary(4), b"\x00\xff\x01a", pa.binary(), "BYTES"),
    "uuid": (pa.uuid(), bytes(range(16)), pa.binary(16), "UUID"),
    "date32": (pa.date32(), DAY, pa.date32(), "DATE"),
    "date64": (pa.date64(), DAY, pa.date32(), "DATE"),
    "time32_s": (pa.time32("s"), datetime.time(1, 2, 3), pa.time64("us"), "TIME"),
    "time32_ms": (pa.time32("ms"), datetime.time(1, 2, 3), pa.time64("us"), "TIME"),
    "time64_us": (pa.time64("us"), datetime.time(1, 2, 3, 4), pa.time64("us"), "TIME"),
    "time64_ns": (pa.time64("ns"), datetime.time(1, 2, 3, 4), pa.time64("us"), "TIME"),
    "timestamp_s": (pa.timestamp("s"), AT, pa.timestamp("us"), "TIMESTAMP"),
    "timestamp_ms": (pa.timestamp("ms"), AT, pa.timestamp("us"), "TIMESTAMP"),
    "timestamp_us": (pa.timestamp("us"), AT, pa.timestamp("us"), "TIMESTAMP"),
    "timestamp_ns": (pa.timestamp("ns"), AT, pa.timestamp("us"), "TIMESTAMP"),
    "timestamp_tz": (
        pa.timestamp("us", "Europe/Berlin"), AT.replace(tzinfo=datetime.timezone.utc), pa.timestamp("us", "UTC"), "DATETIME",
    ),
    "embedding": (pa.list_(pa.float32(), 2), [1.0, 2.5], pa.list_(pa.float32(), 2), "EMBEDDING(2)"),
    "list": (pa.list_(pa.int64()), [1, None], pa.list_(pa.int64()), "BIGINT[]"),
    "large_list": (pa.large_list(pa.large_string()), ["a", None, "é"], pa.list_(pa.string()), "TEXT[]"),
    "fixed_size_list": (pa.list_(pa.int16(), 2), [1, 2], pa.list_(pa.int16()), "SMALLINT[]"),
}  # fmt: skip

# What no type of column holds is refused, not stored as something else.
REFUSED = {
    "decimal256_wide": pa.decimal256(50, 2),
    "duration": pa.duration("us"),
    "interval": pa.month_day_nano_interval(),
    "list_view": pa.list_view(pa.int64()),
    "list_of_lists": pa.list_(pa.list_(pa.int64())),
    "list_of_structs": pa.list_(pa.struct([("a", pa.int64())])),
    "struct": pa.struct([("a", pa.int64())]),
    "map": pa.map_(pa.string(), pa.int64()),
}


def array(of, value):
    if isinstance(of, pa.ExtensionType):
        return pa.ExtensionArray.from_storage(of, pa.array([value, None], of.storage_type))
    if pa.types.is_dictionary(of):
        return pa.array([value, None], of.value_type).dictionary_encode()
    return pa.array([value, None], of)


@pytest.mark.parametrize("name", KEPT)
def test_kept(cur, name):
    of, value, back, column = KEPT[name]
    rows = pa.table({"k": [1, 2], "v": array(of, value)})
    table = "arrow_" + name
    assert cur.adbc_ingest(table, rows, mode="create", db_schema_name=SPACE) == 2
    cur.execute(f"SELECT v FROM {SPACE}.{table} ORDER BY k")
    got = cur.fetch_arrow_table()
    assert got.schema.field("v").type == back
    assert got["v"].to_pylist() == [value, None]
    cur.execute(
        "SELECT data_type FROM information_schema.columns WHERE table_schema = ? AND table_name = ? AND column_name = 'v'",
        (SPACE, table),
    )
    assert cur.fetchall() == [(column,)]


def test_all_kept():
    assert len(KEPT) >= 30
    works("adbc-driver-flightsql", f"ingest of {len(KEPT)} Arrow types")


@pytest.mark.parametrize("name", REFUSED)
def test_refused(cur, name):
    rows = pa.table({"v": pa.array([None], REFUSED[name])})
    with pytest.raises(adbc_driver_manager.Error, match="no column type holds|not supported"):
        cur.adbc_ingest("arrow_refused", rows, mode="create", db_schema_name=SPACE)
    with pytest.raises(adbc_driver_manager.Error, match="there is no table"):
        cur.execute(f"SELECT * FROM {SPACE}.arrow_refused")
