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
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent",
               "@tensorflow/tfjs@4", "onnxruntime-node@1"]
    p = subprocess.run(install, cwd=npm, capture_output=True, text=True)
    if p.returncode != 0:
        skip("exports", "npm cannot install the peers: " + p.stderr.strip()[-200:].replace("\n", " "))
        print("0 passed, 0 failed, 1 skipped")
        sys.exit(77)

write("peer.cjs", """
const [npm, kind, model, input, described] = process.argv.slice(2);
const require2 = require('module').createRequire(npm + '/x.js');
const fs = require('fs');
const types = { uint8: Uint8Array, float32: Float32Array, int32: Int32Array };
const bytes = fs.readFileSync(input);
let at = bytes.byteOffset;
const inputs = JSON.parse(described).map(({ name, type, shape }) => {
  const size = shape.reduce((a, b) => a * b) * types[type].BYTES_PER_ELEMENT;
  const data = new types[type](bytes.buffer.slice(at, at + size));
  at += size;
  return { name, type, shape, data };
});
const answer = (arrays) => console.log('ANSWER' + JSON.stringify(arrays.map((a) => Array.from(a))));
(async () => {
  if (kind === 'onnx') {
    const ort = require2('onnxruntime-node');
    const session = await ort.InferenceSession.create(model);
    const out = await session.run(Object.fromEntries(inputs.map((i) => [i.name, new ort.Tensor(i.type, i.data, i.shape)])));
    answer(session.outputNames.map((name) => out[name].data));
  } else {
    const tf = require2('@tensorflow/tfjs');
    const json = JSON.parse(fs.readFileSync(model + '/model.json'));
    const weights = fs.readFileSync(model + '/model.weights.bin');
    const net = await tf.loadLayersModel(tf.io.fromMemory({
      modelTopology: json.modelTopology, weightSpecs: json.weightsManifest[0].weights,
      weightData: weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.length) }));
    const tensors = inputs.map((i) => i.type === 'int32' ? tf.tensor(i.data, i.shape, 'int32') : tf.tensor(Float32Array.from(i.data), i.shape));
    answer([].concat(net.predict(tensors.length === 1 ? tensors[0] : tensors)).map((y) => y.dataSync()));
  }
})();
""")


def peer(kind, model, data, shape):
    """All outputs of a sample. shape: of the only input, or (name, type, shape) of each, whose bytes follow one another. The
    sample is computed twice in one batch, so that nothing that belongs to the batch goes unnoticed."""
    if isinstance(shape[0], int):
        shape = [("input", "uint8" if len(shape) == 4 else "float32", shape)]
    twice, at = b"", 0
    for _, kind_of, dims in shape:
        size = int(np.prod(dims)) * (1 if kind_of == "uint8" else 4)
        twice += 2 * data[at:at + size]
        at += size
    inputs = [{"name": n, "type": t, "shape": [2, *dims[1:]]} for n, t, dims in shape]
    write("input.bin", twice)
    code, out, err = run("node", path("peer.cjs"), npm, kind, model, path("input.bin"), json.dumps(inputs))
    lines = [l for l in out.split("\n") if l.startswith("ANSWER")]
    check(code == 0 and lines, f"{kind}: {err[-400:]}")
    outputs = [np.array(o).reshape(2, -1) for o in json.loads(lines[0][6:])] if lines else [np.zeros((2, 1))]
    check(all(np.abs(o[0] - o[1]).max() < 1e-6 for o in outputs), f"{kind}: both samples of a batch are the same: {outputs}")
    return np.concatenate([o[0] for o in outputs])


rng = np.random.default_rng(3)
for c in ("one", "two", "three"):
    os.makedirs(path("img/" + c))
    for i in range(8):
        Image.fromarray(rng.integers(0, 255, (12, 10, 3), dtype=np.uint8)).save(path(f"img/{c}/{i}.png"))


def layer(kind, **options):
    return {"type": kind, "layer": options}


def conv(filters, size, **more):
    return layer("Conv2D", filters=filters, kernel_size=size, **more)


def dense(units, **more):
    return layer("Dense", units=units, **more)


def wired(inputs, kind, **options):
    return layer(kind, **options) | {"inputs": inputs}


def train(name, model, data, *more):
    weights = path(name + ".safetensors")
    description = write(name + ".json", json.dumps({"optimizer": "adam", **model}))
    code, out, err = run(webml, "train", description, "--data", data, "--out", weights, *more)
    check(code == 0, f"{name}: {err}")
    return weights


def pipeline_of(weights):
    head = open(weights, "rb").read()
    return json.loads(json.loads(head[8:8 + int.from_bytes(head[:8], "little")])["__metadata__"]["pipeline"])


def compare(name, weights, ours, data, shape, kinds=("onnx", "tfjs")):
    """The exports of the weights give our outputs for this input."""
    for kind in kinds:
        code, out, err = run(webml, "export", weights, "--format", kind, "-o", path(f"{name}.{kind}"))
        check(code == 0, f"{name} as {kind}: {err}")
        theirs = peer(kind, path(f"{name}.{kind}"), data, shape)
        same = theirs.shape == ours.shape and np.abs(theirs - ours).max() < 1e-5
        check(same, f"{name} as {kind}: {theirs} against {ours}")


nets = {
    "channels": [layer("DepthwiseConv2D", kernel_size=3, depth_multiplier=2, strides=2, padding="same",
                       activation="relu"),
                 layer("SeparableConv2D", filters=5, kernel_size=[3, 2], depth_multiplier=2, padding="same"),
                 layer("Conv2DTranspose", filters=4, kernel_size=3, strides=2, padding="same", activation="tanh"),
                 layer("AveragePooling2D", pool_size=3, strides=2, padding="same"), layer("GlobalAveragePooling2D")],
    "borders": [layer("ZeroPadding2D", padding=[[1, 2], [0, 3]]), conv(4, 3), layer("UpSampling2D", size=[2, 3]),
                layer("Cropping2D", cropping=[[3, 1], [2, 5]]), layer("Rescaling", scale=-2, offset=0.5),
                layer("Conv2DTranspose", filters=3, kernel_size=[2, 4], strides=[3, 2], use_bias=False),
                layer("SeparableConv2D", filters=4, kernel_size=2, dilation_rate=2, use_bias=False),
                layer("GlobalMaxPooling2D")],
    "samples": [layer("RandomFlip"), layer("RandomRotation", factor=0.1), conv(6, 3), layer("LayerNormalization"),
                layer("AveragePooling2D"), layer("LayerNormalization", axis=[1, 2, 3], epsilon=0.01),
                layer("Flatten"), dense(5), layer("LayerNormalization", scale=False)],
    "plain": [conv(6, 3, activation="relu"), layer("MaxPooling2D"),
              conv(4, 2, padding="same", activation="selu"), layer("Flatten"), layer("Dropout", rate=0.3),
              dense(9, activation="gelu"), layer("Reshape", target_shape=[3, 3]),
              layer("AveragePooling1D", strides=1, padding="same"), layer("Flatten")],
    "norm": [conv(5, 3, use_bias=False, strides=2, padding="same"), layer("BatchNormalization", scale=False),
             conv(4, 3, dilation_rate=2, padding="same", activation="silu"),
             layer("MaxPooling2D", pool_size=3, strides=2, padding="same"), layer("BatchNormalization"),
             layer("Flatten"), dense(7, activation="mish"), layer("BatchNormalization")],
    "wide": [dense(4, activation="softsign"), conv(4, 3, activation="softplus"), layer("Flatten")],
    # What TensorFlow.js does not have.
    "sizes": [layer("DepthwiseConv2D", kernel_size=2, dilation_rate=[2, 1]), layer("Resizing", height=17, width=7),
              layer("UpSampling2D", interpolation="bilinear"), conv(3, 3),
              layer("Resizing", height=7, width=9, interpolation="nearest"),
              layer("Conv2DTranspose", filters=4, kernel_size=3, strides=2, output_padding=[1, 0]),
              layer("GlobalAveragePooling2D", keepdims=True), layer("Flatten")],
    "groups": [layer("Normalization", mean=[0.4, 0.5, 0.6], variance=0.2), conv(6, 3),
               layer("GroupNormalization", groups=3), layer("MaxPooling2D"), layer("RMSNormalization"),
               layer("GroupNormalization", groups=-1, center=False), layer("UnitNormalization"), layer("Flatten"),
               layer("GroupNormalization", groups=2), dense(6), layer("Normalization", mean=0.1, variance=2)],
    # Names that TensorFlow.js refuses, or gives to layers of its own.
    "names": [conv(4, 3, name="rescaling"), layer("BatchNormalization", name="rescaling_input"),
              layer("MaxPooling2D", name="1:2 so groß"), layer("Flatten", name="[flat]"),
              dense(5, name="_hidden", activation="tanh")],
}
same = {"padding": "same", "use_bias": False}
nets |= {
    # A residual block, and joins of pictures along each axis, with vectors and with masks.
    "residual": [conv(4, 3, **same), layer("BatchNormalization"), layer("ReLU", name="stem"), conv(4, 3, **same),
                 layer("BatchNormalization", name="inner"), wired(["stem", "inner"], "Add", name="sum"),
                 layer("PReLU", shared_axes=[1, 2], alpha_initializer={"name": "constant", "value": 0.2}),
                 layer("SpatialDropout2D", rate=0.2, name="bent"),
                 wired("bent", "Conv2D", filters=1, kernel_size=1, activation="sigmoid", name="mask"),
                 wired(["mask", "bent", "stem"], "Multiply", name="masked"),
                 wired(["masked", "inner"], "Concatenate", name="deep"), wired(["deep", "deep"], "Concatenate", axis=1),
                 layer("MaxPooling2D", name="pooled"), wired("sum", "Flatten"), dense(8, name="row"),
                 wired(["row", "pooled"], "Average"), layer("Flatten")],
    "moved": [conv(3, 3), layer("Permute", dims=[3, 1, 2]), dense(4), layer("LeakyReLU", name="p"),
              wired(["p", "p"], "Concatenate", axis=2), layer("Reshape", target_shape=[-1, 6]), layer("PReLU"),
              layer("Softmax"), layer("Flatten")],
}
for name, layers in nets.items():
    layers = layers + [dense(None, activation="softmax")]
    model = {"name": "Büro: 3 [a]", "size": [12, 10, 3], "dynamic": True, "loss": None, "layers": layers}
    weights = train(name, model, path("img"), "--epochs", "3", "--batch-size", "8")
    picture = path("img/two/3.png")
    code, out, err = run(webml, "predict", weights, picture, "--json")
    check(code == 0, f"{name}: {err}")
    top = sorted(json.loads(out)["top"], key=lambda c: c["index"])
    ours = np.array([c["probability"] for c in top])
    kinds = ("onnx",) if name in ("sizes", "groups") else ("onnx", "tfjs")
    compare(name, weights, ours, np.asarray(Image.open(picture)).tobytes(), [1, 12, 10, 3], kinds)

# A table: the network's part of the work, after the pipeline.
table = write("t.csv", "a,b,y\n" + "".join(f"{i % 7},{i % 5}.5,{i % 3 * 1.5}\n" for i in range(60)))
long_name = "x" + "é" * 63  # 127 bytes
names = ["a b", "a:b", "a_b", "a_b_1", "a_b_input", "été", "_", "__proto__", "b[0]", "1.5-c", "a\\b\"c\"", long_name]
activations = ["linear", "relu", "relu6", "selu", "elu", "sigmoid", "tanh", "softplus", "softsign", "softmax",
               "log_softmax", "silu", "mish", "gelu"]
tables = {
    "t": [dense(5, activation="tanh")],
    "table_names": [dense(5, name=n, activation="tanh") for n in names],
    "activations": [dense(5, activation=a) for a in activations],
    "gelu_tanh": [dense(5, activation="gelu_tanh")],
    "joins": [dense(4, name="a"), wired("input", "Dense", units=4, name="b", activation="tanh"),
              wired(["a", "b", "a"], "Maximum", name="most"), wired(["a", "b"], "Minimum", name="least"),
              wired(["most", "least"], "Concatenate", name="both"), layer("RepeatVector", n=3), dense(5, name="m"),
              layer("ActivityRegularization", l2=0.01), layer("GaussianNoise", stddev=0.1), layer("ELU"),
              layer("GaussianDropout", rate=0.1), layer("AlphaDropout", rate=0.1, name="n"),
              wired(["m", "n"], "Dot", axes=[2, -1], normalize=True), layer("Reshape", target_shape=[9], name="r"),
              wired(["r", "r"], "Dot", axes=1), layer("Activation", activation="selu"), wired(["both", "activation"], "Multiply")],
    "used twice": [dense(4, name="tower", activation="tanh"), wired("tower", "Dense", units=2, name="narrow"),
                   {"use": "tower", "inputs": ["narrow"]}, wired(["tower", "tower_1"], "Add")],
    "onnx alone": [dense(6, name="a"), layer("ReLU", max_value=1.5, negative_slope=0.25, threshold=0.5, name="r"),
                   wired("a", "Dense", units=6, activation={"name": "relu", "max_value": -0.25, "negative_slope": 0.5}),
                   layer("ELU", alpha=0.5, name="e"), wired(["r", "e"], "Subtract")],
}
for name, layers in tables.items():
    weights = train(name, {"size": [2], "loss": "mse", "layers": layers + [dense(1)]}, table, "--epochs", "2")
    code, out, err = run(webml, "predict", weights, "a=3,b=2.5", "--json")
    pipeline = pipeline_of(weights)
    x = np.array([(v - c["mean"]) / c["scale"] for v, c in zip([3, 2.5], pipeline["inputs"])], np.float32)
    y = pipeline["outputs"][0]
    ours = np.array([(json.loads(out)["outputs"]["y"] - y["mean"]) / y["scale"]])
    compare(name, weights, ours, x.tobytes(), [1, 2], ("onnx",) if name in ("gelu_tanh", "onnx alone") else ("onnx", "tfjs"))

# Several inputs, of which one has whole numbers, and several outputs.
towns = write("towns.csv", "a,b,town,y,z\n" + "".join(
    f"{i % 7},{i % 5}.5,{('ulm', 'bonn', 'kiel')[i % 3]},{i % 3 * 1.5},{i % 7 - i % 3}\n" for i in range(80)))
ends = {"inputs": {"numbers": {"size": [None], "columns": [0, 1]}, "place": {"size": [None], "dtype": "int32", "columns": [2]}},
        "layers": [wired("place", "Embedding", input_dim=None, output_dim=3), layer("Flatten", name="flat"),
                   wired("numbers", "Dense", units=3, activation="tanh", name="row"), wired(["flat", "row"], "Add", name="both"),
                   wired("both", "Dense", units=None, name="y"), wired(["both", "flat"], "Concatenate"),
                   layer("Dense", units=None, name="z")],
        "outputs": {"first": {"layer": "y", "columns": [3]}, "second": {"layer": "z", "columns": [4]}}, "loss": "mse"}
weights = train("ends", ends, towns, "--epochs", "3")
code, out, err = run(webml, "predict", weights, "a=3,b=2.5,town=kiel", "--json")
pipeline, x = pipeline_of(weights), {"a": 3, "b": 2.5}
floats = np.array([(x[c["column"]] - c["mean"]) / c["scale"] for c in pipeline["inputs"][:2]], np.float32)
place = np.array([pipeline["inputs"][2]["values"].index("kiel")], np.int32)
ours = np.array([(json.loads(out)["outputs"][o["column"]] - o["mean"]) / o["scale"] for o in pipeline["outputs"]])
compare("ends", weights, ours, floats.tobytes() + place.tobytes(), [("numbers", "float32", [1, 2]), ("place", "int32", [1, 1])])

exported = json.load(open(path("table_names.tfjs/model.json")))
layers = exported["modelTopology"]["model_config"]["config"]["layers"]
exported = [l["config"]["name"] for l in layers][:len(names)]
check(len(set(exported)) == len(names), f"names twice: {exported}")
check(exported[:4] == ["a_b_2", "a_b_3", "a_b", "a_b_1"], f"names that can stay do: {exported}")
with open(path("table_names.onnx"), "rb") as f:
    data = f.read()
    check(f"{long_name}/kernel:".encode() in data, "ONNX: a name was cut")

for odd, what in ((layer("UpSampling2D", interpolation="bilinear"), "bilinear upsampling"),
                  (layer("GlobalMaxPooling2D", keepdims=True), "keepdims"),
                  (layer("GroupNormalization", groups=3), "layer like it"),
                  (layer("DepthwiseConv2D", kernel_size=2, dilation_rate=2), "dilated"),
                  (layer("Conv2DTranspose", filters=2, kernel_size=3, output_padding=0), "output_padding")):
    layers = [odd, layer("Flatten"), dense(None, activation="softmax")]
    weights = train("odd", {"size": [12, 10, 3], "dynamic": True, "loss": None, "layers": layers}, path("img"), "--epochs", "1")
    code, out, err = run(webml, "export", weights, "--format", "tfjs", "-o", path("odd.tfjs"))
    check(code == 1 and "TensorFlow.js has no" in err and what in err, f"{odd} as tfjs: {err}")
code, out, err = run(webml, "export", path("plain.safetensors"), "--format", "pickle", "-o", path("x"))
check(code == 1 and "use onnx or tfjs" in err, err)
for activation, kinds in (("sparsemax", ("onnx", "tfjs")), ("gelu_tanh", ("tfjs",))):
    layers = [dense(4, activation=activation, name="odd one"), dense(1)]
    weights = train("odd", {"size": [2], "loss": "mse", "layers": layers}, table, "--epochs", "1")
    for kind in kinds:
        code, out, err = run(webml, "export", weights, "--format", kind, "-o", path("odd." + kind))
        named = activation in err and 'layer "odd one"' in err
        check(code == 1 and named and not os.path.exists(path("odd." + kind)), f"{kind} of {activation}: {err}")
report()
