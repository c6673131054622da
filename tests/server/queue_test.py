"""The queue of trainings: one at a time, round robin over users, and cancelling."""
import pytest

from client import cancel, cancel_all, make_admin, new_model, settled, started, upload
from samples import CHURN, churn

LONG = {"epochs": 100000, "batch_size": 1}  # until it is cancelled


@pytest.fixture(scope="module")
def admin(server):
    c = make_admin(server)
    c.call("PATCH", "/api/v1/system/settings", {"epochs": LONG["epochs"]})
    return c


@pytest.fixture(scope="module")
def dataset(admin, programs):
    """A public one."""
    number = upload(admin, "churn", churn(programs["bench"], 4000))
    assert admin.call("PATCH", f"/api/v1/datasets/{number}", {"public": True})[0] == 200, admin.last.text
    return number


@pytest.fixture
def model(user):
    return new_model(user, "net", CHURN)


def state(c, session):
    return c.get(f"/api/v1/sessions/{session}")["state"]


@pytest.fixture
def running(user, model, dataset):
    """A session of `user` that trains until the test ends."""
    session = started(user, model, dataset, **LONG)
    settled(user, session, ("running",))
    yield session
    cancel_all(user)


def test_one_trains_at_a_time(user, model, dataset, running):
    second = started(user, model, dataset, **LONG)
    assert state(user, running) == "running"
    assert state(user, second) == "waiting"


def test_the_sessions_of_others_are_not_there(other, running):
    status, answer = cancel(other, running)
    assert status == 404, answer


def test_a_model_that_trains_is_not_deleted(user, model, running):
    status, answer = user.call("DELETE", f"/api/v1/models/{model}")
    assert status == 409, answer


def test_a_session_that_waits_is_cancelled(user, model, dataset, running):
    waiting = started(user, model, dataset, **LONG)
    status, answer = cancel(user, waiting)
    assert status == 202, answer
    assert settled(user, waiting)["state"] == "cancelled"


def test_a_session_that_runs_is_cancelled_once(user, running):
    status, answer = cancel(user, running)
    assert status == 202, answer
    assert settled(user, running)["state"] == "cancelled"
    status, answer = cancel(user, running)
    assert status == 409, answer


def test_users_take_turns(user, other, model, dataset, running):
    second = started(user, model, dataset, **LONG)
    theirs = started(other, new_model(other, "net", CHURN), dataset, epochs=1, batch_size=64)
    assert cancel(user, running)[0] == 202
    theirs = settled(other, theirs)
    assert theirs["state"] == "finished", theirs
    second = settled(user, second, ("running", "finished"))
    assert second["started"] >= theirs["started"]
