"""Writes test images of an IDX pair as PNG files that carry their class in their name.

usage: write_images.py FOLDER OUTPUT COUNT
"""
import gzip
import os
import sys

import numpy as np
from PIL import Image

folder, output, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with gzip.open(os.path.join(folder, "t10k-images-idx3-ubyte.gz")) as f:
    images = np.frombuffer(f.read(), np.uint8, offset=16).reshape(-1, 28, 28)
with gzip.open(os.path.join(folder, "t10k-labels-idx1-ubyte.gz")) as f:
    labels = np.frombuffer(f.read(), np.uint8, offset=8)
names = open(os.path.join(folder, "classes.txt")).read().split("\n")
for i in range(count):
    name = names[labels[i]].replace("/", "-").replace(" ", "-")
    Image.fromarray(images[i]).save(os.path.join(output, f"{i:02d}-truth-{name}.png"))
