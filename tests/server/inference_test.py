"""The Open Inference Protocol V2, in JSON and in bytes as Triton's client sends it; statistics and metrics."""
import io
import json
import struct

import numpy as np
import pytest
from PIL import Image

from client import path, run, write
from samples import BINARY_OUTPUT, ROWS, binary_head, infer, infer_binary, outputs, tensor, unzip

GOOD = {"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}


@pytest.fixture(scope="module")
def expected(admin, table_net):
    """What the table's model makes of ROWS."""
    return outputs(admin, "table net", ROWS)


# ---- what there is ----

def test_the_server_tells_what_it_can(nobody):
    status, meta = nobody.call("GET", "/v2")
    assert status == 200, meta
    assert "binary_tensor_data" in meta["extensions"]


def test_the_server_is_ready(nobody):
    assert nobody.call("GET", "/v2/health/ready") == (200, {"ready": True})


def test_a_model_tells_its_inputs_and_outputs(admin, table_net):
    assert admin.get("/v2/models/table net") == {
        "name": "table net", "versions": [str(table_net.weights)], "platform": "webml",
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1, 2]}]}


def test_pictures_are_bytes(admin, picture_net):
    meta = admin.get("/v2/models/pictures")
    assert meta["inputs"] == [{"name": "input", "datatype": "UINT8", "shape": [-1, 6, 5, 3]}]


def test_a_configuration_names_types_as_triton_does(admin, picture_net):
    config = admin.get("/v2/models/pictures/config")
    assert config["input"] == [{"name": "input", "data_type": "TYPE_UINT8", "dims": [6, 5, 3]}]


def test_a_model_that_there_is_not(admin):
    status, answer = infer(admin, "nothing", {"inputs": [GOOD]})
    assert status == 404, answer


def test_a_wrong_method(admin, table_net):
    status, answer = admin.call("GET", "/v2/models/table net/infer")
    assert status == 405, answer


# ---- JSON ----

def test_flat_and_nested_values_are_the_same(admin, table_net):
    status, flat = infer(admin, "table net", {"id": "42", "inputs": [tensor(ROWS)]})
    assert status == 200, flat
    status, nested = admin.call("POST", f"/v2/models/table net/versions/{table_net.weights}/infer", {
        "inputs": [tensor(ROWS, "FP64") | {"data": ROWS.tolist()}], "outputs": [{"name": "output"}]})
    assert status == 200, nested
    assert flat["id"] == "42"
    assert flat["model_version"] == str(table_net.weights)
    assert flat["outputs"][0]["shape"] == [5, 2]
    assert flat["outputs"][0]["data"] == nested["outputs"][0]["data"]


def test_outputs_of_softmax_are_probabilities(expected):
    assert np.allclose(np.float32(expected).sum(1), 1, atol=1e-5), expected


@pytest.mark.parametrize("body", [
    pytest.param({"inputs": [GOOD, GOOD]}, id="two inputs"), pytest.param({}, id="no input"),
    pytest.param({"inputs": [GOOD | {"name": "x"}]}, id="a wrong name"),
    pytest.param({"inputs": [GOOD | {"datatype": "BYTES"}]}, id="a wrong datatype"),
    pytest.param({"inputs": [GOOD | {"shape": [1, 4]}]}, id="a wrong shape"),
    pytest.param({"inputs": [GOOD | {"shape": [-1, 3]}]}, id="a negative shape"),
    pytest.param({"inputs": [GOOD | {"shape": [1 << 40, 3]}]}, id="a huge shape"),
    pytest.param({"inputs": [GOOD | {"data": [1, 2]}]}, id="too little data"),
    pytest.param({"inputs": [GOOD | {"data": [1, 2, 3, 4]}]}, id="too much data"),
    pytest.param({"inputs": [GOOD | {"data": ["1", 2, 3]}]}, id="texts"),
    pytest.param({"inputs": [GOOD], "outputs": [{"name": "y"}]}, id="another output"),
    pytest.param({"inputs": [GOOD | {"parameters": {"binary_data_size": 12}}]}, id="bytes that are not there")])
def test_what_is_wrong_is_told_in_a_sentence(admin, table_net, body):
    status, answer = infer(admin, "table net", body)
    assert status == 400, answer
    assert len(answer["error"]) > 10


@pytest.mark.parametrize("length", ["-1", "x", "99999999", ""])
def test_a_length_of_the_head_that_cannot_be_is_refused(admin, table_net, length):
    status, answer = infer(admin, "table net", b"{}", headers={"Inference-Header-Content-Length": length})
    assert status == 400, answer


# ---- bytes ----

def test_bytes_in_and_out_are_the_values_of_json(admin, table_net, expected):
    status, answer, tail = infer_binary(admin, "table net", binary_head(ROWS, **BINARY_OUTPUT), ROWS.tobytes())
    assert status == 200, answer
    assert answer["outputs"][0]["parameters"]["binary_data_size"] == 40 == len(tail), answer
    assert np.array_equal(np.frombuffer(tail, "<f4").reshape(5, 2), np.float32(expected))


def test_a_body_without_a_head_is_a_row(admin, table_net, expected):
    status, answer, tail = infer_binary(admin, "table net", b"", ROWS[:1].tobytes())
    assert status == 200, answer
    assert np.allclose(np.frombuffer(tail, "<f4"), expected[0], atol=1e-6)


@pytest.fixture(scope="module")
def picture(admin, programs, picture_net):
    """(pixels, the probability that the command line gives the picture's class)"""
    file = unzip(admin.get(f"/api/v1/datasets/{picture_net.dataset}/file"), "k1/03.png")
    write("inference.png", file)
    out = run(programs["webml"], "predict", picture_net.file, path("inference.png"), "--json")[1]
    return np.array(Image.open(io.BytesIO(file)))[None], json.loads(out)["probability"]


def test_bytes_of_pixels_are_the_picture(admin, picture):
    pixels, probability = picture
    head = binary_head(pixels, "UINT8", parameters={"binary_data_output": True})
    status, answer, tail = infer_binary(admin, "pictures", head, pixels.tobytes())
    assert status == 200, answer
    assert abs(max(struct.unpack("<3f", tail)) - probability) < 1e-5


def test_scaled_pixels_are_the_picture_too(admin, picture):
    pixels, probability = picture
    found = outputs(admin, "pictures", pixels.reshape(1, 90) / 255)
    assert abs(found.max() - probability) < 1e-5


# ---- statistics ----

@pytest.fixture
def seven(admin, table_net):
    """Seven requests of five rows since the model was loaded."""
    admin.post("/v2/repository/models/table net/unload")
    for _ in range(7):
        outputs(admin, "table net", ROWS)


def test_statistics_count_requests_and_rows(admin, seven):
    stats = admin.get("/v2/models/table net/stats")["model_stats"][0]
    assert stats["execution_count"] == 7, stats
    assert stats["inference_count"] == 35, stats
    assert stats["inference_stats"]["success"]["count"] == 7, stats
    assert stats["inference_stats"]["compute_infer"]["ns"] > 0, stats


def test_metrics_count_requests_and_rows(nobody, public_net, seven):
    lines = nobody.get("/metrics").decode().splitlines()
    labels = f'{{model="table net",version="{public_net.weights}"'

    def value(name, more="}"):
        return next((float(line.split()[-1]) for line in lines if line.startswith(name + labels + more)), lines)

    assert value("nv_inference_request_success") == 7
    assert value("nv_inference_count") == 35
    assert value("webml_compute_seconds_count") == 7
    assert value("webml_compute_seconds_bucket", ',le="+Inf"}') == 7
    buckets = [float(line.split()[-1]) for line in lines if line.startswith("webml_compute_seconds_bucket" + labels)]
    assert len(buckets) == 12
    assert buckets == sorted(buckets), "buckets are cumulative"
