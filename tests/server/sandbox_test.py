"""The sandbox around programs that read strangers' files. `webml` beside the server is a stand-in (intruder.c)
that tries what its data set says, and reports what it could do. A row that needs Landlock or seccomp is
skipped where the kernel has none, as the server's log says."""
import itertools
import json
import os
import shutil
import signal
import socket
import threading
import time

import pytest
from client import Server, cancel, make_admin, new_model, new_user, run, settled, started, until, upload
from samples import CHURN, churn

MODEL = {"size": [2], "dynamic": False, "optimizer": "adam", "loss": "binary_crossentropy", "metrics": [], "layers": [
    {"type": "Dense", "layer": {"units": 1, "activation": "sigmoid"}}]}
REFUSED = ("EPERM", "EACCES")


def install(programs, folder, webml):
    """The server in a folder of its own, beside what stands for the program."""
    folder.mkdir()
    sources = {"webml-server": programs["server"], "webml-confined": confined(programs), "webml": webml}
    for name, source in sources.items():
        if os.path.exists(source):
            shutil.copy(source, folder / name)
    return str(folder / "webml-server")


def confined(programs):
    return os.path.join(os.path.dirname(programs["server"]), "webml-confined")


@pytest.fixture(scope="module")
def intruder(programs):
    path = os.path.join(os.path.dirname(programs["nvml"]), "webml")
    assert os.path.exists(path), "cmake --build build --target intruder"
    return path


@pytest.fixture(scope="module")
def server(programs, intruder, tmp_path_factory):
    """Its data lie in its program's folder: the program and its libraries must be readable, and the data must not."""
    folder = tmp_path_factory.mktemp("installed") / "webml"
    s = Server(install(programs, folder, intruder), str(folder / "data"), SECRET_OF_THE_OPERATOR="x")
    yield s
    s.end()


@pytest.fixture(scope="module")
def owner(admin):
    return new_user(admin, "owner")


@pytest.fixture(scope="module")
def said(server):
    """The line of the log about what the kernel has."""
    def look():
        events = (json.loads(line) for line in read(server.file("log", "server.log")).splitlines())
        return next((e["outcome"] for e in events if e["event"] == "sandbox"), "")

    return until(look, seconds=5)


@pytest.fixture
def landlock(said):
    if "no Landlock" in said:
        pytest.skip("this kernel has no Landlock")


@pytest.fixture
def seccomp(said):
    if "no seccomp" in said:
        pytest.skip("this kernel has no seccomp")


@pytest.fixture
def plain(slow):
    if slow:
        pytest.skip("sanitizers need it")


numbers = itertools.count(1)


def attempt(c, *orders):
    """What came of the orders, by their first words; a text where the process came to grief."""
    dataset = upload(c, f"orders {next(numbers)}", ("\n".join(orders) + "\n").encode())
    d = c.get(f"/api/v1/datasets/{dataset}")
    return d["properties"] or d["error"]


# ---- files ----

@pytest.mark.parametrize("file", ["token.key", "webml.sqlite", "webml.sqlite-wal", "log/server.log", "lock"])
def test_files_of_the_server_cannot_be_read(server, owner, landlock, file):
    assert os.path.exists(server.file(file))
    assert attempt(owner, "read " + server.file(file))["read"] == "EACCES"


@pytest.mark.parametrize("folder", ["", "datasets", "jobs", "uploads", "cache", "backups"])
def test_folders_of_the_server_cannot_be_listed(server, owner, landlock, folder):
    assert attempt(owner, "list " + server.file(folder))["list"] == "EACCES"


def test_detours_lead_nowhere(server, owner, landlock):
    path = os.path.abspath(server.file("token.key"))
    for detour in ("/proc/self/root" + path, "/proc/self/cwd/" + os.path.relpath(path)):
        assert attempt(owner, "read " + detour)["read"] == "EACCES"


@pytest.mark.parametrize("file", ["/etc/passwd", "/etc/hostname", "/proc/1/cmdline"])
def test_files_of_the_machine_cannot_be_read(owner, landlock, file):
    assert attempt(owner, "read " + file)["read"] == "EACCES"


def test_another_data_set_cannot_be_read(server, owner, user, landlock):
    other = upload(user, "secret", b"a,b\n1,2\n")
    assert attempt(owner, f"read {server.file('datasets', str(other), 'data.csv')}")["read"] == "EACCES"


def test_another_cache_cannot_be_read_or_written(server, owner, user, landlock):
    other = server.file("cache", str(upload(user, "cached", b"a,b\n1,2\n")))
    tried = attempt(owner, "list " + other, f"write {other}/x")
    assert (tried["list"], tried["write"]) == ("EACCES", "EACCES")


@pytest.mark.parametrize("place", ["token.key", "datasets/x", "x", "/tmp/intruder", "/dev/shm/intruder"])
def test_nothing_outside_can_be_written(server, owner, landlock, place):
    assert attempt(owner, "write " + (place if place.startswith("/") else server.file(place)))["write"] == "EACCES"


def test_its_own_data_set_cannot_be_changed(server, owner, landlock):
    own = upload(owner, "own", b"a,b\n1,2\n")
    again = attempt(owner, "write " + server.file("datasets", str(own + 1), "data.csv"))
    assert again["write"] == "EACCES"


@pytest.mark.parametrize("order", ["link", "symlink"])
def test_its_folder_leads_the_server_nowhere(server, owner, seccomp, order):
    assert attempt(owner, f"{order} {server.file('token.key')}")[order] in REFUSED


@pytest.mark.parametrize("order", ["chmod", "truncate", "watch"])
def test_owners_modes_and_names_outside_are_out_of_reach(server, owner, seccomp, order):
    """Landlock says nothing about some of these, or not in every version."""
    before = os.stat(server.file("token.key"))
    assert attempt(owner, f"{order} {server.file('token.key')}")[order] in REFUSED
    after = os.stat(server.file("token.key"))
    assert (before.st_mode, before.st_size) == (after.st_mode, after.st_size)


def test_it_keeps_a_cache_of_its_own(server, owner, said):
    assert said and attempt(owner, "write-cache")["write-cache"] == "done"


def test_what_computing_needs_is_there(owner, said):
    tried = attempt(owner, "thread", "read /proc/self/maps", "list /sys/devices/system/cpu")
    assert said and tried["thread"] == "done" and tried["read"] == "done" and tried["list"] == "done"


def test_a_deleted_data_set_takes_its_cache_along(server, owner):
    dataset = upload(owner, "short-lived", b"write-cache\n")
    assert os.path.isdir(server.file("cache", str(dataset)))
    assert owner.call("DELETE", f"/api/v1/datasets/{dataset}")[0] == 204
    assert not os.path.exists(server.file("cache", str(dataset)))


# ---- other processes, the network, the system ----

def test_it_cannot_connect(owner, seccomp):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert attempt(owner, f"connect {listener.getsockname()[1]}")["connect"] == "EPERM"


@pytest.mark.parametrize("kind", ["raw", "packet", "netlink", "local", "local-datagram"])
def test_it_gets_no_socket(owner, seccomp, kind):
    assert attempt(owner, "socket " + kind)["socket"] == "EPERM"


def test_it_cannot_trace_the_server(owner, seccomp, plain):
    assert attempt(owner, "trace-server")["trace-server"] == "EPERM"


@pytest.mark.parametrize("order", ["signal-server", "limit-server"])
def test_it_cannot_touch_the_server(owner, seccomp, order):
    assert attempt(owner, order)[order] == "EPERM"


@pytest.mark.parametrize("file", ["environ", "cmdline", "mem", "maps"])
def test_it_sees_nothing_of_the_server(owner, landlock, file):
    assert attempt(owner, "read-server " + file)["read-server"] in REFUSED


@pytest.mark.parametrize("call", [
    "unshare", "setns", "mount", "chroot", "pivot_root", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup",
    "keyctl", "add_key", "process_vm_readv", "pidfd_open", "swapon", "reboot", "init_module", "kexec_load", "shmget"])
def test_it_has_no_business_with(owner, seccomp, call):
    assert attempt(owner, "call " + call)["call"] == "EPERM"


def test_another_table_of_system_calls_is_refused(owner, seccomp):
    assert attempt(owner, "x32")["x32"] == "EPERM"


def test_another_architecture_ends_it(owner, seccomp):
    assert f"ended with {128 + signal.SIGSYS}" in attempt(owner, "i386")


def test_it_makes_no_processes(owner, seccomp, plain):
    assert attempt(owner, "process")["process"] == "EPERM"


def test_it_starts_no_programs(owner, landlock):
    assert attempt(owner, "exec /bin/true")["exec"] == "EACCES"


def test_it_gains_no_privileges(owner):
    assert attempt(owner, "gain-privileges")["gain-privileges"] == "EPERM"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has some")
@pytest.mark.parametrize("capability", [0, 5, 7, 12, 27])
def test_it_has_no_capabilities(owner, capability):
    assert attempt(owner, f"capability {capability}")["capability"] == "EPERM"


def test_variables_of_the_operator_are_not_passed_on(owner):
    tried = attempt(owner, "variable SECRET_OF_THE_OPERATOR")
    assert tried["variable"] == "ENOENT" and attempt(owner, "variable PATH")["variable"] == "done"


# ---- how much ----

@pytest.mark.parametrize("order", ["allocate", "allocate-shared", "allocate-stack"])
def test_memory_is_limited(owner, seccomp, plain, order):
    assert attempt(owner, order + " 100")[order] in ("ENOMEM", "EPERM")


def test_memory_without_a_name_is_not_hidden_in_files(owner, seccomp, plain):
    assert attempt(owner, "memfd")["memfd"] == "EPERM"


def test_files_are_limited(owner):
    assert attempt(owner, "terabyte")["terabyte"] == "EFBIG"


def test_limits_cannot_be_raised(owner):
    assert attempt(owner, "raise-limit")["raise-limit"] == "EPERM"


def test_no_core_is_left(owner):
    assert attempt(owner, "dump-core")["dump-core"] == "EPERM"


def test_the_system_ends_it_before_the_server(owner):
    assert attempt(owner, "outlive-server")["outlive-server"] == "EPERM"


def test_time_is_limited(owner, settings):
    settings(run_seconds=1)
    assert "longer than the 1 seconds" in attempt(owner, "spin")


def test_one_account_leaves_room_for_others(owner, other):
    slow = [threading.Thread(target=upload, args=(owner, f"slow {i}", b"sleep 4\n")) for i in range(3)]
    for t in slow:
        t.start()
    time.sleep(1)
    begun = time.time()
    upload(other, "quick", b"thread\n")
    took = time.time() - begun
    for t in slow:
        t.join()
    assert took < 2


# ---- trainings ----

def attempt_in_training(c, server, order):
    number = next(numbers)
    dataset = upload(c, f"orders {number}", (order + "\n").encode())
    session = started(c, new_model(c, f"model {number}", MODEL), dataset, epochs=1, device="cpu")
    progress = server.file("jobs", str(session), "progress")
    line = until(lambda: read(progress), lambda text: "}" in text).splitlines()[0]
    cancel(c, session)
    settled(c, session)
    return json.loads(line)


def read(path):
    if not os.path.exists(path):
        return ""
    with open(path) as f:
        return f.read()


def test_a_training_reads_no_other_data_set(server, owner, user, landlock):
    other = upload(user, "secret", b"a,b\n1,2\n")
    order = "read " + server.file("datasets", str(other), "data.csv")
    assert attempt_in_training(owner, server, order)["read"] == "EACCES"


def test_a_training_writes_no_other_job(server, owner, landlock):
    os.makedirs(server.file("jobs", "999999"), exist_ok=True)
    assert attempt_in_training(owner, server, f"write {server.file('jobs', '999999', 'x')}")["write"] == "EACCES"


def test_a_training_reads_no_key(server, owner, landlock):
    assert attempt_in_training(owner, server, "read " + server.file("token.key"))["read"] == "EACCES"


def test_a_training_has_no_network(server, owner, seccomp):
    assert attempt_in_training(owner, server, "socket raw")["socket"] == "EPERM"


def test_a_training_has_its_cache(server, owner, said):
    assert said and attempt_in_training(owner, server, "write-cache")["write-cache"] == "done"


# ---- the launcher by itself ----

def launch(programs, intruder, tmp_path, orders, *words):
    """(exit code, what came of the orders, errors) of the stand-in that the launcher has started with these words."""
    (tmp_path / "orders").write_text("\n".join(orders) + "\n")
    file = tmp_path / "orders"
    code, out, errors = run(confined(programs), "--read", file, *words, "--", intruder, "inspect", file)
    return code, json.loads(out) if out.strip() else None, errors


def test_a_gpu_has_its_sockets_and_no_others(programs, intruder, tmp_path, seccomp):
    code, tried, errors = launch(programs, intruder, tmp_path, ["bind-local", "memfd"], "--gpu")
    assert code == 0 and tried["bind-local"] == "done" and tried["memfd"] == "done", errors
    for kind in ("raw", "packet", "netlink", "local-datagram"):
        assert launch(programs, intruder, tmp_path, ["socket " + kind], "--gpu")[1]["socket"] == "EPERM"


@pytest.mark.parametrize("flag", ["--network", "--gpu"])
def test_a_network_is_there_when_it_is_allowed(programs, intruder, tmp_path, seccomp, flag):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tried = launch(programs, intruder, tmp_path, [f"connect {listener.getsockname()[1]}"], flag)[1]
    assert tried["connect"] == ("done" if flag == "--network" else "EPERM")


def test_the_clock_runs_without_a_server(programs, intruder, tmp_path):
    assert launch(programs, intruder, tmp_path, ["spin"], "--seconds", "1")[0] == -signal.SIGALRM


def test_processor_time_is_limited(programs, intruder, tmp_path):
    code = launch(programs, intruder, tmp_path, ["compute"], "--cpu-seconds", "1")[0]
    assert code in (-signal.SIGXCPU, -signal.SIGKILL)


def test_what_is_above_closed_data_is_not_opened_up(programs, intruder, tmp_path, landlock, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "key").write_text("x")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "library").write_text("x")
    monkeypatch.setenv("WEBML_SANDBOX_READ", f"{tmp_path}:{tmp_path}/beside")
    closed = ("--closed", tmp_path / "data")
    assert launch(programs, intruder, tmp_path, [f"read {tmp_path}/beside/library"], *closed)[1]["read"] == "done"
    assert launch(programs, intruder, tmp_path, [f"read {tmp_path}/data/key"], *closed)[1]["read"] == "EACCES"


def test_without_what_it_may_read_it_does_not_start(programs, intruder, tmp_path, landlock):
    code, _, errors = launch(programs, intruder, tmp_path, ["thread"], "--read", tmp_path / "nothing")
    assert code == 126 and errors.startswith("webml: cannot be confined, its files: No such file")


@pytest.mark.parametrize("words", [["--memory", "much"], ["--memory", "0"], ["--memory"], ["--write"], ["--everything"],
                                   ["--read", "a"] * 5])
def test_words_that_it_does_not_know_start_nothing(programs, intruder, tmp_path, words):
    assert launch(programs, intruder, tmp_path, ["thread"], *words)[0] == 2


# ---- the real program ----

def test_an_installation_elsewhere_trains_through_kills(programs, tmp_path):
    """Inspection, shaping, training, a kill that it resumes from, and evaluation, all confined."""
    s = Server(install(programs, tmp_path / "elsewhere", programs["webml"]), str(tmp_path / "elsewhere" / "data"))
    try:
        admin = make_admin(s)
        dataset = upload(admin, "churn", churn(programs["bench"], 20000))
        model = new_model(admin, "net", CHURN)
        admin.post(f"/api/v1/models/{model}/shape", {"dataset": dataset})
        session = started(admin, model, dataset, epochs=15, batch_size=8, seed=5)
        kill_confined(s, session)
        ended = settled(admin, session)
        assert ended["state"] == "finished", ended
        admin.post(f"/api/v1/weights/{ended['weights']}/evaluate", {"dataset": dataset})
    finally:
        s.end()


def kill_confined(server, session):
    """When it has a checkpoint."""
    folder = server.file("jobs", str(session))
    assert until(lambda: os.path.exists(os.path.join(folder, "weights.safetensors.checkpoint")))
    pid = int(read(os.path.join(folder, "pid")))
    assert os.readlink(f"/proc/{pid}/exe").endswith("/webml")
    assert "NoNewPrivs:\t1" in read(f"/proc/{pid}/status")
    os.kill(pid, signal.SIGKILL)


def test_it_can_be_switched_off(programs, intruder, tmp_path):
    s = Server(install(programs, tmp_path / "off", intruder), str(tmp_path / "off" / "data"), "--sandbox", "off")
    try:
        assert s.url and attempt(make_admin(s), "read " + s.file("token.key"))["read"] == "done"
    finally:
        s.end()
