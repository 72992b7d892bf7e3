"""A live subscription in plain ADBC."""

import threading

from conftest import SPACE, connect
from results import works

TIMEOUT = 20


def test_fetch_record_batch_over_subscribe(cur):
    """The first row comes without any write; then every change, in order, from another connection."""
    cur.execute(f"CREATE SHARED TABLE {SPACE}.live (id BIGINT PRIMARY KEY, body TEXT)")
    cur.execute(f"INSERT INTO {SPACE}.live VALUES (1, 'old')")
    followed, failures = [], []
    ready, done = threading.Event(), threading.Event()

    def follow():
        try:
            with connect() as db, db.cursor() as c:
                c.execute(f"SUBSCRIBE TO {SPACE}.live OPTIONS (timeout='{TIMEOUT}s')")
                for batch in c.fetch_record_batch():
                    for row in batch.to_pylist():
                        followed.append(row)
                        if row["_op"] == "progress" and row["_seq"] is not None:
                            ready.set()
                        if row["_op"] == "delete":
                            c.adbc_cancel()
                            return
        except Exception as e:  # the thread's failure belongs to the test
            failures.append(e)
        finally:
            ready.set()
            done.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert ready.wait(TIMEOUT)
    cur.execute(f"INSERT INTO {SPACE}.live VALUES (2, 'new'), (3, 'newer')")
    cur.execute(f"UPDATE {SPACE}.live SET body = 'changed' WHERE id = 1")
    cur.execute(f"DELETE FROM {SPACE}.live WHERE id = 2")
    assert done.wait(TIMEOUT)
    thread.join(TIMEOUT)
    assert not failures, failures
    assert followed[0]["_op"] == "progress"
    data = [(r["_op"], r["id"], r["body"]) for r in followed if r["_op"] != "progress"]
    assert data[0] == ("snapshot", 1, "old")
    assert sorted(data[1:3]) == [("insert", 2, "new"), ("insert", 3, "newer")]
    assert data[3] == ("update", 1, "changed")
    assert data[4][:2] == ("delete", 2)
    sequences = [r["_seq"] for r in followed if r["_seq"] is not None]
    assert sequences == sorted(sequences)
    works("adbc-driver-flightsql", "subscriptions")
