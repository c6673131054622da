"""Starting the server and ending it: what it says, what it refuses, what outlives it."""
import json
import os
import signal
import stat
import time

import pytest

from client import Client, PASSWORD, make_admin, new_user, path, run, write


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_it_tells_about_itself_in_80_columns(programs, option):
    code, out, err = run(programs["server"], option)
    assert code == 0, err
    assert out
    assert max(map(len, out.splitlines())) <= 80, out


@pytest.mark.parametrize("arguments, words", [
    (["--listen", "nowhere"], "HOST:PORT"), (["--tls-cert", "x"], "belong together"), (["--wrong"], "Usage")])
def test_wrong_options_are_explained(programs, arguments, words):
    code, out, err = run(programs["server"], *arguments)
    assert code == 2, err
    assert words in err


def test_it_listens_on_numeric_addresses_only(programs):
    code, out, err = run(programs["server"], "--listen", "example.org:80", "--data-dir", path("x"))
    assert code == 1, err
    assert "numeric" in err


def test_a_directory_that_cannot_be_made_is_named(programs):
    code, out, err = run(programs["server"], "--data-dir", "/proc/nothing")
    assert code == 1, err
    assert "cannot make" in err


def test_the_first_start_gives_an_address_and_a_key(start_server):
    begin = time.monotonic()
    server = start_server()
    took = time.monotonic() - begin
    assert server.key, server.greeting
    assert server.url, server.greeting
    assert took < 2


def test_it_idles_in_little_memory(start_server, slow):
    memory = start_server().memory()
    assert slow or memory < 30


def test_nobody_else_reads_the_data(server):
    assert stat.S_IMODE(os.stat(server.data_dir).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(server.file("token.key")).st_mode) == 0o600


def test_one_server_per_directory(programs, server):
    code, out, err = run(programs["server"], "--listen", "127.0.0.1:0", "--data-dir", server.data_dir)
    assert code == 1, err
    assert "another server" in err


def test_a_port_that_is_taken_is_refused(programs, server):
    code, out, err = run(programs["server"], "--listen", "%s:%d" % server.address, "--data-dir", path("other"))
    assert code == 1, err
    assert "taken" in err


def test_accounts_outlive_a_restart(start_server):
    server = start_server()
    make_admin(server)
    assert server.stop() == 0
    server.start()
    assert server.key is None, server.greeting
    assert Client(server).log_in("admin", PASSWORD) == 200


def test_accounts_outlive_a_kill(start_server):
    server = start_server()
    new_user(make_admin(server), "bob")
    server.stop(signal.SIGKILL)
    server.start()
    assert Client(server).log_in("bob", PASSWORD) == 200


# ---- options from a file ----

@pytest.fixture(scope="module")
def configured(start_server_of_module):
    """With options from the command line, the environment and a file."""
    options = {"data-dir": path("from-file"), "jobs": 2, "log-bytes": 65536}
    return start_server_of_module("--config", write("options.json", json.dumps(options)), WEBML_JOBS="3",
                                  data_dir=path("from-option"))


def test_the_command_line_is_before_the_file(configured):
    assert os.path.exists(path("from-option"))
    assert not os.path.exists(path("from-file"))


def test_the_environment_is_before_the_file(configured):
    settings = make_admin(configured).get("/api/v1/system/settings")
    assert settings["sessions_per_device"] == 3


@pytest.mark.parametrize("text, words", [
    ("[]", "object"), ('{"nothing": 1}', 'no option "nothing"'), ('{"jobs": "2"}', "whole number"),
    ('{"listen": 1}', "text"), ("{", "line 1")])
def test_a_wrong_file_of_options_is_explained(programs, text, words):
    code, out, err = run(programs["server"], "--config", write("wrong.json", text))
    assert code == 2, err
    assert words in err


def test_a_file_of_options_that_there_is_not(programs):
    code, out, err = run(programs["server"], "--config", path("none.json"))
    assert code == 2, err
