"""SIGKILL at random instants of a training; each time it resumes, and in the end the weights are
the same bits as those of a training that nobody disturbed.

usage: kill_test.py WEBML [PRECISION [KILLS]]"""
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time

from harness import check, folder, path, report, run, skip, write

webml = sys.argv[1]
precision = sys.argv[2] if len(sys.argv) > 2 else "float32"
kills_wanted = 300 if os.environ.get("WEBML_LONG") == "1" else int(sys.argv[3]) if len(sys.argv) > 3 else 50


def tensors(file):
    data = open(file, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + n])
    return {k: (v["shape"], data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]) for k, v in head.items() if k != "__metadata__"}


rng = random.Random(4)
rows = ["a,b,c,kind"]
for i in range(3000):
    a, b = rng.random(), rng.random()
    rows.append(f"{a:.5f},{b:.5f},{rng.choice('xyz')},{'up' if a * a > b else 'down'}")
table = write("t.csv", "\n".join(rows) + "\n")
model = write("m.json", json.dumps({"size": [None], "dynamic": True, "optimizer": "adam", "loss": None, "layers": [
    {"type": "Dense", "layer": {"units": 200, "activation": "relu"}}, {"type": "BatchNormalization", "layer": {}}, {"type": "Dropout", "layer": {"rate": 0.3}},
    {"type": "Dense", "layer": {"units": 100, "activation": "relu"}}, {"type": "Dense", "layer": {"units": None, "activation": "softmax"}}]}))
common = [webml, "train", model, "--data", table, "--validation-split", "0.2", "--epochs", "40", "--batch-size", "16", "--seed", "3", "--threads", "2", "--precision", precision,
          "--schedule", "cosine", "--checkpoint-seconds", "0.02", "--progress", "none"]

start = time.time()
code, _, err = run(*common, "--out", path("whole.safetensors"))
whole_time = time.time() - start
if "needs a processor" in err:
    skip("kills in " + precision, err.strip())
    sys.exit(0)
check(code == 0, "the undisturbed training: " + err)

kills = rounds = 0
while kills < kills_wanted and rounds < 3000:
    out = path(f"cut{rounds}.safetensors")
    finished = False
    while not finished:
        p = subprocess.Popen([*common, "--out", out, "--resume"], cwd=folder, stderr=subprocess.PIPE, text=True)
        try:
            p.wait(timeout=rng.uniform(0.02, max(0.1, whole_time * 0.6)))
            finished = True
            check(p.returncode == 0, f"after {kills} kills: {p.stderr.read()}")
            if p.returncode != 0:
                rounds = 3000
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGKILL)
            p.wait()
            kills += 1
    rounds += 1
    check(tensors(out) == tensors(path("whole.safetensors")), f"round {rounds}: other bits after {kills} kills")
check(kills >= kills_wanted, f"only {kills} kills")
print(f"{kills} kills in {rounds} trainings")
report()
