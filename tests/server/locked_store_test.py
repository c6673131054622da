"""A store that somebody else has locked: what needs it waits or is refused, the rest is answered."""
import contextlib
import sqlite3
import threading
import time

import pytest

from client import Client
from samples import MLP, ROWS, infer, tensor

ROW = {"inputs": [tensor(ROWS[:1])]}


@pytest.fixture
def locked(server):
    """A context in which it is."""
    @contextlib.contextmanager
    def lock():
        store = sqlite3.connect(server.file("webml.sqlite"), isolation_level=None)
        store.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            store.execute("ROLLBACK")
            store.close()

    return lock


def make_model(c, name):
    return c.call("POST", "/api/v1/models", {"name": name, "description": MLP})


def test_predictions_and_health_do_not_need_the_store(admin, nobody, table_net, locked, slack):
    for _ in range(3):
        infer(admin, "table net", ROW)
    with locked():
        began = time.monotonic()
        status, answer = infer(admin, "table net", ROW)
        assert status == 200, answer
        assert time.monotonic() - began < 1
        assert nobody.call("GET", "/healthz")[0] == 200
        assert time.monotonic() - began < 1 + slack


def test_a_short_lock_is_waited_for(server, user, locked):
    late = []
    waiter = threading.Thread(target=lambda: late.append(make_model(Client(server, user.token), "late")))
    with locked():
        waiter.start()
        time.sleep(1.5)
        assert late == []
    waiter.join()
    assert late[0][0] == 201, late


def test_a_long_lock_is_refused_and_then_it_goes_on(user, locked):
    with locked():
        status, answer = make_model(user, "later")
        assert status == 503, answer
        assert "busy" in answer["error"]
    status, answer = make_model(user, "later")
    assert status == 201, answer
