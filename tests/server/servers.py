"""A server of its own for a test."""
import atexit
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import folder, path, run, sanitized, write  # noqa: E402, F401


def until(look, good=bool, seconds=30):
    """What look() gives as soon as it is good; after `seconds` whatever it gives then."""
    end = time.monotonic() + seconds
    while True:
        seen = look()
        if good(seen) or time.monotonic() > end:
            return seen
        time.sleep(0.02)


class Server:
    def __init__(self, program, data_dir=None, *options, **environment):
        self.program, self.options, self.environment = program, options, environment
        atexit.register(lambda: self.process.kill())  # a test that breaks off leaves none behind
        self.data_dir = data_dir or tempfile.mkdtemp(prefix="data-", dir=folder)
        self.start()

    def start(self):
        with open(os.path.join(folder, "server.log"), "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "--listen", "127.0.0.1:0", "--data-dir", self.data_dir, *self.options],
                stdout=subprocess.PIPE, stderr=log, text=True, env=dict(os.environ, **self.environment))
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
        """The exit status."""
        self.process.send_signal(number)
        self.process.wait(30)
        self.process.stdout.close()
        return self.process.returncode

    def end(self):
        """Whatever state it is in: one that runs must end with 0. Its trainings end, too."""
        status = self.stop() if self.process.poll() is None else 0
        for session in self.jobs():
            self.kill_job(session)
        assert status == 0, f"the server ended with {status}"

    def file(self, *names):
        return os.path.join(self.data_dir, *names)

    @property
    def address(self):
        """(host, port)"""
        host, port = self.url.split("/")[-1].split(":")
        return host, int(port)

    def jobs(self):
        """The sessions that have a folder."""
        return os.listdir(self.file("jobs")) if os.path.isdir(self.file("jobs")) else []

    def job(self, session):
        """The number of the process that trains; none before it has started."""
        try:
            with open(self.file("jobs", str(session), "pid")) as f:
                return int(f.read())
        except (OSError, ValueError):
            return None

    def trains(self, session):
        """Whether a process trains for it: what has ended and waits for its parent has no command line."""
        try:
            with open(f"/proc/{self.job(session)}/cmdline") as f:
                return self.data_dir in f.read()
        except OSError:
            return False

    def kill_job(self, session):
        """If it trains."""
        with contextlib.suppress(OSError):
            if self.trains(session):
                os.kill(self.job(session), signal.SIGKILL)

    def memory(self):
        """Megabytes resident."""
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(r"VmRSS:\s*(\d+)", f.read()).group(1)) / 1024
