"""Ready-made networks: their parameters are the published ones, their structure that of an independent implementation, they
come in any size and can be trained. Blocks with choices. Learning that begins with another network's weights: frozen layers, a
new head."""
import json
import os
import sys

import numpy as np
from PIL import Image

from harness import check, path, report, run, write

webml = sys.argv[1]
rng = np.random.default_rng(5)


def model(name, *options, file=None):
    out = path((file or name) + ".json")
    code, text, err = run(webml, "model", name, *options, "--out", out)
    check(code == 0 and err == "", f"{name} {options}: {err}")
    return out


def tensors(file):
    data = open(file, "rb").read()
    n = 8 + int.from_bytes(data[:8], "little")
    head = json.loads(data[8:n])
    return {k: np.frombuffer(data[n + v["data_offsets"][0]:n + v["data_offsets"][1]], "<f4").reshape(v["shape"]) for k, v in head.items() if k != "__metadata__"}


def summary(file):
    code, text, err = run(webml, "summary", file, "--device", "cpu", "--json")
    check(code == 0, f"{file}: {err}")
    return json.loads(text) if code == 0 else {}


# ---- counts ----

# Keras applications' published numbers, of all parameters. EfficientNetB0 has 5,330,571 there: one more, the number of
# samples that its Normalization has seen.
KERAS = {"resnet50": 25_636_712, "mobilenet_v2": 3_538_984, "efficientnet_b0": 5_330_571 - 1, "vgg16": 138_357_544}
# torchvision's, which does not count moving statistics; of these there are two for each channel that is normalized.
TORCHVISION = {"resnet18": (11_689_512, 4_800), "resnet34": (21_797_672, 8_512)}

code, text, err = run(webml, "model", "--list", "--json")
networks = {n["name"]: n for n in json.loads(text)} if code == 0 else {}
check(set(networks) == {*KERAS, *TORCHVISION, "vgg_small", "cnn", "unet", "mlp", "residual_mlp"}, f"the list: {sorted(networks)} {err}")
code, text, err = run(webml, "model", "--list")
check(code == 0 and all(n in text for n in networks) and max(map(len, text.splitlines())) < 80, text)
for name, parameters in KERAS.items():
    s = summary(model(name, "--classes", "1000"))
    check(s.get("parameters") == parameters, f"{name}: {s.get('parameters')}")
for name, (trainable, channels) in TORCHVISION.items():
    s = summary(model(name, "--classes", "1000"))
    check(s.get("trainable") == trainable and s.get("parameters") == trainable + 2 * channels, f"{name}: {s.get('trainable')} {s.get('parameters')}")


def mobilenet_parameters(alpha):
    """By Keras's source, with the rule that rounds to multiples of 8."""
    def by_eight(v):
        n = max(8, int(v + 4) // 8 * 8)
        return n + 8 if n < 0.9 * v else n
    channels = by_eight(32 * alpha)
    count = 9 * 3 * channels + 4 * channels
    for out, repeats, widening in ((16, 1, 1), (24, 2, 6), (32, 3, 6), (64, 4, 6), (96, 3, 6), (160, 3, 6), (320, 1, 6)):
        for _ in range(repeats):
            wide, out_channels = channels * widening, by_eight(int(out * alpha))
            count += (channels * wide + 4 * wide) * (widening > 1) + 9 * wide + 4 * wide + wide * out_channels + 4 * out_channels
            channels = out_channels
    last = by_eight(1280 * alpha) if alpha > 1 else 1280
    return count + channels * last + 4 * last + last * 1000 + 1000


check(mobilenet_parameters(1.0) == KERAS["mobilenet_v2"], "the formula gives the published number")
for alpha in (0.35, 0.5, 0.75, 1.3, 1.4):
    s = summary(model("mobilenet_v2", "--classes", "1000", "--alpha", alpha))
    check(s.get("parameters") == mobilenet_parameters(alpha), f"MobileNetV2 of alpha {alpha}: {s.get('parameters')}, {mobilenet_parameters(alpha)}")
# Multiplications of convolutions and dense layers, in thousands of millions: of torchvision's documentation, but of resnet50
# that of Keras, which has its stride in the first convolution of a block (the paper's table 1: 3.8).
for name, published in {"resnet18": 1.81, "resnet34": 3.66, "resnet50": 3.86, "mobilenet_v2": 0.30, "efficientnet_b0": 0.39, "vgg16": 15.47}.items():
    s = summary(model(name, "--classes", "1000"))
    multiplications = sum(e["flops"] for e in s["layers"] if "Conv" in e["type"] or e["type"] == "Dense") / 2e9
    check(abs(multiplications - published) < 0.01, f"{name}: {multiplications}")


def unet_parameters(filters, depth, channels):
    """By the paper's figure 1, with two normalized 3x3 convolutions without bias on each level."""
    def pair(a, b):
        return 9 * a * b + 9 * b * b + 4 * b
    widths = [filters << i for i in range(depth + 1)]
    down = sum(pair(a, b) for a, b in zip([channels, *widths], widths))
    return down + sum(4 * 2 * w * w + w + pair(2 * w, w) for w in widths[:-1]) + filters + 1


for filters, depth, channels in ((64, 4, 3), (8, 2, 1)):
    s = summary(model("unet", "--size", f"64x32x{channels}", "--filters", filters, "--depth", depth))
    check(s.get("trainable") == unet_parameters(filters, depth, channels) and s["layers"][-1]["output_shape"] == [None, 64, 32, 1], f"U-Net: {s.get('trainable')}")

# ---- sizes and options ----

for name in networks:
    table = name.endswith("mlp")
    s = summary(model(name, "--size", "9" if table else "64x96x1", "--classes", "7"))
    check(s.get("input_shape") == ([None, 9] if table else [None, 64, 96, 1]) and s["layers"][-1]["output_shape"][-1] == 7, f"{name}: {s.get('input_shape')}")
    described = json.load(open(path(name + ".json")))
    check("blocks" in described and len(described["layers"]) < 40, f"{name} stays short: {len(described['layers'])} entries")
    code, text, err = run(webml, "check", path(name + ".json"), "--json")
    wrong = [e["text"] for e in json.loads(text)["errors"]]
    check(wrong == [] or (name == "unet" and len(wrong) == 1 and "must end in one row" in wrong[0]), f"{name}: {wrong}")
check(summary(model("mlp", "--size", "9", "--classes", "2", "--units", "10", "--depth", "3"))["parameters"] == 100 + 2 * 110 + 22, "units and depth")
check(summary(model("cnn", "--filters", "8", "--depth", "2", "--classes", "2"))["parameters"] < 10_000, "filters")
for options, words in ((["resnt50"], 'did you mean "resnet50"'), (["nothing_like_it"], "there is no network"), (["mlp", "--alpha", "2"], "mlp has no option alpha; it has size, classes, units and depth"),
                       (["cnn", "--size", "32x32"], "must be HEIGHTxWIDTHxCHANNELS"), (["cnn", "--size", "32x32x3x"], "must be"), (["mlp", "--size", "3x3x3"], "a number of features"),
                       (["resnet50", "--size", "16x64x3"], "32 and more pixels"), (["unet", "--size", "72x64x3"], "multiples of 16, not 72; 80 is"), (["cnn", "--depth", "9"], "depth 9 is out of range"),
                       (["cnn", "--filters", "512", "--depth", "8"], "filters: 8192 is out of range"), (["mobilenet_v2", "--alpha", "-1"], "alpha -1 is out of range")):
    code, text, err = run(webml, "model", *options)
    check(code == 1 and words in err and text == "", f"{options}: {err}")
for name, network in networks.items():
    for o in network["options"]:
        if "maximum" not in o:
            continue
        above = o["maximum"] + 1
        code, text, err = run(webml, "model", name, o["command_line"], above)
        check(code == 1 and "out of range" in err, f"{name} {o['name']} {above}: {err}")
        if o["default"] is not None:
            code, text, err = run(webml, "model", name, o["command_line"], o["default"])
            check(code == 0 and text == run(webml, "model", name)[1], f"{name}: {o['name']} is {o['default']} where it is not given: {err}")
code, text, err = run(webml, "model")
check(code == 2 and "--list" in err, err)

# ---- choices in blocks ----

WHOLE = [{"if": "$wide", "then": [{"type": "Dense", "layer": {"units": 5, "name": "a"}}, {"type": "Dense", "layer": {"units": {"if": "$two", "then": 2, "else": 3}, "name": "b"}}]},
         {"if": "$two", "then": {"type": "Dense", "layer": {"units": 4, "name": "c"}}, "else": {"type": "Dense", "layer": {"units": 6, "name": "c", "use_bias": {"if": True, "then": False}}}}]


def units(**options):
    d = {"size": [3], "optimizer": "sgd", "loss": "mse", "blocks": {"part": {"options": {"wide": True, "two": False}, "layers": WHOLE}},
         "layers": [{"type": "part", "layer": {"name": "p", **options}}]}
    code, text, err = run(webml, "summary", write("choice.json", json.dumps(d)), "--json", "--device", "cpu")
    return [(e["name"], e["output_shape"][-1], e["parameters"]) for e in json.loads(text)["layers"]] if code == 0 else err


check(units() == [("p.a", 5, 20), ("p.b", 3, 18), ("p.c", 6, 18)], f"else, and a list that is chosen: {units()}")
check(units(two=True) == [("p.a", 5, 20), ("p.b", 2, 12), ("p.c", 4, 12)], f"then: {units(two=True)}")
check(units(wide=False) == [("p.c", 6, 18)], f"without else nothing is there: {units(wide=False)}")
check("an option that is true or false" in units(wide=3), units(wide=3))

for blocks, words in (({"a": ["a"]}, "or in itself"), ({"a": ["b"], "b": ["a"]}, "or in itself"),
                      ({"abcdefghijklmno"[i]: ["abcdefghijklmno"[i + 1]] * 90 for i in range(14)} | {"o": []}, "")):
    d = {"size": [3], "optimizer": "sgd", "loss": "mse", "layers": [{"type": "a"}],
         "blocks": {k: {"layers": [{"type": t} for t in v] or [{"if": False, "then": {"type": "Flatten"}}]} for k, v in blocks.items()}}
    code, text, err = run(webml, "check", write("deep.json", json.dumps(d)), "--json")
    errors = [e["text"] for e in json.loads(text)["errors"]] if code in (0, 1) else [err]
    check(code == 1 and any((words or "more than 2048 times") in e for e in errors) and len(errors) < 4, f"blocks without end: {code} {errors}")

# ---- trained ----

data = path("pictures")
for part, n in (("training_data", 24), ("validation_data", 8)):
    for k, kind in enumerate(("dark", "light")):
        os.makedirs(f"{data}/{part}/{kind}")
        for i in range(n):
            Image.fromarray(rng.integers(0, 120, (32, 32, 3), np.uint8) + np.uint8(120 * k)).save(f"{data}/{part}/{kind}/{i}.png")
common = ["--data", data, "--progress", "json", "--device", "cpu", "--batch-size", "8", "--seed", "3"]


def train(file, out, *options, data_options=common):
    code, text, err = run(webml, "train", file, *data_options, "--out", path(out), *options)
    return code, [json.loads(line) for line in text.splitlines()], err


def last(events, key):
    return [e for e in events if e["event"] == "epoch"][-1][key]


cnn = model("cnn", "--filters", "8", "--depth", "2")
code, events, err = train(cnn, "cnn.safetensors", "--epochs", "6")
check(code == 0 and last(events, "val_accuracy") == 1.0, f"cnn learns, its classes left open: {err} {events[-1:]}")
for name in ("mobilenet_v2", "efficientnet_b0", "vgg_small"):
    code, events, err = train(model(name, "--size", "32x32x3"), name + ".safetensors", "--epochs", "1")
    check(code == 0 and np.isfinite(last(events, "loss")), f"{name} trains: {err}")
x = rng.normal(0, 1, (300, 4))
table = write("t.csv", "a,b,c,d,number,kind\n" + "".join(",".join(f"{v:.4f}" for v in r) + f",{r[0] - 2 * r[1]:.4f},{'high' if r[2] > r[3] else 'low'}\n" for r in x))
for name, column, metric in (("mlp", "number", "val_mean_absolute_error"), ("residual_mlp", "kind", "val_accuracy")):
    about = ["--data", table, "--inputs", "a,b,c,d", "--outputs", column, "--validation-split", "0.2", "--progress", "json", "--seed", "1", "--device", "cpu"]
    code, events, err = train(model(name), name + ".safetensors", "--epochs", "20", data_options=about)
    said = " ".join(e.get("text", "") for e in events)
    check(code == 0 and ("activation of" in said) == (column == "kind"), f"{name}: classes get their activation: {said} {err}")
    check(code == 0 and (last(events, metric) > 0.85 if column == "kind" else last(events, metric) < 0.4), f"{name} learns: {last(events, metric) if code == 0 else err}")

# ---- resnet18 by another implementation ----


def convolved(v, kernel, stride, padding):
    """v: [h, w, c], kernel: [kh, kw, c, filters]; torch's padding: zeros on all sides."""
    v = np.pad(v, ((padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(v, kernel.shape[:2], (0, 1))[::stride, ::stride]
    return np.einsum("hwcij,ijcf->hwf", windows, kernel)


def torchvision_resnet18(weights, pixels):
    """The forward pass as torchvision's source has it, in NumPy."""
    def conv(v, name, stride, padding):
        return convolved(v, weights[name + "/kernel"].astype(np.float64), stride, padding)

    def norm(v, name):
        mean, variance, gamma, beta = (weights[f"{name}/{p}"].astype(np.float64) for p in ("moving_mean", "moving_variance", "gamma", "beta"))
        return (v - mean) / np.sqrt(variance + 1e-5) * gamma + beta

    v = np.maximum(norm(conv(pixels / 255, "conv1", 2, 3), "bn1"), 0)
    v = np.pad(v, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    v = np.lib.stride_tricks.sliding_window_view(v, (3, 3), (0, 1))[::2, ::2].max((3, 4))
    for stage in range(1, 5):
        for block in range(2):
            at, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = np.maximum(norm(conv(v, at + ".conv1", stride, 1), at + ".bn1"), 0)
            y = norm(conv(y, at + ".conv2", 1, 1), at + ".bn2")
            v = np.maximum(y + (norm(conv(v, at + ".downsample.0", 2, 0), at + ".downsample.1") if stride == 2 else v), 0)
    z = v.mean((0, 1)) @ weights["fc/kernel"] + weights["fc/bias"]
    return np.exp(z - z.max()) / np.exp(z - z.max()).sum()


code, events, err = train(model("resnet18", "--size", "64x48x3"), "resnet18.safetensors", "--epochs", "1", "--learning-rate", "0.0001")
check(code == 0, f"resnet18 trains: {err}")
pixels = rng.integers(0, 256, (64, 48, 3), np.uint8)
Image.fromarray(pixels).save(path("any.png"))
code, text, err = run(webml, "predict", path("resnet18.safetensors"), path("any.png"), "--device", "cpu", "--json")
answer = json.loads(text) if code == 0 else {}
answer = answer[0] if isinstance(answer, list) else answer
ours = [t["probability"] for t in sorted(answer["top"], key=lambda t: t["index"])] if code == 0 else [0, 0]
theirs = torchvision_resnet18(tensors(path("resnet18.safetensors")), pixels)
check(np.abs(np.log(ours) - np.log(theirs)).max() < 1e-3, f"resnet18: {ours}, by torchvision's source {theirs} {err}")

# ---- frozen layers and a new head ----

first = tensors(path("cnn.safetensors"))
start = ["--weights", path("cnn.safetensors")]
head = {"classes/kernel", "classes/bias"}


def same(a, b):
    return {k for k in a if a[k].tobytes() == b[k].tobytes()}


code, events, err = train(cnn, "frozen.safetensors", *start, "--freeze", "layer?.*,conv1,bn1", "--new-head", "--epochs", "2", "--keep-last")
said = " ".join(e.get("text", "") for e in events)
frozen = tensors(path("frozen.safetensors")) if code == 0 else first
check(code == 0 and same(first, frozen) == set(first) - head, f"frozen weights and statistics keep their bits, the head does not: {set(first) - head - same(first, frozen)} {err}")
check(f"{len(first) - 2} of {len(first)} tensors match; the 2 of the new head do not" in said, said)
code, events, err = train(cnn, "head.safetensors", *start, "--new-head", "--learning-rate", "1e-30", "--epochs", "1", "--keep-last")
anew = tensors(path("head.safetensors")) if code == 0 else first
moving = {k for k in first if "moving" in k}
check(code == 0 and set(first) - same(first, anew) - moving == head, f"a new head alone is other: {set(first) - same(first, anew) - moving} {err}")
code, events, err = train(cnn, "kept.safetensors", *start, "--learning-rate", "1e-30", "--epochs", "1", "--keep-last")
check(code == 0 and set(first) - same(first, tensors(path("kept.safetensors"))) <= moving, f"without --new-head it is taken over: {err}")
# The name of a block means its layers; a frozen BatchNormalization works as in prediction, others do not.
code, events, err = train(cnn, "block.safetensors", *start, "--freeze", "layer1.0", "--epochs", "1", "--keep-last")
block = tensors(path("block.safetensors")) if code == 0 else first
check(code == 0 and same(first, block) == {k for k in first if k.startswith("layer1.0.")}, f"a block by its name: {same(first, block)} {err}")
# Without weights the frozen layers keep what the seed gives them.
code, events, err = train(cnn, "seed1.safetensors", "--freeze", "conv1", "--epochs", "1", "--keep-last")
code, events, err = train(cnn, "seed2.safetensors", "--freeze", "conv1", "--epochs", "3", "--keep-last")
a, b = tensors(path("seed1.safetensors")), tensors(path("seed2.safetensors"))
check(code == 0 and same(a, b) == {"conv1/kernel"}, f"--freeze without --weights: {same(a, b)} {err}")
# Everything can be trained again afterwards: what was frozen is not part of the description.
code, events, err = train(path("frozen.safetensors"), "again.safetensors", "--weights", path("frozen.safetensors"), "--epochs", "1", "--keep-last")
check(code == 0 and not same(frozen, tensors(path("again.safetensors"))), f"the weights file as a model: {err}")

for pattern, fits in (("*1", True), ("c*1", True), ("c*n*1", True), ("*n?1*", True), ("conv?", True), ("con?", False), ("conv1?", False), ("*nv1**", True), ("conv1*", True),
                      ("*c*o*n*v*1*", True), ("*" + "*o" * 60 + "x", False)):
    code, events, err = train(cnn, "like.safetensors", "--freeze", "bn1," + pattern, "--epochs", "1")
    check((code == 0) == fits, f"{pattern}: {err}")

# Paused and resumed: the same bits; with other layers frozen: refused.
options = [*start, "--freeze", "layer1*,conv1", "--new-head", "--keep-last"]
code, events, err = train(cnn, "whole.safetensors", *options, "--epochs", "4")
code, events, err = train(cnn, "parts.safetensors", *options, "--epochs", "2")
code, events, err = train(cnn, "parts.safetensors", *options, "--epochs", "4", "--resume")
whole, parts = tensors(path("whole.safetensors")), tensors(path("parts.safetensors"))
check(code == 0 and same(whole, parts) == set(whole) and "resumed at epoch 3" in " ".join(e.get("text", "") for e in events), f"resumed: {set(whole) - same(whole, parts)} {err}")
train(cnn, "parts.safetensors", *options, "--epochs", "2")
code, events, err = train(cnn, "parts.safetensors", *start, "--freeze", "conv1", "--new-head", "--keep-last", "--epochs", "4", "--resume")
check(code == 1 and "other layers are frozen" in err, err)

# ---- what is refused ----

for names, words in (("conw1", 'a name like "conw1", did you mean "conv1"?'), ("conv1,layr1*", 'a name like "layr1*", did you mean "layer1*"?'), ("conx*", 'did you mean "conv*"?'), ("zzzzzzzz", "webml summary prints the names"),
                     ("*", "leaves no layer that could be trained"), ("activation*", "no layer with weights")):
    code, events, err = train(cnn, "no.safetensors", "--freeze", names, "--epochs", "1")
    check(code == 1 and words in err, f"{names}: {err}")
code, events, err = train(cnn, "no.safetensors", "--new-head", "--epochs", "1")
check(code == 1 and "begins with earlier weights" in err, err)
deeper = model("cnn", "--filters", "8", "--depth", "3", file="deeper")
code, events, err = train(deeper, "no.safetensors", *start, "--new-head", "--epochs", "1")
check(code == 1 and "does not fit the model: layer3.0.conv1/kernel is missing" in err and "classes/" not in err, err)

report()
