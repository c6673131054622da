"""Models shaped to data, and training sessions: what is refused, what is told meanwhile, what is left."""
import os

import pytest

from client import Events, new_model, new_user, settled, start, started, tensors, train, until, upload
from samples import CHURN, churn, dense, layer

OPTIONS = {"epochs": 3, "batch_size": 64, "validation_split": 0.2, "seed": 5}


@pytest.fixture(scope="module")
def dataset(admin, programs):
    """A public one."""
    number = upload(admin, "churn", churn(programs["bench"], 20000))
    assert admin.call("PATCH", f"/api/v1/datasets/{number}", {"public": True})[0] == 200, admin.last.text
    return number


@pytest.fixture
def model(user):
    """A dynamic model of `user`."""
    return new_model(user, "net", CHURN)


def state(c, model):
    return c.get(f"/api/v1/models/{model}")["state"]


# ---- shaping ----

def test_a_model_without_numbers_is_dynamic(user):
    status, answer = user.call("POST", "/api/v1/models", {"name": "net", "description": CHURN})
    assert status == 201, answer
    assert state(user, answer["id"]) == "dynamic"


def test_a_model_is_shaped_as_a_new_one(user, model, dataset):
    status, made = user.call("POST", f"/api/v1/models/{model}/shape", {"dataset": dataset, "name": "shaped"})
    assert status == 201, made
    assert state(user, made["id"]) == "editable"
    assert state(user, model) == "dynamic"


def test_a_model_is_shaped_in_place(user, model, dataset):
    status, answer = user.call("POST", f"/api/v1/models/{model}/shape", {"dataset": dataset})
    assert status == 200, answer
    assert answer["chosen"]
    assert state(user, model) == "editable"


def test_models_and_data_sets_of_others_are_not_shaped(user, other, model, dataset):
    status, answer = user.call("POST", f"/api/v1/models/{model}/shape", {"dataset": 99})
    assert status == 404, answer
    status, answer = other.call("POST", f"/api/v1/models/{model}/shape", {"dataset": dataset})
    assert status == 404, answer


def test_shaping_leaves_nothing_behind(server, user, model, dataset):
    user.post(f"/api/v1/models/{model}/shape", {"dataset": dataset})
    assert [f for f in os.listdir(server.data_dir) if f.startswith("shape-")] == []


# ---- what is refused ----

def test_the_models_of_others_are_not_trained(other, model, dataset):
    status, answer = start(other, model, dataset, **OPTIONS)
    assert status == 404, answer


@pytest.mark.parametrize("option", [{"epochs": 16}, {"batch_size": 0}, {"zoom_range": 0.6}, {"rotation_range": 1.5}],
                         ids=str)
def test_users_have_limits(user, model, dataset, option):
    status, answer = start(user, model, dataset, **dict(OPTIONS, **option))
    assert status == 400, answer


def test_a_data_set_that_there_is_not_is_refused(user, model):
    status, answer = start(user, model, 999, **OPTIONS)
    assert status == 404, answer


def test_an_option_that_there_is_not_is_refused(user, model, dataset):
    status, answer = start(user, model, dataset, nothing=1, **OPTIONS)
    assert status == 400, answer


def test_a_model_that_does_not_fit_the_data_says_why(server, user, dataset):
    pictures = {"size": [8, 8, 3], "optimizer": "adam", "loss": "categorical_crossentropy",
                "layers": [layer("Flatten"), dense(3, "softmax")]}
    status, answer = start(user, new_model(user, "cnn", pictures), dataset)
    assert status == 422, answer
    assert "images" in answer["detail"]
    assert server.data_dir not in answer["detail"]


# ---- one training ----

@pytest.fixture(scope="module")
def trainer(admin):
    return new_user(admin, "trainer")


@pytest.fixture(scope="module")
def trained(trainer, dataset):
    """The session when it has finished, and what was told meanwhile."""
    events = Events(trainer)
    status, answer = start(trainer, new_model(trainer, "net", CHURN), dataset, **OPTIONS)
    assert status == 201, answer
    assert answer["state"] == "waiting"
    session = settled(trainer, answer["id"])
    until(lambda: "finished" in [e["state"] for e in events.of("session")])
    return session, events


@pytest.fixture(scope="module")
def session(trained):
    return trained[0]


def test_a_training_finishes_with_a_history_and_weights(session):
    assert session["state"] == "finished", session
    assert len(session["history"]) == 3, session
    assert session["weights"], session


def test_a_training_is_followed_live(trained):
    session, events = trained
    told = [e.data for e in events.heard if e.data.get("session") == session["id"]]
    assert [e["state"] for e in told if "state" in e] == ["running", "finished"]
    epochs = [e for e in told if e.get("event") == "epoch"]
    assert len(epochs) == 3, told
    assert all("val_loss" in e for e in epochs), epochs


def test_weights_are_their_owners(trainer, user, session):
    weights = trainer.get("/api/v1/weights")["weights"][0]
    assert weights["id"] == session["weights"]
    assert weights["metrics"]["loss"] > 0
    assert user.call("GET", f"/api/v1/weights/{weights['id']}")[0] == 404


def test_weights_are_downloaded(trainer, session):
    size = trainer.get(f"/api/v1/weights/{session['weights']}")["bytes"]
    status, data = trainer.call("GET", f"/api/v1/weights/{session['weights']}/file")
    assert status == 200, data
    assert len(data) == size
    assert b"dense/kernel" in data[:5000]


def test_a_model_with_weights_is_static_but_for_its_name(trainer, session):
    model = f"/api/v1/models/{session['model']}"
    assert trainer.get(model)["state"] == "static"
    status, answer = trainer.call("PATCH", model, {"description": CHURN | {"size": [3], "dynamic": False}})
    assert status in (409, 422), answer
    status, answer = trainer.call("PATCH", model, {"name": "renamed"})
    assert status == 200, answer


def test_deleted_weights_take_their_files_along(server, user, model, dataset):
    session = train(user, model, dataset, epochs=1)
    folder = server.file("jobs", str(session["id"]))
    assert os.path.exists(folder)
    status, answer = user.call("DELETE", f"/api/v1/weights/{session['weights']}")
    assert status == 204, answer
    assert not os.path.exists(folder)


def test_memory_stays_small_after_trainings(server, trainer, session, slow):
    assert tensors(trainer, session["weights"])
    memory = server.memory()
    assert slow or memory < 60


def test_a_training_of_many_epochs_ends_well(user, model, dataset, settings):
    """The last line of its progress is long: it has the figures of all epochs."""
    settings(epochs=1000)
    session = settled(user, started(user, model, dataset, epochs=400, batch_size=20000))
    assert session["state"] == "finished", session["error"]
    assert len(session["history"]) == 400
