"""Trainings that are steered: stopped with the best weights, paused and resumed, begun from earlier weights."""
import threading
import time

import numpy as np
import pytest

from client import Client, cancel, cancel_all, new_model, settled, start, started, tensors, train, until, upload
from samples import MLP, numbers_table

LONG = {"epochs": 50000, "batch_size": 4, "validation_split": 0.2}


@pytest.fixture(scope="module")
def trainer(someone, admin):
    admin.call("PATCH", "/api/v1/system/settings", {"epochs": 100000, "sessions_per_device": 2})
    someone.data = upload(someone, "steered", numbers_table(300), "n.csv")
    someone.net = new_model(someone, "steered", MLP)
    return someone


def steer(c, session, how):
    return c.call("POST", f"/api/v1/sessions/{session}/{how}")


@pytest.fixture
def running(trainer):
    """A session that has trained for some epochs; it ends with the test."""
    session = started(trainer, trainer.net, trainer.data, **LONG)
    until(lambda: trainer.get(f"/api/v1/sessions/{session}")["history"], lambda h: len(h) > 2)
    yield session
    cancel(trainer, session)
    settled(trainer, session)


def test_a_stopped_training_keeps_its_best_weights(trainer, running):
    status, answer = steer(trainer, running, "stop")
    assert status == 202, answer
    session = settled(trainer, running)
    assert session["state"] == "finished", session
    assert session["weights"]
    assert 2 < len(session["history"]) < 50000


def test_a_paused_training_gives_its_device_back_and_goes_on(trainer, running):
    assert steer(trainer, running, "pause")[0] == 202
    assert settled(trainer, running, ("paused",))["state"] == "paused"
    assert not trainer.server.trains(running)
    assert until(lambda: sum((d["sessions"] for d in trainer.get("/api/v1/devices")["devices"]), []),
                 lambda on_devices: running not in on_devices) == []
    assert steer(trainer, running, "resume")[0] == 202
    assert settled(trainer, running, ("running",))["state"] == "running"
    assert steer(trainer, running, "stop")[0] == 202
    assert settled(trainer, running)["state"] == "finished"


def test_a_paused_training_comes_to_the_same_bits(trainer):
    exactly = {"epochs": 60, "batch_size": 1, "seed": 3}
    whole = train(trainer, trainer.net, trainer.data, **exactly)
    session = started(trainer, trainer.net, trainer.data, **exactly)
    until(lambda: trainer.get(f"/api/v1/sessions/{session}")["history"], lambda h: len(h) > 2)
    status, _ = steer(trainer, session, "pause")
    if status == 202:  # else it was faster
        if settled(trainer, session, ("paused", "finished"))["state"] == "paused":
            assert steer(trainer, session, "resume")[0] == 202
    resumed = settled(trainer, session)
    assert resumed["state"] == "finished", resumed
    assert tensors(trainer, resumed["weights"]) == tensors(trainer, whole["weights"])


def test_the_history_of_a_resumed_training_is_whole(trainer, running):
    assert steer(trainer, running, "pause")[0] == 202
    before = settled(trainer, running, ("paused",))["history"]
    assert steer(trainer, running, "resume")[0] == 202
    after = until(lambda: trainer.get(f"/api/v1/sessions/{running}")["history"], lambda h: len(h) > len(before) + 2)
    assert [e["epoch"] for e in after] == list(range(1, len(after) + 1))
    assert after[:len(before)] == before
    steps = trainer.get(f"/api/v1/sessions/{running}/curve", params={"from": "step"})["columns"]["steps"]
    assert steps == sorted(set(steps))


def test_every_epoch_has_its_confusion(trainer, other):
    session = train(trainer, trainer.net, trainer.data, epochs=3, validation_split=0.2)["id"]
    url = f"/api/v1/sessions/{session}/confusion"
    samples = set()
    for epoch in (1, 2, 3):
        answer = trainer.get(url, params={"epoch": epoch})
        assert (answer["epoch"], answer["classes"]) == (epoch, ["x", "y"])
        samples.add(sum(map(sum, answer["confusion"])))
        wrong = answer["confusion"][0][1] + answer["confusion"][1][0]
        assert len(answer["mistakes"]) == min(wrong, 16)
    assert samples == {60}
    assert trainer.get(url)["epoch"] == 3
    assert trainer.call("GET", url + "?epoch=4")[0] == 404
    assert other.call("GET", url)[0] == 404


def test_a_paused_training_is_cancelled(trainer, running):
    assert steer(trainer, running, "pause")[0] == 202
    settled(trainer, running, ("paused",))
    assert cancel(trainer, running)[0] == 202
    assert settled(trainer, running)["state"] == "cancelled"


def test_what_is_over_is_not_steered(trainer):
    session = train(trainer, trainer.net, trainer.data, epochs=1)["id"]
    for how in ("stop", "pause", "resume", "cancel"):
        assert steer(trainer, session, how)[0] == 409, how


def test_others_do_not_steer(other, running):
    for how in ("stop", "pause", "resume", "cancel"):
        assert steer(other, running, how)[0] == 404, how


def test_a_training_starts_from_earlier_weights(trainer):
    first = train(trainer, trainer.net, trainer.data, epochs=40, learning_rate=0.01)
    again = {"epochs": 1, "learning_rate": 1e-8}
    second = train(trainer, trainer.net, trainer.data, weights=first["weights"], **again)
    a, b = (np.frombuffer(tensors(trainer, w), np.float32) for w in (first["weights"], second["weights"]))
    assert np.abs(a - b).max() < 1e-4
    fresh = train(trainer, trainer.net, trainer.data, **again)
    assert np.abs(a - np.frombuffer(tensors(trainer, fresh["weights"]), np.float32)).max() > 1e-2


def test_frozen_layers_and_a_new_head(trainer):
    first = train(trainer, trainer.net, trainer.data, epochs=1)
    second = train(trainer, trainer.net, trainer.data, weights=first["weights"], freeze="dense", new_head=True, epochs=2)
    assert second["state"] == "finished" and second["parameters"]["freeze"] == "dense" and second["parameters"]["new_head"]
    a, b = (np.frombuffer(tensors(trainer, w), np.float32) for w in (first["weights"], second["weights"]))
    assert 0 < (a == b).sum() < len(a)
    status, answer = start(trainer, trainer.net, trainer.data, new_head=True)
    assert status == 400 and "begins with weights" in answer["detail"], answer


def test_weights_of_others_are_no_beginning(trainer, other):
    mine = train(trainer, trainer.net, trainer.data, epochs=1)["weights"]
    data = upload(other, "own", numbers_table(300), "n.csv")
    status, answer = start(other, new_model(other, "own", MLP), data, weights=mine)
    assert status == 404, answer


@pytest.mark.parametrize("name, value", [
    ("rotation_range", 10), ("width_shift", 0.1), ("height_shift", 0.1), ("shear_range", 0.3), ("zoom_range", 0.2),
    ("channel_shift", 20), ("brightness", 0.2), ("horizontal_flip", True), ("vertical_flip", True)])
def test_all_nine_augmentations_are_taken(admin, picture_net, name, value):
    session = train(admin, picture_net.model, picture_net.dataset, epochs=1, batch_size=8, **{name: value})
    assert session["parameters"][name] == value


def test_weights_that_are_deleted_meanwhile_are_told(trainer):
    """The need is computed between the question for them and their use."""
    for _ in range(3):
        weights = train(trainer, trainer.net, trainer.data, epochs=1)["weights"]
        answers = []
        asking = threading.Thread(target=lambda c: answers.append(start(c, c.net, c.data, weights=weights, epochs=1)),
                                  args=(trainer,))
        deleter = Client(trainer.server, trainer.token)
        asking.start()
        time.sleep(0.01)
        assert deleter.call("DELETE", f"/api/v1/weights/{weights}")[0] == 204
        asking.join(30)
        assert answers[0][0] in (201, 404, 409), answers
        cancel_all(trainer)
    assert trainer.call("GET", "/healthz")[0] == 200
