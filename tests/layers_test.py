"""Layers that mean something to a training: random layers are its augmentation, the statistics of a Normalization are in the weights
file from the beginning, and kernels lie there in Keras's shape."""
import json
import os
import sys

import numpy as np
from PIL import Image

from harness import check, path, report, run, write

webml = sys.argv[1]
rng = np.random.default_rng(5)
for c in ("one", "two"):
    os.makedirs(path("img/" + c))
    for i in range(10):
        Image.fromarray(rng.integers(0, 255, (9, 8, 3), dtype=np.uint8)).save(path(f"img/{c}/{i}.png"))


def layer(kind, **options):
    return {"type": kind, "layer": options}


def train(name, layers, data, *options, size=(9, 8, 3)):
    """Exit code, message and, by name, the arrays of the weights file."""
    model = {"size": list(size), "optimizer": "sgd", "loss": None, "dynamic": True, "layers": layers}
    file, weights = write("model.json", json.dumps(model)), path(name + ".safetensors")
    code, out, err = run(webml, "train", file, "--data", data, "--out", weights, "--epochs", "2", "--seed", "3", *options)
    if code != 0:
        return code, out + err, {}
    raw = open(weights, "rb").read()
    n = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8:8 + n])
    part = lambda t: np.frombuffer(raw[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]], np.float32)
    return code, out + err, {k: part(t).reshape(t["shape"]) for k, t in head.items() if k != "__metadata__"}


# ---- random layers ----

net = [layer("Conv2D", filters=3, kernel_size=3), layer("Flatten"), layer("Dense", units=None, activation="softmax")]
random = [layer("RandomFlip", mode="horizontal"), layer("RandomRotation", factor=0.1, fill_mode="constant", fill_value=0.2),
          layer("RandomTranslation", height_factor=0.3, width_factor=0.2, fill_mode="constant", fill_value=0.2),
          layer("RandomZoom", height_factor=0.25, width_factor=0.25, fill_mode="constant", fill_value=0.2)]
options = ["--horizontal-flip", "--rotation-range", "36", "--height-shift", "0.3", "--width-shift", "0.2", "--zoom-range", "0.25",
           "--fill-mode", "constant", "--fill-value", "51"]
code, err, plain = train("plain", net, path("img"))
check(code == 0, err)
code, err, by_options = train("options", net, path("img"), *options)
check(code == 0, err)
code, err, by_layers = train("layers", random + net, path("img"))
check(code == 0, err)
largest = lambda a, b: max(np.abs(a[k] - b[k]).max() for k in a) if a and a.keys() == b.keys() else np.inf
check(largest(by_options, by_layers) < 1e-6, f"layers and options give the same weights, but for {largest(by_options, by_layers)}")
check(largest(plain, by_layers) > 1e-4, "layers do something")
code, err, both = train("both", [layer("RandomFlip", mode="vertical")] + net, path("img"), "--vertical-flip")
check(code == 1 and 'layers of augmentation, such as "random_flip"' in err, err)
code, err, default = train("default", [layer("RandomRotation", factor=0.1)] + net, path("img"))
code, err, reflected = train("reflected", net, path("img"), "--rotation-range", "36", "--fill-mode", "reflect")
check(largest(default, reflected) < 1e-6, "Keras fills by reflection")

# ---- statistics ----

statistics = [layer("Normalization", mean=[0.25, 0.5, 1], variance=4)] + net
code, err, weights = train("statistics", statistics, path("img"))
check(code == 0, err)
check(weights["normalization/mean"].tolist() == [0.25, 0.5, 1] and weights["normalization/variance"].tolist() == [4, 4, 4], str(weights.keys()))
code, out, err = run(webml, "predict", path("statistics.safetensors"), path("img/one/0.png"), "--json")
check(code == 0, err)
ours = [c["probability"] for c in sorted(json.loads(out)["top"], key=lambda c: c["index"])]
x = (np.asarray(Image.open(path("img/one/0.png"))).astype(float) / 255 - [0.25, 0.5, 1]) / 2
windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))  # [7, 6, c, 3, 3]
y = np.einsum("hwcij,ijcf->hwf", windows, weights["conv2d/kernel"]) + weights["conv2d/bias"]
z = y.reshape(-1) @ weights["dense/kernel"] + weights["dense/bias"]
expected = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
check(np.abs(expected - ours).max() < 1e-5, f"{expected} against {ours}")

# ---- kernels that operations see in another shape ----

deep = [layer("DepthwiseConv2D", kernel_size=[3, 2], depth_multiplier=2), layer("LayerNormalization", axis=[1, 2, 3])] + net[1:]
code, err, weights = train("deep", deep, path("img"))
check(code == 0 and weights["depthwise_conv2d/kernel"].shape == (3, 2, 3, 2), err)
check(weights["layer_normalization/gamma"].shape == (7, 7, 6), str({k: w.shape for k, w in weights.items()}))
code, err, again = train("again", deep, path("img"), "--weights", path("deep.safetensors"), "--all-weights")
check(code == 0 and "6 of 6 tensors match" in err, err)
check(largest(weights, again) > 0, "and trains on")
report()
