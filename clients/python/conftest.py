"""A running server: its URL is in KALAMFLIGHT_URL, its data folder in KALAMFLIGHT_DATA_DIR. Both are set by clients/run."""

import os
import pathlib

import adbc_driver_flightsql.dbapi as adbc
import pytest

URL = os.environ["KALAMFLIGHT_URL"]
DATA_DIR = pathlib.Path(os.environ["KALAMFLIGHT_DATA_DIR"])
SPACE = "py"
PASSWORD = "a long enough one"


def connect(user="root", password="", **options):
    """Connects as a user; autocommit unless told otherwise."""
    options.setdefault("autocommit", True)
    return adbc.connect(URL, db_kwargs={"username": user, "password": password}, **options)


@pytest.fixture(scope="session")
def root():
    with connect() as db, db.cursor() as cur:
        cur.execute(f"CREATE NAMESPACE IF NOT EXISTS {SPACE}")
        yield db


@pytest.fixture
def cur(root):
    with root.cursor() as c:
        yield c


@pytest.fixture(scope="session")
def users(root):
    """Two users of role user, who can log in."""
    names = ["py_ali", "py_bea"]
    with root.cursor() as c:
        for name in names:
            c.execute(f"CREATE USER '{name}' WITH PASSWORD '{PASSWORD}' ROLE 'user'")
    return names
