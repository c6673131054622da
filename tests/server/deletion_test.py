"""Deletion of sessions that are over."""
import os

import pytest

from client import cancel, cancel_all, make_admin, new_model, new_net, settled, started, train, upload
from samples import CHURN, MLP, churn, numbers_table

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


@pytest.fixture
def running(user, model, dataset):
    """A session of `user` that trains until the test ends."""
    session = started(user, model, dataset, **LONG)
    settled(user, session, ("running",))
    yield session
    cancel_all(user)


@pytest.fixture
def finished(user, model, dataset):
    return train(user, model, dataset, epochs=1)


def delete(c, session):
    return c.call("DELETE", f"/api/v1/sessions/{session}")[0]


def test_a_session_that_is_over_is_deleted(user, finished):
    assert delete(user, finished["id"]) == 204
    assert user.call("GET", f"/api/v1/sessions/{finished['id']}")[0] == 404
    assert user.get("/api/v1/sessions")["sessions"] == []


def test_its_weights_stay_with_their_file(user, finished):
    assert delete(user, finished["id"]) == 204
    weights = user.get(f"/api/v1/weights/{finished['weights']}")
    assert weights["session"] == finished["id"]
    assert len(user.get(f"/api/v1/weights/{finished['weights']}/file")) == weights["bytes"]


def test_its_folder_is_deleted_with_the_weights(server, user, finished):
    delete(user, finished["id"])
    folder = server.file("jobs", str(finished["id"]))
    assert os.path.exists(folder)
    assert user.call("DELETE", f"/api/v1/weights/{finished['weights']}")[0] == 204
    assert not os.path.exists(folder)


def test_the_folder_of_a_session_without_weights_is_deleted(server, user, running):
    cancel(user, running)
    settled(user, running)
    assert os.path.exists(server.file("jobs", str(running)))
    assert delete(user, running) == 204
    assert not os.path.exists(server.file("jobs", str(running)))


def test_a_session_that_runs_is_not_deleted(user, running):
    assert delete(user, running) == 409
    assert user.get(f"/api/v1/sessions/{running}")["state"] == "running"


def test_a_session_that_waits_is_not_deleted(user, model, dataset, running):
    waiting = started(user, model, dataset, **LONG)
    assert delete(user, waiting) == 409


def test_the_sessions_of_others_are_not_deleted(user, other, finished):
    assert delete(other, finished["id"]) == 404
    assert user.get(f"/api/v1/sessions/{finished['id']}")["state"] == "finished"


def test_an_administrator_deletes_the_sessions_of_others(admin, finished):
    assert delete(admin, finished["id"]) == 204


def test_the_weights_of_a_deleted_session_predict(user):
    net = new_net(user, "numbers", MLP, upload(user, "numbers", numbers_table(100), "n.csv"), epochs=1)
    assert delete(user, user.get(f"/api/v1/weights/{net.weights}")["session"]) == 204
    status, answer = user.call("POST", f"/api/v1/weights/{net.weights}/predict", {"a": 1, "b": 0.5, "c": -1})
    assert status == 200, answer
