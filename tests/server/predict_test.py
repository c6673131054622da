"""Predictions: own endpoint, Open Inference Protocol V2 (JSON and binary, byte for byte as Triton's client
sends it), TensorFlow Serving's alias; public models, loading and unloading."""
import io
import json
import os
import struct
import sys
import threading
import time
import zipfile

import numpy as np
from PIL import Image

from client import Client, Server, check, new_user, path, report, run, sanitized, settled, upload, write

program = sys.argv[1]
webml = os.path.join(os.path.dirname(program), "webml")
server = Server(program)
ada = Client(server)
ada.register(server.key, "ada", "0123456789")
bob, nobody = new_user(ada, "bob"), Client(server)


def train(name, description, dataset, **more):
    model = ada.call("POST", "/api/v1/models", {"name": name, "description": description})[1]["id"]
    session = ada.call("POST", "/api/v1/sessions", {"model": model, "dataset": dataset, **more})[1]["id"]
    return model, settled(ada, session)["weights"], os.path.join(server.data_dir, "jobs", str(session), "weights.safetensors")


rng = np.random.default_rng(3)
table = "a,b,c,kind\n" + "".join(f"{a:.3f},{b:.3f},{c:.3f},{'x' if a + b > c else 'y'}\n" for a, b, c in rng.normal(size=(400, 3)))
numbers = upload(ada, "numbers", table.encode(), "n.csv")
with zipfile.ZipFile(path("p.zip"), "w") as z:
    for kind in range(3):
        for i in range(12):
            pixels = rng.integers(0, 80, (6, 5, 3), dtype=np.uint8)
            pixels[..., kind] += 120
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            z.writestr(f"k{kind}/{i}.png", buffer.getvalue())
pictures = upload(ada, "pictures", open(path("p.zip"), "rb").read(), "p.zip")
mlp = {"size": [None], "dynamic": True, "optimizer": "adam", "loss": None, "layers": [{"type": "Dense", "layer": {"units": 16, "activation": "relu"}}, {"type": "Dense", "layer": {"units": None, "activation": "softmax"}}]}
cnn = {"size": [6, 5, 3], "dynamic": True, "optimizer": "adam", "loss": None, "layers": [{"type": "Conv2D", "layer": {"filters": 4, "kernel_size": 3, "activation": "relu"}}, {"type": "Flatten", "layer": {}}, {"type": "Dense", "layer": {"units": None, "activation": "softmax"}}]}
model, weights, file = train("table net", mlp, numbers, epochs=4)
_, picture_weights, picture_file = train("pictures", cnn, pictures, epochs=3, batch_size=8)

# In the words of the data set, as the command line answers.
row = {"a": 1.5, "b": 0.2, "c": -0.3}
status, ours = ada.call("POST", f"/api/v1/weights/{weights}/predict", row)
theirs = json.loads(run(webml, "predict", file, json.dumps(row), "--json")[1])
check(status == 200 and ours["outputs"] == theirs["outputs"] and abs(ours["probabilities"]["kind"]["x"] - theirs["probabilities"]["kind"]["x"]) < 1e-6, f"a row: {ours} {theirs}")
check(ada.call("POST", f"/api/v1/weights/{weights}/predict", {"a": 1})[0] == 422 and "no value" in ada.last.text, "a row without a column: " + ada.last.text)
check(ada.call("POST", f"/api/v1/weights/{weights}/predict", b"\x00\xff")[0] == 422, "no row at all")
picture = zipfile.ZipFile(path("p.zip")).read("k1/3.png")
write("k.png", picture)
status, ours = ada.call("POST", f"/api/v1/weights/{picture_weights}/predict", picture)
theirs = json.loads(run(webml, "predict", picture_file, path("k.png"), "--json")[1])
check(status == 200 and ours["class"] == theirs["class"] and abs(ours["probability"] - theirs["probability"]) < 1e-6 and "input" not in ours, f"a picture: {ours} {theirs}")
check(ada.call("POST", f"/api/v1/weights/{picture_weights}/predict", b"GIF89a no picture")[0] == 422 and "/proc" not in ada.last.text, "no picture: " + ada.last.text)

# V2.
status, meta = nobody.call("GET", "/v2")
check(status == 200 and "binary_tensor_data" in meta["extensions"] and nobody.call("GET", "/v2/health/ready") == (200, {"ready": True}), "server metadata")
status, meta = ada.call("GET", "/v2/models/table net")
check(meta == {"name": "table net", "versions": [str(weights)], "platform": "webml", "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 3]}], "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1, 2]}]}, f"metadata: {meta}")
check(ada.call("GET", "/v2/models/pictures")[1]["inputs"] == [{"name": "input", "datatype": "UINT8", "shape": [-1, 6, 5, 3]}], "pictures are UINT8")
x = rng.normal(size=(5, 3)).astype("<f4")
status, flat = ada.call("POST", "/v2/models/table net/infer", {"id": "42", "inputs": [{"name": "input", "shape": [5, 3], "datatype": "FP32", "data": x.ravel().tolist()}]})
status, nested = ada.call("POST", f"/v2/models/table net/versions/{weights}/infer", {"inputs": [{"name": "input", "shape": [5, 3], "datatype": "FP64", "data": x.tolist()}], "outputs": [{"name": "output"}]})
check(status == 200 and flat["id"] == "42" and flat["model_version"] == str(weights) and flat["outputs"][0]["shape"] == [5, 2] and flat["outputs"][0]["data"] == nested["outputs"][0]["data"], f"JSON, flat and nested: {nested}")
expected = np.array(flat["outputs"][0]["data"], "f4").reshape(5, 2)
check(np.allclose(expected.sum(1), 1, atol=1e-5), "probabilities")
head = json.dumps({"inputs": [{"name": "input", "shape": [5, 3], "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}}], "outputs": [{"name": "output", "parameters": {"binary_data": True}}]}).encode()


def binary(name, head, data, c=ada):
    status, body = c.call("POST", f"/v2/models/{name}/infer", head + data, headers={"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"})
    if status != 200:
        return status, body
    n = int(c.last.headers["inference-header-content-length"])
    return status, json.loads(c.last.content[:n]), c.last.content[n:]


status, answer, tail = binary("table net", head, x.tobytes())
check(status == 200 and answer["outputs"][0]["parameters"]["binary_data_size"] == 40 == len(tail) and np.array_equal(np.frombuffer(tail, "<f4").reshape(5, 2), expected), "binary in and out")
status, _, tail = binary("table net", b"", x[:1].tobytes())
check(status == 200 and np.allclose(np.frombuffer(tail, "<f4"), expected[0], atol=1e-6), "the body alone")
pixels = np.array(Image.open(path("k.png")))[None]
head = json.dumps({"inputs": [{"name": "input", "shape": [1, 6, 5, 3], "datatype": "UINT8", "parameters": {"binary_data_size": pixels.nbytes}}], "parameters": {"binary_data_output": True}}).encode()
status, _, tail = binary("pictures", head, pixels.tobytes())
check(abs(max(struct.unpack("<3f", tail)) - theirs["probability"]) < 1e-5, "UINT8 pixels are the picture")
status, floats = ada.call("POST", "/v2/models/pictures/infer", {"inputs": [{"name": "input", "shape": [1, 90], "datatype": "FP32", "data": (pixels.ravel() / 255).tolist()}]})
check(abs(max(floats["outputs"][0]["data"]) - theirs["probability"]) < 1e-5, "and so are FP32 ones, scaled")

# What is wrong is 4xx with a sentence.
good = {"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
for what, body in (("two inputs", {"inputs": [good, good]}), ("no input", {}), ("a wrong name", {"inputs": [good | {"name": "x"}]}), ("a wrong datatype", {"inputs": [good | {"datatype": "BYTES"}]}), ("a wrong shape", {"inputs": [good | {"shape": [1, 4]}]}),
                   ("a negative one", {"inputs": [good | {"shape": [-1, 3]}]}), ("a huge one", {"inputs": [good | {"shape": [1 << 40, 3]}]}), ("too little data", {"inputs": [good | {"data": [1, 2]}]}), ("too much", {"inputs": [good | {"data": [1, 2, 3, 4]}]}),
                   ("texts", {"inputs": [good | {"data": ["1", 2, 3]}]}), ("another output", {"inputs": [good], "outputs": [{"name": "y"}]}), ("binary that is not there", {"inputs": [good | {"parameters": {"binary_data_size": 12}}]})):
    status, answer = ada.call("POST", "/v2/models/table net/infer", body)
    check(status == 400 and len(answer["error"]) > 10, f"{what}: {status} {answer}")
for header in ("-1", "x", "99999999", ""):
    check(ada.call("POST", "/v2/models/table net/infer", b"{}", headers={"Inference-Header-Content-Length": header})[0] == 400, f"a header of {header!r}")
check(ada.call("POST", "/v2/models/nothing/infer", {"inputs": [good]})[0] == 404 and ada.call("GET", "/v2/models/table net/infer")[0] == 405, "no such model, wrong verb")

# Rights: one's own, or public.
check(bob.call("GET", "/v2/models/table net")[0] == 404 and nobody.call("POST", "/v2/models/table net/infer", {"inputs": [good]})[0] == 404 and bob.call("POST", f"/api/v1/weights/{weights}/predict", row)[0] == 404, "others' models are not there")
ada.call("PATCH", f"/api/v1/models/{model}", {"public": True})
check(nobody.call("POST", "/v2/models/table net/infer", {"inputs": [good]})[0] == 200 and bob.call("POST", f"/api/v1/weights/{weights}/predict", row)[0] == 200, "public ones need no token")
check(Client(server, "wrong").call("GET", "/v2/models/table net")[0] == 401, "but a wrong token is refused")

# Loading, unloading, the index.
state = lambda: {m["name"]: m["state"] for m in ada.call("POST", "/v2/repository/index")[1]}
check(state() == {"table net": "READY", "pictures": "READY"}, f"index: {state()}")
check(ada.call("POST", "/v2/repository/models/pictures/unload")[0] == 200 and state()["pictures"] == "UNAVAILABLE", "unloaded")
check(ada.call("POST", "/v2/repository/models/pictures/load")[0] == 200 and state()["pictures"] == "READY", "loaded")
os.rename(picture_file, picture_file + "x")
ada.call("POST", "/v2/repository/models/pictures/unload")
check(ada.call("GET", "/v2/models/pictures")[0] == 503 and server.data_dir not in ada.last.text, "weights that are gone: " + ada.last.text)
os.rename(picture_file + "x", picture_file)
check(ada.call("GET", "/v2/models/pictures/ready")[0] == 200, "and are there again")

# Statistics, configuration, metrics.
ada.call("POST", "/v2/repository/models/table net/unload")
for _ in range(7):
    ada.call("POST", "/v2/models/table net/infer", {"inputs": [{"name": "input", "shape": [5, 3], "datatype": "FP32", "data": x.tolist()}]})
status, answer = ada.call("GET", "/v2/models/table net/stats")
stats = answer["model_stats"][0]
check(stats["execution_count"] == 7 and stats["inference_count"] == 35 and stats["inference_stats"]["success"]["count"] == 7 and stats["inference_stats"]["compute_infer"]["ns"] > 0, f"statistics: {stats}")
check(ada.call("GET", "/v2/models/pictures/config")[1]["input"] == [{"name": "input", "data_type": "TYPE_UINT8", "dims": [6, 5, 3]}], "configuration")
text = nobody.call("GET", "/metrics")[1].decode()
labels = f'{{model="table net",version="{weights}"'
value = lambda name, more="}": float(next(line for line in text.splitlines() if line.startswith(name + labels + more)).split()[-1])
check(value("nv_inference_request_success") == 7 and value("nv_inference_count") == 35 and value("webml_compute_seconds_count") == 7 and value("webml_compute_seconds_bucket", ',le="+Inf"}') == 7, f"metrics: {text[:600]}")
buckets = [float(line.split()[-1]) for line in text.splitlines() if line.startswith("webml_compute_seconds_bucket" + labels)]
check(len(buckets) == 12 and buckets == sorted(buckets), "buckets are cumulative")

# TensorFlow Serving's alias.
status, answer = nobody.call("POST", "/v1/models/table net:predict", {"instances": x.tolist()})
check(status == 200 and np.allclose(answer["predictions"], expected, atol=1e-6), "instances")
check(nobody.call("POST", "/v1/models/table net:predict", {"inputs": x.tolist()})[1].get("outputs") and nobody.call("GET", "/v1/models/table net")[1]["model_version_status"][0]["state"] == "AVAILABLE", "inputs, status")
check(nobody.call("POST", "/v1/models/table net:predict", {"instances": [[1, 2]]})[0] == 400 and nobody.call("POST", "/v1/models/table net:classify", {})[0] == 404, "what is wrong")

# Many at once, while it is unloaded and loaded again: every answer is right.
wrong = []


def hammer():
    c = Client(server)
    for _ in range(60):
        status, answer = c.call("POST", "/v2/models/table net/infer", {"inputs": [{"name": "input", "shape": [5, 3], "datatype": "FP32", "data": x.tolist()}]})
        if status != 200 or not np.allclose(np.reshape(answer["outputs"][0]["data"], (5, 2)), expected, atol=1e-6):
            wrong.append((status, answer))


threads = [threading.Thread(target=hammer) for _ in range(6)]
for t in threads:
    t.start()
for _ in range(25):
    ada.call("POST", "/v2/repository/models/table net/unload")
    time.sleep(0.02)
for t in threads:
    t.join()
check(not wrong, f"under load: {wrong[:1]}")
head = json.dumps({"inputs": [{"name": "input", "shape": [5, 3], "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}}], "outputs": [{"name": "output", "parameters": {"binary_data": True}}]}).encode()
write("body", head + x.tobytes())
code, out, err = run("h2load", "-n", "8000", "-c", "4", "-m", "16", "-d", path("body"), "-H", f"inference-header-content-length: {len(head)}", server.url + "/v2/models/table%20net/infer")
check("8000 succeeded" in out and nobody.call("GET", "/healthz")[0] == 200, "8,000 over HTTP/2: " + out[-400:])
before = server.memory()
for _ in range(30):
    ada.call("POST", "/v2/repository/models/pictures/unload")
    ada.call("POST", "/v2/repository/models/pictures/load")
check(sanitized(program) or server.memory() - before < 8, f"memory is freed: {before:.0f} to {server.memory():.0f} MB")
check(server.stop() == 0, "ends")
report()
