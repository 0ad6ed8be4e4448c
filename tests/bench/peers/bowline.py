"""Bowline itself, run alone on a mesh file, with everything on that a user gets by default."""

import urllib.request
from pathlib import Path

from ports import free_port
from task import ADMIN_PORT, ALIAS_PORT, OUTBOUND_PORT, VIP, VIP_RANGE

from .base import Missing, Peer, Target, answers

_VIP_RANGE = "127.255.77.0/24"
_VIP_H1 = "127.255.77.7"
_VIP_H2 = "127.255.77.8"
_VIP_TCP = "127.255.77.9"

# Nothing but names, addresses and protocols: retries, timeouts, balancing, limits and metrics stay at their defaults.
_MESH = """\
namespace: bench.local
services:
"""
_SERVICE = """\
  - discoveryName: {name}
    appProtocol: {protocol}
    clientAliases: [{{ dnsName: {name}.bench.local, port: {port} }}]
    vip: {vip}
    endpoints:
      static:
{endpoints}
"""

# A limit that is learnt, with its defaults.
OVERLOAD = """\
    limits: { adaptiveConcurrency: {} }
"""


def _policies():
    """Twenty routes, of which the last fits the load, and one for what is not the load; and all that watches or counts."""
    routes = []
    for number in range(3):
        routes += [f"path: {{ exact: /exact-{number} }}", f"path: {{ prefix: /prefix-{number} }}",
                   f"path: {{ template: '/users-{number}/{{id}}/cart' }}", f"method: DELETE, path: {{ prefix: /{number} }}",
                   f"headers: {{ x-version: {{ exact: v{number} }} }}", f"query: {{ page: {{ exact: '{number}' }} }}"]
    routes.append("hosts: [other.bench.local]")
    lines = [f"      - {{ match: {{ {match} }}, respond: {{ status: 418 }} }}" for match in routes]
    lines += ["      - { match: { headers: { x-bench: { exact: last } } } }", "      - { respond: { status: 418 } }"]
    return "\n".join(["    routes:", *lines]) + """
    circuitBreaker: {}
    healthCheck: { http: { path: / }, intervalSeconds: 1, timeoutSeconds: 1 }
    rateLimit: [{ requestsPerSecond: 1000000, side: outbound }]
"""


POLICIES = _policies()


def _service(name, protocol, vip, port, backend, ports):
    endpoints = "\n".join(f'        - {{ address: "{backend.host}:{port}" }}' for port in ports)
    return _SERVICE.format(name=name, protocol=protocol, vip=vip, port=port, endpoints=endpoints)


_DROPPED = "bowline_otlp_spans_dropped_total"
_UNSEEN = "bowline_records_dropped_total"


def _dropped(admin):
    """How many spans it says it has dropped; None if it says nothing of that."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    count = {name: [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)] for name in (_DROPPED, _UNSEEN)}
    # A request that could not even be looked at would have made two.
    return int(sum(count[_DROPPED]) + 2 * sum(count[_UNSEEN])) if any(count.values()) else None


class Bowline(Peer):
    """bowline-proxy with one worker (its default)."""

    name = "bowline"
    title = "Bowline"
    control = False
    places = ("host", "task", "traced", "outage", "brownout", "overload", "policies", "before")

    def binary(self):
        """The path given by --bowline, or the one the release build made."""
        path = Path(self.world.bowline)
        if not path.is_file():
            raise Missing(f"no bowline-proxy at {path}")
        return path

    def version(self):
        """As `--version` says."""
        lines = self._output(self.binary(), "--version").split("\n")
        return lines[0].split()[-1] if lines and lines[0].split() else "?"

    def start(self, env=None, policies=""):
        """Starts it on the bench's mesh file; the load dials the VIP listeners as an app would. `env`: more variables.
        `policies`: more keys of the service that HTTP/1.1 goes to."""
        pack, backend = self.world.pack, self.world.backend
        h1, h2, tcp = free_port(_VIP_H1), free_port(_VIP_H2), free_port(_VIP_TCP)
        outbound, admin = free_port(), free_port()
        mesh = pack.workdir / f"{self.name}.yaml"
        mesh.write_text(_MESH + _service("web", "http", _VIP_H1, h1, backend, backend.h1) + policies
                        + _service("web2", "http2", _VIP_H2, h2, backend, backend.h2)
                        + _service("web3", "tcp", _VIP_TCP, tcp, backend, backend.h1))
        proc = pack.start(self.name, [
            self.binary(), "run", "--mesh", mesh, "--outbound", f"127.0.0.1:{outbound}",
            "--admin", f"127.0.0.1:{admin}", "--vip-range", _VIP_RANGE,
        ], self.world.proxy_cpus, env=env)

        running = self._await(proc, {
            "h1": Target(_VIP_H1, h1, f"web.bench.local:{h1}"),
            "h2": Target(_VIP_H2, h2, f"web2.bench.local:{h2}"),
            "tcp": Target(_VIP_TCP, tcp, f"web3.bench.local:{tcp}"),
        }, lambda: answers(f"http://127.0.0.1:{admin}/health/ready"))
        running.dropped = lambda: _dropped(admin)
        return running

    def start_traced(self, sink, place):
        """Starts it with every request sampled and exported, everything else of OpenTelemetry at its default."""
        running = self.start({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": sink.url(self.name),
                              "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})
        # One for the request, one for its attempt.
        running.spans = 2
        running.outage = place == "outage"
        return running

    def start_open(self, place, servers):
        """Starts it with what a user would set for that: nothing against a brown-out, a learnt limit against overload."""
        return self._start_open(servers, OVERLOAD if place == "overload" else "")

    def _start_open(self, servers, policies):
        port, outbound, admin = free_port(_VIP_H1), free_port(), free_port()
        mesh = self.world.pack.workdir / f"{self.name}-open.yaml"
        mesh.write_text(_MESH + _service("web", "http", _VIP_H1, port, servers, servers.ports) + policies)
        proc = self.world.pack.start(self.name, [
            self.binary(), "run", "--mesh", mesh, "--outbound", f"127.0.0.1:{outbound}",
            "--admin", f"127.0.0.1:{admin}", "--vip-range", _VIP_RANGE,
        ], self.world.proxy_cpus)
        return self._await(proc, {"h1": Target(_VIP_H1, port, f"web.bench.local:{port}")},
                           lambda: answers(f"http://127.0.0.1:{admin}/health/ready"))

    def start_beside(self, place):
        """Starts it with policies, or as always beside an older one."""
        return self.start(policies=POLICIES if place == "policies" else "")

    def start_in(self, task, protocol):
        """Starts it without VIP listeners: the rules lead what is for a VIP to it too."""
        mesh = task.folder / "mesh.yaml"
        mesh.write_text(_MESH + _service("web", "http", VIP, ALIAS_PORT, task.backend, task.backend.h1))
        proc = task.start("bowline", [
            self.binary(), "run", "--mesh", mesh, "--outbound", f"127.0.0.1:{OUTBOUND_PORT}",
            "--admin", f"127.0.0.1:{ADMIN_PORT}", "--vip-range", VIP_RANGE, "--no-vip-listeners",
        ], self.world.proxy_cpus)
        return self._await(proc, self._task_targets(task),
                           lambda: answers(f"http://127.0.0.1:{ADMIN_PORT}/health/ready", task.net))


class BowlineUntraced(Bowline):
    """The same beside it, as it is when nothing is set."""

    name = "bowline-untraced"
    title = "Bowline untraced"
    twin = True
    places = ("traced",)

    def start_traced(self, sink, place):
        """As always."""
        return self.start()


class BowlineUndisturbed(Bowline):
    """The same beside it, whose collector stays."""

    name = "bowline-undisturbed"
    title = "Bowline undisturbed"
    twin = True
    places = ("outage",)

    def start_traced(self, sink, place):
        """Traced, and nothing happens."""
        return super().start_traced(sink, "traced")
