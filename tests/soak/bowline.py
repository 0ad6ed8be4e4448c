"""bowline-proxy as the soaks start it: alone, on a mesh file, everything at its defaults but what the soak is about."""

import json
import re
import urllib.request

from peers import Target
from peers.base import Running
from ports import accepts, free_port, wait_for
from procs import StartError

_VIP_RANGE = "127.255.79.0/24"
_VIP = "127.255.79.7"
_NAMESPACE = "soak.local"
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")


class Bowline:
    """A running bowline-proxy with one service, `web`."""

    name = "bowline"
    title = "Bowline"

    def __init__(self, field, service, name="bowline"):
        """Starts it. `service`: keys of the mesh file's service beside its name and alias."""
        self.port = free_port(_VIP)
        self.admin = f"127.0.0.1:{free_port()}"
        self.authority = f"web.{_NAMESPACE}:{self.port}"
        self.target = Target(_VIP, self.port, self.authority)
        mesh = field.pack.workdir / f"{name}.json"
        mesh.write_text(json.dumps({"namespace": _NAMESPACE, "services": [{
            "discoveryName": "web", "vip": _VIP, "clientAliases": [{"dnsName": f"web.{_NAMESPACE}", "port": self.port}],
            **service,
        }]}, indent=1))
        self.proc = field.pack.start(name, [
            field.bowline, "run", "--mesh", mesh, "--outbound", f"127.0.0.1:{free_port()}", "--admin", self.admin,
            "--vip-range", _VIP_RANGE,
        ], field.cpus)
        self.running = Running(self, self.proc, {"h1": self.target, "h2": self.target})
        up = wait_for(lambda: not self.proc.alive() or self._ready() and accepts(_VIP, self.port), 30)
        if not up or not self.proc.alive():
            raise StartError(f"bowline-proxy did not become ready:\n{self.proc.last_words()}")

    @property
    def pid(self):
        """Its process."""
        return self.proc.pid

    def _ready(self):
        try:
            return self.ask("/health/ready") is not None
        except OSError:
            return False

    def ask(self, path, post=False):
        """An admin page's text."""
        request = urllib.request.Request(f"http://{self.admin}{path}", method="POST" if post else "GET")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def endpoints(self):
        """What /endpoints says, as plain data."""
        return json.loads(self.ask("/endpoints"))

    def metrics(self, *prefixes):
        """{sample as written: value} of all metrics whose names begin so, zeros left out."""
        found = {}
        for line in self.ask("/metrics").splitlines():
            sample = _SAMPLE.match(line)
            if sample and sample[1].startswith(prefixes) and float(sample[3]):
                labels = (sample[2] or "").replace('service="web",', "").replace('service="web"', "")
                found[f"{sample[1]}{{{labels}}}"] = float(sample[3])
        return found

    def log(self):
        """What it has logged so far."""
        return self.proc.log.read_text(errors="replace")


def static(*addresses):
    """Endpoints of a mesh file's service."""
    return {"static": [{"address": address} for address in addresses]}
