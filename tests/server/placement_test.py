"""Which device a training gets and why, what it waits for, and the queue over several cards."""
import json
import os

import pytest

from client import cancel, cancel_all, new_model, new_user, path, run, settled, start, started, until, write
from samples import churn, dense, network

SMALL = network(dense(16, "relu"), dense(None, "sigmoid"))
WIDE = network(dense(9000, "relu"), dense(9000, "relu"), dense(None, "sigmoid"))
LONG = {"epochs": 50000, "batch_size": 2}  # until it is cancelled
SHORT = {"epochs": 1, "batch_size": 64}


@pytest.fixture(scope="module")
def server(cards):
    return cards.server


@pytest.fixture(scope="module")
def admin(cards):
    return cards.admin


@pytest.fixture(scope="module")
def accounts(admin):
    """Two users, each with a small model."""
    users = [new_user(admin, name) for name in ("ada", "bob")]
    for c in users:
        c.model = new_model(c, "small", SMALL)
    return users


@pytest.fixture
def ada(accounts):
    yield accounts[0]
    cancel_all(accounts[0])


@pytest.fixture
def bob(accounts):
    yield accounts[1]
    cancel_all(accounts[1])


@pytest.fixture
def two_cards(cards):
    """The first has 7,000 MiB of free memory, the second one 100."""
    cards.show(cards.one, cards.two)


def select(c, dataset, **more):
    return c.call("POST", "/api/v1/devices/select", {"model": c.model, "dataset": dataset, **more})


def selected(c, dataset, **more):
    """The answer, and its devices by name."""
    status, answer = select(c, dataset, **more)
    assert status == 200, answer
    return answer, {d["name"]: d for d in answer["devices"]}


def waits_for(c, session):
    return c.get(f"/api/v1/sessions/{session}")["waits_for"] or ""


def state(c, session):
    return c.get(f"/api/v1/sessions/{session}")["state"]


# ---- selection ----

@pytest.fixture
def busy_card(cards):
    """Somebody else computes on the first card, which has 3,000 MiB of free memory."""
    cards.show(cards.one.replace(" 1000 35", " 5000 95"), cards.two, f"process 0 {os.getpid()} 4000")


def test_the_card_with_the_most_free_memory_is_selected(cards, ada, churn_set, busy_card):
    answer, _ = selected(ada, churn_set)
    assert answer["device"] == "cuda:0"
    assert answer["uuid"] == cards.uuid


def test_reasons_are_given_for_devices_that_are_not_selected(ada, churn_set, busy_card):
    _, devices = selected(ada, churn_set)
    assert not devices["cuda:1"]["fits"]
    assert "free" in devices["cuda:1"]["reason"]
    assert devices["cuda:0"]["reason"] is None
    assert devices["cuda:0"]["needed"] > 600 << 20


def test_a_device_that_is_named_is_selected(ada, churn_set, busy_card):
    answer, _ = selected(ada, churn_set, device="cpu")
    assert answer["device"] == "cpu"


def test_a_model_that_there_is_not_is_refused(ada, churn_set, two_cards):
    status, answer = select(ada, churn_set, model=99)
    assert status == 404, answer


def test_the_models_of_others_are_not_there(ada, bob, churn_set, two_cards):
    status, answer = select(bob, churn_set, model=ada.model)
    assert status == 404, answer


def test_what_no_device_will_ever_hold_is_told_with_both_numbers(ada, settings, two_cards):
    settings(parameters=2_000_000_000, weights_bytes=100_000_000_000)
    huge = {"size": [200000], "optimizer": "adam", "loss": "mse", "layers": [dense(5000, "relu"), dense(1, "linear")]}
    status, answer = ada.call("POST", "/api/v1/devices/select", {
        "model": new_model(ada, "huge", huge), "batch_size": 1024})
    assert status == 200, answer
    assert "in all" in answer["devices"][2]["reason"]


# ---- the need: that of the session's precision, by the card's own plan where the card may be opened ----

def test_a_card_that_somebody_uses_is_not_opened_to_learn_the_need(ada, churn_set, busy_card):
    _, devices = selected(ada, churn_set)
    assert devices["cuda:0"]["estimated"] is True
    assert not devices["cpu"]["estimated"]


@pytest.fixture
def needs(cards, ada, churn_set, two_cards):
    """Of the first card, by precision."""
    return {precision: selected(ada, churn_set, precision=precision, batch_size=512)[1]["cuda:0"]
            for precision in ("float32", "mixed_bfloat16")}


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_the_need_is_that_of_the_plan_as_the_command_line_says_it(cards, programs, needs, precision):
    write("small.json", json.dumps(SMALL))
    churn(programs["bench"], 4000)
    code, out, err = run(
        programs["webml"], "summary", path("small.json"), "--data", path("churn-4000.csv"), "--json", "--device",
        "cuda:0", "--batch-size", "512", "--precision", precision, env=cards.environment)
    assert code == 0, err
    assert not needs[precision]["estimated"]
    assert needs[precision]["needed"] == json.loads(out)["memory"][0]["training"]["total"]


def test_bfloat16_needs_less_and_an_estimate_is_more(cards, ada, churn_set, needs):
    cards.show(cards.one, cards.two, f"process 0 {os.getpid()} 4000")
    estimated = selected(ada, churn_set)[1]["cuda:0"]["needed"]
    assert needs["mixed_bfloat16"]["needed"] < needs["float32"]["needed"] < estimated


# ---- cards without bfloat16 ----

def test_a_card_without_bfloat16_is_refused_by_name(cards, ada, churn_set):
    cards.show(cards.one, cards.two, "capability 0 7 5", "capability 1 8 6")
    status, answer = start(ada, ada.model, churn_set, device="cuda:0", precision="mixed_bfloat16")
    assert status == 422, answer
    assert "device cuda:0 does not compute in bfloat16" in answer["detail"]
    assert "use precision float32, or device " in answer["detail"]


def test_a_card_without_bfloat16_is_not_selected(cards, ada, churn_set):
    cards.show(cards.one, cards.two, "capability 0 7 5", "capability 1 8 6")
    answer, devices = selected(ada, churn_set, precision="mixed_bfloat16")
    assert answer["device"] != "cuda:0"
    assert "bfloat16" in devices["cuda:0"]["reason"]
    assert devices["cuda:0"]["needed"] is None


def test_cards_without_bfloat16_are_all_named(cards, ada, churn_set):
    cards.show(cards.one, cards.two, "capability 0 7 5", "capability 1 7 0")
    status, answer = start(ada, ada.model, churn_set, device="cuda", precision="mixed_bfloat16")
    assert status == 422, answer
    assert "the devices cuda:0, cuda:1 do not compute in bfloat16" in answer["detail"]


# ---- closing ----

@pytest.fixture
def closed(cards, two_cards):
    """The first card is."""
    status, answer = cards.close("cuda:0")
    assert status == 200, answer
    yield
    cards.close("cuda:0", False)


def test_users_do_not_close_devices(ada, two_cards):
    status, answer = ada.call("PATCH", "/api/v1/devices/cuda:0", {"closed": True})
    assert status == 403, answer


def test_a_closed_device_is_not_selected(ada, churn_set, closed):
    answer = until(lambda: selected(ada, churn_set)[0], lambda answer: answer["device"] is None)
    assert answer["device"] is None
    assert answer["waiting_helps"]
    assert "closed" in answer["devices"][1]["reason"]


def test_a_closed_device_is_refused_by_name(ada, churn_set, closed):
    status, answer = start(ada, ada.model, churn_set, device="cuda:0", **SHORT)
    assert status == 422, answer
    assert "closed" in answer["detail"]


def test_a_training_says_what_it_waits_for_and_runs_when_the_card_is_opened(cards, ada, churn_set, closed):
    session = started(ada, ada.model, churn_set, **SHORT)
    assert until(lambda: waits_for(ada, session))
    waiting = ada.get(f"/api/v1/sessions/{session}")
    assert waiting["state"] == "waiting", waiting
    assert "cuda:0: an administrator has closed it" in waiting["waits_for"]
    assert "cuda:1" in waiting["waits_for"]
    assert waiting["need_gpu"] > waiting["need_cpu"] > 0
    assert cards.close("cuda:0", False)[0] == 200
    done = settled(ada, session)
    assert done["state"] == "finished", done
    assert done["placed"] == cards.uuid
    assert done["waits_for"] is None


# ---- several trainings ----

def test_memory_that_was_promised_is_not_free(ada, churn_set, settings, two_cards):
    settings(sessions_per_device=8, epochs=LONG["epochs"])
    sessions = [started(ada, ada.model, churn_set, device="cuda:0", **LONG) for _ in range(2)]
    states = until(lambda: [state(ada, s) for s in sessions], lambda states: states == ["running"] * 2)
    assert states == ["running", "running"]
    _, devices = selected(ada, churn_set)
    assert devices["cuda:0"]["free"] <= (7000 << 20) - 2 * (600 << 20)


def test_one_for_another_device_passes_those_that_wait(ada, bob, churn_set, settings, two_cards):
    settings(sessions_per_device=1, epochs=LONG["epochs"])
    running = started(ada, ada.model, churn_set, device="cuda:0", **LONG)
    settled(ada, running, ("running",))
    blocked = started(ada, ada.model, churn_set, device="cuda:0", **SHORT)
    passing = started(bob, bob.model, churn_set, device="cpu", **SHORT)
    behind = started(bob, bob.model, churn_set, device="cuda:0", **SHORT)
    reason = until(lambda: waits_for(ada, blocked))
    assert "1 training runs on it" in reason
    assert until(lambda: waits_for(bob, behind))
    passing = settled(bob, passing)
    assert passing["state"] == "finished", passing
    assert state(ada, blocked) == "waiting"
    cancel(ada, running)
    first, last = settled(ada, blocked), settled(bob, behind)
    assert first["state"] == last["state"] == "finished", (first, last)
    assert first["started"] <= last["started"], "in their order"


def test_a_small_one_does_not_take_the_memory_that_a_large_one_waits_for(cards, ada, churn_set, settings):
    settings(sessions_per_device=2, epochs=LONG["epochs"])
    cards.show(cards.one.replace(" 8000 1000 ", " 2300 0 "))
    running = started(ada, ada.model, churn_set, device="cuda:0", **LONG)
    settled(ada, running, ("running",))
    large = started(ada, new_model(ada, "wide", WIDE), churn_set, device="cuda:0", **SHORT)
    need = ada.get(f"/api/v1/sessions/{large}")["need_gpu"]
    assert 1700 << 20 < need < 2300 << 20
    small = started(ada, ada.model, churn_set, device="cuda:0", **SHORT)
    assert "are free" in until(lambda: waits_for(ada, large), lambda reason: "are free" in reason)
    expected = f"session {large} is before it and waits, too"
    assert until(lambda: waits_for(ada, small), lambda reason: reason == expected) == expected
    cancel(ada, large)
    done = settled(ada, small)
    assert done["state"] == "finished", done
