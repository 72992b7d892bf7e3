"""TLS, tokens and cancelled statements."""

import os
import pathlib
import threading
import time

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import pytest
from conftest import PASSWORD, URL, connect
from pyarrow import flight
from results import lacks, works

DRIVER = "adbc-driver-flightsql"
TLS_URL = os.environ["KALAMFLIGHT_TLS_URL"]
AUTHORITY = pathlib.Path(os.environ["KALAMFLIGHT_TLS_CA"])
LOGIN = {"username": "root", "password": os.environ["KALAMFLIGHT_TLS_PASSWORD"]}


def one(url, sql, **options):
    with adbc.connect(url, db_kwargs=options, autocommit=True) as db, db.cursor() as c:
        c.execute(sql)
        return c.fetchone()[0]


@pytest.mark.parametrize(
    "option",
    [
        {"adbc.flight.sql.client_option.tls_root_certs": AUTHORITY.read_text()},
        {"adbc.flight.sql.client_option.tls_skip_verify": "true"},
    ],
)
def test_tls(option):
    assert one(TLS_URL, "SELECT CURRENT_USER()", **LOGIN, **option) == "root"
    works(DRIVER, "TLS")


def test_an_unknown_authority_is_not_trusted():
    with pytest.raises(adbc_driver_manager.OperationalError, match="unknown authority"):
        one(TLS_URL, "SELECT 1", **LOGIN)


def test_plaintext_to_tls_is_told_so():
    with pytest.raises(adbc_driver_manager.Error, match="TLS"):
        one(TLS_URL.replace("grpc+tls", "grpc"), "SELECT 1", **LOGIN)


def test_pyarrow_flight_over_tls():
    with flight.connect(TLS_URL, tls_root_certs=AUTHORITY.read_bytes()) as client:
        header = client.authenticate_basic_token(LOGIN["username"], LOGIN["password"])
        options = flight.FlightCallOptions(headers=[header])
        assert [b"information_schema", b"tables"] not in [f.descriptor.path for f in client.list_flights(options=options)]
    works("pyarrow", "TLS")


def test_tokens(cur, users):
    cur.execute(f"CREATE TOKEN py FOR USER '{users[0]}' EXPIRES IN '1 day'")
    token = cur.fetch_arrow_table().to_pylist()[0]["token"]
    assert one(URL, "SELECT CURRENT_USER()", **{"adbc.flight.sql.authorization_header": "Bearer " + token}) == users[0]
    assert one(URL, "SELECT CURRENT_USER()", username=users[0], password=token) == users[0]
    with connect(users[0], PASSWORD) as db, db.cursor() as c:
        c.execute("SELECT 1")
    cur.execute(f"DROP TOKEN py FOR USER '{users[0]}'")
    with pytest.raises(adbc_driver_manager.Error):
        one(URL, "SELECT 1", **{"adbc.flight.sql.authorization_header": "Bearer " + token})
    works(DRIVER, "passwords and tokens")


def test_cancel(cur):
    with connect() as db, db.cursor() as c:
        timer = threading.Timer(0.5, c.adbc_cancel)
        timer.start()
        with pytest.raises(adbc_driver_manager.Error):
            c.execute("SELECT count(*) FROM range(200000000000) WHERE range % 7 = 4")
            c.fetchone()
        timer.join()
    deadline = time.monotonic() + 30
    while True:
        cur.execute("SELECT count(*) FROM system.queries WHERE text LIKE '%range \\% 7 = 4%' AND text NOT LIKE '%system.%'")
        if cur.fetchone() == (0,):
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    works(DRIVER, "cancel")


def test_statistics_are_not_offered(root):
    with pytest.raises(adbc_driver_manager.NotSupportedError):
        root.adbc_get_statistics()
    lacks(DRIVER, "statistics; a commit that failed leaves no transaction")
