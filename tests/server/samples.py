"""What tests give to the server: tables, pictures, models, certificates."""
import io
import json
import os
import zipfile

import numpy as np
from PIL import Image

from client import path, run


def numbers_table(rows):
    """Three numbers and the kind that follows from them."""
    values = np.random.default_rng(3).normal(size=(rows, 3))
    return ("a,b,c,kind\n" + "".join(
        f"{a:.3f},{b:.3f},{c:.3f},{'x' if a + b > c else 'y'}\n" for a, b, c in values)).encode()


def zip_of_pictures(kinds, count):
    """Of 6 x 5 pixels, each kind with a colour of its own."""
    packed, rng = io.BytesIO(), np.random.default_rng(3)
    with zipfile.ZipFile(packed, "w") as z:
        for n, kind in enumerate(kinds):
            for i in range(count):
                pixels = rng.integers(0, 80, (6, 5, 3), dtype=np.uint8)
                pixels[..., n] += 120
                z.writestr(f"{kind}/{i:02}.png", png(pixels))
    return packed.getvalue()


def png(pixels):
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG")
    return packed.getvalue()


def unzip(data, name):
    return zipfile.ZipFile(io.BytesIO(data)).read(name)


def churn(bench, rows):
    """The table of `webml-bench make churn`."""
    name = path(f"churn-{rows}.csv")
    if not os.path.exists(name):
        code, out, err = run(bench, "make", "churn", name, rows)
        assert code == 0, err
    with open(name, "rb") as f:
        return f.read()


def layer(kind, **options):
    return {"type": kind, "layer": options}


def dense(units, activation):
    return layer("Dense", units=units, activation=activation)


def network(*layers, size=(None,), **more):
    """A model that takes its inputs, outputs and loss from the data."""
    return {"size": list(size), "dynamic": True, "optimizer": "adam", "loss": None, "layers": list(layers), **more}


MLP = network(dense(16, "relu"), dense(None, "softmax"))
CNN = network(layer("Conv2D", filters=4, kernel_size=3, activation="relu"), layer("Flatten"), dense(None, "softmax"),
              size=(6, 5, 3))


# For the table of churn().
CHURN = network(dense(48, "relu"), dense(48, "relu"), dense(None, "sigmoid"), metrics=["accuracy"])


# ---- predictions ----

ROWS = np.random.default_rng(5).normal(size=(5, 3)).astype("<f4")  # for a net of numbers_table()


def tensor(values, datatype="FP32"):
    """As V2 takes it in JSON."""
    return {"name": "input", "shape": list(values.shape), "datatype": datatype, "data": values.ravel().tolist()}


def infer(c, name, body, **options):
    """(status, answer) of V2."""
    return c.call("POST", f"/v2/models/{name}/infer", body, **options)


def outputs(c, name, values):
    """What the model makes of the values, by V2 in JSON."""
    status, answer = infer(c, name, {"inputs": [tensor(values)]})
    assert status == 200, answer
    return np.reshape(answer["outputs"][0]["data"], answer["outputs"][0]["shape"])


def binary_head(values, datatype="FP32", **more):
    """What V2 wants before the bytes of the values."""
    head = {"name": "input", "shape": list(values.shape), "datatype": datatype,
            "parameters": {"binary_data_size": values.nbytes}}
    return json.dumps({"inputs": [head], **more}).encode()


BINARY_OUTPUT = {"outputs": [{"name": "output", "parameters": {"binary_data": True}}]}


def infer_binary(c, name, head, data):
    """(status, JSON, bytes) of V2, bytes in and out; without a head the data are all."""
    status, answer = infer(c, name, head + data, headers={
        "Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"})
    if status != 200:
        return status, answer, b""
    n = int(c.last.headers["inference-header-content-length"])
    return status, json.loads(c.last.content[:n]), c.last.content[n:]


# ---- TLS ----

def certificate(file, name):
    """Makes FILE.pem and FILE-key.pem for 127.0.0.1; the server's options for them."""
    cert, key = path(file + ".pem"), path(file + "-key.pem")
    code, out, err = run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=" + name, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert)
    assert code == 0, err
    return "--tls-cert", cert, "--tls-key", key
