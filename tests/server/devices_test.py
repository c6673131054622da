"""Devices as they are seen: the processor, cards through NVML with processes and sensors that are missing, what
is told when they change, a driver that fails."""
import os
import pwd
import subprocess
import time

import pytest

from client import Events, make_admin, new_user, until


@pytest.fixture(scope="module")
def server(cards):
    return cards.server


@pytest.fixture(scope="module")
def admin(cards):
    return cards.admin


@pytest.fixture(scope="module")
def ada(admin):
    return new_user(admin, "ada")


@pytest.fixture(scope="module")
def sleeper():
    """The number of a process of ours."""
    with subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield process.pid
        process.kill()


def devices(c):
    return c.get("/api/v1/devices")["devices"]


# ---- without a driver ----

@pytest.fixture(scope="module")
def plain(start_server_of_module):
    """An administrator where there is no driver."""
    return make_admin(start_server_of_module())


def test_without_a_driver_the_processor_is_the_one_device_and_the_reason_is_told(plain):
    answer = plain.get("/api/v1/devices")
    assert [d["name"] for d in answer["devices"]] == ["cpu"]
    assert "libnvidia-ml" in answer["unavailable"][0]["reason"]


def test_the_processor_tells_of_threads_memory_disk_and_load(plain):
    cpu = devices(plain)[0]
    assert cpu["threads"] == os.cpu_count()
    assert 0 < cpu["memory"]["free"] < cpu["memory"]["total"]
    assert cpu["disk"]["free"] > 0
    assert 0 <= cpu["load"] <= 1
    assert cpu["reservation"] is None


def test_a_device_is_seen_by_its_name(plain):
    assert plain.get("/api/v1/devices/cpu")["kind"] == "cpu"
    assert plain.call("GET", "/api/v1/devices/cuda:0")[0] == 404


# ---- two cards ----

@pytest.fixture
def two_cards(cards, ada, sleeper):
    """As they are seen, with a process of ours and one that computes and draws."""
    cards.show(cards.one, cards.two, f"process 0 {sleeper} 900", f"graphics 0 {sleeper} 950",
               f"process 0 {os.getpid()} 30")
    return devices(ada)


def test_cards_have_names_in_the_order_of_their_buses(two_cards):
    assert [d["name"] for d in two_cards] == ["cpu", "cuda:0", "cuda:1"]


def test_a_card_tells_what_it_is_and_its_memory(cards, two_cards):
    card = two_cards[1]
    assert card["uuid"] == cards.uuid
    assert card["description"] == "NVIDIA Test Card"
    assert card["memory"] == {"total": 8000 << 20, "used": 1000 << 20, "free": 7000 << 20}


def test_a_card_tells_its_sensors(two_cards):
    card = two_cards[1]
    assert card["utilisation"] == 35
    assert card["temperature"] == 61
    assert card["power"] == 120.5
    assert card["fan"] is None


def test_what_is_not_measured_is_null(two_cards):
    card = two_cards[2]
    assert card["utilisation"] is None
    assert card["temperature"] is None
    assert card["power"] is None


def test_what_the_driver_does_not_say_is_null(two_cards):
    card = two_cards[1]
    assert card["compute_capability"] is None
    assert card["bfloat16"] is None


def test_a_card_lists_each_process_once(two_cards, sleeper):
    processes = two_cards[1]["processes"]
    assert len(processes) == 2, processes
    ours = next(p for p in processes if p["pid"] == sleeper)
    assert ours == {"pid": sleeper, "user": pwd.getpwuid(os.getuid()).pw_name, "command": "sleep",
                    "memory": 950 << 20, "session": None}


def test_metrics_have_the_names_of_dcgm(cards, nobody, two_cards):
    metrics = nobody.get("/metrics").decode()
    assert f'DCGM_FI_DEV_FB_USED{{gpu="0",UUID="{cards.uuid}"' in metrics
    assert 'DCGM_FI_DEV_GPU_TEMP{gpu="1"' not in metrics
    assert "DCGM_FI_DEV_POWER_USAGE" in metrics


def test_compute_capabilities_tell_of_bfloat16(cards, ada):
    cards.show(cards.one, cards.two, "capability 0 7 5", "capability 1 8 6")
    turing, ampere = devices(ada)[1:]
    assert turing["compute_capability"] == "7.5"
    assert turing["bfloat16"] is False
    assert ampere["bfloat16"] is True


# ---- changes ----

def test_a_change_is_told_soon(cards, ada, two_cards, sleeper):
    events = Events(ada)
    cards.write(cards.one.replace(" 1000 35", " 5000 95"), cards.two, "stride 32", f"process 0 {sleeper} 900",
                f"process 0 {os.getpid()} 4000")

    def told():
        return [d for e in events.of("devices") for d in e["devices"] if d["name"] == "cuda:0"]

    seen = until(told, lambda seen: seen and seen[-1]["memory"]["used"] == 5000 << 20, 3)
    assert seen
    card = seen[-1]
    assert card["memory"]["used"] == 5000 << 20
    assert card["utilisation"] == 95
    processes = {p["pid"]: p["memory"] for p in card["processes"]}
    assert processes == {sleeper: 900 << 20, os.getpid(): 4000 << 20}, "at a distance of 32 bytes"


def test_only_changes_are_told(cards, ada):
    cards.show(cards.one, cards.two)
    events = Events(ada)

    def told_in_2500_ms():  # in which it looks three or four times
        before = len(events.of("devices"))
        time.sleep(2.5)
        return len(events.of("devices")) - before

    # The load of the processor may change between any two looks.
    assert until(told_in_2500_ms, lambda told: told <= 3, 10) <= 3


# ---- the driver ----

def test_a_driver_that_fails_leaves_the_processor_until_it_is_back(cards, ada):
    cards.show(cards.one)
    cards.show("broken")
    answer = ada.get("/api/v1/devices")
    assert [d["name"] for d in answer["devices"]] == ["cpu"]
    assert "Unknown Error" in answer["unavailable"][0]["reason"]
    cards.show(cards.one)
    assert len(devices(ada)) == 2
