"""Evaluations as jobs of the queue: placed, followed, cancelled, kept."""
import json
import os
import signal

import pytest

from client import (Client, Events, cancel, cancel_all, new_model, new_net, new_user, run, settled, start, started, until,
                    upload, write)
from samples import MLP, dense, network, numbers_table

WIDE = network(dense(1500, "relu"), dense(1500, "relu"), dense(None, "softmax"))
ROWS = numbers_table(500)


@pytest.fixture(scope="module")
def ada(admin):
    return new_user(admin, "ada")


@pytest.fixture(scope="module")
def numbers(ada):
    return upload(ada, "numbers", ROWS, "n.csv")


@pytest.fixture(scope="module")
def net(ada, numbers):
    return new_net(ada, "net", MLP, numbers, epochs=2, validation_split=0.2)


@pytest.fixture(scope="module")
def slow_net(ada, numbers):
    return new_net(ada, "wide", WIDE, numbers, epochs=1)


@pytest.fixture(scope="module")
def many(ada):
    """Rows that `slow_net` needs many seconds for, one by one."""
    return upload(ada, "many", numbers_table(60000), "n.csv")


@pytest.fixture
def slow(ada, slow_net, many):
    """The number of an evaluation that runs for long."""
    number = ask(ada, slow_net, many, batch_size=1)["id"]
    settled(ada, number, ("running",))
    assert until(lambda: ada.server.trains(number))
    yield number
    cancel_all(ada)


def url(net):
    return f"/api/v1/weights/{net.weights}/evaluations"


def ask(c, net, dataset, **more):
    """The session."""
    return c.post(url(net), {"dataset": dataset, "device": "cpu", **more})


def evaluated(c, net, dataset, **more):
    """The session when it has finished."""
    session = settled(c, ask(c, net, dataset, **more)["id"])
    assert session["state"] == "finished", session
    return session


# ---- what it finds ----

@pytest.mark.parametrize("part", [None, "training"])
def test_an_evaluation_is_that_of_the_command_line(ada, programs, net, numbers, part):
    session = evaluated(ada, net, numbers, **({"part": part} if part else {}))
    words = ["--part", part] if part else []
    code, out, err = run(programs["webml"], "evaluate", net.file, "--data", write("n.csv", ROWS), "--batch-size", "32",
                         "--device", "cpu", "--json", *words)
    assert code == 0, err
    assert session["report"] == json.loads(out)


def test_an_evaluation_is_a_session_of_its_kind(ada, net, numbers):
    asked = ask(ada, net, numbers)
    assert ada.last.headers["location"] == f"/api/v1/sessions/{asked['id']}"
    assert (asked["kind"], asked["evaluates"], asked["model"]) == ("evaluation", net.weights, net.model)
    assert asked["report"] is None
    listed = ada.get("/api/v1/sessions")["sessions"][0]
    assert (listed["id"], listed["kind"]) == (asked["id"], "evaluation")
    settled(ada, asked["id"])


def test_a_training_is_a_session_of_its_kind(ada, net):
    session = next(s for s in ada.get("/api/v1/sessions")["sessions"] if s["weights"] == net.weights)
    assert (session["kind"], session["evaluates"]) == ("training", None)


def test_the_evaluations_of_weights_are_listed(ada, net, slow_net, numbers):
    ours = evaluated(ada, net, numbers)["id"]
    evaluated(ada, slow_net, numbers)
    listed = ada.get(url(net))["sessions"]
    assert listed[0]["id"] == ours
    assert {s["evaluates"] for s in listed} == {net.weights}


def test_an_evaluation_makes_no_weights(ada, net, numbers):
    before = ada.get("/api/v1/weights")["weights"]
    assert evaluated(ada, net, numbers)["weights"] is None
    assert ada.get("/api/v1/weights")["weights"] == before


def test_data_that_do_not_fit_say_why_not(ada, net):
    other = upload(ada, "other columns", b"p,q\n1,2\n3,4\n" * 20, "o.csv")
    status, answer = ada.call("POST", url(net), {"dataset": other})
    if status == 201:
        answer = settled(ada, answer["id"])
        assert answer["state"] == "failed" and answer["error"]
    else:
        assert status == 422 and answer["detail"]


# ---- following it ----

def test_states_and_progress_are_told(ada, net, numbers):
    events = Events(ada)
    number = evaluated(ada, net, numbers)["id"]
    told = until(lambda: [e for e in events.of("session") if e["session"] == number and e["state"] == "finished"])
    assert told
    states = [e["state"] for e in events.of("session") if e["session"] == number]
    assert states == ["running", "finished"]
    kinds = [e["event"] for e in events.of("progress") if e["session"] == number]
    assert kinds[0] == "progress" and kinds[-1] == "evaluation"
    last = [e for e in events.of("progress") if e["event"] == "progress" and e["session"] == number][-1]
    assert last["done"] == last["samples"]


def test_lists_have_the_progress_of_what_runs(ada, slow):
    def shares():
        return [s["progress"] for s in ada.get("/api/v1/sessions")["sessions"] if s["id"] == slow]
    first = until(shares, lambda s: s[0])
    assert 0 < first[0] < 1
    later = until(shares, lambda s: s[0] != first[0])
    assert first[0] < later[0] <= 1
    state = next(s for s in ada.get("/api/v1/state")["sessions"] if s["id"] == slow)
    assert later[0] <= state["progress"] <= 1


def test_a_training_has_progress_too(ada, net, many):
    number = started(ada, net.model, many, epochs=10, batch_size=1)
    seen = until(lambda: ada.get(f"/api/v1/sessions/{number}"), lambda s: s["progress"])
    assert 0 < seen["progress"] < 1
    cancel_all(ada)


def test_what_has_ended_has_no_progress(ada, net, numbers):
    assert evaluated(ada, net, numbers)["progress"] is None


# ---- steering it ----

def test_an_evaluation_that_runs_is_cancelled(ada, server, slow):
    process = server.job(slow)
    assert cancel(ada, slow)[0] == 202
    session = settled(ada, slow)
    assert (session["state"], session["report"]) == ("cancelled", None)
    assert until(lambda: not os.path.exists(f"/proc/{process}"))


def test_an_evaluation_waits_its_turn_and_is_cancelled(ada, server, net, numbers, slow):
    number = ask(ada, net, numbers)["id"]
    assert until(lambda: ada.get(f"/api/v1/sessions/{number}")["waits_for"])
    assert cancel(ada, number)[0] == 202
    assert settled(ada, number)["state"] == "cancelled"
    assert until(lambda: not os.path.exists(server.file("jobs", str(number), "first.safetensors")))


@pytest.mark.parametrize("what", ["stop", "pause", "resume"])
def test_an_evaluation_is_cancelled_or_nothing(ada, slow, what):
    status, answer = ada.call("POST", f"/api/v1/sessions/{slow}/{what}")
    assert status == 409, answer
    assert ada.get(f"/api/v1/sessions/{slow}")["state"] == "running"


def test_an_evaluation_that_was_killed_starts_again(ada, server, net, numbers, slow):
    os.kill(server.job(slow), signal.SIGKILL)
    assert settled(ada, slow, ("waiting", "running"))
    until(lambda: server.trains(slow))
    assert ada.get(f"/api/v1/sessions/{slow}")["state"] in ("waiting", "running")


def test_an_evaluation_goes_on_without_the_server(ada, admin, server, slow):
    process = server.job(slow)
    server.stop()
    server.start()
    for c in (ada, admin):
        c.connect()
    assert server.job(slow) == process
    seen = until(lambda: ada.get(f"/api/v1/sessions/{slow}"), lambda s: s["progress"])
    assert (seen["state"], seen["progress"] > 0) == ("running", True)


# ---- whose it is, and what is kept ----

def test_an_evaluation_needs_data_and_weights_of_ones_own(ada, other, net, numbers):
    assert other.call("POST", url(net), {"dataset": numbers})[0] == 404
    assert other.call("GET", url(net))[0] == 404
    assert ada.call("POST", url(net), {"dataset": 999})[0] == 404


@pytest.mark.parametrize("body", [{}, {"dataset": 1, "part": "all"}, {"dataset": 1, "batch_size": 0}])
def test_what_is_not_said_well_is_refused(ada, net, body):
    assert ada.call("POST", url(net), body)[0] == 400


@pytest.fixture
def short_lived(ada, numbers):
    return new_net(ada, "short-lived", MLP, numbers, epochs=1)


def test_an_evaluation_outlives_its_weights(ada, server, numbers, short_lived, slow):
    number = ask(ada, short_lived, numbers)["id"]
    assert ada.call("DELETE", f"/api/v1/weights/{short_lived.weights}")[0] == 204
    cancel(ada, slow)
    session = settled(ada, number)
    assert session["state"] == "finished", session
    assert session["report"]["samples"] > 0
    assert not os.path.exists(server.file("jobs", str(number), "first.safetensors"))


def test_an_evaluation_is_deleted(ada, server, net, numbers):
    number = evaluated(ada, net, numbers)["id"]
    assert ada.call("DELETE", f"/api/v1/sessions/{number}")[0] == 204
    assert number not in [s["id"] for s in ada.get(url(net))["sessions"]]
    assert not os.path.exists(server.file("jobs", str(number)))


def test_evaluations_count_among_the_sessions_of_a_user(ada, net, numbers, settings, slow):
    settings(sessions_per_user=2)
    ask(ada, net, numbers)
    assert ada.call("POST", url(net), {"dataset": numbers, "device": "cpu"})[0] == 429


def test_evaluations_do_not_count_as_weights_to_come(ada, net, numbers, settings, slow):
    settings(weights_per_model=2)  # there is one
    for _ in range(2):
        ask(ada, net, numbers)
    status, answer = start(ada, net.model, numbers, device="cpu")
    assert status == 201, answer


def test_the_same_key_asks_for_one_evaluation(ada, net, numbers):
    first, again = (ada.post(url(net), {"dataset": numbers}, headers={"Idempotency-Key": "once"}) for _ in range(2))
    assert first["id"] == again["id"]
    settled(ada, first["id"])


def test_tokens_need_write_to_evaluate(ada, net, numbers):
    made = ada.post("/api/v1/tokens", {"name": "reads", "scopes": ["read"]})
    c = Client(ada.server, made["token"])
    assert c.call("POST", url(net), {"dataset": numbers})[0] == 403
    assert c.call("GET", url(net))[0] == 200


# ---- devices ----

def test_an_evaluation_runs_on_a_card(cards):
    cards.show(cards.one, cards.two)
    c = cards.admin
    numbers = upload(c, "numbers", ROWS, "n.csv")
    net = new_net(c, "net", MLP, numbers, epochs=1, device="cpu")
    on_cpu = evaluated(c, net, numbers)
    on_card = evaluated(c, net, numbers, device="cuda:0")
    assert (on_cpu["placed"], on_card["placed"]) == ("cpu", cards.uuid)
    assert on_card["report"]["loss"] == pytest.approx(on_cpu["report"]["loss"], rel=1e-4)


def test_a_device_that_is_not_there_is_refused(ada, net, numbers):
    assert ada.call("POST", url(net), {"dataset": numbers, "device": "cuda:7"})[0] == 422


def test_a_model_of_its_own_needs_no_session(ada, numbers):
    """The number of a model is no number of weights."""
    new_model(ada, "never trained", MLP)
    assert ada.call("POST", "/api/v1/weights/99999/evaluations", {"dataset": numbers})[0] == 404
