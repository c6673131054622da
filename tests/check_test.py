"""webml check: all errors of a description at once, each with its place, its line and a cure that can be applied; what the
command says of devices; and webml schema, whose every range is tried from inside and outside."""
import copy
import json
import sys

from harness import check, path, report, run, write

webml = sys.argv[1]
JSON = {"size": [28, 28, 1], "optimizer": "adam", "loss": "categorical_crossentropy"}


def ask(model, *options, text=None):
    file = write("model.json", text if text is not None else json.dumps(model, indent=1))
    code, out, err = run(webml, "check", file, "--json", *options)
    check(code in (0, 1) and out, f"exit {code}: {err}")
    answer = json.loads(out)
    check((code == 0) == answer["valid"] == (not answer["errors"]), f"exit {code} and valid {answer['valid']}")
    return answer


# ---- JSON patches (RFC 6902) by the book ----


def steps_of(pointer):
    return [s.replace("~1", "/").replace("~0", "~") for s in pointer.split("/")[1:]]


def find(document, steps):
    for s in steps:
        document = document[int(s)] if isinstance(document, list) else document[s]
    return document


def take(document, pointer):
    *inside, last = steps_of(pointer)
    parent = find(document, inside)
    return parent.pop(int(last) if isinstance(parent, list) else last)


def put(document, pointer, value):
    *inside, last = steps_of(pointer)
    parent = find(document, inside)
    if isinstance(parent, dict):
        parent[last] = value
    else:
        parent.insert(len(parent) if last == "-" else int(last), value)


def apply(document, patch):
    document = copy.deepcopy(document)
    for o in patch:
        if o["op"] in ("remove", "move", "replace"):
            value = take(document, o["from"] if o["op"] == "move" else o["path"])
        if o["op"] in ("add", "move", "replace"):
            put(document, o["path"], value if o["op"] == "move" else o["value"])
    return document


def cured(model, *options):
    """The description after the first cure that can be applied, again and again, until nothing is wrong."""
    for _ in range(20):
        answer = ask(model, *options)
        issues = [e for e in answer["errors"] + answer["warnings"]]
        if not issues:
            return model
        patches = [e["cure"]["patch"] for e in issues if e["cure"] and e["cure"]["patch"]]
        if not patches:
            check(False, f"no cure for {issues}")
            return model
        model = apply(model, patches[0])
    check(False, f"cures never end: {issues}")
    return model


layer = lambda kind, **options: {"type": kind, "layer": options}
conv = lambda filters=8, size=3, **more: layer("Conv2D", filters=filters, kernel_size=size, activation="relu", **more)
dense = lambda units, activation="softmax": layer("Dense", units=units, activation=activation)
flat, pool = layer("Flatten"), layer("MaxPooling2D")
net = lambda *layers, **more: JSON | {"layers": list(layers)} | more

# ---- a sound description ----

sound = net(conv(), pool, flat, dense(10))
a = ask(sound, "--samples", "6000", "--validation-samples", "1000")
check(not a["warnings"] and a["chosen"] == [] and a["samples"] == 6000 and a["validation_samples"] == 1000 and a["devices"] == [], str(a))
check([l["output_shape"] for l in a["layers"]] == [[None, 26, 26, 8], [None, 13, 13, 8], [None, 1352], [None, 10]], str(a["layers"]))
check([l["parameters"] for l in a["layers"]] == [80, 0, 0, 13530] and a["parameters"] == 13610, str(a["layers"]))

# ---- what is wrong, where, and what cures it ----

cases = [  # description, {pointer: part of the sentence}
    (net(conv(), dense(10)), {"/layers/1": "a Flatten is missing before it"}),
    (net(conv(), pool), {"/layers/1": "the model's output is the picture 13x13x8"}),
    (net(flat, conv(), dense(10)), {"/layers/1": "takes an image"}),
    (net(conv(), flat, pool, flat, dense(10)), {"/layers/2": "takes an image"}),
    (net(conv(size=29), flat, dense(10)), {"/layers/0": "kernel 29x29 exceeds the 28x28 input"}),
    (net(conv(size=27), layer("MaxPooling2D", pool_size=4), flat, dense(10)), {"/layers/1": "pool 4x4 exceeds the 2x2 input"}),
    (net(conv(groups=3), flat, dense(10)), {"/layers/0": "filters 8 is not a multiple of groups 3"}),
    (net(conv(), conv(filters=9, groups=9), flat, dense(10)), {"/layers/1": "the 8 input channels are not a multiple of groups 9"}),
    (net(conv(strides=2, dilation_rate=2), flat, dense(10)), {"/layers/0": "cannot both be above 1"}),
    (net(conv(), layer("BatchNormalization", axis=1), flat, dense(10)), {"/layers/1": "axis 1 is not the last axis"}),
    (net(layer("DepthwiseConv2D", kernel_size=29), flat, dense(10)), {"/layers/0": "kernel 29x29 exceeds the 28x28 input"}),
    (net(layer("Conv2DTranspose", filters=2, kernel_size=3, strides=2, output_padding=2), flat, dense(10)), {"/layers/0": "output_padding 2 does not go"}),
    (net(conv(filters=12), layer("GroupNormalization"), flat, dense(10)), {"/layers/1": "the 12 channels are not a multiple of groups 32"}),
    (net(layer("LayerNormalization", axis=[1, 2]), flat, dense(10)), {"/layers/0": "only the last axis"}),
    (net(layer("UnitNormalization", axis=1), flat, dense(10)), {"/layers/0": "only the last axis"}),
    (net(layer("Normalization", mean=0, variance=1, axis=1), flat, dense(10)), {"/layers/0": "axis 1 is not the last axis"}),
    (net(conv(), layer("RandomFlip"), flat, dense(10)), {"/layers/1": "must stand before all other layers"}),
    (net(layer("RandomRotation", factor=[-0.1, 0.3]), flat, dense(10)), {"/layers/0": "only from -x to x"}),
    (net(layer("RandomZoom", height_factor=0.2), flat, dense(10)), {"/layers/0": "not by one factor"}),
    (net(layer("RandomFlip"), layer("RandomFlip"), flat, dense(10)), {"/layers/1": "stands twice"}),
    (net(flat, dense(None, "relu"), dense(10)), {"/layers/2": "only the last Dense may have units null"}),
    (net(layer("Conv2D", kernel_size=3), flat, dense(10)), {"/layers/0/layer": '"filters" is required'}),
    (net({"type": "Conv2D"}, flat, dense(10)), {"/layers/0/layer": "is required"}),
    (net({"type": "Flatten"}, {"type": "Dense", "units": 10, "layer": {"activation": "softmax"}}), {"/layers/1/units": "unknown key", "/layers/1/layer": "is required"}),
    (net(flat, layer("Dropout", rate=2), dense(10)), {"/layers/1/layer/rate": "2 is out of range, must be 0 to 1"}),
    (net(flat, layer("Dropout", rate="much"), dense(10)), {"/layers/1/layer/rate": "must be a number"}),
    (net(conv(strid=2), flat, dense(10)), {"/layers/0/layer/strid": 'did you mean "strides"'}),
    (net(conv(padding="sam"), flat, dense(10)), {"/layers/0/layer/padding": 'must be "valid" or "same"'}),
    (net(conv(use_bias=1), flat, dense(10)), {"/layers/0/layer/use_bias": "must be true or false"}),
    (net(conv(kernel_initializer="he_norml"), flat, dense(10)), {"/layers/0/layer/kernel_initializer": 'did you mean "he_normal"'}),
    (net(conv(kernel_regularizer="l3"), flat, dense(10)), {"/layers/0/layer/kernel_regularizer": "l1_l2"}),
    (net(layer("Conv2D", filters=2, kernel_size=[3, 99]), flat, dense(10)), {"/layers/0/layer/kernel_size/1": "99 is out of range"}),
    (net(layer("Convolution"), flat, dense(10)), {"/layers/0/type": "unknown layer"}),
    (net(flat, layer("Dense", units=10, activation="sofmax")), {"/layers/1/layer/activation": 'did you mean "softmax"'}),
    (net(flat, layer("Dense", units=10, activation={"name": "softmax", "slope": 1})), {"/layers/1/layer/activation/slope": "unknown key"}),
    (net(flat, layer("Dense", units=4, activation={"name": "leaky_relu", "alpha": "x"}), dense(10)), {"/layers/1/layer/activation/alpha": "must be a number"}),
    (net(flat, dense(10), optimizer={"name": "adam", "beta_1": 2}), {"/optimizer/beta_1": "2 is out of range, must be 0 to 0.9999999"}),
    (net(flat, dense(10), optimizer="adm"), {"/optimizer": 'did you mean "adam"'}),
    (net(flat, dense(10), loss={"name": "huber", "label_smoothing": 0.1}), {"/loss/label_smoothing": "unknown key"}),
    (net(flat, dense(10), metrics=["acuracy"]), {"/metrics/0": 'did you mean "accuracy"'}),
    (net(flat, dense(10), metrics=[{"name": "top_k_categorical_accuracy", "k": 0}]), {"/metrics/0/k": "0 is out of range"}),
    (net(flat, dense(10), format="csvdata"), {"/format": "does not go with a size of 3 dimensions"}),
    (net(flat, dense(10), dynamic="yes"), {"/dynamic": "must be true or false"}),
    (net(flat, dense(10), **{"a/b~c": 1}), {"/a~1b~0c": "unknown key"}),
    ({"size": [28, 28, 1], "layers": [flat, dense(10)]}, {}),
    (JSON, {"/layers": "is required"}),
    (net(flat, dense(10), loss="binary_crossentropy"), {"/layers/1": "softmax picks one class"}),
    (net(flat, dense(10, "sigmoid")), {"/layers/1": "sigmoid takes each output by itself"}),
    (net(flat, dense(10, "relu")), {"/layers/1": "takes probabilities, which relu does not give"}),
    (net(flat, dense(1)), {"/layers/1": "softmax over one output is always 1"}),
    (net(flat, dense(1, "sigmoid")), {"/layers/1": "of one output is always 0"}),
    (net(flat, dense(10, "linear"), layer("ReLU", max_value=3)), {"/layers/2": "takes probabilities, which relu does not give"}),
    (net(flat, dense(1, "linear"), layer("Softmax")), {"/layers/2": "softmax over one output is always 1"}),
    (net(flat, dense(10, "linear"), layer("Activation", activation="sigmoid")), {"/layers/2": "sigmoid takes each output by itself"}),
    (net(flat, dense(10, "linear"), layer("Softmax", axis=2)), {"/layers/2": "axis 2 is not the last axis"}),
    (net(flat, layer("AlphaDropout", rate=1), dense(10)), {"/layers/1": "must be below 1"}),
    (net(flat, layer("GaussianNoise", stddev=2), dense(10)), {"/layers/1/layer/stddev": "out of range, must be 0 to 1"}),
    (net(conv(), layer("Reshape"), flat, dense(10)), {"/layers/1/layer": '"target_shape" is required'}),
    (net(flat, layer("Activation"), dense(10)), {"/layers/1/layer": '"activation" is required'}),
    ({"_id": "5f", "model": net(flat, dense(10, "sofmax"))}, {"/model/layers/1/layer/activation": "did you mean"}),
]
for model, expected in cases:
    a = ask(model)
    found = {e["path"]: e["text"] for e in a["errors"] + a["warnings"]}
    check(all(any(p == q and part in t for q, t in found.items()) for p, part in expected.items()), f"{expected} in {found}")
    check(len(found) == len(expected), f"one error hides none and makes no others: {found} for {expected}")
    if "Convolution" in json.dumps(model) or "label_smoothing" in json.dumps(model):
        continue  # nobody can tell what was meant
    fixed = cured(model)
    check(ask(fixed)["valid"], f"{json.dumps(model)} was cured to {json.dumps(fixed)}")
check(cured(net(conv(), dense(10))) == net(conv(), {"type": "Flatten"}, dense(10)), "a Flatten is put where it is missing")
check(cured(net(flat, conv(), dense(10))) == net(conv(), flat, dense(10)), "a convolution is moved before the Flatten")
check(cured(net(conv(filters=12), layer("GroupNormalization"), flat, dense(10)))["layers"][1] == layer("GroupNormalization", groups=4), "groups are set")
check(cured(net(conv(), layer("RandomFlip"), flat, dense(10)))["layers"][0] == layer("RandomFlip"), "augmentation is moved to the beginning")
check(cured(net(layer("RandomZoom", height_factor=0.2), flat, dense(10)))["layers"][0]["layer"]["width_factor"] == 0.2, "zooms by the same range")
named = layer("Activation", activation="softmax", name="re_lu")
check(cured(net(flat, dense(10, "linear"), layer("ReLU")))["layers"][2] == named, "a ReLU at the end becomes a softmax")
check(cured(net(flat, dense(10, "sigmoid"))) == net(flat, dense(10)), "the activation is set")
a = ask(net(flat, dense(10), loss={"name": "categorical_crossentropy", "from_logits": True}) | {"layers": [flat, layer("Dense", units=10)]})
check(a["valid"] and not a["warnings"], f"logits are fine when they are said to be: {a['warnings']}")

# All at once, with lines.
text = """{"size": [12, 12, 3],
"optimizer": "adm",
"loss": "categorical_crossentropy",
"layers": [
 {"type": "Conv2D", "layer": {"filters": 16, "kernel_size": 13, "activation": "rellu"}},
 {"type": "Conv2D", "layer": {"filters": 0, "kernel_size": 3}},
 {"type": "MaxPool"},
 {"type": "Dense", "layer": {"units": 7, "activation": "softmax", "name": "a"}},
 {"type": "Dense", "layer": {"units": 7, "activation": "softmax",
   "name": "a"}}]}"""
a = ask(None, text=text)
lines = {(e["path"], e["line"]) for e in a["errors"]}
check(lines == {("/optimizer", 2), ("/layers/0/layer/activation", 5), ("/layers/0", 5), ("/layers/1/layer/filters", 6), ("/layers/2/type", 7),
                ("/layers/4/layer", 9)}, str(lines))
check(a["layers"][2]["type"] is None and a["layers"][2]["output_shape"] is None and a["layers"][4]["output_shape"] is None, str(a["layers"]))
for text, line, part in [('{"a": 1,\n"b" 2}', 2, "expected :"), ("", 1, "ends where"), ("[]", 1, "must be a JSON object"), ('{"a": 1, "a": 2}', 1, "stands twice")]:
    a = ask(None, text=text)
    check(len(a["errors"]) == 1 and a["errors"][0]["path"] == "" and a["errors"][0]["line"] == line and part in a["errors"][0]["text"], str(a))
a = ask(None, text=json.dumps(net(flat, dense(10), loss="\u00e9" * 3000)))  # cut between characters
check(len(a["errors"]) == 1 and "unknown name" in a["errors"][0]["text"], str(a)[:200])
a = ask(net(*[conv(filters=0)] * 300))
check(100 <= len(a["errors"]) <= 101, f"{len(a['errors'])} errors are told of")

# ---- the data set ----

pictures = {"format": "images", "classes": list("abcd"), "training": 700, "validation": 80}
write("pictures.json", json.dumps(pictures))
table = {"format": "csvdata", "rows": 150, "features": [
    {"feature": "x", "dataType": "Float", "uniqueValues": 90, "blocked": False}, {"feature": "colour", "dataType": "Label", "uniqueValues": 5, "blocked": False},
    {"feature": "id", "dataType": "Label", "uniqueValues": 5000, "blocked": True}, {"feature": "kind", "dataType": "Label", "uniqueValues": 3, "blocked": False}]}
write("table.json", json.dumps(table))
with_pictures, with_table = ("--properties", path("pictures.json")), ("--properties", path("table.json"))
a = ask(sound, *with_pictures)
check([(e["path"], e["text"]) for e in a["errors"]] == [("/layers/3/layer/units", "10 units, but the data set has 4 classes")], str(a["errors"]))
check(a["samples"] == 700 and a["validation_samples"] == 80, str(a["samples"]))
check(cured(sound, *with_pictures) == net(conv(), pool, flat, dense(4)), "units of the classes")
a = ask(net(conv(), flat, dense(None)), *with_pictures)
check(a["valid"] and "units of \"dense\": 4 (the number of classes)" in a["chosen"] and a["layers"][2]["output_shape"] == [None, 4], str(a))
rows = {"size": [6], "optimizer": "adam", "loss": "categorical_crossentropy", "layers": [dense(3)]}
a = ask(rows, *with_table)
check(a["valid"] and a["samples"] == 150, str(a["errors"]))  # x and five colours; the blocked column is left out
check(cured(rows | {"size": [9]}, *with_table) == rows, "features of the columns")
check([e["path"] for e in ask(rows | {"inputArray": [2]}, *with_table)["errors"]] == [""], "a blocked column cannot be encoded")
check([e["path"] for e in ask(rows, *with_pictures)["errors"]] == ["/size"], "a table's model on pictures")
check([e["path"] for e in ask(sound, *with_table)["errors"]] == ["/size"], "a picture's model on a table")
open_size = net(conv(), flat, dense(4), size=[None, None, 1])
check([e["path"] for e in ask(open_size, *with_pictures)["errors"]] == ["/size"] and cured(open_size, *with_pictures)["size"] == [64, 64, 1], "pictures need a size")
numbers = rows | {"outputArray": [0], "size": [8], "layers": [dense(1, "linear")]}
a = ask(numbers, *with_table)
check(a["valid"] and "/loss" in [w["path"] for w in a["warnings"]], str(a))
a = ask(net(flat, dense(2)), "--properties", write("single.json", json.dumps(pictures | {"classes": ["a"]})))
check("only one class" in a["errors"][0]["text"], str(a["errors"]))
code, out, err = run(webml, "check", write("m.json", json.dumps(sound)), "--properties", write("odd.json", '{"format": "sounds"}'))
check(code == 1 and '"format" must be' in err, err)

# ---- devices ----

a = ask(sound, "--device", "cpu,cuda:7", "--samples", "6000", "--batch-size", "64")
cpu, gpu = a["devices"]
check(cpu["device"] == "cpu" and cpu["training"]["total"] > cpu["training"]["weights"] > 4 * 13610 and not cpu["training"]["estimated"] and cpu["fits"] is True, str(cpu))
check(cpu["prediction"]["total"] > 0 and 0 < cpu["seconds_per_epoch"][0] < cpu["seconds_per_epoch"][1], str(cpu))
check(gpu["device"] == "cuda:7" and gpu["training"]["estimated"] and gpu["fits"] is gpu["seconds_per_epoch"] is gpu["prediction"] is None, str(gpu))
code, out, err = run(webml, "summary", write("sound.json", json.dumps(sound)), "--device", "cpu", "--batch-size", "64", "--json")
theirs = json.loads(out)["memory"][0]["training"]
check(all(cpu["training"][k] == theirs[k] for k in ("weights", "state")), f"as webml summary says: {cpu['training']}, {theirs}")
less = ask(sound, "--device", "cpu", "--samples", "600", "--batch-size", "64")["devices"][0]["seconds_per_epoch"]
check(less[1] < cpu["seconds_per_epoch"][1], "a tenth of the samples takes less time")
a = ask(net(conv(size=29), flat, dense(10)), "--device", "cpu", "--no-time")
check(a["devices"] == [{"device": "cpu", "training": None, "prediction": None, "available": a["devices"][0]["available"], "fits": None, "reason": None,
                        "seconds_per_epoch": None}], str(a["devices"]))
huge = net(conv(filters=1024, size=7), conv(filters=1024, size=7), flat, dense(10), size=[1000, 1000, 3])
a = ask(huge, "--device", "cpu", "--batch-size", "1024", "--no-time")
check(a["devices"][0]["fits"] is False and "GB are free" in a["devices"][0]["reason"] if a["valid"] else True, str(a["devices"]))

code, out, err = run(webml, "devices", "--speed", "--json")
speed = json.loads(out)["devices"][0]["speed"]
check(code == 0 and set(speed) == {"convolution", "first_convolution", "dense", "weights", "bytes", "operation"} and all(v > 0 for v in speed.values()), f"{speed} {err}")

# For people: 80 columns, the cure beneath.
code, out, err = run(webml, "check", write("m.json", json.dumps(net(conv(), dense(10)))), "--device", "cpu")
check(code == 1 and "/layers/1: gets the picture 26x26x8; a Flatten is missing before it\n  insert a Flatten before it" in out, out)
code, out, err = run(webml, "check", "-", input=json.dumps(sound))
check(code == 0 and "nothing is wrong; 13610 parameters" in out, out + err)
code, out, err = run(webml, "check", path("absent.json"))
check(code == 1 and "cannot read" in err, err)
code, out, err = run(webml, "check", "--help")
check(max(map(len, out.splitlines())) <= 80, "help in 80 columns")

report()
