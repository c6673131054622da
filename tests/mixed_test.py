"""mixed_bfloat16 on the CPU under whole programs: trainings stay near float32's, give the same bits
again, are evaluated and predict in the same arithmetic, and go on in float32 where a processor has no
bfloat16."""
import json
import os
import struct
import sys

import numpy as np
from PIL import Image

from harness import check, path, report, run, skip, write

webml, bench = sys.argv[1:3]
plain = dict(os.environ, DNNL_MAX_CPU_ISA="AVX2")  # a processor without bfloat16


def train(model, data, out, *options, environment=None):
    """The epochs' events of a training, and its error."""
    code, text, error = run(webml, "train", model, "--data", data, "--out", path(out), "--device", "cpu", "--progress", "json", "--seed", "3", *options, env=environment)
    events = [json.loads(line) for line in text.splitlines()]
    return [e for e in events if e["event"] == "epoch"], error if code else ""


def close(a, b, tolerance):
    return len(a) == len(b) > 0 and all(abs(x[k] - y[k]) <= tolerance * abs(y[k]) for x, y in zip(a, b) for k in ("loss", "val_loss"))


def parts(file):
    """The tensors' bytes and the metadata."""
    data = open(path(file), "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    return data[8 + n:], json.loads(data[8:8 + n])["__metadata__"]


rng = np.random.default_rng(5)
for kind in range(3):
    for i in range(40):
        pixels = rng.integers(0, 120, (12, 12, 3), dtype=np.uint8)
        pixels[:, 4 * kind:4 * kind + 4] += 100
        os.makedirs(path(f"pictures/{kind}"), exist_ok=True)
        Image.fromarray(pixels).save(path(f"pictures/{kind}/{i}.png"))
conv = {"filters": 16, "kernel_size": 3, "padding": "same", "activation": "relu"}
cnn = write("cnn.json", json.dumps({"size": [12, 12, 3], "dynamic": True, "optimizer": "adam", "loss": None, "metrics": ["accuracy"], "layers": [
    {"type": "Conv2D", "layer": conv}, {"type": "MaxPooling2D", "layer": {}}, {"type": "Conv2D", "layer": dict(conv, activation="linear")},
    {"type": "BatchNormalization", "layer": {}}, {"type": "Conv2D", "layer": dict(conv, groups=4)}, {"type": "MaxPooling2D", "layer": {"pool_size": 3, "strides": 2}},
    {"type": "Dropout", "layer": {"rate": 0.2}}, {"type": "Flatten"}, {"type": "Dense", "layer": {"units": 256, "activation": "gelu"}},
    {"type": "Dense", "layer": {"units": None, "activation": "softmax"}}]}))
images = ["--validation-split", "0.2", "--epochs", "4", "--batch-size", "16", "--rotation-range", "15", "--horizontal-flip", "--learning-rate", "0.0005"]
run(bench, "make", "churn", path("churn.csv"), "1500")
mlp = write("churn.json", json.dumps({"size": [None], "dynamic": True, "optimizer": "adam", "loss": None, "metrics": ["accuracy"], "layers": [
    {"type": "Dense", "layer": {"units": 16, "activation": "relu"}}, {"type": "Dense", "layer": {"units": None, "activation": "sigmoid"}}]}))
table = ["--inputs", "Geography,Gender,Age,Balance", "--outputs", "Exited", "--validation-split", "0.2", "--epochs", "3"]

has = json.loads(run(webml, "devices", "--json")[1])["devices"][0]["bfloat16"]
check(json.loads(run(webml, "devices", "--json", env=plain)[1])["devices"][0]["bfloat16"] is False, "a device without bfloat16")
_, error = train(mlp, path("churn.csv"), "no.safetensors", *table, "--precision", "mixed_bfloat16", environment=plain)
check("mixed_bfloat16 needs a processor that computes in bfloat16" in error and not os.path.exists(path("no.safetensors")), "refused: " + error)

mixed, error = train(mlp, path("churn.csv"), "table.safetensors", *table, "--precision", "mixed_bfloat16")
check(has == ("needs a processor" not in error), f"bfloat16 {has}: {error}")
if not has:
    skip("mixed_bfloat16 on this processor", error.strip())
    report()
exact, _ = train(mlp, path("churn.csv"), "exact.safetensors", *table)
check(not error and close(mixed, exact, 0.03) and mixed != exact, f"a table: {error} {mixed} {exact}")

mixed, error = train(cnn, path("pictures"), "mixed.safetensors", *images, "--precision", "mixed_bfloat16")
exact, _ = train(cnn, path("pictures"), "exact.safetensors", *images)
check(not error and close(mixed, exact, 0.02) and mixed != exact and mixed[-1]["loss"] < 0.8 * mixed[0]["loss"], f"pictures: {error} {mixed} {exact}")
train(cnn, path("pictures"), "again.safetensors", *images, "--precision", "mixed_bfloat16")
check(parts("mixed.safetensors")[0] == parts("again.safetensors")[0], "the same bits again")
check(json.loads(parts("mixed.safetensors")[1]["record"])["precision"] == "mixed_bfloat16" and json.loads(parts("exact.safetensors")[1]["record"])["precision"] == "float32", "the record's precision")
best = min(e["val_loss"] for e in mixed)
code, out, err = run(webml, "evaluate", path("mixed.safetensors"), "--data", path("pictures"), "--validation-split", "0.2", "--device", "cpu", "--json")
check(code == 0 and abs(json.loads(out)["loss"] - best) <= 1e-3 * best, f"evaluated as in training: {out}{err} {best}")
code, out, err = run(webml, "train", cnn, "--data", path("pictures"), "--out", path("mixed.safetensors"), "--device", "cpu", "--weights", path("mixed.safetensors"), "--epochs", "1", "--batch-size", "16", "--validation-split", "0.2")
check(code == 0, "float32 from there: " + err)


def probabilities(file, environment):
    code, out, err = run(webml, "predict", path(file), *(path(f"pictures/{k}/{i}.png") for k in range(3) for i in range(20)), "--device", "cpu", "--json", env=environment)
    check(code == 0, "predict: " + err)
    return np.array([[c["probability"] for c in sorted(json.loads(line)["top"], key=lambda c: c["index"])] for line in out.splitlines()])


narrow, wide = probabilities("again.safetensors", None), probabilities("again.safetensors", plain)
worst = np.abs(narrow - wide).max()
check(narrow.shape == wide.shape == (60, 3) and 1e-5 < worst < 0.05, f"predictions in bfloat16 and in float32 differ by {worst}")
narrow, wide = probabilities("exact.safetensors", None), probabilities("exact.safetensors", plain)
worst = np.abs(narrow - wide).max()
check(worst < 1e-5, f"predictions of a training in float32 differ by {worst}")
report()
