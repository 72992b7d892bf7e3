"""SQLAlchemy over the stock ADBC driver. There is no dialect of it: its default dialect and a creator do for Core."""

import adbc_driver_flightsql.dbapi as adbc
import pytest
import sqlalchemy as sa
from conftest import SPACE, URL
from results import lacks, works
from sqlalchemy.dialects import registry
from sqlalchemy.engine.default import DefaultDialect


class Dialect(DefaultDialect):
    """SQLAlchemy's own SQL, with question marks."""

    name = "kalamflight"
    default_paramstyle = "qmark"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls):
        return adbc


registry.register("kalamflight", __name__, "Dialect")


# SQLAlchemy leaves it to the garbage collector to close cursors; the driver warns of that.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_core(root):
    engine = sa.create_engine("kalamflight://", creator=lambda: adbc.connect(URL, db_kwargs={"username": "root"}))
    meta = sa.MetaData()
    things = sa.Table(
        "alchemy", meta, sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("name", sa.Text), schema=SPACE
    )
    names = sa.select(things.c.name).where(things.c.id >= 1).order_by(things.c.id)
    with engine.begin() as c:
        c.execute(sa.schema.CreateTable(things))
        c.execute(things.insert(), [{"id": i, "name": f"n{i}"} for i in range(3)])
        c.execute(things.update().where(things.c.id == 2).values(name="changed"))
        assert c.execute(names).scalars().all() == ["n1", "changed"]
    with engine.connect() as c:
        c.execute(things.delete())
        c.rollback()
        assert c.execute(names).scalars().all() == ["n1", "changed"]
    engine.dispose()
    works("SQLAlchemy", "Core: tables, parameters, transactions, pool")
    lacks("SQLAlchemy", "no dialect for ADBC: a class of eight lines (clients/python/test_sqlalchemy.py)")
