"""From an account to a prediction over HTTP/1.1, HTTP/2 without TLS and HTTP/2 over TLS: Fashion-MNIST as a zip
file and a table are uploaded, models made, shaped and trained while events are followed, predictions asked for,
weights downloaded, everything deleted."""
import gzip
import io
import zipfile

import numpy as np
import pytest

from client import Client, Events, PASSWORD, make_admin, new_model, new_user, path, train, until, upload
from samples import binary_head, certificate, churn, dense, infer, layer, network, png

SOURCE = "/usr/share/datasets/fashion-mnist/"
NAMES = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot"]
CNN = network(layer("Conv2D", filters=16, kernel_size=3, activation="relu"), layer("MaxPooling2D"), layer("Flatten"),
              dense(None, "softmax"), size=(28, 28, 1), metrics=["accuracy"])
MLP = network(dense(16, "relu"), dense(None, "sigmoid"))


def fashion(part, count):
    """The first images, and what they show."""
    with gzip.open(SOURCE + f"{part}-images-idx3-ubyte.gz") as f:
        images = np.frombuffer(f.read(16 + count * 784), np.uint8)[16:].reshape(-1, 28, 28)
    with gzip.open(SOURCE + f"{part}-labels-idx1-ubyte.gz") as f:
        return images, np.frombuffer(f.read(8 + count), np.uint8)[8:]


@pytest.fixture(scope="module")
def few(slow):
    """How many pictures are for training; a quarter more for validation."""
    return 600 if slow else 2000


@pytest.fixture(scope="module")
def pictures(few):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as z:
        for place, part, count in (("training_data", "train", few), ("validation_data", "t10k", few // 4)):
            for i, (image, label) in enumerate(zip(*fashion(part, count))):
                z.writestr(f"{place}/{NAMES[label]}/{i:05}.png", png(image))
    return packed.getvalue()


@pytest.fixture(scope="module")
def shoe():
    """(a picture that nobody has trained with, what it shows)"""
    images, labels = fashion("t10k", 1)
    return images[0], NAMES[labels[0]]


@pytest.fixture(scope="module")
def secure_server(start_server_of_module):
    return start_server_of_module(*certificate("end-to-end", "localhost"))


@pytest.fixture(scope="module", params=["HTTP/1.1", "HTTP/2", "HTTP/2 over TLS"])
def admin(request, server, secure_server):
    """The administrator, connected in one of three ways."""
    server, options = {
        "HTTP/1.1": (server, {}), "HTTP/2": (server, {"http1": False, "http2": True}),
        "HTTP/2 over TLS": (secure_server, {"http2": True, "verify": path("end-to-end.pem")})}[request.param]
    if server.key:
        c = make_admin(server, **options)
        server.key = None
    else:
        c = Client(server, **options)
        assert c.log_in("admin", PASSWORD) == 200, c.last.text
    c.version = request.param.split()[0]
    return c


class Journey:
    """An account, its data, models and trainings, and what was told meanwhile."""

    def __init__(self, admin, name, pictures, table, epochs):
        self.user = new_user(admin, name)
        self.events = Events(self.user)
        self.fashion = upload(self.user, "fashion", pictures, "fashion.zip")
        self.churn = upload(self.user, "churn", table, "churn.csv")
        self.model = new_model(self.user, "cnn", CNN)
        self.shaped = self.user.post(f"/api/v1/models/{self.model}/shape", {
            "dataset": self.fashion, "name": "shaped"})["id"]
        self.session = train(self.user, self.shaped, self.fashion, epochs=epochs, batch_size=32)
        self.mlp = new_model(self.user, "mlp", MLP)
        self.other = train(self.user, self.mlp, self.churn, epochs=2)


@pytest.fixture(scope="module")
def table(programs):
    return churn(programs["bench"], 3000)


@pytest.fixture(scope="module")
def journey(admin, pictures, table):
    return Journey(admin, "user of " + admin.version.replace("/", " "), pictures, table, 4)


@pytest.fixture(scope="module")
def said(journey, shoe):
    """What the trained model sees in the shoe."""
    status, answer = journey.user.call("POST", f"/api/v1/weights/{journey.session['weights']}/predict", png(shoe[0]))
    assert status == 200, answer
    return answer


def test_logging_in_over_the_protocol(admin, journey):
    assert journey.user.log_in(journey.user.name, PASSWORD) == 200
    assert journey.user.last.http_version == admin.version


def test_fashion_mnist_is_a_data_set(journey, few):
    properties = journey.user.get(f"/api/v1/datasets/{journey.fashion}")["properties"]
    assert properties["training"] == few
    assert properties["validation"] == few // 4
    assert sorted(properties["classes"]) == sorted(NAMES)


def test_a_training_learns(journey, slow):
    assert journey.session["state"] == "finished"
    assert journey.session["history"][-1]["val_accuracy"] > (0.5 if slow else 0.7)


def test_a_table_is_trained_with(journey):
    assert journey.other["state"] == "finished"


def test_every_epoch_is_told(journey):
    def told():
        return {e.data["epoch"] for e in journey.events.heard
                if e.data.get("event") == "epoch" and e.data["session"] == journey.session["id"]}

    assert until(told, lambda epochs: len(epochs) == 4) == {1, 2, 3, 4}


def test_a_prediction_says_what_the_picture_shows(said, shoe):
    assert said["class"] == shoe[1], said
    assert len(said["examples"]) == 16, said


def test_v2_predicts_the_same(journey, said, shoe):
    pixels = shoe[0].reshape(1, 28, 28, 1)
    head = binary_head(pixels, "UINT8")
    status, answer = infer(journey.user, "shaped", head + pixels.tobytes(), headers={
        "Inference-Header-Content-Length": str(len(head))})
    assert status == 200, answer
    assert abs(max(answer["outputs"][0]["data"]) - said["probability"]) < 1e-5


def test_weights_are_downloaded(journey):
    status, data = journey.user.call("GET", f"/api/v1/weights/{journey.session['weights']}/file")
    assert status == 200, data
    assert b'"conv2d/kernel"' in data[:8 + int.from_bytes(data[:8], "little")]


def test_the_data_set_is_downloaded_as_it_was(journey, pictures):
    assert journey.user.get(f"/api/v1/datasets/{journey.fashion}/file") == pictures


def test_everything_is_deleted(admin, pictures, table):
    mine = Journey(admin, "short user of " + admin.version.replace("/", " "), pictures, table, 1)
    for what, numbers in (("weights", (mine.session["weights"], mine.other["weights"])),
                          ("models", (mine.shaped, mine.model, mine.mlp)), ("datasets", (mine.fashion, mine.churn))):
        for number in numbers:
            status, answer = mine.user.call("DELETE", f"/api/v1/{what}/{number}")
            assert status == 204, f"{what} {number}: {answer}"
        assert mine.user.get(f"/api/v1/{what}")[what] == []
