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


@pytest.fixture
def late(server, user):
    """Makes a model when it is started; what was answered is in `answers`."""
    answers = []
    waiter = threading.Thread(target=lambda: answers.append(make_model(Client(server, user.token), "late")))
    waiter.answers = answers
    return waiter


def test_predictions_and_health_do_not_need_the_store_that_others_wait_for(
        admin, nobody, table_net, locked, late, slack):
    with locked():
        for _ in range(3):  # what it knows of the model is that of now: nobody writes any more
            infer(admin, "table net", ROW)
        late.start()
        time.sleep(0.5)
        began = time.monotonic()
        status, answer = infer(admin, "table net", ROW)
        assert status == 200, answer
        assert time.monotonic() - began < 1
        assert nobody.call("GET", "/healthz")[0] == 200
        assert time.monotonic() - began < 1 + slack
        assert late.answers == []
    late.join()


def test_a_short_lock_is_waited_for(locked, late):
    with locked():
        late.start()
        time.sleep(1.5)
        assert late.answers == []
    late.join()
    assert late.answers[0][0] == 201, late.answers


def test_a_long_lock_is_refused_and_then_it_goes_on(user, locked):
    with locked():
        status, answer = make_model(user, "later")
        assert status == 503, answer
        assert "busy" in answer["detail"]
    status, answer = make_model(user, "later")
    assert status == 201, answer
