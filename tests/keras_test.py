"""Documents of Keras and TensorFlow.js. Those in tests/data/keras are in the forms of Keras 2.15 and 3; those of
TensorFlow.js are written by itself, and with its weights it predicts what `webml predict` does."""
import ctypes
import json
import os
import shutil
import struct
import sys

import numpy as np
from PIL import Image

from harness import check, path, report, root, run, sanitized, skip, write

webml, library = sys.argv[1:3]
library = None if sanitized(webml) else ctypes.CDLL(library)
if library:
    library.webml_free.argtypes = library.webml_model_destroy.argtypes = [ctypes.c_void_p]
npm = os.path.join(os.environ.get("WEBML_TEST_CACHE", "/tmp/webml-test-cache"), "npm")


def document(name):
    return json.load(open(os.path.join(root, "tests/data/keras", name + ".json")))


def summary(what, description):
    code, out, err = run(webml, "summary", description, "--json")
    check(code == 0, f"{what}: {err}")
    return json.loads(out) if code == 0 else {"layers": [], "parameters": -1, "trainable": -1}


def names(s):
    return [l["name"] for l in s["layers"]]


# ---- documents in Keras's forms ----

dense3 = (5 + 4) * 3 + 3
counts = {
    "keras2_list": (27 + 28 + 8 + 5, 0),  # the layers stand right in "config"
    "keras2_sequential": (80 + 1168 + 64 + 23050, -32),
    "keras3_sequential": (80 + 1168 + 64 + 23050, -32),
    "keras3_residual": (162 + 24 + 330 + 28, -12),
    "keras2_shared": (42 + 15 + 45, 0),
    "keras3_two_outputs": (80 + 10 + dense3, 0),
    "keras3_nested": (112 + 16 + 10, -128),
}
summaries = {}
for name, (parameters, frozen) in counts.items():
    s = summaries[name] = summary(name, os.path.join(root, "tests/data/keras", name + ".json"))
    got = s["parameters"], s["trainable"]
    check(got == (parameters, parameters + frozen), f"{name}: parameters {got}")
    d = document(name)
    bare = d["config"] if isinstance(d["config"], dict) else {"layers": d["config"]}
    for around in ({"modelTopology": d}, {"config": d}, {"model": d}, bare,
                   {"format": "layers-model", "modelTopology": {"keras_version": "2.15.0", "model_config": d}}):
        again = summary(name, write("again.json", json.dumps(around)))
        check(again["layers"] == s["layers"], f"{name} inside {list(around)}: {names(again)}")

first = summaries["keras2_sequential"]
types = [l["type"] for l in first["layers"]]
check(types[0] == "Conv2D" and "Rescaling" not in types, f"pictures are scaled once: {types}")
check(first["layers"] == summaries["keras3_sequential"]["layers"], "Keras 2 and Keras 3 write the same model")
order = ["stem", "stem_bn", "stem_relu", "conv", "add", "dropout", "global_average_pooling2d", "scores"]
check(names(summaries["keras3_residual"]) == order, f"the order of computation: {names(summaries['keras3_residual'])}")
nested = summaries["keras3_nested"]
wanted = ["augmentation.random_flip", "base.rescaling", "base.block.conv", "base.block.bn", "pool", "out"]
check(names(nested) == wanted, f"models inside: {names(nested)}")
shared = summaries["keras2_shared"]
ends = list(shared["inputs"]), list(shared["outputs"])
check(ends == (["left", "right"], ["price", "kind"]), f"inputs and outputs: {ends}")
check(names(shared)[:2] == ["shared", "shared.2"] and shared["layers"][1]["inputs"] == ["right"],
      f"a shared layer: {names(shared)}")

# ---- TensorFlow.js's own ----

if not shutil.which("node") or not shutil.which("npm"):
    skip("TensorFlow.js", "node and npm are not installed")
    report()
if not os.path.isdir(os.path.join(npm, "node_modules", "@tensorflow")):
    os.makedirs(npm, exist_ok=True)
    code, out, err = run("npm", "install", "--prefix", npm, "--ignore-scripts", "--no-audit", "--no-fund", "--silent",
                         "@tensorflow/tfjs@4", "onnxruntime-node@1")
    if code != 0:
        skip("TensorFlow.js", "npm cannot install it: " + err.strip()[-200:].replace("\n", " "))
        report()

write("peer.cjs", """
const [npm, folder] = process.argv.slice(2);
const tf = require('module').createRequire(npm + '/x.js')('@tensorflow/tfjs');
const fs = require('fs');
const L = tf.layers;
let seed = 7;
const random = () => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed / 2147483648 - 0.5; };
const table = n => tf.input({ shape: [n] });
const picture = () => tf.input({ shape: [12, 10, 3] });
const head = (x, n) => L.dense({ units: n, activation: 'softmax' }).apply(x);

const models = {
  chain: () => tf.sequential({ name: 'chain', layers: [
    L.dense({ units: 7, inputShape: [4], activation: 'relu',
              kernelRegularizer: tf.regularizers.l1l2({ l1: 0.01, l2: 0.02 }) }),
    L.leakyReLU({ alpha: 0.2 }), L.batchNormalization({ scale: false }), L.dropout({ rate: 0.4 }),
    L.activation({ activation: 'tanh' }), L.dense({ units: 2, useBias: false }) ] }),
  pictures: () => tf.sequential({ layers: [
    L.conv2d({ inputShape: [12, 10, 3], filters: 4, kernelSize: 3, activation: 'relu', padding: 'same' }),
    L.batchNormalization(), L.maxPooling2d({ poolSize: 2 }),
    L.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 2, activation: 'elu' }),
    L.separableConv2d({ filters: 5, kernelSize: 2, padding: 'same' }), L.averagePooling2d({ poolSize: 2, padding: 'same' }),
    L.flatten(), L.dense({ units: 3, activation: 'softmax' }) ] }),
  residual: () => {
    const x = picture();
    const a = L.conv2d({ filters: 6, kernelSize: 3, padding: 'same', useBias: false }).apply(x);
    const b = L.reLU({ maxValue: 6 }).apply(L.batchNormalization().apply(a));
    const c = L.conv2d({ filters: 6, kernelSize: 1, activation: 'sigmoid' }).apply(b);
    const d = L.add().apply([b, c]), e = L.multiply().apply([d, a]);
    const f = L.conv2dTranspose({ filters: 3, kernelSize: 2, strides: 2 }).apply(L.concatenate().apply([e, x]));
    const g = L.cropping2D({ cropping: [[1, 2], [0, 3]] }).apply(L.zeroPadding2d({ padding: [2, 1] }).apply(f));
    return tf.model({ inputs: x, outputs: head(L.globalAveragePooling2d({}).apply(g), 4) });
  },
  shared: () => {
    const x = table(5), y = table(5), common = L.dense({ units: 6, activation: 'selu', name: 'common' });
    const a = common.apply(x), b = common.apply(y);
    const both = L.concatenate().apply([L.maximum().apply([a, b]), L.average().apply([a, b])]);
    return tf.model({ inputs: [x, y], outputs: [L.dense({ units: 1, name: 'value' }).apply(both), head(both, 3)] });
  },
  nested: () => {
    const x = table(3), y = table(3);
    const inner = tf.sequential({ name: 'inner', layers: [
      L.dense({ units: 4, inputShape: [3], activation: 'softplus' }), L.dense({ units: 4 }) ] });
    const p = table(4), q = table(4);
    const joined = L.dot({ axes: -1, normalize: true }).apply([p, q]);
    const compare = tf.model({ name: 'compare', inputs: [p, q], outputs: [joined, L.add().apply([p, q])] });
    const [near, sum] = compare.apply([inner.apply(x), inner.apply(y)]);
    return tf.model({ inputs: [x, y], outputs: L.dense({ units: 2 }).apply(L.concatenate().apply([near, sum])) });
  },
  shapes: () => {
    const x = table(12);
    const a = L.permute({ dims: [2, 1, 3] }).apply(L.reshape({ targetShape: [2, 3, 2] }).apply(x));
    const b = L.upSampling2d({ size: [2, 2] }).apply(L.prelu({ sharedAxes: [1, 2] }).apply(a));
    const c = L.layerNormalization().apply(L.flatten().apply(b));
    return tf.model({ inputs: x, outputs: L.dense({ units: 3, activation: 'softsign' }).apply(c) });
  },
  indices: () => {
    const x = tf.input({ shape: [3], dtype: 'int32' });
    const e = L.flatten().apply(L.embedding({ inputDim: 9, outputDim: 4 }).apply(x));
    return tf.model({ inputs: x, outputs: L.dense({ units: 2 }).apply(e) });
  },
};

(async () => {
  const answers = {};
  for (const [name, make] of Object.entries(models)) {
    const net = make();
    net.setWeights(net.getWeights().map((w, i) => {
      const variance = net.weights[i].originalName.endsWith('variance');
      return tf.tensor(Array.from({ length: w.size }, () => variance ? random() + 1 : random()), w.shape);
    }));
    const inputs = net.inputs.map(t => {
      const shape = [1, ...t.shape.slice(1)], n = shape.reduce((a, b) => a * b);
      const value = shape.length === 4 ? () => Math.round((random() + 0.5) * 255) / 255
                  : t.dtype === 'int32' ? () => Math.floor((random() + 0.5) * 9)
                  : () => Math.round(random() * 1000) / 100;
      return tf.tensor(Array.from({ length: n }, value), shape, t.dtype);
    });
    net.compile({ optimizer: tf.train.adam(0.003), loss: net.outputs.map(() => 'meanSquaredError'), metrics: ['mae'] });
    let saved;
    await net.save({ save: async a => { saved = a; return {}; } }, { includeOptimizer: true });
    const out = [].concat(net.predict(inputs.length > 1 ? inputs : inputs[0]));
    answers[name] = {
      topology: net.toJSON(null, false),
      saved: { format: saved.format, modelTopology: saved.modelTopology, trainingConfig: saved.trainingConfig },
      parameters: net.countParams(), inputs: inputs.map(t => Array.from(t.dataSync())), shape: net.inputs[0].shape,
      outputs: out.map(t => Array.from(t.dataSync())),
      weights: net.weights.map((w, i) => ({ name: w.originalName, shape: w.shape,
        values: Array.from(net.getWeights()[i].dataSync()) })),
    };
  }
  fs.writeFileSync(folder + '/answers.json', JSON.stringify(answers));
})();
""")
code, out, err = run("node", path("peer.cjs"), npm, path("."))
check(code == 0, f"TensorFlow.js makes the models: {err[-600:]}")
answers = json.load(open(path("answers.json"))) if code == 0 else {}


def normal_form(name, description):
    """The description as the library writes it."""
    model, text, source = ctypes.c_void_p(), ctypes.c_void_p(), json.dumps(description).encode()
    status = library.webml_model_parse(source, ctypes.c_size_t(len(source)), ctypes.byref(model))
    if status == 0:
        status = library.webml_model_to_json(model, ctypes.byref(text))
    check(status == 0, f"{name}: status {status}")
    form = json.loads(ctypes.string_at(text)) if status == 0 else {}
    library.webml_free(text)
    library.webml_model_destroy(model)
    return form


def with_columns(name, description, answer):
    """Several inputs and outputs have to say their columns, which no document of theirs does."""
    if len(answer["inputs"]) == 1 and len(answer["outputs"]) == 1:
        return description
    form = normal_form(name, description)
    for key, values in (("inputs", answer["inputs"]), ("outputs", answer["outputs"])):
        at = 0 if key == "inputs" else sum(map(len, answer["inputs"]))
        for end, n in zip(form.get(key, {}).values(), map(len, values)):
            end["columns"], at = list(range(at, at + n)), at + n
        if key not in form:
            form["outputArray"] = list(range(at, at + len(values[0])))
    return form


def weights_file(name, description, answer, layers):
    """A weights file with this description and TensorFlow.js's weights by our names."""
    columns = lambda letter, n: [{"column": f"{letter}{i}", "type": "Float", "encoding": "as_is"} for i in range(n)]
    picture = len(answer["shape"]) == 4
    classes = [str(i) for i in range(len(answer["outputs"][0]))]
    pipeline = {"format": "images", "classes": classes} if picture else {
        "format": "csvdata", "inputs": columns("x", sum(map(len, answer["inputs"]))),
        "outputs": columns("y", sum(map(len, answer["outputs"])))}
    about = {"model": json.dumps(description), "pipeline": json.dumps(pipeline), "record": "{}"}
    meta, at, data = {"__metadata__": about}, 0, b""
    for w in answer["weights"]:
        layer, role = w["name"].rsplit("/", 1)
        role = "kernel" if role == "depthwise_kernel" and "DepthwiseConv2D" in layer else role  # our name of it
        ours = [l for l in layers if l == layer or l.endswith("." + layer)]
        check(len(ours) == 1, f"{name}: {layer} is one of {layers}")
        values = np.array(w["values"], np.float32).tobytes()
        tensor = f"{(ours or [layer])[0]}/{role}"
        meta[tensor] = {"dtype": "F32", "shape": w["shape"], "data_offsets": [at, at + len(values)]}
        at, data = at + len(values), data + values
    text = json.dumps(meta).encode()
    return write(name + ".safetensors", struct.pack("<Q", len(text)) + text + data)


def predicted(name, weights, answer):
    if len(answer["shape"]) == 4:
        pixels = np.round(np.array(answer["inputs"][0]) * 255).astype(np.uint8).reshape(answer["shape"][1:])
        Image.fromarray(pixels).save(path(name + ".png"))
        code, out, err = run(webml, "predict", weights, path(name + ".png"), "--json")
        check(code == 0, f"{name}: {err}")
        return [c["probability"] for c in sorted(json.loads(out)["top"], key=lambda c: c["index"])] if code == 0 else []
    row = ",".join(f"x{i}={v:.9g}" for i, v in enumerate(sum(answer["inputs"], [])))
    code, out, err = run(webml, "predict", weights, row, "--json")
    check(code == 0, f"{name}: {err}")
    answers = json.loads(out)["outputs"] if code == 0 else {}
    return [answers[f"y{i}"] for i in range(len(answers))]


for name, answer in answers.items():
    turned = json.loads(json.dumps(answer["topology"]))
    if name != "chain" and name != "pictures":
        turned["config"]["layers"].reverse()
    for form, description in (("topology", answer["topology"]), ("saved", answer["saved"]), ("turned", turned)):
        s = summary(f"{name} as {form}", write("topology.json", json.dumps(description)))
        got, wanted = s["parameters"], answer["parameters"]
        check(got == wanted, f"{name} as {form}: {got} parameters, not {wanted}")
        theirs = np.array(sum(answer["outputs"], []))
        if not library and len(answer["inputs"]) + len(answer["outputs"]) > 2:
            skip(f"{name} as {form}", "the library cannot be loaded with a sanitizer")
            continue
        trained = [l["name"] for l in s["layers"] if l["parameters"]]
        weights = weights_file(name, with_columns(name, description, answer), answer, trained)
        ours = np.array(predicted(name, weights, answer))
        same = ours.shape == theirs.shape and np.abs(ours - theirs).max() < 1e-4
        check(same, f"{name} as {form}: {ours} against {theirs}")
    optimizer = summary(name, write("saved.json", json.dumps(answer["saved"])))["optimizer"]
    check(optimizer["learning_rate"] == 0.00300000003, f"{name}: the optimizer of its training: {optimizer}")
check(len(answers) >= 5, f"TensorFlow.js made {len(answers)} models")
report()
