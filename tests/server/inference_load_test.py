"""Many predictions at once, while models are loaded and unloaded."""
import threading
import time

import numpy as np

from client import Client, run, write
from samples import BINARY_OUTPUT, ROWS, binary_head, infer, outputs, tensor


def test_every_answer_is_right_while_the_model_is_unloaded_again_and_again(server, admin, public_net):
    expected, wrong, done = outputs(admin, "table net", ROWS), [], threading.Event()

    def ask():
        c, n = Client(server), 0
        while n < 60 or not done.is_set():
            n += 1
            status, answer = infer(c, "table net", {"inputs": [tensor(ROWS)]})
            if status != 200 or not np.allclose(
                    np.reshape(answer["outputs"][0]["data"], (5, 2)), expected, atol=1e-6):
                wrong.append((status, answer))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for t in threads:
        t.start()
    for _ in range(25):
        admin.post("/v2/repository/models/table net/unload")
        time.sleep(0.02)
    done.set()
    for t in threads:
        t.join()
    assert not wrong


def test_thousands_of_predictions_over_http2_succeed(server, nobody, public_net):
    head = binary_head(ROWS, **BINARY_OUTPUT)
    code, out, err = run(
        "h2load", "-n", "8000", "-c", "4", "-m", "16", "-d", write("body", head + ROWS.tobytes()), "-H",
        f"inference-header-content-length: {len(head)}", server.url + "/v2/models/table%20net/infer")
    assert "8000 succeeded" in out, err
    assert nobody.call("GET", "/healthz")[0] == 200


def test_unloading_frees_memory(server, admin, picture_net, slow):
    before = server.memory()
    for _ in range(30):
        admin.post("/v2/repository/models/pictures/unload")
        admin.post("/v2/repository/models/pictures/load")
    after = server.memory()
    assert slow or after - before < 8
