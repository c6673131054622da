"""Tensors that are not what they say are refused, never reshaped; and every datatype of the protocol is read."""
import gzip
import json
import zlib

import numpy as np
import pytest


ROWS = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 2.0]], dtype=np.float32)


def infer(c, net, rows=2, datatype="FP32", data=None, shape=None, **more):
    tensor = {"name": "input", "datatype": datatype, "shape": shape or [rows, 3], "data": data, **more}
    return c.call("POST", f"/v2/models/{net.name}/infer", {"inputs": [tensor]})


@pytest.mark.parametrize("data", [
    pytest.param([1, 2, 3, 4, 5, 6], id="flat"),
    pytest.param([[1, 2, 3], [4, 5, 6]], id="nested")])
def test_flat_and_nested_lists_say_the_same(admin, table_net, data):
    status, answer = infer(admin, table_net, data=data)
    assert status == 200, answer


@pytest.mark.parametrize("data", [
    pytest.param([[1, 2], [3, 4], [5, 6]], id="of another shape"),
    pytest.param([[1, 2, 3, 4], [5, 6]], id="ragged"),
    pytest.param([[1, 2, 3], 4, 5, 6], id="half nested"),
    pytest.param([[[1, 2, 3], [4, 5, 6]]], id="nested too deep"),
    pytest.param([1, 2, 3, 4, 5], id="too few"),
    pytest.param([1, 2, 3, 4, 5, 6, 7], id="too many"),
    pytest.param([1, 2, 3, 4, 5, "6"], id="a text"),
    pytest.param([1, 2, 3, 4, 5, None], id="null"),
    pytest.param([1, 2, 3, 4, 5, 1e39], id="out of range"),
    pytest.param({"0": 1}, id="an object"),
    pytest.param(None, id="nothing")])
def test_data_that_do_not_fit_are_refused(admin, table_net, data):
    status, answer = infer(admin, table_net, data=data)
    assert status == 400, answer
    assert "data of input" in answer["error"], answer


@pytest.mark.parametrize("datatype, value", [
    ("UINT8", 256), ("UINT8", -1), ("UINT8", 1.5), ("INT8", 128), ("INT8", -129), ("UINT16", 65536), ("INT16", 32768),
    ("INT32", 2**31), ("UINT32", 2**32), ("BOOL", 2), ("FP16", 65536.0), ("FP32", 3.5e38)])
def test_numbers_that_the_datatype_does_not_have_are_refused(admin, table_net, datatype, value):
    status, answer = infer(admin, table_net, rows=1, datatype=datatype, data=[1, 1, value])
    assert status == 400, answer
    assert datatype in answer["error"], answer


def test_instances_of_another_shape_are_refused(admin, table_net):
    url = f"/v1/models/{table_net.name}:predict"
    assert admin.call("POST", url, {"instances": [[1, 2, 3], [4, 5, 6]]})[0] == 200, admin.last.text
    for rows in ([[1, 2], [3, 4, 5, 6]], [[[1, 2, 3]]], [1, 2, 3], [[1, 2, 1e39]]):
        assert admin.call("POST", url, {"instances": rows})[0] == 400, rows


def half(x):
    return x.astype(np.float16).tobytes()


def bfloat(x):
    return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()


@pytest.mark.parametrize("datatype, pack", [
    ("FP32", lambda x: x.astype(np.float32).tobytes()), ("FP64", lambda x: x.astype(np.float64).tobytes()),
    ("FP16", half), ("BF16", bfloat), ("INT8", lambda x: x.astype(np.int8).tobytes()),
    ("INT64", lambda x: x.astype(np.int64).tobytes())])
def test_binary_tensors_of_every_datatype_say_the_same(admin, table_net, datatype, pack):
    rows = np.array([[1, 2, 3], [-1, 0, 2]], dtype=np.float32)  # whole numbers: exact in all of them
    _, expected = infer(admin, table_net, data=rows.tolist())
    packed = pack(rows)
    head = json.dumps({"inputs": [{"name": "input", "datatype": datatype, "shape": [2, 3],
                                   "parameters": {"binary_data_size": len(packed)}}]}).encode()
    status, answer = admin.call("POST", f"/v2/models/{table_net.name}/infer", head + packed,
                                headers={"Inference-Header-Content-Length": str(len(head))})
    assert status == 200, answer
    assert np.allclose(answer["outputs"][0]["data"], expected["outputs"][0]["data"], atol=1e-6)


def test_subnormal_and_large_halves_are_read_right(admin, table_net):
    """By numpy: what FP16 says is what FP32 of the same value says."""
    values = np.array([[6e-8, 65504, -0.333]], dtype=np.float16)
    packed = values.tobytes()
    head = json.dumps({"inputs": [{"name": "input", "datatype": "FP16", "shape": [1, 3],
                                   "parameters": {"binary_data_size": len(packed)}}]}).encode()
    _, answer = admin.call("POST", f"/v2/models/{table_net.name}/infer", head + packed,
                           headers={"Inference-Header-Content-Length": str(len(head))})
    _, expected = infer(admin, table_net, rows=1, data=values.astype(np.float64).tolist())
    assert answer["outputs"][0]["data"] == expected["outputs"][0]["data"]


@pytest.mark.parametrize("parameter", ["shared_memory_region", "sequence_id", "sequence_start", "timeout"])
def test_what_this_server_does_not_have_is_refused(admin, table_net, parameter):
    status, answer = infer(admin, table_net, rows=1, data=[1, 2, 3], parameters={parameter: 1})
    assert status == 400, answer
    assert parameter in answer["error"], answer


def test_parameters_of_the_query_that_others_have_are_passed_over(admin, table_net):
    body = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
    assert admin.call("POST", f"/v2/models/{table_net.name}/infer?timeout=5&x", body)[0] == 200, admin.last.text
    assert admin.call("GET", "/v2/health/ready?verbose=1")[0] == 200
    assert admin.call("GET", f"/v1/models/{table_net.name}?alt=json")[0] == 200
    assert admin.call("GET", "/api/v1/models?x=1")[0] == 400, "the server's own interface is strict"


@pytest.mark.parametrize("query", ["%ff", "x=%c3%28", "a=%00", "%"])
def test_a_query_that_is_not_utf_8_is_refused(admin, query):
    assert admin.call("GET", "/api/v1/models?" + query)[0] == 400


# ---- extensions and encodings ----

def test_classes_instead_of_numbers(admin, table_net):
    body = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 3, 2, 1]}]}
    _, plain = admin.call("POST", f"/v2/models/{table_net.name}/infer", body)
    body["outputs"] = [{"name": "output", "parameters": {"classification": 1}}]
    status, answer = admin.call("POST", f"/v2/models/{table_net.name}/infer", body)
    assert status == 200, answer
    output = answer["outputs"][0]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 1])
    rows = np.array(plain["outputs"][0]["data"]).reshape(2, -1)
    for said, row in zip(output["data"], rows):
        value, index = said.split(":")
        assert int(index) == row.argmax()
        assert float(value) == pytest.approx(row.max(), rel=1e-6)


@pytest.mark.parametrize("encoding, pack", [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_requests_say_the_same(admin, table_net, encoding, pack):
    body = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
    url = f"/v2/models/{table_net.name}/infer"
    _, plain = admin.call("POST", url, body)
    status, answer = admin.call("POST", url, pack(json.dumps(body).encode()), headers={"Content-Encoding": encoding})
    assert status == 200, answer
    assert answer["outputs"] == plain["outputs"]


@pytest.mark.parametrize("encoding, body, expected", [
    pytest.param("gzip", gzip.compress(bytes(64 << 20)), 413, id="a bomb"),
    pytest.param("gzip", gzip.compress(b"{}" * 1000)[:-20], 400, id="cut"),
    pytest.param("gzip", b"no gzip", 400, id="broken"),
    pytest.param("br", b"x", 415, id="another encoding")])
def test_bodies_that_cannot_be_unpacked_are_refused(admin, table_net, encoding, body, expected):
    status, answer = admin.call("POST", f"/v2/models/{table_net.name}/infer", body, headers={"Content-Encoding": encoding})
    assert status == expected, answer
