"""PyTorch on the reference network on a GPU, at its best: data set on the device, augmentation there,
channels_last, torch.compile, fused capturable Adam, and the whole step in one CUDA graph.

usage: python3 pytorch_gpu.py PRECISION BATCH [EPOCHS [IMAGES [plain]]]   PRECISION: float32 or mixed_bfloat16
Prints one JSON line with the seconds of EPOCHS epochs (compilation and warm-up apart) and the latency of
a prediction from host memory to host memory.
"""
import contextlib
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F

precision, batch = sys.argv[1], int(sys.argv[2])
epochs = int(sys.argv[3]) if len(sys.argv) > 3 else 10
count = int(sys.argv[4]) if len(sys.argv) > 4 else 39209
augmented = "plain" not in sys.argv
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
torch.backends.cudnn.benchmark = True
device = "cuda"
images = torch.randint(0, 256, (count, 64, 64, 3), dtype=torch.uint8, device=device)
labels = torch.randint(0, 43, (count,), device=device)
net = torch.nn.Sequential(
    torch.nn.Conv2d(3, 64, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Conv2d(64, 32, 2), torch.nn.ReLU(),
    torch.nn.Flatten(), torch.nn.Linear(28800, 256), torch.nn.ReLU(), torch.nn.Linear(256, 43)).to(device, memory_format=torch.channels_last)
optimizer = torch.optim.Adam(net.parameters(), fused=True, capturable=True)
mixed = precision == "mixed_bfloat16"


def cast():
    return torch.autocast("cuda", torch.bfloat16) if mixed else contextlib.nullcontext()


def augment(x):
    """Rotation, shear, zoom and flips as one bilinear warp with the edge repeated."""
    n = x.shape[0]
    u = torch.rand(n, 5, device=device) * 2 - 1
    theta, shear = u[:, 0] * 0.349, u[:, 1] * 0.1745
    zx, zy = (1 + u[:, 2] * 0.2) * u[:, 4].sign(), 1 + u[:, 3] * 0.2
    c, s = theta.cos(), theta.sin()
    zero = torch.zeros_like(c)
    matrix = torch.stack([torch.stack([c * zx, (-c * shear.sin() - s * shear.cos()) * zy, zero], 1),
                          torch.stack([s * zx, (-s * shear.sin() + c * shear.cos()) * zy, zero], 1)], 1)
    return F.grid_sample(x, F.affine_grid(matrix, x.shape, align_corners=True), padding_mode="border", align_corners=True)


def loss_of(index):
    x = images[index].permute(0, 3, 1, 2).float() * (1 / 255)
    if augmented:
        x = augment(x)
    with cast():
        logits = net(x.contiguous(memory_format=torch.channels_last))
    return F.cross_entropy(logits.float(), labels[index])


compiled = torch.compile(loss_of, mode="max-autotune-no-cudagraphs")
index = torch.randint(0, count, (batch,), device=device)
total = torch.zeros((), device=device)


def step():
    optimizer.zero_grad(set_to_none=True)
    loss = compiled(index)
    loss.backward()
    optimizer.step()
    total.add_(loss.detach())


stream = torch.cuda.Stream()
with torch.cuda.stream(stream):
    for _ in range(5):
        step()
torch.cuda.synchronize()
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph, stream=stream):
    step()


def train():
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(count, device=device)
        for i in range(count // batch):
            index.copy_(order[i * batch:(i + 1) * batch])
            graph.replay()
    torch.cuda.synchronize()
    return time.perf_counter() - start


train_seconds = [train() for _ in range(4)][1:]

# One picture, host to host, the network in a graph of its own.
x_host, y_host = torch.zeros(1, 64, 64, 3, dtype=torch.uint8).pin_memory(), torch.zeros(1, 43).pin_memory()
x_device = x_host.to(device)
with torch.no_grad():
    def predict():
        with cast():
            x = x_device.permute(0, 3, 1, 2).float() * (1 / 255)
            return torch.softmax(net(x.contiguous(memory_format=torch.channels_last)).float(), 1)

    fast = torch.compile(predict, mode="max-autotune-no-cudagraphs")
    with torch.cuda.stream(stream):
        for _ in range(5):
            fast()
    torch.cuda.synchronize()
    served = torch.cuda.CUDAGraph()
    with torch.cuda.graph(served, stream=stream):
        y_device = fast()

    def latency(calls=1000):
        start = time.perf_counter()
        for _ in range(calls):
            x_device.copy_(x_host, non_blocking=True)
            served.replay()
            y_host.copy_(y_device, non_blocking=True)
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / calls * 1e6

    latency(100)
    latencies = [latency() for _ in range(3)]
print(json.dumps({"peer": "PyTorch " + torch.__version__, "precision": precision, "batch": batch, "epochs": epochs, "images": count, "augmentation": augmented,
                  "training_seconds": {"median": statistics.median(train_seconds), "runs": train_seconds},
                  "prediction_us": {"median": statistics.median(latencies), "runs": latencies}}))
