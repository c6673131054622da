"""A server of its own for a test, and a client over HTTP/1.1 or HTTP/2 (httpx)."""
import atexit
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import httpx

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import check, folder, path, report, run, sanitized, skip, write  # noqa: F401


class Server:
    def __init__(self, program, data_dir=None, *options, **environment):
        self.program, self.options, self.environment = program, options, environment
        atexit.register(lambda: self.process.kill())  # a test that breaks off leaves none behind
        self.data_dir = data_dir or tempfile.mkdtemp(prefix="data-", dir=folder)
        self.start()

    def start(self):
        self.log = open(os.path.join(folder, "server.log"), "ab")
        self.process = subprocess.Popen([self.program, "--listen", "127.0.0.1:0", "--data-dir", self.data_dir, *self.options], stdout=subprocess.PIPE, stderr=self.log, text=True, env=dict(os.environ, **self.environment))
        self.greeting = ""
        for line in self.process.stdout:
            self.greeting += line
            if "listens on" in line:
                break
        found = re.search(r"listens on (\S+)", self.greeting)
        self.url = found.group(1) if found else None
        key = re.search(r"#key=(\S+)", self.greeting)
        self.key = key.group(1) if key else None

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(30)
        self.process.stdout.close()
        return self.process.returncode

    def end(self):
        """Whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)
        self.process.stdout.close()

    def memory(self):
        """Megabytes resident."""
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024


class Client:
    def __init__(self, server, token=None, **options):
        self.server = server
        self.http = httpx.Client(base_url=server.url, timeout=60, **options)
        self.token = token

    def call(self, method, url, body=None, **options):
        """(status, JSON)"""
        headers = dict(options.pop("headers", {}))
        if self.token:
            headers["authorization"] = "Bearer " + self.token
        if body is not None:
            options["content"] = body if isinstance(body, (bytes, str)) else json.dumps(body)
        answer = self.http.request(method, url, headers=headers, **options)
        self.last = answer
        return answer.status_code, answer.json() if answer.content and "json" in answer.headers.get("content-type", "") else answer.content

    def log_in(self, name, password):
        status, answer = self.call("POST", "/api/v1/auth/login", {"name": name, "password": password})
        if status == 200:
            self.token, self.renewal = answer["token"], answer["renewal"]
        return status

    def register(self, key, name, password):
        status, answer = self.call("POST", "/api/v1/auth/register", {"key": key, "name": name, "password": password})
        if status == 201:
            self.token, self.renewal = answer["token"], answer["renewal"]
        return status


def new_user(admin, name, role="user"):
    c = Client(admin.server)
    c.register(admin.call("POST", "/api/v1/users/keys", {"role": role})[1]["key"], name, "0123456789")
    return c


def upload(c, name, data, file="d.csv"):
    """The number of the data set, when it was looked at."""
    meta = ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in (("name", name), ("filename", file)))
    c.call("POST", "/api/v1/uploads", headers={"Upload-Length": str(len(data)), "Upload-Metadata": meta})
    location = c.last.headers["location"]
    for at in range(0, len(data), 8 << 20):
        c.call("PATCH", location, data[at:at + (8 << 20)], headers={"Upload-Offset": str(at), "Content-Type": "application/offset+octet-stream"})
    for _ in range(1200):
        d = next(d for d in c.call("GET", "/api/v1/datasets")[1]["datasets"] if d["name"] == name)
        if d["state"] != "checking":
            return d["id"]
        time.sleep(0.05)


def settled(c, session, states=("finished", "failed", "cancelled"), seconds=120):
    """The session when it has come to one of these states."""
    for _ in range(seconds * 20):
        status, s = c.call("GET", f"/api/v1/sessions/{session}")
        assert status == 200, s
        if s["state"] in states:
            return s
        time.sleep(0.05)
    raise AssertionError(f"session {session} is {s['state']} after {seconds} s, not {states}")
