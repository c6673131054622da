"""Kills of trainings and of the server while they train: the weights are those of a training that nobody disturbs."""
import random
import signal
import time

import pytest

from client import make_admin, new_model, new_user, settled, started, tensors, until, upload
from samples import CHURN, churn

@pytest.fixture(scope="module")
def account(server, programs, slow):
    """Whose trainings take about a second."""
    c = new_user(make_admin(server), "ada")
    c.training = {"epochs": 3 if slow else 15, "batch_size": 2, "validation_split": 0.2, "seed": 5}
    c.dataset, c.model = upload(c, "churn", churn(programs["bench"], 20000)), new_model(c, "net", CHURN)
    return c


@pytest.fixture(scope="module")
def undisturbed(account):
    """(the weights, how many seconds the training took)"""
    session = started(account, account.model, account.dataset, **account.training)
    settled(account, session, ("running",))
    begin = time.monotonic()
    session = settled(account, session)
    took = time.monotonic() - begin
    assert session["state"] == "finished", session
    return tensors(account, session["weights"]), took


@pytest.fixture
def ada(server, account):
    """Connected to a server that runs, whatever a test before this one has left."""
    if server.process.poll() is not None:
        server.start()
    account.connect()
    return account


@pytest.fixture
def session(server, ada, undisturbed):
    """A training that has begun."""
    number = started(ada, ada.model, ada.dataset, **ada.training)
    settled(ada, number, ("running",))
    assert until(lambda: server.job(number))
    return number


def check_weights(c, session, undisturbed):
    done = settled(c, session)
    assert done["state"] == "finished", done
    assert tensors(c, done["weights"]) == undisturbed[0], "the weights are others"


@pytest.mark.parametrize("k", range(5))
def test_a_training_goes_on_after_kills(server, ada, session, undisturbed, slow, k):
    """Of its process, of the server, of both."""
    if slow and k > 1:
        pytest.skip("sanitizers are slow")
    moment = random.Random(k)
    time.sleep(moment.uniform(0.02, 0.9) * undisturbed[1])
    if k % 3 != 1:
        server.kill_job(session)
    if k % 3 != 0:
        server.stop(signal.SIGKILL)
        time.sleep(moment.uniform(0.0, 0.5))
        server.start()
        ada.connect()
    check_weights(ada, session, undisturbed)


def test_a_server_that_ends_leaves_its_trainings_alone(server, ada, session, undisturbed):
    begin = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begin < 5
    time.sleep(0.2)
    alive = server.trains(session)
    server.start()
    ada.connect()
    check_weights(ada, session, undisturbed)
    assert alive
