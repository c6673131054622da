"""Batching: set per model, shown in V2's configuration; requests are put together, a full queue refuses, the work
of clients that have left is dropped."""
import json
import socket
import threading
import time

import h2.connection
import numpy as np
import pytest

from client import Client, until
from samples import outputs

ROWS = np.full((4, 3), 0.5)
ROW = {"inputs": [{"name": "input", "shape": [4, 3], "datatype": "FP32", "data": [0.5] * 12}]}
INFER = "/v2/models/table net/infer"


@pytest.fixture
def batch(admin, table_net):
    """batch(rows, microseconds, requests): how many are put together, how long it waits for them, how many wait."""
    def change(rows, microseconds, requests):
        status, answer = admin.call("PATCH", f"/api/v1/models/{table_net.model}", {
            "max_batch_size": rows, "max_queue_delay_microseconds": microseconds, "max_queue_size": requests})
        assert status == 200, answer

    yield change
    change(16, 0, 1024)


def together(admin, n):
    """What n clients get that ask at the same time."""
    answers, ready = [], threading.Barrier(n)

    def ask():
        c = Client(admin.server, admin.token)
        c.get("/healthz")
        ready.wait(30)
        answers.append(c.call("POST", INFER, ROW))

    threads = [threading.Thread(target=ask) for _ in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return answers


def stats(admin):
    return admin.get("/v2/models/table net/stats")["model_stats"][0]


def failures(admin, net, reason):
    """How many requests the metrics count."""
    start = f'nv_inference_request_failure{{model="",version="{net.weights}",reason="{reason}"}} '
    lines = admin.get("/metrics").decode().splitlines()
    return sum(int(line[len(start):]) for line in lines if line.startswith(start))


def test_the_configuration_shows_how_it_batches(admin, batch):
    batch(16, 100000, 6)
    config = admin.get("/v2/models/table net/config")["dynamic_batching"]
    assert config["preferred_batch_size"] == [16]
    assert config["max_queue_delay_microseconds"] == 100000


def test_requests_that_come_together_are_answered_as_if_they_came_alone(admin, batch):
    alone = outputs(admin, "table net", ROWS)
    batch(16, 500000, 6)
    answers = together(admin, 4)
    assert [status for status, _ in answers] == [200] * 4, answers
    for _, answer in answers:
        assert np.allclose(np.reshape(answer["outputs"][0]["data"], (4, 2)), alone, atol=1e-6)


def test_requests_that_come_together_are_computed_together(admin, batch, slow):
    batch(16, 500000, 6)
    before, began = stats(admin), time.monotonic()
    answers = together(admin, 4)
    took, after = time.monotonic() - began, stats(admin)
    assert [status for status, _ in answers] == [200] * 4, answers
    assert after["execution_count"] - before["execution_count"] <= 2
    assert slow or took < 2
    assert any(b["batch_size"] in (12, 16) for b in after["batch_stats"]), after["batch_stats"]
    assert after["inference_stats"]["queue"]["ns"] > before["inference_stats"]["queue"]["ns"]


def test_a_full_queue_refuses_at_once_and_counts(admin, table_net, batch):
    batch(64, 600000, 2)
    before = failures(admin, table_net, "REJECTED")
    codes = [status for status, _ in together(admin, 8)]
    assert sorted(set(codes)) == [200, 503], codes
    assert codes.count(200) >= 2, codes
    assert failures(admin, table_net, "REJECTED") - before == codes.count(503)


def test_the_work_of_a_client_that_has_left_is_dropped(server, admin, table_net, batch):
    batch(64, 600000, 2)
    before, answers = failures(admin, table_net, "CANCELED"), []
    beside = threading.Thread(target=lambda: answers.append(
        Client(server, admin.token).call("POST", INFER, ROW)))
    body, c = json.dumps(ROW).encode(), h2.connection.H2Connection()
    c.initiate_connection()
    c.send_headers(1, [
        (":method", "POST"), (":path", "/v2/models/table%20net/infer"), (":scheme", "http"), (":authority", "x"),
        ("authorization", "Bearer " + admin.token), ("content-length", str(len(body)))])
    c.send_data(1, body, end_stream=True)
    with socket.create_connection(server.address) as leaver:
        leaver.sendall(c.data_to_send())
        beside.start()
        time.sleep(0.15)
        c.reset_stream(1)
        leaver.sendall(c.data_to_send())
        beside.join()
        assert answers[0][0] == 200, answers
        assert until(lambda: failures(admin, table_net, "CANCELED") - before) == 1
    batch(64, 0, 1024)
    status, answer = admin.call("POST", INFER, ROW)
    assert status == 200, answer
