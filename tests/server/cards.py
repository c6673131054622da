"""Graphics cards that are not there: a stand-in for the driver's library says what tests write, and the emulated
CUDA back end computes on the first of them."""
import json
import os

from client import folder, make_admin, run, until


class Cards:
    def __init__(self, programs, start_server):
        cuda = {"WEBML_CUDA_MODULE": programs["cuda"], "WEBML_CACHE": os.path.join(folder, "cache")}
        self.environment = dict(os.environ, **cuda)
        devices = json.loads(run(programs["webml"], "devices", "--json", env=self.environment)[1])["devices"]
        self.uuid = devices[1]["uuid"]
        self.one = f"gpu {self.uuid} 8000 1000 35 61 120500 NVIDIA Test Card"
        self.two = "gpu GPU-bbbb 4000 3900 - - - NVIDIA Other Card"
        self.state = os.path.join(folder, "nvml")
        self.write(self.one, self.two)
        self.server = start_server(LD_LIBRARY_PATH=os.path.dirname(programs["nvml"]), NVML_STAND_IN=self.state, **cuda)
        self.admin = make_admin(self.server)

    def write(self, *lines):
        with open(self.state + ".new", "w") as f:
            f.write("\n".join(lines) + "\n")
        os.rename(self.state + ".new", self.state)

    def show(self, *lines):
        """Until the server has seen it: it looks every 750 ms."""
        self.write(*lines)
        expected = [self._expected(n, line, lines) for n, line in enumerate(
            line for line in lines if line.startswith("gpu "))]
        seen = until(self._seen, lambda cards: cards == expected)
        assert seen == expected

    @staticmethod
    def _expected(n, line, lines):
        words = line.split()
        capability = next((".".join(w[2:]) for w in map(str.split, lines) if w[:2] == ["capability", str(n)]), None)
        pids = {int(w[2]) for w in map(str.split, lines) if w[0] in ("process", "graphics") and w[1] == str(n)}
        return {"uuid": words[1], "total": int(words[2]) << 20, "used": int(words[3]) << 20,
                "utilisation": None if words[4] == "-" else int(words[4]), "capability": capability, "pids": pids}

    def _seen(self):
        return [{"uuid": d["uuid"], "total": d["memory"]["total"], "used": d["memory"]["used"],
                 "utilisation": d["utilisation"], "capability": d["compute_capability"],
                 "pids": {p["pid"] for p in d["processes"]}}
                for d in self.admin.get("/api/v1/devices")["devices"] if d["name"] != "cpu"]

    def close(self, name, closed=True):
        """(status, answer)"""
        return self.admin.call("PATCH", f"/api/v1/devices/{name}", {"closed": closed})
