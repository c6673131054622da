"""Graphs on tables, from end to end: several outputs with a loss each, several inputs with an embedding, a layer that is used
twice, blocks; their history, predictions, evaluation, resuming, and what is refused."""
import csv
import json
import os
import random
import sys

from harness import check, path, report, run, write

webml = sys.argv[1]
random.seed(3)
offsets = {"ulm": 1.0, "bonn": -1.0, "kiel": 0.0, "jena": 2.0}
rows = []
for _ in range(800):
    a, b, city = random.gauss(0, 1), random.gauss(0, 1), random.choice(sorted(offsets))
    rows.append([round(a, 4), round(b, 4), city, round(2 * a - b + offsets[city], 4), "high" if a + offsets[city] > 0.5 else "low"])
table = path("t.csv")
with open(table, "w", newline="") as f:
    csv.writer(f).writerows([["a", "b", "city", "y", "kind"], *rows])


def layer(kind, inputs=None, **options):
    return {"type": kind, "layer": options, **({"inputs": inputs} if inputs else {})}


def describe(name, layers, **rest):
    return write(name, json.dumps({"layers": layers, "optimizer": {"name": "adam", "learning_rate": 0.01}, **rest}))


def train(model, out, *options):
    code, text, err = run(webml, "train", model, "--data", table, "--out", out, "--validation-split", "0.2", "--seed", "5",
                          "--progress", "json", *options)
    return code, [json.loads(line) for line in text.splitlines()], err


# ---- two outputs ----

heads = describe("heads.json",
                 [layer("Dense", units=32, activation="relu", name="trunk"), layer("Dense", units=None, name="value"),
                  layer("Dense", ["trunk"], units=None, activation="softmax", name="class")],
                 size=[None], inputArray=[0, 1, 2], outputs={"value": {"columns": [3]}, "class": {"columns": [4], "loss_weight": 0.5}})
out = path("heads.safetensors")
code, events, err = train(heads, out, "--epochs", "30")
check(code == 0, f"two outputs train: {err}")
history = [e for e in events if e["event"] == "done"][0]["record"]["history"] if code == 0 else {}
wanted = ["loss", "value_loss", "class_loss", "value_mean_absolute_error", "class_accuracy"]
check([k for k in history if not k.startswith("val_")][:5] == wanted, f"the history's names: {list(history)}")
check(all("val_" + k in history for k in wanted), f"the same of validation: {list(history)}")
for e in range(len(history.get("loss", []))):
    total = history["value_loss"][e] + 0.5 * history["class_loss"][e]
    check(abs(total - history["loss"][e]) < 1e-5 * (1 + total), f"epoch {e}: the losses with their weights add up: {total}, {history['loss'][e]}")
check(history["val_class_accuracy"][-1] > 0.93 and history["val_value_loss"][-1] < 0.05, f"both are learned: {history['val_class_accuracy'][-1]}, {history['val_value_loss'][-1]}")
code, text, err = run(webml, "predict", out, "a=1,b=0,city=ulm", "--json")
answer = json.loads(text) if code == 0 else {}
answer = answer[0] if isinstance(answer, list) else answer
check(code == 0 and abs(answer["outputs"]["y"] - 3.0) < 0.5 and answer["outputs"]["kind"] == "high", f"a prediction has both outputs: {text}{err}")
code, text, err = run(webml, "evaluate", out, "--data", table, "--json")
outputs = {o["name"]: o for o in json.loads(text)["outputs"]} if code == 0 else {}
check(code == 0 and outputs["kind"]["accuracy"] > 0.93 and outputs["y"]["r2"] > 0.95, f"an evaluation tells of each output: {text}{err}")
code, events, err = train(heads, path("monitored.safetensors"), "--epochs", "2", "--monitor", "val_class_accuracy")
check(code == 0, f"the metric of an output can be watched: {err}")
code, events, err = train(heads, path("no.safetensors"), "--epochs", "2", "--monitor", "val_clas_accuracy")
check(code != 0 and 'did you mean "val_class_accuracy"' in err, f"a name that is not there: {err}")

# ---- two inputs, an embedding, a layer used twice, a block ----

graph = describe("graph.json",
                 [layer("Embedding", ["where"], input_dim=None, output_dim=3, name="places"), layer("Flatten", name="place"),
                  layer("Concatenate", ["numbers", "place"], name="all"), layer("Dense", units=16, activation="relu", name="wide"),
                  layer("Dense", units=16, activation="relu", name="deep"), {"use": "deep", "inputs": "deep", "name": "deeper"},
                  layer("residual", ["deeper"], units=16, name="block"), layer("Dense", ["block"], units=None, name="value")],
                 inputs={"numbers": {"size": [None], "columns": [0, 1]}, "where": {"size": [None], "dtype": "int32", "columns": [2]}},
                 outputs={"value": {"columns": [3]}},
                 blocks={"residual": {"options": {"units": 8}, "layers": [layer("Dense", units="$units", activation="relu", name="inner"),
                                                                          layer("Add", ["inner", "input"], name="sum")]}})
out = path("graph.safetensors")
code, events, err = train(graph, out, "--epochs", "30")
check(code == 0, f"two inputs train: {err}")
history = [e for e in events if e["event"] == "done"][0]["record"]["history"] if code == 0 else {}
check(code == 0 and history["val_loss"][-1] < 0.1, f"numbers and places are learned: {history.get('val_loss')}")
code, text, err = run(webml, "predict", out, "a=1,b=0,city=jena", "--json")
answer = json.loads(text) if code == 0 else {}
answer = answer[0] if isinstance(answer, list) else answer
check(code == 0 and abs(answer["outputs"]["y"] - 4.0) < 0.8, f"a row is encoded for both inputs: {text}{err}")
code, text, err = run(webml, "summary", out, "--json")
summary = json.loads(text) if code == 0 else {}
check(code == 0 and summary["inputs"] == {"numbers": [None, 2], "where": [None, 1]} and summary["parameters"] == 4 * 3 + (5 * 16 + 16) + 2 * (16 * 16 + 16) + 17,
      f"a shared layer counts once: {summary.get('parameters')} {summary.get('inputs')}")

# ---- paused and resumed: the same bits ----

whole, parts = path("whole.safetensors"), path("parts.safetensors")
train(graph, whole, "--epochs", "6")
train(graph, parts, "--epochs", "3", "--keep-last")
first = open(whole, "rb").read() if os.path.exists(whole) else b"1"
code, events, err = train(graph, path("again.safetensors"), "--epochs", "6")
size = int.from_bytes(first[:8], "little")
again = open(path("again.safetensors"), "rb").read()
check(first[8 + size:] == again[8 + int.from_bytes(again[:8], "little"):], "a graph trains to the same bits twice")

# ---- what is refused ----

sparse = describe("sparse.json", [layer("Dense", units=8, name="t"), layer("Dense", units=None, name="value"),
                                  layer("Dense", ["t"], units=None, activation="softmax", name="class")], size=[None], inputArray=[0, 1],
                  outputs={"value": {"columns": [3]}, "class": {"columns": [4], "loss": "sparse_categorical_crossentropy"}})
code, events, err = train(sparse, path("no.safetensors"), "--epochs", "1")
check(code != 0 and "use categorical_crossentropy" in err, f"a sparse loss of one of several outputs: {err}")
missing = describe("missing.json", [layer("Dense", ["numbers"], units=4, name="a"), layer("Dense", ["other"], units=4, name="b"), layer("Add", ["a", "b"], name="c"),
                                    layer("Dense", ["c"], units=None)],
                   inputs={"numbers": {"size": [None], "columns": [0, 1]}, "other": [None]}, outputArray=[3])
code, events, err = train(missing, path("no.safetensors"), "--epochs", "1")
check(code != 0 and 'input "other" of the model must say its columns' in err, f"an input without columns: {err}")

nested = describe("nested.json", [layer("head", name="h")], size=[None], outputArray=[3],
                  blocks={"head": {"layers": [layer("Dense", units=None)]}})
code, events, err = train(nested, path("no.safetensors"), "--epochs", "1")
check(code != 0 and "null is for layers outside of blocks" in err, f"open units in a block: {err}")


def rewritten(weights, name, change):
    """A copy of the weights whose description a stranger has changed."""
    data = open(weights, "rb").read()
    n = int.from_bytes(data[:8], "little")
    head = json.loads(data[8:8 + n])
    model = json.loads(head["__metadata__"]["model"])
    change(model)
    head["__metadata__"]["model"] = json.dumps(model)
    text = json.dumps(head).encode()
    return write(name, len(text).to_bytes(8, "little") + text + data[8 + n:])


def swap(model):
    model["inputs"]["numbers"]["columns"], model["inputs"]["where"]["columns"] = [0], [1, 2]


def forget(model):
    del model["inputs"]["numbers"]["columns"]


def exchange(model):
    model["outputs"]["value"]["columns"], model["outputs"]["class"]["columns"] = [3, 4], []


for weights, change in ((path("graph.safetensors"), swap), (path("graph.safetensors"), forget), (path("heads.safetensors"), exchange)):
    hostile = rewritten(weights, "hostile.safetensors", change)
    for call in (("predict", hostile, "a=1,b=0,city=ulm"), ("evaluate", hostile, "--data", table)):
        code, text, err = run(webml, *call)
        check(code == 1 and "its columns give" in err, f"{change.__name__}: columns that do not fit: {code} {err}")

report()
