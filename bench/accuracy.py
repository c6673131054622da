"""Test accuracy on Fashion-MNIST: webml against PyTorch, the same network, initializers, data, epochs,
optimizer and learning-rate schedule, the mean of several seeds.

usage: /usr/bin/python3 bench/accuracy.py [SEEDS [EPOCHS [PRECISION]]]   of webml's; PyTorch's is float32 (python3-torch, python3-numpy, dataset-fashion-mnist)
Prints a table and one JSON object; exits 1 when webml's mean is more than 0.5 points below.
"""
import gzip
import json
import math
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch

seeds, epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 5, int(sys.argv[2]) if len(sys.argv) > 2 else 3
precision = sys.argv[3] if len(sys.argv) > 3 else "float32"
rate, batch = 0.002, 64
data = "/usr/share/datasets/fashion-mnist"
webml = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build", "bin", "webml")
model = {"size": [28, 28, 1], "optimizer": {"name": "adam", "learning_rate": rate}, "loss": "categorical_crossentropy", "metrics": ["accuracy"], "layers": [
    {"type": "Conv2D", "layer": {"filters": 16, "kernel_size": 3, "activation": "relu"}}, {"type": "MaxPooling2D"},
    {"type": "Conv2D", "layer": {"filters": 32, "kernel_size": 3, "activation": "relu"}}, {"type": "MaxPooling2D"}, {"type": "Flatten"},
    {"type": "Dense", "layer": {"units": 64, "activation": "relu"}}, {"type": "Dense", "layer": {"units": 10, "activation": "softmax"}}]}


def idx(name, offset):
    with gzip.open(f"{data}/{name}.gz") as f:
        return np.frombuffer(f.read(), np.uint8, offset=offset)


def ours(seed, folder):
    path = os.path.join(folder, "model.json")
    json.dump(model, open(path, "w"))
    out = os.path.join(folder, "w.safetensors")
    subprocess.run([webml, "train", path, "--data", data, "--epochs", str(epochs), "--batch-size", str(batch), "--seed", str(seed), "--precision", precision, "--schedule", "cosine", "--keep-last",
                    "--progress", "none", "--out", out], check=True)
    answer = subprocess.run([webml, "evaluate", out, "--data", data, "--json"], check=True, capture_output=True, text=True)
    os.unlink(out + ".checkpoint")
    return json.loads(answer.stdout)["metrics"]["accuracy"]


def theirs(seed, x, y, tx, ty):
    torch.manual_seed(seed)
    n = torch.nn
    net = n.Sequential(n.Conv2d(1, 16, 3), n.ReLU(), n.MaxPool2d(2), n.Conv2d(16, 32, 3), n.ReLU(), n.MaxPool2d(2), n.Flatten(), n.Linear(800, 64), n.ReLU(), n.Linear(64, 10))
    for layer in net:
        if hasattr(layer, "weight"):
            n.init.xavier_uniform_(layer.weight)
            n.init.zeros_(layer.bias)
    optimizer, loss = torch.optim.Adam(net.parameters(), lr=rate, eps=1e-7), n.CrossEntropyLoss()
    steps = math.ceil(len(x) / batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 0.5 * (1 + math.cos(math.pi * s / (steps * epochs))))
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(batch):
            optimizer.zero_grad()
            loss(net(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        said = torch.cat([net(part).argmax(1) for part in tx.split(1000)])
    return (said == ty).float().mean().item()


x = torch.tensor(idx("train-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28) / np.float32(255))
tx = torch.tensor(idx("t10k-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28) / np.float32(255))
y, ty = (torch.tensor(idx(f"{n}-labels-idx1-ubyte", 8).astype(np.int64)) for n in ("train", "t10k"))
rows = []
with tempfile.TemporaryDirectory() as folder:
    for seed in range(seeds):
        rows.append((ours(seed, folder), theirs(seed, x, y, tx, ty)))
        print(f"seed {seed}: webml {rows[-1][0]:.4f}  PyTorch {rows[-1][1]:.4f}", flush=True)
a, b = (np.array(c) for c in zip(*rows))
print(json.dumps({"precision": precision, "epochs": epochs, "seeds": seeds, "webml": {"mean": a.mean(), "sd": a.std(ddof=1)}, "pytorch": {"mean": b.mean(), "sd": b.std(ddof=1), "version": torch.__version__}}))
sys.exit(0 if a.mean() >= b.mean() - 0.005 else 1)
