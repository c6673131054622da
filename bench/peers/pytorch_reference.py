"""PyTorch on the CPU, batch 64: prints a rate in images/s for every line it reads.

usage: pytorch_reference.py [THREADS [PRECISION [NETWORK]]]   float32 or mixed_bfloat16 (by autocast);
                                                              reference or deep (webml-bench precision)

The better of the two memory formats counts, found at the start. Debian's PyTorch takes whatever BLAS
the system has: without OpenBLAS that is the reference code, with which it would be six times slower
and no peer, so this refuses to run.
"""
import sys
import time

import torch

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads())

a = torch.rand(1024, 1024)
a @ a
start = time.perf_counter()
a @ a
if 2 * 1024 ** 3 / (time.perf_counter() - start) < 1e10:
    sys.exit("PyTorch runs on the reference BLAS: install libopenblas0-pthread")


mixed, network = "mixed_bfloat16" in sys.argv[2:3], (sys.argv[3:] or ["reference"])[0]
n = torch.nn


def reference():
    return n.Sequential(n.Conv2d(3, 64, 3), n.ReLU(), n.MaxPool2d(2), n.Conv2d(64, 32, 2), n.ReLU(), n.Flatten(), n.Linear(28800, 256), n.ReLU(), n.Linear(256, 43)), 64, 43


def deep():
    layers, before = [], 3
    for filters in (64, 128, 256):
        layers += [n.Conv2d(before, filters, 3, padding=1), n.ReLU(), n.Conv2d(filters, filters, 3, padding=1), n.ReLU(), n.MaxPool2d(2)]
        before = filters
    return n.Sequential(*layers, n.Flatten(), n.Linear(4096, 256), n.ReLU(), n.Linear(256, 10)), 32, 10


class Net:
    def __init__(self, channels_last):
        self.model, size, classes = {"reference": reference, "deep": deep}[network]()
        self.x, self.y = torch.rand(64, 3, size, size), torch.randint(0, classes, (64,))
        if channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
            self.x = self.x.to(memory_format=torch.channels_last)
        self.optimizer, self.loss = torch.optim.Adam(self.model.parameters()), torch.nn.CrossEntropyLoss()

    def rate(self, steps):
        start = time.perf_counter()
        for _ in range(steps):
            self.optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
                loss = self.loss(self.model(self.x), self.y)
            loss.backward()
            self.optimizer.step()
        return 64 * steps / (time.perf_counter() - start)


nets = [Net(False), Net(True)]
for net in nets:
    net.rate(1)
best = max(nets, key=lambda net: net.rate(2))
for _ in sys.stdin:
    print(best.rate(2), flush=True)
