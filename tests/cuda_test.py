"""The CUDA back end under whole programs, over the emulation of the CUDA runtime: trainings agree with
the CPU's, resume bit for bit, refuse what does not fit, and say why there is no GPU."""
import json
import os
import signal
import subprocess
import sys

import numpy as np
from PIL import Image

from harness import check, folder, path, report, run, sanitized, write

webml, bench, module = sys.argv[1:4]
gpu = dict(os.environ, WEBML_CUDA_MODULE=module, WEBML_CACHE=path("cache"))
os.environ["WEBML_CACHE"] = path("cache")


def train(model, data, out, *options, device="cuda:0", environment=gpu):
    """The epochs' events of a training, and its error."""
    code, text, error = run(webml, "train", model, "--data", data, "--out", path(out), "--device", device, "--progress", "json", "--seed", "3", *options, env=environment)
    events = [json.loads(line) for line in text.splitlines()]
    return [e for e in events if e["event"] == "epoch"], error if code else ""


def close(a, b, tolerance, keys=("loss", "val_loss")):
    return len(a) == len(b) > 0 and all(abs(x[k] - y[k]) <= tolerance * abs(y[k]) for x, y in zip(a, b) for k in keys)


# What is there, and why not.
code, out, err = run(webml, "devices", "--json", env=gpu)
devices = json.loads(out)["devices"]
check([d["name"] for d in devices] == ["cpu", "cuda:0"] and devices[1]["uuid"].startswith("GPU-") and devices[1]["memory_available"] > 0, "devices: " + out)
for value, words in (("none", "WEBML_CUDA_MODULE=none"), (path("nothing.so"), "there is no file"), (write("wrong.so", "no module"), "wrong.so")):
    code, out, err = run(webml, "devices", env=dict(gpu, WEBML_CUDA_MODULE=value))
    check(code == 0 and "cuda     not available: " in out and words in out, f"module {value}: {out}{err}")
    code, out, err = run(webml, "train", "x", "--data", "y", "--device", "cuda:0", env=dict(gpu, WEBML_CUDA_MODULE=value))
    check(code == 1, "no device")

# A table with labels, which lie compact until a batch is gathered.
run(bench, "make", "churn", path("churn.csv"), "1500")
mlp = write("churn.json", json.dumps({"size": [None], "dynamic": True, "optimizer": "adam", "loss": None, "metrics": ["accuracy", "auc"], "layers": [
    {"type": "Dense", "layer": {"units": 16, "activation": "relu"}}, {"type": "Dense", "layer": {"units": None, "activation": "sigmoid"}}]}))
table = ["--inputs", "Geography,Gender,Age,Balance", "--outputs", "Exited", "--validation-split", "0.2", "--epochs", "3"]
cpu, error = train(mlp, path("churn.csv"), "cpu.safetensors", *table, device="cpu")
check(not error, "on the CPU: " + error)
ours, error = train(mlp, path("churn.csv"), "gpu.safetensors", *table)
check(not error and close(ours, cpu, 1e-4, ("loss", "val_loss", "accuracy", "auc")), f"a table: {error} {ours} {cpu}")
mixed, error = train(mlp, path("churn.csv"), "mixed.safetensors", *table, "--precision", "mixed_bfloat16")
check(not error and close(mixed, cpu, 0.03), f"a table in bfloat16: {error} {mixed}")


def probabilities(weights, device):
    code, out, err = run(webml, "predict", path(weights), *(f"Geography=Spain,Gender=Male,Age={age},Balance=1000" for age in range(20, 60)), "--device", device, "--json", env=gpu)
    check(code == 0, f"predict on {device}: {err}")
    return np.array([json.loads(line)["probabilities"]["Exited"]["1"] for line in out.splitlines()])


# Weights predict in the precision they were trained in: float32 as on the CPU, bfloat16 a little off.
apart = np.abs(probabilities("gpu.safetensors", "cuda:0") - probabilities("gpu.safetensors", "cpu")).max()
check(apart < 1e-5, f"predictions in float32 differ by {apart}")
os.environ["DNNL_MAX_CPU_ISA"] = gpu["DNNL_MAX_CPU_ISA"] = "AVX2"  # a processor without bfloat16
apart = np.abs(probabilities("mixed.safetensors", "cuda:0") - probabilities("mixed.safetensors", "cpu")).max()
check(1e-5 < apart < 0.02, f"predictions in bfloat16 differ by {apart}")
del os.environ["DNNL_MAX_CPU_ISA"], gpu["DNNL_MAX_CPU_ISA"]

# Pictures, augmented, with every kind of layer.
rng = np.random.default_rng(5)
for kind in range(3):
    for i in range(30):
        pixels = rng.integers(0, 120, (12, 12, 3), dtype=np.uint8)
        pixels[:, 4 * kind:4 * kind + 4] += 120
        os.makedirs(path(f"pictures/{kind}"), exist_ok=True)
        Image.fromarray(pixels).save(path(f"pictures/{kind}/{i}.png"))
cnn = write("cnn.json", json.dumps({"size": [12, 12, 3], "dynamic": True, "optimizer": "adam", "loss": None, "metrics": ["accuracy"], "layers": [
    {"type": "Conv2D", "layer": {"filters": 8, "kernel_size": 3, "activation": "relu", "kernel_regularizer": "l2"}}, {"type": "MaxPooling2D", "layer": {}},
    {"type": "Conv2D", "layer": {"filters": 6, "kernel_size": 2}}, {"type": "BatchNormalization", "layer": {}}, {"type": "Dropout", "layer": {"rate": 0.2}},
    {"type": "Flatten"}, {"type": "Dense", "layer": {"units": None, "activation": "softmax"}}]}))
images = ["--validation-split", "0.2", "--epochs", "4", "--batch-size", "16", "--rotation-range", "15", "--horizontal-flip", "--brightness", "0.2"]
cpu, error = train(cnn, path("pictures"), "pictures-cpu.safetensors", *images, device="cpu")
check(not error, "pictures on the CPU: " + error)
ours, error = train(cnn, path("pictures"), "pictures.safetensors", *images)
check(not error and close(ours, cpu, 2e-3), f"pictures: {error} {ours} {cpu}")
again, error = train(cnn, path("pictures"), "again.safetensors", *images)
check(open(path("pictures.safetensors"), "rb").read()[-2000:] == open(path("again.safetensors"), "rb").read()[-2000:], "the same bits again")
# Little memory: the pictures are sent with each chunk of steps, and the bits are the same.
sent, error = train(cnn, path("pictures"), "sent.safetensors", *images, environment=dict(gpu, WEBML_EMULATED_BYTES="70000000"))
check(not error and [e["loss"] for e in sent] == [e["loss"] for e in ours], f"sent: {error}")
_, error = train(cnn, path("pictures"), "no.safetensors", *images, environment=dict(gpu, WEBML_EMULATED_BYTES="64500000"))
check("this needs" in error and "device cuda:0 has 64 MB available" in error, "no room: " + error)

# Shifted channels and other edges; the confusion of each epoch is that of the figures.
shifted = [*images, "--channel-shift", "40", "--width-shift", "0.3", "--fill-mode", "reflect"]
cpu, error = train(cnn, path("pictures"), "shifted-cpu.safetensors", *shifted, device="cpu")
ours, more = train(cnn, path("pictures"), "shifted.safetensors", *shifted)
check(not error and not more and close(ours, cpu, 2e-3), f"shifted pictures: {error} {more} {ours} {cpu}")
for d in ("cpu", "cuda:0"):
    code, out, error = run(webml, "train", cnn, "--data", path("pictures"), *shifted, "--device", d, "--progress", "json", "--progress-detail", "--out", path("detail.safetensors"), env=gpu)
    events = [json.loads(line) for line in out.splitlines()]
    details, epochs = [e for e in events if e["event"] == "detail"], [e for e in events if e["event"] == "epoch"]
    check(code == 0 and len(details) == 4, f"details on {d}: {error}")
    for detail, epoch in zip(details, epochs):
        hits = sum(detail["confusion"][i][i] for i in range(3))
        check(sum(map(sum, detail["confusion"])) == 18 and abs(hits / 18 - epoch["val_accuracy"]) < 1e-6, f"confusion on {d}: {detail} {epoch}")

# Evaluation and prediction agree with the CPU's.
for command in (["evaluate", path("pictures.safetensors"), "--data", path("pictures"), "--json"], ["predict", path("pictures.safetensors"), path("pictures/1/3.png"), "--json"]):
    answers = [json.loads(run(webml, *command, "--device", d, env=gpu)[1]) for d in ("cpu", "cuda:0")]
    numbers = [json.dumps(a, sort_keys=True, default=str) for a in answers]
    key = (lambda a: a["loss"]) if command[0] == "evaluate" else (lambda a: a["probability"])
    check(abs(key(answers[0]) - key(answers[1])) < 1e-4, f"{command[0]}: {numbers}")

# Killed and resumed: the same weights as in one go.
if not sanitized(webml):
    whole, error = train(cnn, path("pictures"), "whole.safetensors", *images, "--epochs", "12")
    arguments = [webml, "train", cnn, "--data", path("pictures"), "--out", path("killed.safetensors"), "--device", "cuda:0", "--progress", "json", "--seed", "3", *images, "--epochs", "12"]
    for wait in (1, 2, 3):
        p = subprocess.Popen(arguments + ["--resume"], env=gpu, cwd=folder, stdout=subprocess.PIPE, text=True)
        for line in p.stdout:
            wait -= '"epoch"' in line and '"event":"epoch"' in line.replace(" ", "")
            if wait < 0:
                break
        p.send_signal(signal.SIGKILL)
        p.wait()
    code, out, err = run(*arguments, "--resume", env=gpu)
    tensors = [open(path(f), "rb").read() for f in ("whole.safetensors", "killed.safetensors")]
    bodies = [t[8 + int.from_bytes(t[:8], "little"):] for t in tensors]
    check(code == 0 and bodies[0] == bodies[1], f"killed and resumed: {err}")
    code, out, err = run(*arguments, "--resume", "--precision", "mixed_bfloat16", env=gpu)
    check(code == 1 and "precision" in err, "resumed in another precision: " + err)

report()
