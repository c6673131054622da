"""A client over HTTP/1.1 or HTTP/2 (httpx), and what clients do in several steps."""
import base64
import collections
import contextlib
import json
import re
import socket
import threading

import httpx
import jsonschema

from servers import Server, folder, path, run, sanitized, until, write  # noqa: F401

PASSWORD = "0123456789"
PIECE = {"Content-Type": "application/offset+octet-stream"}


class Document:
    """The OpenAPI document of a server: every answer of every test is held against it."""
    kept = {}

    def __init__(self, text):
        self.json = json.loads(text)
        self.schemas = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": self.json["components"]}
        self.validators = {}
        patterns = {url: re.compile("^" + re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(url)) + "$")
                    for url in self.json["paths"]}
        self.paths = sorted(patterns.items(), key=lambda p: "{" in p[0])  # what is said in full comes first

    @classmethod
    def of(cls, server):
        if server.program not in cls.kept:
            cls.kept[server.program] = cls(httpx.get(server.url + "/openapi.json", verify=False, timeout=60).text)
        return cls.kept[server.program]

    def check(self, schema, value, what):
        key = json.dumps(schema, sort_keys=True)
        if key not in self.validators:
            self.validators[key] = jsonschema.Draft202012Validator({**self.schemas, **schema})
        errors = [f"{'/'.join(map(str, e.absolute_path))}: {e.message}"[:300]
                  for e in self.validators[key].iter_errors(value)]
        assert not errors, f"{what} is not as the document says: {errors}"

    def operation(self, method, path):
        for url, pattern in self.paths:
            if pattern.match(path) and method.lower() in self.json["paths"][url]:
                return self.json["paths"][url][method.lower()]
        return None

    def check_answer(self, method, path, answer):
        operation = self.operation(method, path)
        if not operation:
            return
        responses = operation["responses"]
        content = responses["2XX" if answer.is_success else "default"].get("content", {})
        kind = answer.headers.get("content-type", "").split(";")[0]
        if not answer.content or (answer.is_success and kind == "application/octet-stream"):
            return
        assert kind in content, f"{method} {path}: {answer.status_code} {kind}, not {list(content)}"
        if "json" in kind:
            what = f"{method} {path}: {answer.status_code} {answer.text[:300]}"
            self.check(content[kind]["schema"], answer.json(), what)


class Client:
    def __init__(self, server, token=None, **options):
        self.server, self.token, self.options = server, token, options
        self.checks = True  # every answer against the OpenAPI document
        self.connect()

    def connect(self):
        """Again, when the server was started again: it listens elsewhere."""
        self.http = self.connection()

    def connection(self):
        """Reading the certificates of this machine takes long; without TLS nobody needs them."""
        options = {"verify": self.server.url.startswith("https:"), "timeout": 60, **self.options}
        return httpx.Client(base_url=self.server.url, **options)

    def call(self, method, url, body=None, **options):
        """(status, JSON)"""
        headers = dict(options.pop("headers", {}))
        if self.token:
            headers["authorization"] = "Bearer " + self.token
        if body is not None:
            options["content"] = body if isinstance(body, (bytes, str)) else json.dumps(body)
        answer = self.http.request(method, url, headers=headers, **options)
        self.last = answer
        with contextlib.suppress(OSError, KeyError):  # the next body does not wait for its head's acknowledgement
            answer.extensions["network_stream"].get_extra_info("socket").setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.checks:
            Document.of(self.server).check_answer(method, answer.request.url.path, answer)
        is_json = answer.content and "json" in answer.headers.get("content-type", "")
        return answer.status_code, answer.json() if is_json else answer.content

    def get(self, url, **options):
        """The JSON of an answer of 200."""
        status, answer = self.call("GET", url, **options)
        assert status == 200, f"GET {url}: {status} {answer}"
        return answer

    def post(self, url, body=None, **options):
        """The JSON of an answer of 200, 201 or 202."""
        status, answer = self.call("POST", url, body, **options)
        assert status in (200, 201, 202), f"POST {url}: {status} {answer}"
        return answer

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


def make_admin(server, name="admin", password=PASSWORD, **options):
    """The first account of a server that was just started."""
    c = Client(server, **options)
    assert c.register(server.key, name, password) == 201, c.last.text
    c.name = name
    return c


def new_key(admin, role="user"):
    return admin.post("/api/v1/users/keys", {"role": role})["key"]


def new_user(admin, name, role="user"):
    c = Client(admin.server, **admin.options)
    assert c.register(new_key(admin, role), name, PASSWORD) == 201, c.last.text
    c.name = name
    return c


class Events:
    """What is told to a client, from now on or after the event of the number `last`."""
    Event = collections.namedtuple("Event", "id kind data")

    def __init__(self, client, last=None):
        self.heard, opened = [], threading.Event()
        headers = {"authorization": "Bearer " + client.token, **({"last-event-id": str(last)} if last else {})}

        def listen():
            with client.connection() as c:
                try:
                    with c.stream("GET", "/api/v1/events", headers=headers) as answer:
                        opened.set()
                        self._read(answer.iter_lines())
                except Exception:  # the server ends; python3-h2 minds data behind a GOAWAY
                    pass

        threading.Thread(target=listen, daemon=True).start()
        assert opened.wait(30), "events do not begin"

    def _read(self, lines):
        event = {}
        for line in lines:
            key, _, value = line.rstrip("\n").partition(": ")
            if value:
                event[key] = value
            elif event:
                self.heard.append(self.Event(int(event["id"]), event["event"], json.loads(event["data"])))
                event = {}

    def of(self, kind):
        """The data of the events of a kind."""
        return [e.data for e in list(self.heard) if e.kind == kind]


# ---- data sets ----

def begin_upload(c, name, size, file="d.csv"):
    """(status, where the pieces go, or what was wrong)"""
    meta = ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in (("name", name), ("filename", file)))
    headers = {"Upload-Length": str(size), "Upload-Metadata": meta, "Tus-Resumable": "1.0.0"}
    status, answer = c.call("POST", "/api/v1/uploads", headers=headers)
    return status, c.last.headers["location"] if status == 201 else answer


def send_piece(c, location, offset, data):
    """(status, the next offset, or what was wrong)"""
    status, answer = c.call("PATCH", location, data, headers={"Upload-Offset": str(offset), **PIECE})
    return status, int(c.last.headers["upload-offset"]) if status == 204 else answer


def send(c, name, data, file="d.csv", size=8 << 20):
    """Uploads in pieces of `size` bytes."""
    status, location = begin_upload(c, name, len(data), file)
    assert status == 201, location
    for at in range(0, len(data), size):
        status, answer = send_piece(c, location, at, data[at:at + size])
        assert status == 204, answer


def looked_at(c, name, seconds=60):
    """The data set when it is no longer being checked."""
    def look():
        return next((d for d in c.get("/api/v1/datasets")["datasets"] if d["name"] == name), {"state": "missing"})
    return until(look, lambda d: d["state"] not in ("missing", "checking"), seconds)


def upload(c, name, data, file="d.csv"):
    """The number of the data set, when it was looked at."""
    send(c, name, data, file)
    return looked_at(c, name)["id"]


# ---- models, trainings, weights ----

def new_model(c, name, description):
    return c.post("/api/v1/models", {"name": name, "description": description})["id"]


def start(c, model, dataset, **more):
    """(status, answer) of a training that is asked for."""
    return c.call("POST", "/api/v1/sessions", {"model": model, "dataset": dataset, **more})


def started(c, model, dataset, **more):
    """The number of the session."""
    status, answer = start(c, model, dataset, **more)
    assert status == 201, answer
    return answer["id"]


def train(c, model, dataset, **more):
    """The session when it has finished."""
    session = settled(c, started(c, model, dataset, **more))
    assert session["state"] == "finished", session
    return session


def settled(c, session, states=("finished", "failed", "cancelled"), seconds=120):
    """The session when it has come to one of these states."""
    s = until(lambda: c.get(f"/api/v1/sessions/{session}"), lambda s: s["state"] in states, seconds)
    assert s["state"] in states, f"after {seconds} s: {s}"
    return s


def cancel(c, session):
    """(status, answer)"""
    return c.call("POST", f"/api/v1/sessions/{session}/cancel")


def cancel_all(c):
    """And waits until nothing of the account trains."""
    sessions = [s["id"] for s in c.get("/api/v1/sessions")["sessions"]]
    for s in sessions:
        cancel(c, s)
    for s in sessions:
        settled(c, s)


Net = collections.namedtuple("Net", "model name weights file dataset")


def new_net(c, name, description, dataset, **more):
    """A trained model: its numbers, its name, the file with the weights."""
    model = new_model(c, name, description)
    session = train(c, model, dataset, **more)
    file = c.server.file("jobs", str(session["id"]), "weights.safetensors")
    return Net(model, name, session["weights"], file, dataset)


def tensors(c, weights):
    """The values in the file, without its header."""
    data = c.get(f"/api/v1/weights/{weights}/file")
    return data[8 + int.from_bytes(data[:8], "little"):]
