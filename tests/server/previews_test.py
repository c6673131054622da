"""What there is to see of data and weights: rows, classes, samples, evaluations, pictures by forms, examples."""
import io
import json

import httpx
import numpy as np
import pytest
from PIL import Image

from client import new_net, new_user, run, upload, write
from samples import CNN, MLP, numbers_table, unzip, zip_of_pictures

TABLE = numbers_table(300)
PICTURES = zip_of_pictures(("low & slow", "k1", "k2"), 20)


@pytest.fixture(scope="module")
def ada(admin):
    return new_user(admin, "ada")


@pytest.fixture(scope="module")
def numbers(ada):
    return upload(ada, "numbers", TABLE, "n.csv")


@pytest.fixture(scope="module")
def pictures(ada):
    return upload(ada, "pictures", PICTURES, "p.zip")


@pytest.fixture(scope="module")
def net(ada, numbers):
    return new_net(ada, "net", MLP, numbers, epochs=2)


@pytest.fixture(scope="module")
def eyes(ada, pictures):
    return new_net(ada, "eyes", CNN, pictures, epochs=15, batch_size=8)


# ---- previews ----

def test_a_preview_of_a_table_shows_its_first_rows(ada, numbers):
    seen = ada.get(f"/api/v1/datasets/{numbers}/preview")
    assert seen["columns"] == ["a", "b", "c", "kind"]
    assert len(seen["rows"]) == 5
    assert TABLE.decode().splitlines()[1].split(",")[3] in str(seen["rows"][0])


@pytest.fixture(scope="module")
def classes(ada, pictures):
    return ada.get(f"/api/v1/datasets/{pictures}/preview")["classes"]


def test_a_preview_of_pictures_counts_its_classes(classes):
    assert [c["class"] for c in classes] == ["k1", "k2", "low & slow"]
    assert classes[2]["training"] + classes[2]["validation"] == 20


def test_a_sample_is_the_picture(ada, classes):
    data = ada.get(classes[2]["sample"] + "&size=64")
    assert ada.last.headers["content-type"] == "image/png"
    image = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    first = Image.open(io.BytesIO(unzip(PICTURES, "low & slow/00.png")))
    expected = np.array(first.resize((64, 64), Image.NEAREST))
    assert image.shape == (64, 64, 3)
    assert np.abs(image.astype(int) - expected).mean() < 25


def test_a_class_has_as_many_samples_as_pictures(ada, pictures):
    status, answer = ada.call("GET", f"/api/v1/datasets/{pictures}/sample?class=k1&index=20")
    assert status == 404, answer
    assert "20 pictures" in ada.last.text


def test_a_sample_of_a_class_that_there_is_not(ada, numbers, pictures):
    assert ada.call("GET", f"/api/v1/datasets/{pictures}/sample?class=none")[0] == 404
    assert ada.call("GET", f"/api/v1/datasets/{pictures}/sample")[0] == 400
    assert ada.call("GET", f"/api/v1/datasets/{numbers}/sample?class=x")[0] == 409


@pytest.mark.parametrize("name", ["../../etc/passwd", "-o", "--out", "$(id)", "%00"])
def test_a_class_that_means_harm_finds_nothing(ada, pictures, name):
    status, answer = ada.call("GET", f"/api/v1/datasets/{pictures}/sample", params={"class": name})
    assert status in (400, 404, 422, 500), answer
    assert "root" not in ada.last.text


# ---- evaluation ----

def evaluate(c, net, dataset, **more):
    return c.call("POST", f"/api/v1/weights/{net.weights}/evaluate", {"dataset": dataset, **more})


def test_an_evaluation_is_that_of_the_command_line(ada, programs, net, numbers):
    status, ours = evaluate(ada, net, numbers, part="training")
    assert status == 200, ours
    code, out, err = run(programs["webml"], "evaluate", net.file, "--data", write("n.csv", TABLE), "--part",
                         "training", "--json")
    assert code == 0, err
    theirs = json.loads(out)
    assert abs(ours["loss"] - theirs["loss"]) < 1e-6
    assert ours.get("confusion") == theirs.get("confusion")


def test_an_evaluation_with_other_data_says_why_not(server, ada, net, pictures):
    status, answer = evaluate(ada, net, pictures)
    assert status == 422, answer
    assert server.data_dir not in answer["detail"]


def test_an_evaluation_needs_data_and_weights_of_ones_own(ada, admin, net, numbers):
    assert evaluate(ada, net, 99)[0] == 404, ada.last.text
    assert evaluate(admin, net, numbers)[0] == 404, admin.last.text


# ---- pictures ----

PICTURE = unzip(PICTURES, "low & slow/03.png")


@pytest.fixture(scope="module")
def plain(ada, eyes):
    """What is seen in the picture, sent by itself."""
    return ada.post(f"/api/v1/weights/{eyes.weights}/predict", PICTURE)


def test_a_picture_in_a_browsers_form_is_the_picture(server, ada, eyes, plain):
    form = httpx.post(f"{server.url}/api/v1/weights/{eyes.weights}/predict", files={
        "file": ("a.png", PICTURE, "image/png")}, headers={"authorization": "Bearer " + ada.token})
    assert form.status_code == 200, form.text
    assert form.json()["class"] == plain["class"]
    assert abs(form.json()["probability"] - plain["probability"]) < 1e-6


def test_examples_of_the_class_are_given(ada, plain):
    assert plain["class"] == "low & slow"
    assert len(plain["examples"]) == 16
    assert ada.call("GET", plain["examples"][15])[0] == 200, ada.last.text


@pytest.mark.parametrize("kind, body", [
    ("multipart/form-data", b"x"), ("multipart/form-data; boundary=", b"----"),
    ("multipart/form-data; boundary=b", b"--b\r\n\r\n--b--"),
    ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: x\r\n\r\nno end"),
    ("multipart/form-data; boundary=b", b"")],
    ids=["no boundary", "an empty boundary", "no head", "no end", "nothing"])
def test_a_form_that_is_none_is_refused(ada, eyes, kind, body):
    status, answer = ada.call("POST", f"/api/v1/weights/{eyes.weights}/predict", body, headers={"content-type": kind})
    assert status == 400, answer
