"""Exports against ONNX Runtime and TensorFlow.js: the same predictions as `webml predict`. Installs
both from npm outside the source tree; SKIP with the reason where that does not work."""
import json
import os
import shutil
import subprocess
import sys

import numpy as np
from PIL import Image

from harness import check, path, report, root, run, skip, write

webml = sys.argv[1]
npm = os.path.join(os.environ.get("WEBML_TEST_CACHE", "/tmp/webml-test-cache"), "npm")
if not shutil.which("node") or not shutil.which("npm"):
    skip("exports", "node and npm are not installed")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(77)
if not os.path.isdir(os.path.join(npm, "node_modules", "onnxruntime-node")):
    os.makedirs(npm, exist_ok=True)
    p = subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "@tensorflow/tfjs@4", "onnxruntime-node@1"], cwd=npm, capture_output=True, text=True)
    if p.returncode != 0:
        skip("exports", "npm cannot install the peers: " + p.stderr.strip()[-200:].replace("\n", " "))
        print("0 passed, 0 failed, 1 skipped")
        sys.exit(77)

write("peer.cjs", """
const [npm, kind, model, input, dims] = process.argv.slice(2);
const require2 = require('module').createRequire(npm + '/x.js');
const fs = require('fs');
const bytes = fs.readFileSync(input), shape = JSON.parse(dims);
(async () => {
  if (kind === 'onnx') {
    const ort = require2('onnxruntime-node');
    const session = await ort.InferenceSession.create(model);
    const image = shape.length === 4;
    const data = image ? new Uint8Array(bytes) : new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const out = await session.run({ input: new ort.Tensor(image ? 'uint8' : 'float32', data, shape) });
    console.log('ANSWER' + JSON.stringify(Array.from(out.output.data)));
  } else {
    const tf = require2('@tensorflow/tfjs');
    const json = JSON.parse(fs.readFileSync(model + '/model.json'));
    const weights = fs.readFileSync(model + '/model.weights.bin');
    const handler = tf.io.fromMemory({ modelTopology: json.modelTopology, weightSpecs: json.weightsManifest[0].weights, weightData: weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.length) });
    const net = await tf.loadLayersModel(handler);
    const image = shape.length === 4;
    const values = image ? Float32Array.from(bytes) : new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    console.log('ANSWER' + JSON.stringify(Array.from(net.predict(tf.tensor(values, shape)).dataSync())));
  }
})();
""")


def peer(kind, model, data, shape):
    write("input.bin", data)
    code, out, err = run("node", path("peer.cjs"), npm, kind, model, path("input.bin"), json.dumps(shape))
    lines = [l for l in out.split("\n") if l.startswith("ANSWER")]
    check(code == 0 and lines, f"{kind}: {err[-400:]}")
    return np.array(json.loads(lines[0][6:])) if lines else np.zeros(1)


rng = np.random.default_rng(3)
for c in ("one", "two", "three"):
    os.makedirs(path("img/" + c))
    for i in range(8):
        Image.fromarray(rng.integers(0, 255, (12, 10, 3), dtype=np.uint8)).save(path(f"img/{c}/{i}.png"))


def conv(filters, size, **more):
    return {"type": "Conv2D", "layer": {"filters": filters, "kernel_size": size, **more}}


nets = {
    "plain": [conv(6, 3, activation="relu"), {"type": "MaxPooling2D"}, conv(4, 2, padding="same", activation="selu"), {"type": "Flatten"}, {"type": "Dropout", "layer": {"rate": 0.3}},
              {"type": "Dense", "layer": {"units": 9, "activation": "gelu"}}],
    "norm": [conv(5, 3, use_bias=False, strides=2, padding="same"), {"type": "BatchNormalization", "layer": {"scale": False}}, conv(4, 3, dilation_rate=2, padding="same", activation="silu"),
             {"type": "MaxPooling2D", "layer": {"pool_size": 3, "strides": 2, "padding": "same"}}, {"type": "BatchNormalization"}, {"type": "Flatten"},
             {"type": "Dense", "layer": {"units": 7, "activation": "mish"}}, {"type": "BatchNormalization"}],
    "wide": [{"type": "Dense", "layer": {"units": 4, "activation": "softsign"}}, conv(4, 3, activation="softplus"), {"type": "Flatten"}],
}
for name, layers in nets.items():
    model = {"size": [12, 10, 3], "dynamic": True, "optimizer": "adam", "loss": None, "layers": layers + [{"type": "Dense", "layer": {"units": None, "activation": "softmax"}}]}
    weights = path(name + ".safetensors")
    code, out, err = run(webml, "train", write(name + ".json", json.dumps(model)), "--data", path("img"), "--epochs", "3", "--batch-size", "8", "--out", weights)
    check(code == 0, err)
    picture = path("img/two/3.png")
    code, out, err = run(webml, "predict", weights, picture, "--json")
    top = sorted(json.loads(out)["top"], key=lambda c: c["index"])
    ours = np.array([c["probability"] for c in top])
    for kind in ("onnx", "tfjs"):
        code, out, err = run(webml, "export", weights, "--format", kind, "-o", path(f"{name}.{kind}"))
        check(code == 0, f"{name} as {kind}: {err}")
        theirs = peer(kind, path(f"{name}.{kind}"), np.asarray(Image.open(picture)).tobytes(), [1, 12, 10, 3])
        check(theirs.shape == ours.shape and np.abs(theirs - ours).max() < 1e-5, f"{name} as {kind}: {theirs} against {ours}")

# A table: the network's part of the work, after the pipeline.
table = write("t.csv", "a,b,y\n" + "".join(f"{i % 7},{i % 5}.5,{i % 3 * 1.5}\n" for i in range(60)))
model = write("t.json", json.dumps({"size": [2], "optimizer": "adam", "loss": "mse", "layers": [{"type": "Dense", "layer": {"units": 5, "activation": "tanh"}}, {"type": "Dense", "layer": {"units": 1}}]}))
run(webml, "train", model, "--data", table, "--epochs", "2", "--out", path("t.safetensors"))
code, out, err = run(webml, "predict", path("t.safetensors"), "a=3,b=2.5", "--json")
value = json.loads(out)["outputs"]["y"]
for kind in ("onnx", "tfjs"):
    run(webml, "export", path("t.safetensors"), "--format", kind, "-o", path("t." + kind))
    head = open(path("t.safetensors"), "rb").read()
    meta = json.loads(head[8:8 + int.from_bytes(head[:8], "little")])["__metadata__"]
    pipeline = json.loads(meta["pipeline"])
    x = np.array([(v - c["mean"]) / c["scale"] for v, c in zip([3, 2.5], pipeline["inputs"])], np.float32)
    y = peer(kind, path("t." + kind), x.tobytes(), [1, 2])[0] * pipeline["outputs"][0]["scale"] + pipeline["outputs"][0]["mean"]
    check(abs(y - value) < 1e-5, f"table as {kind}: {y} against {value}")

code, out, err = run(webml, "export", path("plain.safetensors"), "--format", "pickle", "-o", path("x"))
check(code == 1 and "use onnx or tfjs" in err, err)
model = write("odd.json", json.dumps({"size": [2], "optimizer": "adam", "loss": "mse", "layers": [{"type": "Dense", "layer": {"units": 4, "activation": "sparsemax"}}, {"type": "Dense", "layer": {"units": 1}}]}))
run(webml, "train", model, "--data", table, "--epochs", "1", "--out", path("odd.safetensors"))
for kind in ("onnx", "tfjs"):
    code, out, err = run(webml, "export", path("odd.safetensors"), "--format", kind, "-o", path("odd." + kind))
    check(code == 1 and "sparsemax" in err and not os.path.exists(path("odd." + kind)), f"{kind} of sparsemax: {err}")
report()
