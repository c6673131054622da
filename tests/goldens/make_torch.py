"""Makes the goldens of tests/goldens_test.c for layers by channel, transposed convolutions and normalisation with PyTorch 1.13, in
double precision and with automatic derivatives: python3 make_torch.py OUTPUT_FOLDER. Each file: a webml description, initial
weights, a batch, the prediction, the gradients of the first step, and loss and weights after several steps."""
import json
import os
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(4)
torch.set_default_dtype(torch.float64)


def pads(n, k, s, d=1):
    """Keras's padding "same": before and after."""
    effective = (k - 1) * d + 1
    total = max((-(-n // s) - 1) * s + effective - n, 0)
    return total // 2, total - total // 2


def pair(v):
    return v if isinstance(v, list) else [v, v]


def conv(x, kernel, bias, o, groups):
    """x: NCHW; kernel: [out, in / groups, h, w]"""
    k, s, d = pair(o["kernel_size"]), pair(o.get("strides", 1)), pair(o.get("dilation_rate", 1))
    if o.get("padding") == "same":
        rows, columns = pads(x.shape[2], k[0], s[0], d[0]), pads(x.shape[3], k[1], s[1], d[1])
        x = F.pad(x, [*columns, *rows])
    return F.conv2d(x, kernel, bias, stride=s, dilation=d, groups=groups)


def depthwise_kernel(w):
    """[h, w, c, m] -> [c * m, 1, h, w]"""
    return w.permute(2, 3, 0, 1).reshape(-1, 1, w.shape[0], w.shape[1])


def transposed(x, w, bias, o):
    k, s = pair(o["kernel_size"]), pair(o.get("strides", 1))
    y = F.conv_transpose2d(x, w.permute(3, 2, 0, 1), None, stride=s)
    sizes = []
    for i in range(2):
        n, cut = x.shape[2 + i], (0, 0)
        out = n * s[i] if o.get("padding") == "same" else n * s[i] + max(k[i] - s[i], 0)
        if o.get("padding") == "same":
            cut = pads(out, k[i], s[i])
        sizes.append((cut[0], out))
    (top, h), (left, width) = sizes
    y = F.pad(y, [0, max(left + width - y.shape[3], 0), 0, max(top + h - y.shape[2], 0)])
    y = y[:, :, top:top + h, left:left + width]
    return y if bias is None else y + bias[:, None, None]


def average(x, o):
    k = pair(o.get("pool_size", 2))
    s = pair(o.get("strides", k))
    if o.get("padding") != "same":
        return F.avg_pool2d(x, k, s)
    border = [*pads(x.shape[3], k[1], s[1]), *pads(x.shape[2], k[0], s[0])]
    ones = torch.ones_like(x[:1, :1])
    area = F.avg_pool2d(F.pad(ones, border), k, s)
    return F.avg_pool2d(F.pad(x, border), k, s) / area


def last_axis(x):
    return x.permute(0, 2, 3, 1) if x.dim() == 4 else x


def by_last(x, function):
    """A function of the last axis in Keras's layout."""
    y = function(last_axis(x))
    return y.permute(0, 3, 1, 2) if x.dim() == 4 else y


ACTIVATIONS = {None: lambda x: x, "linear": lambda x: x, "tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}


class Net:
    """The layers of a description, with parameters in Keras's order, names and shapes."""

    def __init__(self, description):
        self.layers, self.parameters = description["layers"], []
        self.made = False
        self.at = 0

    def parameter(self, *shape, around=0.0):
        if not self.made:
            self.parameters.append((torch.rand(*shape) - 0.5 + around).float().double().requires_grad_())
        self.at += 1
        return self.parameters[self.at - 1]

    def bias(self, o, n):
        return self.parameter(n) if o.get("use_bias", True) else None

    def __call__(self, x):
        self.at = 0
        for l in self.layers:
            x = self.apply(l["type"], l.get("layer", {}), x)
        self.made = True
        return x

    def apply(self, kind, o, x):
        c = x.shape[1]
        act = ACTIVATIONS[o.get("activation")]
        if kind == "Conv2D":
            w = self.parameter(*pair(o["kernel_size"]), c, o["filters"])
            return act(conv(x, w.permute(3, 2, 0, 1), self.bias(o, o["filters"]), o, 1))
        if kind == "DepthwiseConv2D":
            m = o.get("depth_multiplier", 1)
            w = self.parameter(*pair(o["kernel_size"]), c, m)
            return act(conv(x, depthwise_kernel(w), self.bias(o, c * m), o, c))
        if kind == "SeparableConv2D":
            m = o.get("depth_multiplier", 1)
            w, mix = self.parameter(*pair(o["kernel_size"]), c, m), self.parameter(1, 1, c * m, o["filters"])
            y = conv(x, depthwise_kernel(w), None, o, c)
            return act(F.conv2d(y, mix.permute(3, 2, 0, 1), self.bias(o, o["filters"])))
        if kind == "Conv2DTranspose":
            w = self.parameter(*pair(o["kernel_size"]), o["filters"], c)
            return act(transposed(x, w, self.bias(o, o["filters"]), o))
        if kind == "AveragePooling2D":
            return average(x, o)
        if kind == "GlobalAveragePooling2D":
            return x.mean((2, 3))
        if kind == "GlobalMaxPooling2D":
            return x.amax((2, 3))
        if kind == "ZeroPadding2D":
            (top, bottom), (left, right) = o["padding"]
            return F.pad(x, [left, right, top, bottom])
        if kind == "Cropping2D":
            (top, bottom), (left, right) = o["cropping"]
            return x[:, :, top:x.shape[2] - bottom, left:x.shape[3] - right]
        if kind == "UpSampling2D":
            mode = o.get("interpolation", "nearest")
            corners = {} if mode == "nearest" else {"align_corners": False}
            return F.interpolate(x, scale_factor=[float(s) for s in pair(o.get("size", 2))], mode=mode, **corners)
        if kind == "Rescaling":
            return x * o["scale"] + o.get("offset", 0)
        if kind == "LayerNormalization":
            shape = list(last_axis(x).shape[1:]) if isinstance(o.get("axis"), list) else [c]
            gamma, beta = self.parameter(*shape, around=1.0), self.parameter(*shape)
            return by_last(x, lambda v: F.layer_norm(v, shape, gamma, beta, o.get("epsilon", 1e-3)))
        if kind == "GroupNormalization":
            gamma, beta = self.parameter(c, around=1.0), self.parameter(c)
            return F.group_norm(x, o["groups"] if o["groups"] > 0 else c, gamma, beta, o.get("epsilon", 1e-3))
        if kind == "RMSNormalization":
            scale = self.parameter(c, around=1.0)
            return by_last(x, lambda v: v / (v.pow(2).mean(-1, keepdim=True) + o.get("epsilon", 1e-6)).sqrt() * scale)
        if kind == "UnitNormalization":
            return by_last(x, lambda v: F.normalize(v, dim=-1, eps=1e-6))
        if kind == "Flatten":
            return last_axis(x).reshape(x.shape[0], -1)
        w = self.parameter(x.shape[1], o["units"])
        return act(x @ w + self.parameter(o["units"]))


def layer(kind, **options):
    return {"type": kind, "layer": options}


cases = {
    "depthwise": [layer("DepthwiseConv2D", kernel_size=3, depth_multiplier=2, padding="same", activation="tanh"),
                  layer("AveragePooling2D", pool_size=3, strides=2, padding="same"),
                  layer("DepthwiseConv2D", kernel_size=[2, 3], strides=2),
                  layer("SeparableConv2D", filters=5, kernel_size=2, depth_multiplier=2, padding="same", activation="relu"),
                  layer("GlobalAveragePooling2D"), layer("Dense", units=3)],
    "transposed": [layer("Conv2DTranspose", filters=4, kernel_size=3, strides=2, padding="same", activation="tanh"),
                   layer("Conv2DTranspose", filters=3, kernel_size=[2, 5], strides=[3, 2], use_bias=False),
                   layer("Conv2DTranspose", filters=2, kernel_size=4, strides=2, padding="same"),
                   layer("AveragePooling2D", pool_size=[6, 4]), layer("Flatten"), layer("Dense", units=2)],
    "resized": [layer("Conv2D", filters=4, kernel_size=2), layer("UpSampling2D", size=[2, 3], interpolation="bilinear"),
                layer("ZeroPadding2D", padding=[[1, 0], [2, 3]]), layer("Rescaling", scale=1.5, offset=-0.25),
                layer("DepthwiseConv2D", kernel_size=3, dilation_rate=2), layer("Cropping2D", cropping=[[1, 2], [0, 3]]),
                layer("UpSampling2D"), layer("GlobalMaxPooling2D"), layer("Dense", units=3)],
    "samples": [layer("Conv2D", filters=4, kernel_size=3), layer("GroupNormalization", groups=2), layer("LayerNormalization"),
                layer("Conv2D", filters=4, kernel_size=2), layer("GroupNormalization", groups=-1, epsilon=0.01),
                layer("LayerNormalization", axis=[1, 2, 3]), layer("Conv2D", filters=3, kernel_size=2),
                layer("RMSNormalization", epsilon=0.01),
                layer("Rescaling", scale=6e-7),  # so that some lengths are below the least
                layer("UnitNormalization"), layer("Flatten"), layer("Dense", units=3)],
}
sizes = {"depthwise": [8, 7, 3], "transposed": [3, 4, 2], "resized": [5, 4, 2], "samples": [7, 6, 2]}
BATCH, STEPS, RATE, MOMENTUM = 4, 5, 0.02, 0.9
for name, layers in cases.items():
    description = {"size": sizes[name], "layers": layers, "optimizer": {"name": "sgd", "learning_rate": RATE, "momentum": MOMENTUM},
                   "loss": "mean_squared_error"}
    net, n = Net(description), layers[-1]["layer"]["units"]
    x, y = (torch.rand(BATCH, *sizes[name]) * 2 - 1).float().double(), (torch.rand(BATCH, n) * 2 - 1).float().double()
    flat = lambda tensors: [t.detach().float().reshape(-1).tolist() for t in tensors]
    prediction = flat([net(x.permute(0, 3, 1, 2))])[0]
    golden = {"made_by": "torch " + torch.__version__, "batch": BATCH, "model": description, "start": flat(net.parameters),
              "x": flat([x])[0], "y": flat([y])[0], "prediction": prediction, "history": []}
    velocity = [torch.zeros_like(p) for p in net.parameters]
    for step in range(STEPS):
        loss = (net(x.permute(0, 3, 1, 2)) - y).pow(2).mean()
        gradients = torch.autograd.grad(loss, net.parameters)
        golden["history"].append(loss.item())
        if step == 0:
            golden["gradients"] = flat(gradients)
        velocity = [MOMENTUM * v - RATE * g for v, g in zip(velocity, gradients)]
        net.parameters = [(p + v).detach().requires_grad_() for p, v in zip(net.parameters, velocity)]
    golden["after"] = flat(net.parameters)
    with open(os.path.join(sys.argv[1], name + ".json"), "w") as f:
        f.write(json.dumps(golden) + "\n")
