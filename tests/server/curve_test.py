"""Learning curves: thinned so that peaks stay, read where the last call ended, in bounded memory."""
import json
import os
import time

import pytest

from client import new_model, train, upload
from samples import CHURN, churn


@pytest.fixture(scope="module")
def session(admin, programs):
    """A training of two epochs; its lines are what tests write."""
    number = upload(admin, "churn", churn(programs["bench"], 4000))
    return train(admin, new_model(admin, "net", CHURN), number, epochs=2)


@pytest.fixture
def file(server, session):
    return server.file("jobs", str(session["id"]), "progress")


def curve(c, session, **options):
    return c.get(f"/api/v1/sessions/{session['id']}/curve", params=options)


def line(epoch, step, steps, loss, event="progress", **more):
    """As `webml train --progress json` writes it."""
    return json.dumps({"event": event, "epoch": epoch, "epochs": 100, "step": step, "steps": steps, "loss": loss,
                       "learning_rate": 0.001, "seconds": 1.5, **more}, separators=(",", ":")) + "\n"


def steps(count, loss=lambda step: 1.0):
    return [line(1, step, count, loss(step)) for step in range(1, count + 1)]


def write(file, lines, mode="w"):
    """As a training does: no two of them begin with the same times."""
    with open(file, mode) as f:
        if mode == "w":
            f.write(json.dumps({"event": "message", "text": str(time.time_ns())}) + "\n")
        f.writelines(lines)


def test_a_training_has_a_point_for_each_epoch(admin, session):
    columns = curve(admin, session)["columns"]
    assert columns["epochs"] == [1, 2]
    assert columns["loss"] == [e["loss"] for e in session["history"]]
    assert columns["accuracy"] == [e["accuracy"] for e in session["history"]]


def test_the_best_epoch_is_the_last_one_that_improved(admin, session, file):
    write(file, [line(e, 5, 5, loss, "epoch", val_loss=loss, improved=better)
                 for e, loss, better in ((1, 0.9, True), (2, 0.5, True), (3, 0.7, False))])
    best = curve(admin, session)["best"]
    assert best["epoch"] == 2
    assert best["val_loss"] == 0.5


def test_without_an_epoch_there_is_no_best_one(admin, session, file):
    write(file, steps(3))
    answer = curve(admin, session, **{"from": "step"})
    assert answer["best"] is None
    assert answer["columns"]["steps"] == [1, 2, 3]
    assert curve(admin, session)["columns"]["steps"] == []


def test_steps_count_over_epochs(admin, session, file):
    write(file, [line(1, 5, 10, 1.0), line(1, 10, 10, 0.9, "epoch", val_loss=1.1), line(2, 5, 10, 0.8)])
    columns = curve(admin, session, **{"from": "step"})["columns"]
    assert columns["steps"] == [5, 10, 15]
    assert columns["val_loss"] == [None, 1.1, None]


@pytest.mark.parametrize("peak", [2, 4999, 9999, 33333, 49999])
def test_a_peak_of_one_step_stays_visible(admin, session, file, peak):
    write(file, steps(50000, lambda step: 9.0 if step == peak else 1 / step))
    columns = curve(admin, session, points=100, **{"from": "step"})["columns"]
    assert (peak, 9.0) in zip(columns["steps"], columns["loss"])


@pytest.mark.parametrize("points", [50, 500, 2000])
def test_a_curve_has_at_most_as_many_points_as_were_asked_for(admin, session, file, points):
    write(file, steps(20000, lambda step: (step * 7919 % 1000) / 1000))
    answer = curve(admin, session, points=points, **{"from": "step"})
    n = len(answer["columns"]["steps"])
    assert points // 3 < n <= points
    assert answer["lines"] == 20000
    assert answer["columns"]["steps"] == sorted(answer["columns"]["steps"])
    assert answer["columns"]["steps"][0] == 1
    assert answer["columns"]["steps"][-1] == 20000


def test_lines_that_are_added_are_seen(admin, session, file):
    write(file, steps(10))
    assert len(curve(admin, session, **{"from": "step"})["columns"]["steps"]) == 10
    write(file, [line(2, 1, 10, 0.5)], "a")
    assert curve(admin, session, **{"from": "step"})["columns"]["steps"][-1] == 11


def test_half_a_line_waits_for_its_other_half(admin, session, file):
    text = line(1, 4, 10, 0.25)
    write(file, steps(3) + [text[:20]])
    assert curve(admin, session, **{"from": "step"})["columns"]["steps"] == [1, 2, 3]
    write(file, [text[20:]], "a")
    assert curve(admin, session, **{"from": "step"})["columns"]["steps"] == [1, 2, 3, 4]


def test_a_file_that_is_written_anew_is_read_anew(admin, session, file):
    write(file, steps(10, lambda step: 1.0))
    curve(admin, session, **{"from": "step"})
    write(file, steps(20, lambda step: 2.0))
    columns = curve(admin, session, **{"from": "step"})["columns"]
    assert columns["loss"] == [2.0] * 20


def test_what_is_no_line_of_a_training_is_passed_over(admin, session, file):
    write(file, ["no JSON\n", "[1]\n", '{"event": "message", "text": "' + "x" * 20000 + '"}\n', line(1, 1, 10, 0.5)])
    assert curve(admin, session, **{"from": "step"})["columns"]["loss"] == [0.5]


@pytest.mark.parametrize("text", [
    '{"event": "progress", "epoch": 1, "step": 2, "steps": 10, "loss": 0.5}',
    '{"event":"progress","loss":5e-1,"epoch":1,"step":2,"steps":10,"note":"a\\"b"}',
    '{"event":"progress","epoch":1,"step":2,"steps":10,"loss":0.5,"more":[1,{"loss":3}]}',
    '{"event":"progress","epoch":1,"step":2,"steps":10,"loss":0.5,"better":true}'], ids=range(4))
def test_any_way_to_write_a_line_is_understood(admin, session, file, text):
    write(file, [text + "\n", text[:-1] + "\n", line(1, 3, 10, 0.25)])
    columns = curve(admin, session, **{"from": "step"})["columns"]
    assert columns["steps"] == [2, 3]
    assert columns["loss"] == [0.5, 0.25]


def test_a_session_without_lines_has_an_empty_curve(admin, session, file):
    os.unlink(file)
    answer = curve(admin, session)
    assert answer["lines"] == 0
    assert answer["columns"]["steps"] == []


def test_the_curves_of_others_are_not_there(user, session):
    assert user.call("GET", f"/api/v1/sessions/{session['id']}/curve")[0] == 404


@pytest.mark.parametrize("query", ["points=49", "points=2001", "from=line"])
def test_what_cannot_be_is_refused(admin, session, query):
    assert admin.call("GET", f"/api/v1/sessions/{session['id']}/curve?{query}")[0] == 400


def test_100_mb_are_read_once_in_little_memory(server, admin, session, file, slow):
    count = 700000
    lines = steps(count, lambda step: 1 / step)
    write(file, lines)
    assert os.path.getsize(file) > 80e6
    before = server.memory()
    curve(admin, session, **{"from": "step"})
    begin = time.monotonic()
    answer = curve(admin, session, **{"from": "step"})
    took = time.monotonic() - begin
    assert answer["lines"] == count
    assert slow or took < 0.1
    assert slow or server.memory() - before < 20
