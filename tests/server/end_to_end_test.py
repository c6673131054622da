"""From an account to a prediction over HTTP/1.1, HTTP/2 without TLS and HTTP/2 over TLS: Fashion-MNIST as a zip
file and a table are uploaded, models made, shaped and trained while events are followed, predictions asked for,
weights downloaded, everything deleted."""
import gzip
import io
import json
import sys
import threading
import zipfile

import httpx
import numpy as np
from PIL import Image

from client import Client, Server, check, new_user, path, report, run, sanitized, settled, upload

program, bench = sys.argv[1:3]
source = "/usr/share/datasets/fashion-mnist/"
names = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot"]


def fashion(part, count):
    images = np.frombuffer(gzip.open(source + f"{part}-images-idx3-ubyte.gz").read(16 + count * 784), np.uint8)[16:].reshape(-1, 28, 28)
    return images, np.frombuffer(gzip.open(source + f"{part}-labels-idx1-ubyte.gz").read(8 + count), np.uint8)[8:]


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


packed = io.BytesIO()
few = 600 if sanitized(program) else 2000
with zipfile.ZipFile(packed, "w") as z:
    for folder, part, count in (("training_data", "train", few), ("validation_data", "t10k", few // 4)):
        for i, (image, label) in enumerate(zip(*fashion(part, count))):
            z.writestr(f"{folder}/{names[label]}/{i:05}.png", png(image))
pictures = packed.getvalue()
run(bench, "make", "churn", path("churn.csv"), "3000")
table = open(path("churn.csv"), "rb").read()
shoe, shoe_label = (a[0] for a in fashion("t10k", 1))
layer = lambda kind, **options: {"type": kind, "layer": options}
cnn = {"size": [28, 28, 1], "dynamic": True, "optimizer": "adam", "loss": None, "metrics": ["accuracy"], "layers": [
    layer("Conv2D", filters=16, kernel_size=3, activation="relu"), layer("MaxPooling2D"), layer("Flatten"), layer("Dense", units=None, activation="softmax")]}
mlp = {"size": [None], "dynamic": True, "optimizer": "adam", "loss": None, "layers": [layer("Dense", units=16, activation="relu"), layer("Dense", units=None, activation="sigmoid")]}

run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path("key.pem"), "-out", path("cert.pem"))
plain, secure = Server(program), Server(program, None, "--tls-cert", path("cert.pem"), "--tls-key", path("key.pem"))
kinds = (("HTTP/1.1", plain, {}), ("HTTP/2", plain, {"http1": False, "http2": True}), ("HTTP/2 over TLS", secure, {"http2": True, "verify": path("cert.pem")}))
for n, (kind, server, options) in enumerate(kinds):
    first = Client(server, **options)
    if server.key:
        first.register(server.key, "admin", "0123456789")
        server.key = None
    else:
        first.log_in("admin", "0123456789")
    user = Client(server, **options)
    user.register(first.call("POST", "/api/v1/users/keys", {})[1]["key"], f"user{n}", "0123456789")
    check(user.log_in(f"user{n}", "0123456789") == 200 and user.last.http_version == ("HTTP/1.1" if n == 0 else "HTTP/2"), f"{kind}: logged in over {user.last.http_version}")
    heard = []

    def listen(token=user.token, url=server.url, options=options):
        with httpx.Client(timeout=60, **options) as c, c.stream("GET", url + "/api/v1/events", headers={"authorization": "Bearer " + token}) as r:
            try:
                for line in r.iter_lines():
                    if line.startswith("data: "):
                        heard.append(json.loads(line[6:]))
            except Exception:  # the server ends; python3-h2 minds data behind a GOAWAY
                pass

    threading.Thread(target=listen, daemon=True).start()
    fashion_set, churn_set = upload(user, "fashion", pictures, "fashion.zip"), upload(user, "churn", table, "churn.csv")
    properties = user.call("GET", f"/api/v1/datasets/{fashion_set}")[1]["properties"]
    check(properties["training"] == few and properties["validation"] == few // 4 and sorted(properties["classes"]) == sorted(names), f"{kind}: Fashion-MNIST")
    model = user.call("POST", "/api/v1/models", {"name": "cnn", "description": cnn})[1]["id"]
    shaped = user.call("POST", f"/api/v1/models/{model}/shape", {"dataset": fashion_set, "name": "shaped"})[1]["id"]
    session = settled(user, user.call("POST", "/api/v1/sessions", {"model": shaped, "dataset": fashion_set, "epochs": 4, "batch_size": 32})[1]["id"])
    accuracy = session["history"][-1]["val_accuracy"]
    check(session["state"] == "finished" and accuracy > (0.5 if sanitized(program) else 0.7), f"{kind}: trained to {accuracy}")
    tables = user.call("POST", "/api/v1/models", {"name": "mlp", "description": mlp})[1]["id"]
    other = settled(user, user.call("POST", "/api/v1/sessions", {"model": tables, "dataset": churn_set, "epochs": 2})[1]["id"])
    check(other["state"] == "finished" and {e["epoch"] for e in heard if e.get("event") == "epoch" and e["session"] == session["id"]} == {1, 2, 3, 4}, f"{kind}: a table; every epoch was heard of")
    status, said = user.call("POST", f"/api/v1/weights/{session['weights']}/predict", png(shoe))
    check(status == 200 and said["class"] == names[shoe_label] and len(said["examples"]) == 16, f"{kind}: it is a {names[shoe_label]}: {said}")
    head = json.dumps({"inputs": [{"name": "input", "shape": [1, 28, 28, 1], "datatype": "UINT8", "parameters": {"binary_data_size": 784}}]}).encode()
    status, answer = user.call("POST", "/v2/models/shaped/infer", head + shoe.tobytes(), headers={"Inference-Header-Content-Length": str(len(head))})
    top = max(answer["outputs"][0]["data"])
    check(status == 200 and abs(top - said["probability"]) < 1e-5, f"{kind}: the same through V2")
    status, weights = user.call("GET", f"/api/v1/weights/{session['weights']}/file")
    check(status == 200 and b'"conv2d/kernel"' in weights[:8 + int.from_bytes(weights[:8], "little")], f"{kind}: weights downloaded")
    check(user.call("GET", f"/api/v1/datasets/{fashion_set}/file")[1] == pictures, f"{kind}: the data set downloaded")
    for what, ids in (("weights", (session["weights"], other["weights"])), ("models", (shaped, model, tables)), ("datasets", (fashion_set, churn_set))):
        check(all(user.call("DELETE", f"/api/v1/{what}/{i}")[0] == 204 for i in ids) and user.call("GET", f"/api/v1/{what}")[1][what] == [], f"{kind}: {what} deleted")
check(plain.stop() == 0 and secure.stop() == 0, "end")
report()
