"""Predictions in the words of the data set; rights; loading and unloading; TensorFlow Serving's alias."""
import contextlib
import json
import os

import numpy as np
import pytest

from client import Client, run, write
from samples import ROWS, infer, outputs, tensor, unzip

ROW = {"a": 1.5, "b": 0.2, "c": -0.3}
SERVING = "/v1/models/table net"


def predict(c, net, body):
    return c.call("POST", f"/api/v1/weights/{net.weights}/predict", body)


@pytest.fixture(scope="module")
def picture(admin, picture_net):
    return unzip(admin.get(f"/api/v1/datasets/{picture_net.dataset}/file"), "k1/03.png")


# ---- rows and pictures ----

def test_a_row_is_answered_as_by_the_command_line(admin, programs, table_net):
    status, ours = predict(admin, table_net, ROW)
    theirs = json.loads(run(programs["webml"], "predict", table_net.file, json.dumps(ROW), "--json")[1])
    assert status == 200, ours
    assert ours["outputs"] == theirs["outputs"]
    assert abs(ours["probabilities"]["kind"]["x"] - theirs["probabilities"]["kind"]["x"]) < 1e-6


def test_a_row_without_a_column_is_refused(admin, table_net):
    status, answer = predict(admin, table_net, {"a": 1})
    assert status == 422, answer
    assert "no value" in answer["detail"]


def test_what_is_no_row_is_refused(admin, table_net):
    status, answer = predict(admin, table_net, b"\x00\xff")
    assert status == 422, answer


def test_a_picture_is_answered_as_by_the_command_line(admin, programs, picture_net, picture):
    status, ours = predict(admin, picture_net, picture)
    file = write("k.png", picture)
    theirs = json.loads(run(programs["webml"], "predict", picture_net.file, file, "--json")[1])
    assert status == 200, ours
    assert ours["class"] == theirs["class"]
    assert abs(ours["probability"] - theirs["probability"]) < 1e-6
    assert "input" not in ours


def test_what_is_no_picture_is_refused_without_paths(admin, picture_net):
    status, answer = predict(admin, picture_net, b"GIF89a no picture")
    assert status == 422, answer
    assert "/proc" not in admin.last.text


# ---- rights ----

def test_the_models_of_others_are_not_there(user, nobody, table_net):
    assert user.call("GET", "/v2/models/table net")[0] == 404
    assert infer(nobody, "table net", {"inputs": [tensor(ROWS)]})[0] == 404
    assert predict(user, table_net, ROW)[0] == 404


def test_public_models_need_no_token(user, nobody, public_net):
    status, answer = infer(nobody, "table net", {"inputs": [tensor(ROWS)]})
    assert status == 200, answer
    status, answer = predict(user, public_net, ROW)
    assert status == 200, answer


def test_a_wrong_token_is_refused_for_public_models(server, public_net):
    status, answer = Client(server, "wrong").call("GET", "/v2/models/table net")
    assert status == 401, answer


# ---- loading and unloading ----

def repository(c, name, what):
    status, answer = c.call("POST", f"/v2/repository/models/{name}/{what}")
    assert status == 200, answer


def states(c):
    return {m["name"]: m["state"] for m in c.post("/v2/repository/index")}


def test_the_index_lists_what_is_ready(admin, table_net, picture_net):
    for net in (table_net, picture_net):
        repository(admin, net.name, "load")
    assert states(admin) == {"table net": "READY", "pictures": "READY"}


def test_a_model_is_unloaded_and_loaded(admin, table_net, picture_net):
    repository(admin, "pictures", "unload")
    assert states(admin)["pictures"] == "UNAVAILABLE"
    repository(admin, "pictures", "load")
    assert states(admin)["pictures"] == "READY"


@contextlib.contextmanager
def without(file):
    os.rename(file, file + "x")
    try:
        yield
    finally:
        os.rename(file + "x", file)


def test_weights_whose_file_is_gone_are_not_served_until_it_is_back(server, admin, picture_net):
    repository(admin, "pictures", "unload")
    with without(picture_net.file):
        status, answer = admin.call("GET", "/v2/models/pictures")
        assert status == 503, answer
        assert server.data_dir not in admin.last.text
    status, answer = admin.call("GET", "/v2/models/pictures/ready")
    assert status == 200, answer


# ---- TensorFlow Serving ----

def test_instances_are_answered_with_predictions(admin, nobody, public_net):
    status, answer = nobody.call("POST", SERVING + ":predict", {"instances": ROWS.tolist()})
    assert status == 200, answer
    assert np.allclose(answer["predictions"], outputs(admin, "table net", ROWS), atol=1e-6), answer


def test_inputs_are_answered_with_outputs(nobody, public_net):
    status, answer = nobody.call("POST", SERVING + ":predict", {"inputs": ROWS.tolist()})
    assert answer.get("outputs"), answer


def test_a_served_model_is_available(nobody, public_net):
    assert nobody.get(SERVING)["model_version_status"][0]["state"] == "AVAILABLE"


def test_instances_of_a_wrong_shape_are_refused(nobody, public_net):
    status, answer = nobody.call("POST", SERVING + ":predict", {"instances": [[1, 2]]})
    assert status == 400, answer


def test_what_is_not_predicting_is_not_there(nobody, public_net):
    status, answer = nobody.call("POST", SERVING + ":classify", {})
    assert status == 404, answer
