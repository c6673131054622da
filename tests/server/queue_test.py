"""The queue of trainings: one at a time, round robin over users, and cancelling."""
import pytest

from client import cancel, cancel_all, make_admin, new_model, new_user, settled, started
from samples import CHURN

LONG = {"epochs": 100000, "batch_size": 1}  # until it is cancelled


@pytest.fixture(scope="module")
def admin(server):
    c = make_admin(server)
    c.call("PATCH", "/api/v1/system/settings", {"epochs": LONG["epochs"]})
    return c


@pytest.fixture(scope="module")
def bob(admin):
    return new_user(admin, "bob")


@pytest.fixture(scope="module")
def model(someone):
    return new_model(someone, "net", CHURN)


def state(c, session):
    return c.get(f"/api/v1/sessions/{session}")["state"]


@pytest.fixture
def running(someone, model, churn_set):
    """A session of `someone` that trains until the test ends."""
    session = started(someone, model, churn_set, **LONG)
    settled(someone, session, ("running",))
    yield session
    cancel_all(someone)


def test_one_trains_at_a_time(someone, model, churn_set, running):
    second = started(someone, model, churn_set, **LONG)
    assert state(someone, running) == "running"
    assert state(someone, second) == "waiting"


def test_the_sessions_of_others_are_not_there(bob, running):
    status, answer = cancel(bob, running)
    assert status == 404, answer


def test_a_model_that_trains_is_not_deleted(someone, model, running):
    status, answer = someone.call("DELETE", f"/api/v1/models/{model}")
    assert status == 409, answer


def test_a_session_that_waits_is_cancelled(someone, model, churn_set, running):
    waiting = started(someone, model, churn_set, **LONG)
    status, answer = cancel(someone, waiting)
    assert status == 202, answer
    assert settled(someone, waiting)["state"] == "cancelled"


def test_a_session_that_runs_is_cancelled_once(someone, running):
    status, answer = cancel(someone, running)
    assert status == 202, answer
    assert settled(someone, running)["state"] == "cancelled"
    status, answer = cancel(someone, running)
    assert status == 409, answer


def test_users_take_turns(someone, bob, model, churn_set, running):
    second = started(someone, model, churn_set, **LONG)
    theirs = started(bob, new_model(bob, "net", CHURN), churn_set, epochs=1, batch_size=64)
    assert cancel(someone, running)[0] == 202
    theirs = settled(bob, theirs)
    assert theirs["state"] == "finished", theirs
    second = settled(someone, second, ("running", "finished"))
    assert second["started"] >= theirs["started"]
