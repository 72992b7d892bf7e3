"""A plain Flight client, which knows no SQL: pyarrow.flight."""

import pyarrow
import pytest
from pyarrow import flight

from conftest import URL
from results import works


@pytest.fixture
def plain(cur):
    cur.execute("CREATE SHARED TABLE IF NOT EXISTS py.plain (id BIGINT, name TEXT)")
    cur.execute("DELETE FROM py.plain")
    with flight.connect(URL) as client:
        header = client.authenticate_basic_token("root", "")
        yield client, flight.FlightCallOptions(headers=[header])


PATH = flight.FlightDescriptor.for_path("py", "plain")
ROWS = pyarrow.table({"id": [1, 2, 3], "name": ["a", None, "c"]})


def put(client, options):
    writer, _ = client.do_put(PATH, ROWS.schema, options)
    with writer:
        writer.write_table(ROWS)


def test_paths(plain):
    client, options = plain
    put(client, options)
    paths = [f.descriptor.path for f in client.list_flights(options=options)]
    assert [b"py", b"plain"] in paths
    assert client.get_schema(PATH, options).schema.names == ["id", "name"]
    info = client.get_flight_info(PATH, options)
    assert len(info.endpoints) == 1
    got = client.do_get(info.endpoints[0].ticket, options).read_all().sort_by("id")
    assert got.to_pydict() == ROWS.to_pydict()
    works("pyarrow", "plain Flight: paths, ListFlights, DoPut")


def test_errors(plain):
    client, options = plain
    with pytest.raises((flight.FlightError, pyarrow.ArrowException), match="no table"):
        client.get_flight_info(flight.FlightDescriptor.for_path("py", 'x"; DROP TABLE plain; --'), options)
    with pytest.raises((flight.FlightError, pyarrow.ArrowException), match="a path has a namespace and a table"):
        client.get_flight_info(flight.FlightDescriptor.for_path("a", "b", "c"), options)
    writer, _ = client.do_put(flight.FlightDescriptor.for_path("py", "missing"), ROWS.schema, options)
    with pytest.raises((flight.FlightError, pyarrow.ArrowException), match="missing"):
        writer.write_table(ROWS)
        writer.close()


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_formats(plain, codec):
    client, options = plain
    put(client, options)
    wants = [(b"kalam-compression", codec.encode()), (b"kalam-dictionaries", b"true")]
    asked = flight.FlightCallOptions(headers=[client.authenticate_basic_token("root", ""), *wants])
    info = client.get_flight_info(PATH, asked)
    got = client.do_get(info.endpoints[0].ticket, asked).read_all()
    assert pyarrow.types.is_dictionary(got.schema.field("name").type)
    assert sorted(got["id"].to_pylist()) == [1, 2, 3]
    assert got["name"].cast(pyarrow.string()).to_pylist().count(None) == 1
    works("pyarrow", "compression, dictionaries")


def test_actions(plain):
    client, options = plain
    names = {a.type for a in client.list_actions(options)}
    assert {"CancelFlightInfo", "RenewFlightEndpoint", "SetSessionOptions", "BeginSavepoint"} <= names
