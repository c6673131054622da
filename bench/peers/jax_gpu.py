"""JAX on the reference network on a GPU: data set on the device, one jitted lax.scan over an epoch.

usage: python3 jax_gpu.py PRECISION BATCH [EPOCHS [IMAGES [plain]]]
Prints one JSON line with the seconds of EPOCHS epochs, compilation apart.
"""
import json
import os
import statistics
import sys
import time

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
import jax
import jax.numpy as jnp
import optax

precision, batch = sys.argv[1], int(sys.argv[2])
epochs = int(sys.argv[3]) if len(sys.argv) > 3 else 10
count = int(sys.argv[4]) if len(sys.argv) > 4 else 39209
augmented = "plain" not in sys.argv
kind = jnp.bfloat16 if precision == "mixed_bfloat16" else jnp.float32
steps = count // batch
key = jax.random.PRNGKey(0)
images = jax.random.randint(key, (count, 64, 64, 3), 0, 256, dtype=jnp.int32).astype(jnp.uint8)
labels = jax.random.randint(key, (count,), 0, 43)


def weight(key, shape, fan_in):
    return jax.random.normal(key, shape) * fan_in ** -0.5


keys = jax.random.split(key, 4)
params = {"w1": weight(keys[0], (3, 3, 3, 64), 27), "b1": jnp.zeros(64), "w2": weight(keys[1], (2, 2, 64, 32), 256), "b2": jnp.zeros(32),
          "w3": weight(keys[2], (28800, 256), 28800), "b3": jnp.zeros(256), "w4": weight(keys[3], (256, 43), 256), "b4": jnp.zeros(43)}
adam = optax.adam(1e-3)


def conv(x, w, b):
    y = jax.lax.conv_general_dilated(x, w.astype(kind), (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jax.nn.relu(y + b.astype(kind))


def warp_one(x, u):
    """Rotation, shear, zoom and flips as one bilinear warp with the edge repeated. x: [64, 64, 3]"""
    theta, shear = u[0] * 0.349, u[1] * 0.1745
    zx, zy = (1 + u[2] * 0.2) * jnp.sign(u[4]), 1 + u[3] * 0.2
    c, s = jnp.cos(theta), jnp.sin(theta)
    row, column = jnp.meshgrid(jnp.arange(64.0) - 31.5, jnp.arange(64.0) - 31.5, indexing="ij")
    sx = jnp.clip(c * zx * column + (-c * jnp.sin(shear) - s * jnp.cos(shear)) * zy * row + 31.5, 0, 63)
    sy = jnp.clip(s * zx * column + (-s * jnp.sin(shear) + c * jnp.cos(shear)) * zy * row + 31.5, 0, 63)
    x0, y0 = sx.astype(jnp.int32), sy.astype(jnp.int32)
    x1, y1 = jnp.minimum(x0 + 1, 63), jnp.minimum(y0 + 1, 63)
    fx, fy = (sx - x0)[..., None], (sy - y0)[..., None]
    top, bottom = x[y0, x0] * (1 - fx) + x[y0, x1] * fx, x[y1, x0] * (1 - fx) + x[y1, x1] * fx
    return top * (1 - fy) + bottom * fy


def loss_of(p, x, y):
    x = conv(x.astype(kind), p["w1"], p["b1"])
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = conv(x, p["w2"], p["b2"]).reshape(batch, -1)
    x = jax.nn.relu(x @ p["w3"].astype(kind) + p["b3"].astype(kind))
    logits = (x @ p["w4"].astype(kind) + p["b4"].astype(kind)).astype(jnp.float32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


@jax.jit
def epoch(p, state, key):
    order = jax.random.permutation(key, count)[:steps * batch].reshape(steps, batch)

    def step(carry, index):
        p, state, key = carry
        key, own = jax.random.split(key)
        x = images[index].astype(jnp.float32) / 255
        if augmented:
            x = jax.vmap(warp_one)(x, jax.random.uniform(own, (batch, 5), minval=-1, maxval=1))
        loss, gradient = jax.value_and_grad(loss_of)(p, x, labels[index])
        updates, state = adam.update(gradient, state, p)
        return (optax.apply_updates(p, updates), state, key), loss

    (p, state, key), losses = jax.lax.scan(step, (p, state, key), order)
    return p, state, losses.mean()


state = adam.init(params)
params, state, _ = jax.block_until_ready(epoch(params, state, key))
seconds = []
for _ in range(3):
    start = time.perf_counter()
    for e in range(epochs):
        params, state, loss = epoch(params, state, jax.random.PRNGKey(e))
    jax.block_until_ready((params, loss))
    seconds.append(time.perf_counter() - start)
print(json.dumps({"peer": "JAX " + jax.__version__, "precision": precision, "batch": batch, "epochs": epochs, "images": count, "augmentation": augmented,
                  "training_seconds": {"median": statistics.median(seconds), "runs": seconds}}))
