"""Trainings in bfloat16: where the processor has it, and what is said where it has not."""
import json

import pytest

from client import make_admin, new_model, path, run, settled, start, train, upload, write
from samples import CHURN, churn

OPTIONS = {"epochs": 3, "batch_size": 64, "validation_split": 0.2, "seed": 5}


def prepare(c, programs):
    """A client of an administrator with a data set and a model."""
    c.dataset, c.model = upload(c, "churn", churn(programs["bench"], 20000)), new_model(c, "net", CHURN)
    return c


@pytest.fixture(scope="module")
def ada(admin, programs):
    return prepare(admin, programs)


@pytest.fixture(scope="module")
def has_bfloat16(ada):
    return ada.get("/api/v1/devices/cpu")["bfloat16"]


def test_a_precision_that_there_is_not_is_refused(ada):
    status, answer = start(ada, ada.model, ada.dataset, precision="half", **OPTIONS)
    assert status == 400, answer


def test_a_training_in_bfloat16_starts_where_the_processor_has_it(ada, has_bfloat16):
    status, answer = start(ada, ada.model, ada.dataset, precision="mixed_bfloat16", device="cpu", **OPTIONS)
    assert status == (201 if has_bfloat16 else 422), answer
    if not has_bfloat16:
        pytest.skip(answer["detail"])
    session = settled(ada, answer["id"])
    assert session["state"] == "finished", session
    assert b"mixed_bfloat16" in ada.get(f"/api/v1/weights/{session['weights']}/file")


def test_the_need_is_that_of_the_precision_as_the_command_line_says_it(ada, programs, has_bfloat16):
    if not has_bfloat16:
        pytest.skip("this processor does not compute in bfloat16")
    write("net.json", json.dumps(CHURN))
    churn(programs["bench"], 20000)
    needs, said = [], []
    for precision in ("float32", "mixed_bfloat16"):
        answer = ada.post("/api/v1/devices/select", {
            "model": ada.model, "dataset": ada.dataset, "batch_size": 512, "precision": precision})
        needs.append(answer["devices"][0]["needed"])
        out = run(programs["webml"], "summary", path("net.json"), "--data", path("churn-20000.csv"), "--device", "cpu",
                  "--batch-size", "512", "--precision", precision, "--json")[1]
        said.append(json.loads(out)["memory"][0]["training"]["total"])
    assert needs == said
    assert needs[0] != needs[1] > 0


# ---- a processor without bfloat16 ----

@pytest.fixture(scope="module")
def eve(start_server_of_module, programs):
    """On a server that knows no more than AVX2."""
    return prepare(make_admin(start_server_of_module(DNNL_MAX_CPU_ISA="AVX2")), programs)


def test_a_processor_without_bfloat16_says_so(eve):
    assert eve.get("/api/v1/devices/cpu")["bfloat16"] is False


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_bfloat16_is_refused_with_what_would_do(eve, device):
    before = eve.get("/api/v1/sessions")["sessions"]
    status, answer = start(eve, eve.model, eve.dataset, precision="mixed_bfloat16", device=device, **OPTIONS)
    assert status == 422, answer
    assert "device cpu does not compute in bfloat16" in answer["detail"]
    assert "mixed_bfloat16" in answer["detail"]
    assert "use precision float32" in answer["detail"]
    assert eve.get("/api/v1/sessions")["sessions"] == before, "no session is made"


def test_a_device_that_there_is_not_is_named(eve):
    status, answer = start(eve, eve.model, eve.dataset, precision="mixed_bfloat16", device="cuda:3", **OPTIONS)
    assert status == 422, answer
    assert 'no device "cuda:3"' in answer["detail"]


def test_no_device_is_selected_and_waiting_does_not_help(eve):
    status, answer = eve.call("POST", "/api/v1/devices/select", {
        "model": eve.model, "dataset": eve.dataset, "precision": "mixed_bfloat16"})
    assert status == 200, answer
    assert answer["device"] is None
    assert not answer["waiting_helps"]
    cpu = answer["devices"][0]
    assert cpu["needed"] is None
    assert "bfloat16" in cpu["reason"]


def test_float32_trains_where_there_is_no_bfloat16(eve):
    train(eve, eve.model, eve.dataset, precision="float32", device="auto", **OPTIONS)
