"""Reading, fitting and encoding against Pillow and scikit-learn; a trained table against them too."""
import csv
import json
import struct
import sys

import numpy as np
from PIL import Image
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.datasets import load_iris, load_wine

from harness import check, path, report, run, write

webml, dump = sys.argv[1:3]
rng = np.random.default_rng(2)


def fitted(file, h, w, c):
    code, out, err = run(dump, file, h, w, c, text=False)
    check(code == 0, f"{file}: {err}")
    return np.frombuffer(out, np.uint8).reshape(h, w, c) if code == 0 else np.zeros((h, w, c), np.uint8)


def pillow(file, h, w, c):
    return np.asarray(Image.open(file).convert("L" if c == 1 else "RGB").resize((w, h), Image.NEAREST)).reshape(h, w, c)


base = Image.fromarray(rng.integers(0, 255, (37, 53, 3), dtype=np.uint8))
smooth = Image.fromarray(np.add.outer(np.arange(61), np.arange(83)).astype(np.uint8)).convert("RGB")
files = []
for name, image, options in [("rgb.png", base, {}), ("grey.png", base.convert("L"), {}), ("palette.png", base.convert("P"), {}), ("bits.png", base.convert("1"), {}),
                             ("rgba.png", base.convert("RGBA"), {}), ("la.png", base.convert("LA"), {}), ("best.png", base, {"optimize": True}),
                             ("a.jpg", smooth, {"quality": 90}), ("progressive.jpg", smooth, {"progressive": True}), ("grey.jpg", smooth.convert("L"), {}),
                             ("444.jpg", smooth, {"subsampling": 0})]:
    image.save(path(name), **options)
    files.append(path(name))
for file in files:
    for h, w in [(37, 53), (16, 16), (64, 64), (28, 100), (7, 3)]:
        for c in (1, 3):
            ours, theirs = fitted(file, h, w, c), pillow(file, h, w, c)
            worst = int(np.abs(ours.astype(int) - theirs.astype(int)).max())
            # JPEG: Pillow's own libjpeg may round the colour conversion otherwise.
            check(worst <= (3 if file.endswith("jpg") else 0), f"{file} at {h}x{w}x{c}: {worst} from Pillow")

# Augmentation against SciPy, on pictures that are not square: the matrix on (column, row) about the true centre.
from scipy.ndimage import affine_transform
picture = pillow(path("rgb.png"), 23, 31, 3).astype(float)
for theta, shear, zx, zy, flip in [(30, 0, 1, 1, 0), (0, 25, 1, 1, 0), (0, 0, 0.7, 1.3, 0), (-140, 12, 1.2, 0.9, 1), (5, -3, 1, 1, 1)]:
    code, out, err = run(dump, path("rgb.png"), 23, 31, 3, theta, shear, zx, zy, flip, text=False)
    ours = np.frombuffer(out, "<f4").reshape(23, 31, 3)
    t, s = np.deg2rad(theta), np.deg2rad(shear)
    m = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]) @ np.array([[1, -np.sin(s)], [0, np.cos(s)]]) @ np.diag([zx, zy])
    swapped, centre = m[::-1, ::-1], np.array([11.0, 15.0])
    theirs = np.stack([affine_transform(picture[..., k], swapped, centre - swapped @ centre, order=1, mode="nearest") for k in range(3)], -1)
    theirs = theirs[:, ::-1] if flip else theirs
    check(np.abs(ours - theirs).max() < 2e-2, f"warp {theta, shear, zx, zy, flip}: {np.abs(ours - theirs).max()} from SciPy")

# Shifts, fill modes, channel shift and brightness: Keras's order is warp, channel shift, flips, brightness; a channel shift is
# kept between the least and the greatest value of the warped picture.
for fill, mode in enumerate(["nearest", "constant", "reflect", "wrap"]):
    for theta, shear, zx, zy, flip, dx, dy, value, shift, gain in [(0, 0, 1, 1, 0, 9.3, -7.6, 40, 0, 1), (30, 10, 1.3, 1.4, 0, 3.2, 2.1, 200, 0, 1), (-140, 12, 1.7, 0.9, 1, -40.7, 33.3, 7.5, 0, 1),
                                                                   (0, 0, 1, 1, 1, 0, 0, 0, 60.5, 1), (12, 0, 1.5, 1.5, 0, 2.4, 0, 90, -75.25, 1), (25, 5, 1.1, 1.2, 1, -5.5, 4.5, 128, 33, 1.4),
                                                                   (0, 0, 1, 1, 0, 0, 0, 0, -50, 0.6), (0, 0, 2.6, 2.9, 0, 0.3, 0.2, 255, 0, 1)]:
        code, out, err = run(dump, path("rgb.png"), 23, 31, 3, theta, shear, zx, zy, flip, dx, dy, fill, value, shift, gain, text=False)
        ours = np.frombuffer(out, "<f4").reshape(23, 31, 3)
        t, s = np.deg2rad(theta), np.deg2rad(shear)
        m = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]) @ np.array([[1, -np.sin(s)], [0, np.cos(s)]]) @ np.diag([zx, zy])
        swapped, centre = m[::-1, ::-1], np.array([11.0, 15.0])
        offset = centre - swapped @ centre + np.array([dy, dx])
        theirs = np.stack([affine_transform(picture[..., k], swapped, offset, order=1, mode=mode, cval=value) for k in range(3)], -1)
        theirs = np.clip(theirs + shift, theirs.min(), theirs.max())
        theirs = np.minimum((theirs[:, ::-1] if flip else theirs) * gain, 255)
        check(np.abs(ours - theirs).max() < 3e-2, f"{mode} {theta, shear, zx, zy, flip, dx, dy, value, shift, gain}: {np.abs(ours - theirs).max()} from SciPy")

# The pipeline of a table against scikit-learn's.
rows = [(rng.normal(5, 2), int(rng.integers(0, 4)), str(rng.choice(["red", "Blue", "10", "9", "äpfel"])), 3.0, int(rng.integers(0, 2))) for _ in range(200)]
with open(path("t.csv"), "w", newline="") as f:
    w = csv.writer(f)
    w.writerow(["x", "n", "colour", "constant", "flag"])
    w.writerows([[repr(v) if isinstance(v, float) else v for v in r] for r in rows])
write("m.json", json.dumps({"size": [None], "dynamic": True, "optimizer": "sgd", "loss": None, "layers": [{"type": "Dense", "layer": {"units": None, "activation": "sigmoid"}}]}))
code, out, err = run(webml, "train", path("m.json"), "--data", path("t.csv"), "--epochs", "1", "--one-hot", "n", "--validation-split", "0.25", "--out", path("w"))
check(code == 0, err)
data = open(path("w"), "rb").read()
n = struct.unpack("<Q", data[:8])[0]
head = json.loads(data[8:8 + n])
pipeline = json.loads(head["__metadata__"]["pipeline"])
train = rows[:150]
scaler = StandardScaler().fit([[r[0], r[3]] for r in train])
encoder = OneHotEncoder(sparse_output=False).fit([[r[2]] for r in train])
x, count, colour, constant = pipeline["inputs"]
check(abs(x["mean"] - scaler.mean_[0]) < 1e-12 and abs(x["scale"] - scaler.scale_[0]) < 1e-12, "standardised as StandardScaler does, on training rows only")
check(constant["scale"] == 1.0 and scaler.scale_[1] == 1.0, "constant column")
check(colour["values"] == list(encoder.categories_[0]), "categories in scikit-learn's order")
check(count["values"] == sorted({r[1] for r in train}) and count["encoding"] == "one_hot", "numeric one-hot")
check(pipeline["outputs"][0]["encoding"] == "as_is", "a binary output stays 0 or 1")

# Real tables: better than guessing by far, on rows the training never saw.
for name, loader, least in [("iris", load_iris, 0.9), ("wine", load_wine, 0.9)]:
    bunch = loader()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    with open(path(name + ".csv"), "w", newline="") as f:
        w = csv.writer(f)
        w.writerow([*bunch.feature_names, "kind"])
        for i in order:
            w.writerow([*bunch.data[i], bunch.target_names[bunch.target[i]]])
    write("net.json", json.dumps({"size": [None], "dynamic": True, "optimizer": {"name": "adam", "learning_rate": 0.01}, "loss": None, "layers": [
        {"type": "Dense", "layer": {"units": 16, "activation": "relu"}}, {"type": "Dense", "layer": {"units": None, "activation": "softmax"}}]}))
    code, out, err = run(webml, "train", path("net.json"), "--data", path(name + ".csv"), "--epochs", "60", "--batch-size", "16", "--validation-split", "0.3", "--out", path(name))
    code, out, err = run(webml, "evaluate", path(name), "--data", path(name + ".csv"), "--validation-split", "0.3", "--json")
    accuracy = json.loads(out)["metrics"]["accuracy"] if code == 0 else 0
    check(accuracy >= least, f"{name}: accuracy {accuracy} {err}")
report()
