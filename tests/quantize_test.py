"""webml quantize on a real data set: the size of the file, the accuracy lost, what is refused, and the same classes in
ONNX Runtime. usage: quantize_test.py WEBML"""
import json
import os
import shutil
import struct
import subprocess
import sys

import numpy as np

from harness import check, path, report, run, skip, write

webml = sys.argv[1]
fashion = "/usr/share/datasets/fashion-mnist"
npm = os.path.join(os.environ.get("WEBML_TEST_CACHE", "/tmp/webml-test-cache"), "npm")


def layer(kind, **options):
    return {"type": kind, "layer": options}


def train(name, model, data, *more):
    weights = path(name + ".safetensors")
    description = write(name + ".json", json.dumps(model))
    code, _, err = run(webml, "train", description, "--data", data, "--out", weights, *more)
    check(code == 0, f"{name}: {err}")
    return weights


def quantize(weights, data, *more):
    out = weights.replace(".safetensors", ".int8.safetensors")
    code, text, err = run(webml, "quantize", weights, "--data", data, "-o", out, "--json", *more)
    check(code == 0, f"quantize {more}: {err}")
    return out, json.loads(text) if code == 0 else None


def accuracy(weights, precision):
    code, out, err = run(webml, "evaluate", weights, "--data", fashion, "--precision", precision, "--json")
    check(code == 0, f"evaluate in {precision}: {err}")
    return json.loads(out)["metrics"]["accuracy"]


def header_of(weights):
    with open(weights, "rb") as f:
        length = struct.unpack("<Q", f.read(8))[0]
        return json.loads(f.read(length)), f.read()


pictures = {"size": [28, 28, 1], "optimizer": "adam", "loss": "categorical_crossentropy", "metrics": ["accuracy"],
            "layers": [layer("Conv2D", filters=16, kernel_size=3, activation="relu"), layer("MaxPooling2D"),
                       layer("Conv2D", filters=32, kernel_size=3, activation="relu"), layer("MaxPooling2D"),
                       layer("Flatten"), layer("Dense", units=128, activation="relu"),
                       layer("Dense", units=10, activation="softmax")]}
exact = train("pictures", pictures, fashion, "--epochs", "1", "--batch-size", "64")

# What is written.
small, about = quantize(exact, fashion)
check(os.path.getsize(small) < 0.27 * os.path.getsize(exact), f"{os.path.getsize(small)} bytes")
check(about["bytes_after"] == os.path.getsize(small), "bytes_after")
header, data = header_of(small)
kernels = {n: t for n, t in header.items() if n.endswith("/kernel")}
check(len(kernels) == 4 and all(t["dtype"] == "I8" for t in kernels.values()), f"{kernels}")
begin, end = kernels["dense/kernel"]["data_offsets"]
steps = np.frombuffer(data[begin:end], np.int8).reshape(kernels["dense/kernel"]["shape"])
check(np.abs(steps).max(axis=0).min() == 127 and steps.min() >= -127, "each filter uses its whole range")
scale = np.frombuffer(data[slice(*header["dense/kernel_scale"]["data_offsets"])], np.float32)
original, floats = header_of(exact)
begin, end = original["dense/kernel"]["data_offsets"]
kernel = np.frombuffer(floats[begin:end], np.float32).reshape(steps.shape)
check(np.abs(steps * scale - kernel).max() <= 0.5001 * scale.max(), "within half a step of the weights")
check(json.loads(header["__metadata__"]["quantization"])["layers"]["conv2d"]["input_scale"] * 255 > 0.99999,
      "pictures are bytes")

# What is lost.
whole = accuracy(exact, "float32")
for precision in ("auto", "float32"):
    check(whole - accuracy(small, precision) < 0.003, f"more than 0.3 points are lost in {precision}")
check(abs(about["after"]["metrics"]["accuracy"] - accuracy(small, "auto")) < 1e-9, "the report's accuracy")
check(all(0 < l["error"] < 0.05 for l in about["layers"]), f"{about['layers']}")
for how in ("minmax", "mse"):
    quantize(exact, fashion, "--calibration", how)
    check(whole - accuracy(small, "auto") < 0.003, f"more than 0.3 points are lost with {how}")

# Layers that stay.
_, about = quantize(exact, fashion, "--keep", "conv2d,dense_1")
kept = [l["name"] for l in about["layers"] if not l["quantized"]]
check(kept == ["conv2d", "dense_1"], f"kept {kept}")
_, about = quantize(exact, fashion, "--percentile", "51", "--max-drop", "0.01")
check(any(not l["quantized"] for l in about["layers"]), "layers that cost too much go back to float32")

# What is refused.
quantize(exact, fashion)
for words, sentence in (
        (["quantize", small, "--data", fashion, "-o", path("x")], "is quantized already"),
        (["quantize", exact, "--data", fashion, "-o", path("x"), "--keep", "convx"], 'no layer named "convx"'),
        (["quantize", exact, "--data", fashion, "-o", path("x"), "--keep", "conv2d,conv2d_1,dense,dense_1"],
         "no layer can be quantized"),
        (["quantize", exact, "--data", fashion, "-o", exact], "write to another file"),
        (["evaluate", exact, "--data", fashion, "--precision", "int8"], "is not quantized")):
    code, _, err = run(webml, *words)
    check(code == 1 and sentence in err, f"{words[0]}: {err}")
for words in (["quantize", exact, "-o", path("x")],
              ["quantize", exact, "--data", fashion, "-o", "x", "--calibration", "no"],
              ["evaluate", exact, "--data", fashion, "--precision", "int4"]):
    code, _, err = run(webml, *words)
    check(code == 2, f"{words}: {code} {err}")
header, data = header_of(small)


def damage(text=None, **renamed):
    """The file with another quantization, or with tensors under other names."""
    changed = {renamed.get(n.replace("/", "_"), n): t for n, t in json.loads(json.dumps(header)).items()}
    changed["__metadata__"].pop("quantization")
    changed["__metadata__"].update({"quantization": text} if text else {})
    head = json.dumps(changed).encode()
    return write("broken.safetensors", struct.pack("<Q", len(head)) + head + data)


settings = header["__metadata__"]["quantization"]
for words, sentence in (
        ({}, "int8 without a quantization"),
        ({"text": settings, "dense_kernel_scale": "dense/kernel_scales"}, "scales are missing"),
        ({"text": '{"layers":{"conv2d":{"input_scale":-1}}}'}, "input_scale"),
        ({"text": '{"layers":{"flatten":{"input_scale":1}}}'}, "no int8 kernel")):
    code, _, err = run(webml, "evaluate", damage(**words), "--data", fashion)
    check(code == 1 and sentence in err, f"a damaged file: {err}")

# A table with values below zero, and numbers as outputs.
rng = np.random.default_rng(1)
rows = rng.normal(size=(600, 6))
rows[:, 5] = np.tanh(rows[:, 0]) + 0.5 * rows[:, 1] * rows[:, 2]
cells = [",".join(f"{v:.5f}" for v in row) for row in rows]
table = write("t.csv", "a,b,c,d,e,y\n" + "\n".join(cells) + "\n")
numbers = {"size": [None], "dynamic": True, "optimizer": "adam", "loss": "mse",
           "layers": [layer("Dense", units=64, activation="tanh"), layer("Dense", units=32, activation="relu"),
                      layer("Dense", units=None)]}
weights = train("numbers", numbers, table, "--epochs", "30", "--validation-split", "0.2")
_, about = quantize(weights, table, "--validation-split", "0.2")
check(about["after"]["loss"] <= 1.03 * about["before"]["loss"], f"{about['before']['loss']}, {about['after']['loss']}")

# The same classes in ONNX Runtime.
write("peer.cjs", """
const [npm, model, input, rows] = process.argv.slice(2);
const ort = require('module').createRequire(npm + '/x.js')('onnxruntime-node');
const pixels = new Uint8Array(require('fs').readFileSync(input));
(async () => {
  const session = await ort.InferenceSession.create(model);
  const out = await session.run({ input: new ort.Tensor('uint8', pixels, [Number(rows), 28, 28, 1]) });
  console.log('ANSWER' + JSON.stringify(Array.from(out.output.data)));
})();
""")
if not shutil.which("node") or not os.path.isdir(os.path.join(npm, "node_modules", "onnxruntime-node")):
    skip("ONNX Runtime", "onnxruntime-node is not installed (the test of exports does that)")
else:
    ROWS = 500
    import gzip
    with gzip.open(os.path.join(fashion, "t10k-images-idx3-ubyte.gz")) as f:
        images = f.read()[16:16 + ROWS * 784]
    with gzip.open(os.path.join(fashion, "t10k-labels-idx1-ubyte.gz")) as f:
        labels = np.frombuffer(f.read()[8:8 + ROWS], np.uint8)
    write("pixels.bin", images)
    code, _, err = run(webml, "export", small, "--format", "onnx", "-o", path("small.onnx"))
    check(code == 0 and os.path.getsize(path("small.onnx")) < 0.3 * os.path.getsize(exact), f"export: {err}")
    p = subprocess.run(["node", path("peer.cjs"), npm, path("small.onnx"), path("pixels.bin"), str(ROWS)],
                       capture_output=True, text=True, timeout=120)
    check(p.returncode == 0, f"ONNX Runtime: {p.stderr[-400:]}")
    theirs = np.array(json.loads(p.stdout.split("ANSWER")[1])).reshape(ROWS, 10).argmax(axis=1)
    subset = path("subset")
    os.makedirs(subset)
    with open(os.path.join(subset, "t10k-images-idx3-ubyte"), "wb") as f:
        f.write(struct.pack(">IIII", 2051, ROWS, 28, 28) + images)
    with open(os.path.join(subset, "t10k-labels-idx1-ubyte"), "wb") as f:
        f.write(struct.pack(">II", 2049, ROWS) + labels.tobytes())
    for kind in ("images-idx3", "labels-idx1"):
        shutil.copy(os.path.join(subset, f"t10k-{kind}-ubyte"), os.path.join(subset, f"train-{kind}-ubyte"))
    code, out, err = run(webml, "evaluate", small, "--data", subset, "--json")
    check(code == 0, err)
    ours = json.loads(out)
    same = (theirs == labels).mean()
    right = sum(ours["confusion"][i][i] for i in range(10)) / ROWS
    check(abs(same - right) <= 1 / ROWS, f"ONNX Runtime is right on {same}, webml on {right}")
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (labels, theirs), 1)
    moved = np.abs(confusion - np.array(ours["confusion"])).sum() // 2
    check(moved <= 2, f"{moved} of {ROWS} classes differ from ONNX Runtime's")
report()
