"""webml schema: every option that it lists is taken inside of its range and refused just outside, so that what a page is made of
cannot drift from what the library checks."""
import ctypes
import json
import os
import sys

import numpy as np
from PIL import Image

from harness import check, path, report, run, sanitized, write

webml, library = sys.argv[1:3]
code, out, err = run(webml, "schema", "--json")
check(code == 0, err)
schema = json.loads(out)
code, out, err = run(webml, "schema")
check(code == 0 and max(map(len, out.splitlines())) < 80, "for people, in 80 columns")
check("Conv2D" in out and "--batch-size" not in out and "batch_size" in out, out[:200])

flat = {"type": "Flatten"}
BASE = {"size": [96, 96, 4], "optimizer": "adam", "loss": "categorical_crossentropy", "layers": [flat, {"type": "Dense", "layer": {"units": 3}}]}


def issues_of_program(model):
    code, out, err = run(webml, "check", write("model.json", json.dumps(model)), "--json")
    check(code in (0, 1) and out, err)
    return [e["path"] for e in json.loads(out)["errors"]]


def issues_of_library(model):
    text, answer = json.dumps(model).encode(), ctypes.c_void_p()
    check(lib.webml_model_check(text, ctypes.c_size_t(len(text)), None, ctypes.byref(answer)) == 0, text)
    errors = json.loads(ctypes.string_at(answer))["errors"]
    lib.webml_free(answer)
    return [e["path"] for e in errors]


lib = None if sanitized(webml) else ctypes.CDLL(library)
if lib:
    lib.webml_free.argtypes = [ctypes.c_void_p]
issues = issues_of_library if lib else issues_of_program


def taken(model, pointer):
    return not any(p == pointer or p.startswith(pointer + "/") for p in issues(model))


def values(o, lists):
    """(value, whether it is to be taken)"""
    low, high, kind = o.get("minimum"), o.get("maximum"), o["type"]
    if kind in ("integer", "pair"):
        yield from [(low, True), (high, True), (low - 1, False), (high + 1, False), (low + 0.5, False), ("many", False), (str(int(low)), True)]
    if kind == "axes":
        yield from [(low, True), (high, True), ([low, high], True), (high + 1, False), (low - 1, False), ([], False), ([low, high + 1], False), ("all", False)]
    if kind == "pair":
        yield from [([low, high], True), ([low, high + 1], False), ([low], False)]
    if kind == "box":
        yield from [(low, True), (high, True), (low - 1, False), (high + 1, False), ([low, high], True), ([low], False), ([[low, high], [high, low]], True),
                    ([[low, high + 1], low], False), ([[low, low, low], low], False)]
    if kind == "span":
        yield from [(high, True), (high * 1.01, False), ([low, high], True), ([high, low], False), ([low * 1.01, high], False), ([high], False), ("wide", False)]
    if kind == "numbers":
        off = max(abs(high), 1e-6) * 1e-3
        yield from [(low, True), (high, True), (low - off, False), ([low, high], True), ([low, high + off], False), ("many", False)]
    if kind == "number":
        off = max(abs(high), 1e-6) * 1e-3
        yield from [(low, True), (high, True), (low - off, False), (high + off, False), ((low + high) / 2, True), ("much", False), (True, False)]
    if kind == "boolean":
        yield from [(True, True), (False, True), (1, False), ("yes", False)]
    if kind == "choice":
        yield from [(c, True) for c in o["choices"]] + [("neither", False), (0, False)]
    if kind == "string":
        yield from [("a name", True), ("", False), (3, False)]
    if kind in lists:
        yield from [(e["name"], True) for e in lists[kind]] + [("nothing like it", False), (1, False)]
    yield None, o["nullable"]
    if "default" in o and o["default"] is not None:
        yield o["default"], True
    if "suggested" in o:
        yield o["suggested"], True


LISTS = {"activation": schema["activations"], "initializer": schema["initializers"], "regularizer": schema["regularizers"],
         "constraint": schema["constraints"]}
tried = 0
for layer in schema["layers"]:
    needed = {o["name"]: o["suggested"] for o in layer["options"] if o["required"]}
    at = 0 if layer["takes"] else 1
    for o in layer["options"]:
        for value, fine in values(o, LISTS):
            inner = {"type": layer["name"], "layer": needed | {o["name"]: value}}
            model = BASE | {"layers": [inner, *BASE["layers"]] if layer["takes"] else [flat, inner, BASE["layers"][1]]}
            check(taken(model, f"/layers/{at}/layer/{o['name']}") == fine, f"{layer['name']}.{o['name']} = {value!r}: {issues(model)}")
            tried += 1
    without = {"type": layer["name"], "layer": {}}
    found = issues(BASE | {"layers": [without, *BASE["layers"]]})
    check((f"/layers/0/layer" in found) == bool(needed), f"{layer['name']} without {needed}: {found}")
check(tried > 200 and len(schema["layers"]) >= 26, f"{tried} values of layers")

# Kinds that are named in a description: (list, where it stands, a description that names it)
dense = lambda **more: BASE | {"layers": [flat, {"type": "Dense", "layer": {"units": 4} | more}]}
places = {"activations": ("/layers/1/layer/activation", lambda v: dense(activation=v)),
          "initializers": ("/layers/1/layer/kernel_initializer", lambda v: dense(kernel_initializer=v)),
          "regularizers": ("/layers/1/layer/kernel_regularizer", lambda v: dense(kernel_regularizer=v)),
          "constraints": ("/layers/1/layer/kernel_constraint", lambda v: dense(kernel_constraint=v)),
          "losses": ("/loss", lambda v: BASE | {"loss": v}), "optimizers": ("/optimizer", lambda v: BASE | {"optimizer": v}),
          "metrics": ("/metrics/0", lambda v: BASE | {"metrics": [v]})}
for key, (pointer, describe) in places.items():
    check(len(schema[key]) > 2, f"{key} are listed")
    for kind in schema[key]:
        check(kind["description"].endswith("."), f"{key}: {kind}")
        for name in [kind["name"], *kind["aliases"]]:
            check(taken(describe(name), pointer), f"{key}: {name} by name")
        check(not taken(describe({"name": kind["name"], "no_such_option": 1}), pointer), f"{key}: {kind['name']} with an unknown option")
        for o in kind["options"]:
            for value, fine in values(o, {}):
                if kind["name"] == "celu" and value == 0:
                    fine = False  # it divides by its alpha
                model = describe({"name": kind["name"], o["name"]: value})
                check(taken(model, pointer) == fine, f"{kind['name']}.{o['name']} = {value!r}: {issues(model)}")

for key in schema["model"]:
    model = {k: v for k, v in BASE.items() if k != key["name"]}
    needed = key["required"] or key["name"] == "size"  # where there are no inputs
    check((f"/{key['name']}" in issues(model)) == needed, f"without {key['name']}")
    check(taken(BASE | {key["name"]: None}, f"/{key['name']}") == (key["nullable"] and not needed), f"{key['name']} null")

# ---- options of trainings ----

write("table.csv", "x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(40)))
small = write("small.json", json.dumps({"size": [None], "dynamic": True, "optimizer": "sgd", "loss": None, "layers": [{"type": "Dense", "layer": {"units": None}}]}))


def train(*options):
    return run(webml, "train", small, "--data", path("table.csv"), "--progress", "none", "--out", path("w.safetensors"), *options)


code, help_text, err = run(webml, "train", "--help")
for o in schema["training"] + schema["augmentation"]:
    check(o["description"][-1] in ".)s" and (o["command_line"] is None or f"  {o['command_line']} " in help_text), f"{o['name']}: {o['command_line']}")
for o in schema["training"]:
    word = o["command_line"]
    if not word or o["type"] not in ("integer", "number", "choice"):
        continue
    if o["type"] == "choice":
        for value, fine in [(c, True) for c in o["choices"]] + [("neither", False)]:
            code, out, err = train("--epochs", "1", word, value)
            check((code != 2) == fine, f"{word} {value}: {err}")  # bfloat16 may be missing here
        continue
    low, high = o["minimum"], o.get("maximum")
    bad = [low - 1] + ([high + 1 if o["type"] == "integer" else high * 1.01 + 1e-3] if high else [])
    if low == 1:
        bad[0] = -1  # 0 stands for the default
    for value in bad:
        code, out, err = train("--epochs", "1", word, value)
        check(code != 0 and ("out of range" in err or "must not be negative" in err), f"{word} {value}: {code} {err}")
    for value in [low, high] if high and o["name"] not in ("epochs", "warmup_epochs") else [low]:
        code, out, err = train("--epochs", "1", word, f"{value:.10g}")
        check("out of range" not in err, f"{word} {value}: {err}")

code, help_text, err = run(webml, "inspect", "--help")
for o in schema["data"]:
    word = o["command_line"]
    look = lambda *value: run(webml, "inspect", path("table.csv"), "--json", "--cache", "none", word, *value)
    check(f"  {word} " in help_text, word)
    if o["type"] == "choice":
        check(all(look(c)[0] == 0 for c in o["choices"]) and look("neither")[0] == 2, word)
    elif o["type"] in ("number", "integer") and o["name"] != "split_seed":
        high = o.get("maximum", o.get("exclusiveMaximum"))
        inside = [o["minimum"], high if "maximum" in o else high - 1e-6]
        outside = [-1, high + 1 if "maximum" in o else high]  # 0 stands for the default of a limit
        check(all(look(f"{v:.10g}")[0] == 0 for v in inside), f"{word} {inside}")
        for v in outside:
            code, out, err = look(f"{v:.10g}")
            check(code == 1 and "out of range" in err, f"{word} {v}: {err}")

for c in "ab":
    os.makedirs(path(f"set/{c}"), exist_ok=True)
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(path(f"set/{c}/1.png"))
for o in schema["augmentation"]:
    word = o["command_line"]
    sheet = lambda *value: run(webml, "inspect", path("set"), "--augment", "2", "-o", path("x.png"), word, *value)
    if o["type"] == "boolean":
        check(sheet()[0] == 0, word)
    elif o["type"] == "choice":
        check(all(sheet(c)[0] == 0 for c in o["choices"]) and sheet("neither")[0] == 2, word)
    else:
        low, high = o["minimum"], o["maximum"]
        check(sheet(low)[0] == sheet(high)[0] == 0, f"{word} {low}, {high}")
        for value in (low - 0.01, high + 0.01):
            code, out, err = sheet(f"{value:.8g}")
            check(code == 1 and "out of range" in err, f"{word} {value}: {err}")

report()
