"""The command line: exit codes, messages, and bad input of every kind: one clear sentence, exit code
1, and earlier weights untouched."""
import gzip
import json
import os
import struct
import subprocess
import sys

import numpy as np
from PIL import Image

from harness import check, path, report, root, run, skip, write

webml = sys.argv[1]
MLP = {"size": [None], "dynamic": True, "optimizer": "adam", "loss": None, "layers": [
    {"type": "Dense", "layer": {"units": 8, "activation": "relu"}}, {"type": "Dense", "layer": {"units": None, "activation": "softmax"}}]}
CNN = {"size": [8, 8, 3], "dynamic": True, "optimizer": "adam", "loss": None, "layers": [
    {"type": "Conv2D", "layer": {"filters": 4, "kernel_size": 3, "activation": "relu"}}, {"type": "Flatten"}, {"type": "Dense", "layer": {"units": None, "activation": "softmax"}}]}
mlp, cnn = write("mlp.json", json.dumps(MLP)), write("cnn.json", json.dumps(CNN))
table = write("t.csv", "a,b,kind\n" + "".join(f"{i % 7},{i % 5}.5,{'x' if i % 2 else 'y'}\n" for i in range(60)))


def says(expected, code, *args):
    """The command must end with this code and say these words in one line on stderr."""
    got, out, err = run(webml, *args)
    words = expected if isinstance(expected, list) else [expected]
    ok = got == code and all(w in err for w in words) and (len(err.strip().split("\n")) == 1 or code == 2)
    check(ok, f"webml {' '.join(map(str, args))}: exit {got}, expected {code} and {words}: {err.strip() or out.strip()[:200]}")


# Use.
code, out, err = run(webml, "--version")
check(code == 0 and out.startswith("webml "), "version")
for command in ("train", "evaluate", "predict", "inspect", "summary", "shape", "devices"):
    code, out, err = run(webml, command, "--help")
    check(code == 0 and "Usage: webml " + command in out and max(map(len, out.split("\n"))) <= 80, f"{command} --help fits 80 columns")
says("unknown command", 2, "trian")
says("unknown option --epoch", 2, "train", mlp, "--epoch", "3")
says("whole number", 2, "train", mlp, "--epochs", "x", "--data", table)
says("--data PATH is needed", 2, "train", mlp)
says("usage: webml predict", 2, "predict", "x")
says("unknown device", 1, "train", mlp, "--data", table, "--device", "gpu")

# A training, in lines, in JSON, and what it leaves.
out_path = path("w.safetensors")
code, out, err = run(webml, "train", mlp, "--data", table, "--epochs", "2", "--validation-split", "0.2", "--out", out_path)
check(code == 0 and out.count("epoch ") >= 2 and "val_loss" in out, "plain lines: " + out + err)
code, out, err = run(webml, "train", mlp, "--data", table, "--epochs", "2", "--validation-split", "0.2", "--out", out_path, "--progress", "json")
events = [json.loads(line) for line in out.strip().split("\n")]
check(code == 0 and events[-1]["event"] == "done" and [e["event"] for e in events if e["event"] != "progress"][-4:] == ["epoch", "epoch", "evaluation", "done"] and any("val_accuracy" in e for e in events), "JSON lines")
data = open(out_path, "rb").read()
n = struct.unpack("<Q", data[:8])[0]
head = json.loads(data[8:8 + n])
kernel = head["dense/kernel"]
values = np.frombuffer(data[8 + n:][kernel["data_offsets"][0]:kernel["data_offsets"][1]], "<f4").reshape(kernel["shape"])
check(values.shape == (2, 8) and np.isfinite(values).all() and json.loads(head["__metadata__"]["pipeline"])["outputs"][0]["values"] == ["x", "y"], "safetensors read by Python")
code, out, err = run(webml, "predict", out_path, "a=1,b=2.5", "--json")
answer = json.loads(out)
check(code == 0 and answer["outputs"]["kind"] in "xy" and abs(sum(answer["probabilities"]["kind"].values()) - 1) < 1e-5, "predict a row")
# The same answer from numpy with the weights and the pipeline of the file.
pipeline = json.loads(head["__metadata__"]["pipeline"])
x = np.array([(v - c["mean"]) / c["scale"] for v, c in zip([1, 2.5], pipeline["inputs"])])
get = lambda k: np.frombuffer(data[8 + n:][head[k]["data_offsets"][0]:head[k]["data_offsets"][1]], "<f4").reshape(head[k]["shape"]).astype(float)
z = np.maximum(x @ get("dense/kernel") + get("dense/bias"), 0) @ get("dense_1/kernel") + get("dense_1/bias")
p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
check(abs(answer["probabilities"]["kind"]["x"] - p[0]) < 1e-5, "numpy computes the same probabilities")
code, out, err = run(webml, "evaluate", out_path, "--data", table, "--json")
check(code == 0 and json.loads(out)["samples"] == 60 and len(json.loads(out)["confusion"]) == 2, "evaluate --json")
code, out, err = run(webml, "summary", out_path)
check(code == 0 and "dense_1" in out and "memory:" in out, "summary of a weights file")
# The memory is said for a precision and devices; a GPU that is not there has an estimate, with the reason.
no_gpu = dict(os.environ, WEBML_CUDA_MODULE="none")
code, out, err = run(webml, "summary", out_path, "--data", table, "--device", "cpu,cuda:0", "--json", env=no_gpu)
cpu, gpu = json.loads(out)["memory"] if code == 0 else [{}, {}]
parts = ("weights", "state", "saved", "scratch", "rows", "context", "host")
check(code == 0 and cpu["device"] == "cpu" and not cpu["training"]["estimated"] and cpu["prediction"]["total"] > 0
      and cpu["training"]["total"] == sum(cpu["training"][p] for p in parts), f"the CPU's memory: {err}{cpu}")
check(code == 0 and gpu["device"] == "cuda:0" and gpu["training"]["estimated"] and "prediction" not in gpu
      and "WEBML_CUDA_MODULE=none" in gpu["training"]["reason"], f"a GPU's memory: {err}{gpu}")
code, out, err = run(webml, "summary", out_path, "--device", "cuda", "--estimate", env=no_gpu)
check(code == 0 and "about " in out and "estimated" in out, f"an estimate: {out}{err}")
says("float32_strict or mixed_bfloat16", 2, "summary", out_path, "--precision", "half")
# Without bfloat16 that is said before the data are read: there are none.
plain = dict(os.environ, DNNL_MAX_CPU_ISA="AVX2")
for command in ("summary", "train"):
    code, out, err = run(webml, command, out_path, "--data", "/nowhere.csv", "--device", "cpu", "--precision",
                         "mixed_bfloat16", env=plain)
    check(code == 1 and "device cpu: mixed_bfloat16 needs" in err and "use float32, or another device" in err
          and "nowhere" not in err, f"{command} in bfloat16: {err}")
code, out, err = run(webml, "inspect", table, "--json")
check(code == 0 and [f["dataType"] for f in json.loads(out)["features"]] == ["Int", "Float", "Label"], "inspect --json")

# Descriptions.
says("line 1", 1, "train", write("bad.json", "{"), "--data", table)
code, out, err = run(webml, "shape", mlp, "--data", table, "-o", path("shaped.json"))
shaped = json.load(open(path("shaped.json")))
check(code == 0 and shaped["size"] == [2] and shaped["layers"][-1]["layer"]["units"] == 2 and not shaped.get("dynamic"), f"shape: {out}{err}")
code, out, err = run(webml, "shape", mlp, "--data", table, "--json")
check(code == 0 and json.loads(out)["model"] == shaped and json.loads(out)["chosen"], f"shape as JSON: {out}{err}")
says("-o FILE or --json", 2, "shape", mlp, "--data", table)
says("there is nothing at", 1, "shape", mlp, "--data", path("none.csv"), "--json")
says("nested more than 64 deep", 1, "summary", write("deep.json", "[" * 100000))
says("is required", 1, "summary", write("few.json", '{"loss":null,"layers":[{"type":"Flatten"}]}'))
says("No such file", 1, "train", path("absent.json"), "--data", table)
# Tables.
for name, text, words in [
        ("empty.csv", "", "is empty"), ("head.csv", "a,b\n", "no data rows"), ("short.csv", "a,b\n1,2\n3\n", "row 2: 1 field where the header has 2"),
        ("long.csv", "a,b\n1,2,3\n", "row 1: 3 fields where the header has 2"), ("twice.csv", "a,a\n1,2\n", 'both named "a"'), ("noname.csv", "a,\n1,2\n", "column 2 has no name"),
        ("latin.csv", b"a,b\n1,\xe9\n", "row 1: column 2 is not UTF-8"), ("missing.csv", "a,b\n1,x\n,y\n2,x\n", 'column "a" has 1 missing value, the first in row 2'),
        ("one.csv", "a,b\n1,x\n2,x\n", "only one value"), ("quote.csv", 'a,b\n1,"x\n', 'only one value'), ("nan.csv", "a,b\nnan,x\n1,y\n", "missing")]:
    says(words, 1, "train", mlp, "--data", write(name, text), "--out", path("none.safetensors"))
says('did you mean "kind"?', 1, "train", mlp, "--data", table, "--outputs", "kin")
says("there is nothing at", 1, "train", mlp, "--data", path("nowhere.csv"))
# Images.
os.makedirs(path("img/cat")), os.makedirs(path("img/dog"))
rng = np.random.default_rng(1)
for i in range(6):
    for c in ("cat", "dog"):
        Image.fromarray(rng.integers(0, 255, (9 + i, 12, 3), dtype=np.uint8)).save(path(f"img/{c}/{i}.{'png' if i % 2 else 'jpg'}"))
code, out, err = run(webml, "train", cnn, "--data", path("img"), "--epochs", "2", "--out", path("img.safetensors"), "--validation-split", "0.34")
check(code == 0, "image folder: " + err)
code, out, err = run(webml, "predict", path("img.safetensors"), path("img/cat/0.jpg"), path("img/dog/1.png"))
check(code == 0 and out.count("cat") >= 2, "predict images: " + err)
good = open(path("img/cat/1.png"), "rb").read()
for name, content, words in [("cut.png", good[:len(good) // 2], "not a sound PNG"), ("empty.png", b"", "it is empty"), ("text.png", b"hello", "neither a PNG nor a JPEG"),
                             ("flip.png", good[:40] + bytes([good[40] ^ 255]) + good[41:], "not a sound PNG"),
                             ("huge.png", good[:16] + struct.pack(">II", 30000, 30000) + good[24:], "PNG"),
                             ("cut.jpg", open(path("img/cat/0.jpg"), "rb").read()[:300], "not a sound JPEG")]:
    says(words, 1, "predict", path("img.safetensors"), write(name, content))
write("broken/cat/a.png", good), write("broken/cat/b.png", good[:50]), write("broken/dog/a.png", good)
says("b.png: not a sound PNG", 1, "train", cnn, "--data", path("broken"), "--out", path("none.safetensors"))
code, out, err = run(webml, "train", cnn, "--data", path("broken"), "--epochs", "1", "--skip-broken", "--out", path("some.safetensors"))
check(code == 0 and "1 broken images were left out" in out, "skip-broken: " + out + err)
os.makedirs(path("nothing"))
says("holds no class folders", 1, "train", cnn, "--data", path("nothing"))
write("single/cat/a.png", good)
says("only one class", 1, "train", cnn, "--data", path("single"))
# IDX.
def idx(folder, images, labels):
    os.makedirs(path(folder), exist_ok=True)
    write(folder + "/train-images-idx3-ubyte", images)
    write(folder + "/train-labels-idx1-ubyte", labels)
    return path(folder)
head3, head1 = struct.pack(">IIII", 0x803, 4, 2, 2), struct.pack(">II", 0x801, 4)
says("cut off", 1, "train", cnn, "--data", idx("i1", head3 + bytes(10), head1 + bytes([0, 1, 0, 1])))
says("4 images, but", 1, "train", cnn, "--data", idx("i2", head3 + bytes(16), struct.pack(">II", 0x801, 3) + bytes(3)))
says("larger than any file", 1, "train", cnn, "--data", idx("i3", struct.pack(">IIII", 0x803, 2 ** 31 - 1, 1000, 1000), head1 + bytes(4)))
says("cut off", 1, "train", cnn, "--data", idx("i5", struct.pack(">IIII", 0x803, 60000000, 28, 28), head1 + bytes(4)))
says("not an IDX file", 1, "train", cnn, "--data", idx("i4", bytes(64), head1 + bytes(4)))
# Weights files.
def edited(change):
    h = json.loads(data[8:8 + n])
    change(h)
    text = json.dumps(h).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + n:]
for name, content, words in [("w1", data[:100], "header is longer"), ("w2", b"\xff" * 100, "header"), ("w3", data[:-4], "not a sound weights file"), ("w4", data + b"1234", "belong to no tensor"),
                             ("w5", edited(lambda h: h["dense/kernel"].update(shape=[2 ** 60, 2 ** 60])), "too large"),
                             ("w6", edited(lambda h: h["dense/kernel"].update(data_offsets=[0, 2 ** 50])), "beyond the end"),
                             ("w7", edited(lambda h: h.pop("__metadata__")), "was not written by webml"),
                             ("w8", edited(lambda h: h["__metadata__"].update(model='{"size":[2]}')), "layers"),
                             ("w9", edited(lambda h: h["dense/bias"].update(shape=[4, 2])), "another shape"),
                             ("w10", edited(lambda h: h["dense/bias"].update(dtype="F16")), "only F32")]:
    got, out, err = run(webml, "predict", write(name, content), "a=1,b=2")
    check(got == 1 and words in err, f"{name}: exit {got}: {err}")
says("another one", 1, "train", cnn, "--data", path("img"), "--out", path("img.safetensors"), "--validation-split", "0.34", "--resume", "--batch-size", "5")
# Disks and permissions: earlier weights stay as they were.
before = open(out_path, "rb").read()
if os.path.exists("/dev/full") and os.geteuid() == 0:
    small = path("small")
    os.makedirs(small)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", small], capture_output=True).returncode == 0:
        wide = json.loads(json.dumps(MLP))
        wide["layers"][0]["layer"]["units"] = 2000
        says("No space left", 1, "train", write("wide.json", json.dumps(wide)), "--data", table, "--epochs", "1", "--out", os.path.join(small, "w.safetensors"))
        check(not [f for f in os.listdir(small) if f.endswith(".safetensors")], "nothing half-written on a full disk")
        subprocess.run(["umount", small])
    else:
        skip("a full disk", "no right to mount")
says("No such file or directory", 1, "train", mlp, "--data", table, "--epochs", "1", "--out", "/nonexistent/w.safetensors")
check(open(out_path, "rb").read() == before, "earlier weights untouched")
# ^C: the step is finished, a checkpoint is there, and the cure is said.
p = subprocess.Popen([webml, "train", mlp, "--data", table, "--epochs", "1000000", "--out", path("c.safetensors"), "--progress", "none"], stderr=subprocess.PIPE, text=True)
try:
    p.wait(timeout=1)
except subprocess.TimeoutExpired:
    p.send_signal(2)
_, err = p.communicate(timeout=60)
check(p.returncode == 3 and "--resume" in err and os.path.exists(path("c.safetensors.checkpoint")), "interrupt: " + err)
report()
