"""A training as a session that is steered: paused and resumed, stopped with its best weights, started from earlier ones; what
it tells after each epoch; and an evaluation that tells how far it is."""
import json
import os
import signal
import struct
import subprocess
import sys

import numpy as np

from harness import check, path, report, run, write

webml = sys.argv[1]
rng = np.random.default_rng(3)
labels = ["ant", "bee", "cat"]
kinds = rng.integers(0, 3, 900)
x = rng.normal(0, 1, (900, 6)) + kinds[:, None] * 0.7
table = write("t.csv", "a,b,c,d,e,f,kind\n" + "".join(",".join(f"{v:.4f}" for v in row) + f",{labels[k]}\n" for row, k in zip(x, kinds)))


def describe(name, units=24, last="softmax"):
    layers = [{"type": "Dense", "layer": {"units": units, "activation": "relu"}}, {"type": "Dense", "layer": {"units": None, "activation": last}}]
    return write(name, json.dumps({"size": [None], "dynamic": True, "optimizer": {"name": "adam", "learning_rate": 0.01}, "loss": None, "layers": layers}))


model = describe("m.json")
common = ["--data", table, "--validation-split", "0.3", "--split", "random", "--batch-size", "32", "--seed", "3", "--device", "cpu", "--progress", "json"]


def tensors(file):
    data = open(file, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + n])
    return {k: data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]] for k, v in head.items() if k != "__metadata__"}


def train(*options, net=model):
    code, out, err = run(webml, "train", net, *common, *options)
    return code, [json.loads(line) for line in out.splitlines()], err


def steered(send, after, *options):
    """A training that gets a signal after so many epochs; (exit code, events, errors)."""
    p = subprocess.Popen([webml, "train", model, *common, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    events = []
    for line in p.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "epoch" and events[-1]["epoch"] == after:
            p.send_signal(send)
    err = p.stderr.read()
    return p.wait(timeout=60), events, err


# ---- stop: the best weights are kept ----

out = path("stopped.safetensors")
code, events, err = steered(signal.SIGUSR1, 7, "--epochs", "1000000", "--out", out)
check(code == 0 and err == "", f"{code} {err}")
epochs = [e for e in events if e["event"] == "epoch"]
best = min(epochs, key=lambda e: e["val_loss"])["epoch"]
stopped, done = [next(e for e in events if e["event"] == kind) for kind in ("stopped", "done")]
check(events[-1] is done and done["outcome"] == "stopped" and done["kept_epoch"] == stopped["kept_epoch"] == best and done["record"]["stopped"] is True, str(done)[:300])
check(stopped["epochs_done"] == len(epochs) >= 7 and stopped["steps_done"] >= 7 * 20, str(stopped))
code, same, err = train("--epochs", str(best), "--keep-last", "--out", path("best.safetensors"))
check(code == 0 and same[-1]["outcome"] == "finished" and same[-1]["kept_epoch"] == best and not same[-1]["record"]["stopped"], f"{code} {err}")
check(tensors(out) == tensors(path("best.safetensors")), "the weights are the bits of the best epoch")
code, again, err = train("--epochs", "1000000", "--out", out, "--resume")  # the stop lasts
check(code == 0 and again[-1]["outcome"] == "stopped" and again[-1]["kept_epoch"] == best and not any(e["event"] == "epoch" for e in again), f"{code} {err}")
# Before the end of the first epoch there is no best one, and before the training is there the stop is kept in mind.
big = write("big.csv", "a,kind\n" + "".join(f"{i % 97},{labels[i % 3]}\n" for i in range(400_000)))
p = subprocess.Popen([webml, "train", model, "--data", big, "--epochs", "50", "--batch-size", "1", "--progress", "json", "--out", path("early.safetensors")],
                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]))
p.send_signal(signal.SIGUSR1)  # blocked, it waits for the program to be ready
text, err = p.communicate(timeout=60)
last = json.loads(text.splitlines()[-1])
check(p.returncode == 0 and last["outcome"] == "stopped" and last["kept_epoch"] is None and os.path.exists(path("early.safetensors")), f"{p.returncode} {text[-300:]} {err}")

# ---- pause, and on to the same bits ----

out = path("paused.safetensors")
for send in (signal.SIGINT, signal.SIGTERM):
    code, events, err = steered(send, 3, "--epochs", "12000", "--out", out)
    check(code == 3 and err == "" and events[-1]["event"] == "paused" and events[-1]["epochs_done"] >= 3 and events[-1]["weights"] == out, f"{code} {events[-1]} {err}")
    check(os.path.exists(out + ".checkpoint") and not os.path.exists(out), "a checkpoint and no weights")
    os.remove(out + ".checkpoint")
code, events, err = steered(signal.SIGINT, 3, "--epochs", "60", "--out", out)
if code == 3:  # it was quick enough
    code, events, err = train("--epochs", "60", "--out", out, "--resume")
code, whole, err = train("--epochs", "60", "--out", path("whole.safetensors"))
check(code == 0 and tensors(out) == tensors(path("whole.safetensors")), "the bits of a training that nobody disturbed")

# ---- from earlier weights ----

code, events, err = train("--epochs", "1", "--weights", path("whole.safetensors"), "--out", path("more.safetensors"))
said = " ".join(e.get("text", "") for e in events)
first = next(e for e in events if e["event"] == "epoch")
check(code == 0 and "4 of 4 tensors match" in said and first["val_loss"] < epochs[0]["val_loss"], f"{said} {err}")
wider = describe("wide.json", 32)
code, events, err = train("--epochs", "1", "--weights", path("whole.safetensors"), "--out", path("w.safetensors"), net=wider)
said = " ".join(e.get("text", "") for e in events)
check(code == 0 and "1 of 4 tensors match; dense/kernel is 6x24 there and 6x32 here; dense/bias is 24 there and 32 here" in said, f"{said} {err}")
code, events, err = train("--epochs", "1", "--weights", path("whole.safetensors"), "--all-weights", "--out", path("w.safetensors"), net=wider)
check(code == 1 and "does not fit the model: dense/kernel is 6x24 there and 6x32 here" in err, err)
named = write("named.json", json.dumps({"size": [None], "dynamic": True, "optimizer": None, "loss": None, "layers": [{"type": "Dense", "layer": {"units": None, "name": "other"}}]}))
code, events, err = train("--epochs", "1", "--weights", path("whole.safetensors"), "--out", path("w.safetensors"), net=named)
check(code == 1 and "has no tensor with the name and shape" in err and "other/kernel is missing" in err, err)

# ---- confusion and mistakes of each epoch ----

code, plain, err = train("--epochs", "4", "--out", path("w1.safetensors"))
check(code == 0 and not any(e["event"] == "detail" for e in plain), "only where they are asked for")
code, events, err = train("--epochs", "4", "--progress-detail", "--out", path("w2.safetensors"), "--keep-last")
details = [e for e in events if e["event"] == "detail"]
evaluation = next(e for e in events if e["event"] == "evaluation")["evaluation"]
check(code == 0 and [d["epoch"] for d in details] == [1, 2, 3, 4] and details[0]["classes"] == labels, f"{code} {err}")
check(details[-1]["confusion"] == evaluation["confusion"], f"that of the last epoch is that of its weights: {details[-1]} {evaluation['confusion']}")
for d, e in zip(details, [e for e in events if e["event"] == "epoch"]):
    matrix = np.array(d["confusion"])
    check(matrix.sum() == 270 and abs(matrix.trace() / 270 - e["val_accuracy"]) < 1e-6, f"confusion {matrix} and accuracy {e['val_accuracy']}")
    m = d["mistakes"]
    check(len(m) == min(16, 270 - matrix.trace()) and all(a["probability"] >= b["probability"] for a, b in zip(m, m[1:])), "the surest first")
    check(all(v["class"] != v["said"] and 0 <= v["sample"] < 270 and 1 / 3 <= v["probability"] <= 1 for v in m), str(m))
check([e["val_loss"] for e in plain if e["event"] == "epoch"] == [e["val_loss"] for e in events if e["event"] == "epoch"], "the figures are the same bits with and without")
numbers = write("n.csv", "a,y\n" + "".join(f"{v:.3f},{2 * v:.3f}\n" for v in rng.normal(0, 1, 80)))
code, out, err = run(webml, "train", named, "--data", numbers, "--validation-split", "0.2", "--epochs", "1", "--progress", "json", "--progress-detail", "--out", path("n.safetensors"))
check(code == 0 and '"detail"' not in out, "numbers have no confusion")

# ---- evaluation ----

code, out, err = run(webml, "evaluate", path("w2.safetensors"), *common[:6], "--progress", "json", "--device", "cpu")
events = [json.loads(line) for line in out.splitlines()]
check(code == 0 and [e["event"] for e in events[:-1]] == ["progress"] * (len(events) - 1) and events[-2]["done"] == events[-2]["samples"] == 270, out[-500:])
check(events[-1]["event"] == "evaluation" and events[-1]["part"] == "validation" and events[-1]["evaluation"]["confusion"] == evaluation["confusion"], str(events[-1])[:300])
code, out, err = run(webml, "evaluate", path("w2.safetensors"), "--data", big, "--progress", "json", "--batch-size", "1")
check(code == 1 and "column" in err, err)
code, out, err = run(webml, "evaluate", path("w2.safetensors"), *common[:6], "--part", "training", "--json")
check(code == 0 and json.loads(out)["part"] == "training", err)
code, out, err = run(webml, "evaluate", path("w2.safetensors"), *common[:6], "--progress", "loud")
check(code == 2, err)

report()
