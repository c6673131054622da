"""Writes a few valid inputs for each fuzz target: make_seeds.py FOLDER"""
import gzip
import io
import json
import os
import struct
import sys
import zipfile

import numpy as np
from PIL import Image

root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def put(target, name, content):
    folder = os.path.join(sys.argv[1], target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(content)


for path in ("tests/data/code22.json", "examples/churn/model.json", "examples/fashion-mnist/model.json"):
    content = open(os.path.join(root, path), "rb").read()
    put("json", os.path.basename(os.path.dirname(path)) + ".json", content)
    put("model", os.path.basename(os.path.dirname(path)) + ".json", content)
for path in sorted(os.listdir(os.path.join(root, "tests/data/keras"))):
    content = json.load(open(os.path.join(root, "tests/data/keras", path)))
    put("model", path, json.dumps(content, separators=(",", ":")).encode())
put("model", "options", json.dumps({"size": [9, 9, 4], "optimizer": {"name": "ftrl", "beta": 1, "clipnorm": 1}, "loss": {"name": "huber", "delta": 2}, "metrics": ["acc", {"name": "auc"}], "layers": [
    {"type": "Conv2D", "layer": {"filters": 8, "kernel_size": [3, 2], "groups": 2, "padding": "same", "kernel_regularizer": {"l1": 0.1}, "activation": {"name": "relu", "max_value": 6}}},
    {"type": "BatchNormalization"}, {"type": "Dropout", "layer": {"rate": 0.5}}, {"type": "Flatten"}, {"type": "Dense", "layer": {"units": None, "activation": "glu"}}]}).encode())
put("csv", "plain", b"a,b,label\n1,2.5,x\n-3,1e3,\"y, z\"\n0,?,\"q\"\"r\"\n")
put("csv", "semicolon", "\ufeffnäme;b\r\n1;0\r\n2;1\r\n".encode())
image = Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
for mode, options in (("RGB", {"format": "png"}), ("L", {"format": "png"}), ("P", {"format": "png"}), ("RGBA", {"format": "png"}), ("RGB", {"format": "jpeg"}), ("L", {"format": "jpeg"}),
                      ("CMYK", {"format": "jpeg"}), ("RGB", {"format": "jpeg", "progressive": True})):
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, **options)
    put("image", f"{mode}{len(options)}.{options['format']}", buffer.getvalue())
for name, members in (("flat", ["a/1.png", "b/2.png"]), ("parts", ["training_data/a/1.png", "training_data/b/", "validation_data/a/3.jpg", "__MACOSX/x"]), ("wrapped", ["x\\a\\1.png", "x\\b\\2.png"])):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if name == "flat" else zipfile.ZIP_STORED) as z:
        for member in members:
            content = io.BytesIO()
            image.resize((4, 4)).save(content, "png" if member.endswith("png") else "jpeg")
            z.writestr(member, b"" if member.endswith("/") else content.getvalue())
    put("zip", name, buffer.getvalue())
idx = struct.pack(">IIII", 0x803, 2, 3, 3) + bytes(18)
put("idx", "images", idx + b"")
put("idx", "gzip", gzip.compress(idx))
put("idx", "labels", struct.pack(">II", 0x801, 4) + bytes(4))
head = json.dumps({"__metadata__": {"model": "{}"}, "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}, "b": {"dtype": "F32", "shape": [], "data_offsets": [16, 20]}}).encode()
put("safetensors", "two", struct.pack("<Q", len(head)) + head + bytes(20))
head = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                   "b": {"dtype": "I8", "shape": [3], "data_offsets": [4, 7]}}).encode()
put("safetensors", "int8", struct.pack("<Q", len(head)) + head + bytes(7))


def weights(model, pipeline, tensors):
    """A whole weights file with zeros for tensors: [(name, shape)]."""
    head, at = {"__metadata__": {"model": json.dumps(model), "pipeline": json.dumps(pipeline), "record": "{}"}}, 0
    for name, shape in tensors:
        n = 4 * int(np.prod(shape))
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


dense = lambda units: {"type": "Dense", "layer": {"units": units}}
put("weights", "table", weights({"size": [3], "layers": [dense(2)], "optimizer": "sgd", "loss": "mse"},
                                {"format": "csvdata", "inputs": [{"column": "a", "type": "Float", "encoding": "standard", "mean": 1, "scale": 2},
                                                                 {"column": "b", "type": "Label", "encoding": "one_hot", "values": ["x", "y"]}],
                                 "outputs": [{"column": "c", "type": "Int", "encoding": "one_hot", "values": [1, 2]}]}, [("dense/kernel", [3, 2]), ("dense/bias", [2])]))
put("weights", "images", weights({"size": [1, 1, 1], "layers": [{"type": "Flatten"}, dense(2)], "optimizer": "sgd", "loss": "mse"}, {"format": "images", "classes": ["p", "q"]},
                                 [("dense/kernel", [1, 2]), ("dense/bias", [2])]))
# A quantized file: scales of one, and a kernel of zeros.
head = json.dumps({
    "__metadata__": {
        "model": json.dumps({"size": [1, 1, 1], "layers": [{"type": "Flatten"}, dense(2)], "optimizer": "sgd", "loss": "mse"}),
        "pipeline": json.dumps({"format": "images", "classes": ["p", "q"]}), "record": "{}",
        "quantization": json.dumps({"layers": {"dense": {"input_scale": 0.5, "input_signed": True}}})},
    "dense/bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    "dense/kernel_scale": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
    "dense/kernel": {"dtype": "I8", "shape": [1, 2], "data_offsets": [16, 18]}}).encode()
put("weights", "int8", struct.pack("<Q", len(head)) + head + bytes(8) + struct.pack("<2f", 1, 1) + bytes(2))
put("multipart", "form", b"multipart/form-data; boundary=xyz\n--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n--xyz\r\nContent-Type: image/png\r\n\r\npicture\r\n--xyz--\r\n")
put("multipart", "quoted", b"multipart/form-data; boundary=\"b c\"\n--b c\r\n\r\nx\r\n--b c--")
