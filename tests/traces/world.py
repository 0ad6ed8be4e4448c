"""What a case plays with: a receiver, endpoints, apps, sidecars, and callers. All are processes of their own."""

import http.client
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
# Processes and checks are those of the tasks.
sys.path.append(str(HERE.parent / "tasks"))
# Free ports are the bench's.
sys.path.append(str(HERE.parent / "bench"))

from ports import free_port  # noqa: E402
from process import Process, environment  # noqa: E402
from report import DEADLINE, Failed, eventually  # noqa: E402

import trees  # noqa: E402

NAMESPACE = "traces.test"
# What does not end when its stdin does is killed when this process ends in whatever way.
ENDS_WITH_US = ("setpriv", "--pdeathsig", "SIGKILL")
# A batch goes off this many milliseconds after its first span: tests need not wait longer.
DELAY = 50


def headers_of(request, name):
    """All values of a header, as they came."""
    return [value for key, value in request["headers"] if key.lower() == name]


def header_of(request, name):
    """The one value of a header; None if there is none or there are several."""
    values = headers_of(request, name)
    return values[0] if len(values) == 1 else None


def path_of(span):
    """The path that a span of HTTP is about; None if it says none."""
    attributes = span["attributes"]
    return attributes.get("url.path") or ("url.full" in attributes and urlsplit(attributes["url.full"]).path) or None


class Program(Process):
    """A script of ours, which prints JSON lines and first its ports."""

    def __init__(self, world, name, script, *arguments, env=None):
        super().__init__(name, [sys.executable, HERE / script, *arguments], world.folder, environment(world.folder, env))
        self.ports = self.line("its ports", lambda line: isinstance(line, dict)).get("ports")

    @property
    def port(self):
        """The only one, or the first."""
        return self.ports[0]

    def values(self, key):
        """All lines so far with this key."""
        return [line[key] for line in list(self.lines) if isinstance(line, dict) and key in line]

    def requests(self, path):
        """What came for this path."""
        return [request for request in self.values("request") if request["path"].split("?")[0] == path]

    def request(self, path):
        """The one request for this path. Its line may still be on its way when the answer is there."""
        self.line(f"a request for {path}", lambda line: isinstance(line, dict) and "request" in line
                  and line["request"]["path"].split("?")[0] == path)
        found = self.requests(path)
        if len(found) != 1:
            raise Failed(f"{self.name} got {len(found)} requests for {path}, not one")
        return found[0]

    def order(self, text, key):
        """Writes a line, and waits for the answer to it."""
        since = len(self.lines)
        self.tell(text)
        return self.line(f"the answer to {text!r}", lambda line: isinstance(line, dict) and key in line, since)


class Receiver(Program):
    """The OTLP receiver. It may be killed, and another one started in its place."""

    def __init__(self, world, *arguments, name="receiver"):
        super().__init__(world, name, "receiver.py", *arguments)
        ports = self.lines[0]
        self.grpc, self.http = ports["grpc"], ports["http"]

    def spans(self, wanted=lambda _: True):
        """The spans that came, in the order in which they did."""
        return [span for span in self.values("span") if wanted(span)]

    def wrongs(self, but=()):
        """What it has objected to, and what is wrong with whole traces is not in it. `but`: (service, rule) let pass."""
        return [wrong for wrong in self.values("wrong") if (wrong[1], wrong[0]) not in but]

    def wait(self, what, count, wanted, deadline=DEADLINE):
        """Waits until so many of the wanted spans have come; returns them in the order of their start."""
        def enough():
            found = self.spans(wanted)
            if not self.alive():
                raise Failed(f"the receiver has ended: {self.last_words()}")
            return found if len(found) >= count else None

        try:
            with_order = eventually(f"{count} spans of {what}", enough, deadline)
        except Failed as failed:
            brief = [f"{s['kind']} {s['name']}" for s in self.spans(wanted)]
            raise Failed(f"{failed}; came: {brief}, {len(self.spans())} spans in all") from None
        return sorted(with_order, key=lambda span: span["start"])


class Service:
    """One service of a sidecar's mesh, and the way to it."""

    def __init__(self, name, ports, protocol="http", zone="a", **policy):
        self.name = name
        self.ports = ports
        self.host = f"{name}.{NAMESPACE}"
        self.policy = policy
        self.protocol = protocol
        self.zone = zone
        self.vip = self.port = None  # given by the sidecar

    def document(self):
        """As the mesh file has it."""
        static = [{"address": f"127.0.0.1:{port}", "zone": self.zone} for port in self.ports]
        return {"discoveryName": self.name, "appProtocol": self.protocol, "vip": self.vip,
                "clientAliases": [{"dnsName": self.host, "port": self.port}], "endpoints": {"static": static}, **self.policy}

    @property
    def authority(self):
        """What an app has in the Host header."""
        return f"{self.host}:{self.port}"

    def url(self, path="/"):
        """What an app calls, if names are resolved for it."""
        return f"http://{self.vip}:{self.port}{path}"


class Sidecar(Process):
    """bowline-proxy, alone on a mesh file."""

    def __init__(self, world, name, services, env=None, inbound=()):
        self.number = world.sidecars = world.sidecars + 1
        self.services = {service.name: service for service in services}
        for at, service in enumerate(services, 10):
            service.vip = f"127.255.{80 + self.number}.{at}"
            service.port = free_port(service.vip)
        mesh = world.folder / f"{name}-{self.number}.json"
        mesh.write_text(json.dumps({"namespace": NAMESPACE, "services": [one.document() for one in services]}))
        self.admin, self.outbound = free_port(), free_port()
        # {the app's port: where its callers come}
        self.inbound = {port: free_port() for port in inbound}
        options = [f"--inbound=127.0.0.1:{ours}={port}" for port, ours in self.inbound.items()]
        super().__init__(name, [*ENDS_WITH_US, world.proxy, "run", "--mesh", mesh, "--vip-range",
                                f"127.255.{80 + self.number}.0/24", "--admin", f"127.0.0.1:{self.admin}", "--outbound",
                                f"127.0.0.1:{self.outbound}", "--drain-seconds", "1", *options],
                         world.folder, environment(world.folder, env))
        world.processes.append(self)
        eventually(f"{name} to be ready", self._ready)

    def _ready(self):
        if not self.alive():
            raise RuntimeError(f"{self.name} ended: {self.last_words()}")
        return self.page("/health/ready") is not None

    def page(self, path):
        """A page of its admin port."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.admin}{path}", timeout=10) as response:
            return response.read().decode()

    def metric(self, name, **labels):
        """The sum of a metric's series that have these labels; None if there is no such metric."""
        total = None
        for line in self.page("/metrics").splitlines():
            found = re.match(rf"{name}(?:\{{(.*)\}})? ([0-9.eE+]+)$", line)
            if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
                total = (total or 0) + float(found[2])
        return total

    def resident_mb(self):
        """Its resident memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise Failed(f"{self.name} has no VmRSS")


class Answer:
    """What curl got."""

    def __init__(self, code, out, err):
        self.code = code
        self.err = err
        head, _, self.body = out.partition("\r\n\r\n")
        lines = head.split("\r\n")
        self.status = int(lines[0].split(" ")[1]) if lines[0].startswith("HTTP/") else 0
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}

    def __str__(self):
        return f"{self.status} {self.headers} {self.body} {self.err}"


class World:
    """Everything of one case; `close` ends it."""

    def __init__(self, report, proxy, folder, rng):
        self.report = report
        self.proxy = proxy
        self.folder = folder
        self.rng = rng
        self.processes = []
        self.sidecars = 0
        self.count = 0
        self.receivers = []

    def close(self):
        """Ends all that was started, newest first."""
        for process in reversed(self.processes):
            process.kill()

    def receiver(self, *arguments):
        """Starts one. The names differ, as their logs do."""
        receiver = Receiver(self, *arguments)
        self.processes.append(receiver)
        self.receivers.append(receiver)
        return receiver

    def program(self, name, script, *arguments, env=None):
        """Starts one of the apps."""
        program = Program(self, name, f"apps/{script}", *arguments, env=env)
        self.processes.append(program)
        return program

    def endpoint(self, count=1):
        """An HTTP server with so many ports."""
        return self.program("endpoint", "http_endpoint.py", count)

    def app(self, name, receiver, *arguments, **more):
        """An app with OpenTelemetry's own SDK."""
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.grpc}", "OTEL_EXPORTER_OTLP_INSECURE": "true",
               "OTEL_SERVICE_NAME": name, "OTEL_BSP_SCHEDULE_DELAY": DELAY, **more}
        return self.program(name, "sdk_app.py", name, *arguments, env=env)

    def sidecar(self, name, services, receiver=None, inbound=(), **env):
        """A sidecar that exports over gRPC to this receiver; without one it doesn't. `env`: more variables, or others."""
        ours = {}
        if receiver:
            ours = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.grpc}",
                    "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_SERVICE_NAME": name, "OTEL_BSP_SCHEDULE_DELAY": DELAY}
        return Sidecar(self, name, services, {**ours, **env}, inbound)

    def path(self, word=""):
        """A path that no other request of the run has."""
        self.count += 1
        return f"/{word or 'call'}-{self.count}"

    def ids(self):
        """(trace id, span id) of a caller, in hex."""
        return f"{self.rng.getrandbits(128) | 1:032x}", f"{self.rng.getrandbits(64) | 1:016x}"

    def curl(self, service, path, *options):
        """A call by curl, as an app makes one whose resolver knows the mesh's names."""
        command = ["curl", "--disable", "--silent", "--show-error", "--include", "--max-time", "25", "--noproxy", "*",
                   "--resolve", f"{service.host}:{service.port}:{service.vip}", *options, f"http://{service.authority}{path}"]
        done = subprocess.run(command, capture_output=True, check=False, env=environment(self.folder))
        return Answer(done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1"))

    def ask(self, port, path, headers=None):
        """(status, body) of a GET of a port on 127.0.0.1."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=25)
        try:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def get(self, service, path, headers=None):
        """The status of a GET, without a process for it."""
        connection = http.client.HTTPConnection(service.vip, service.port, timeout=25)
        try:
            connection.request("GET", path, headers={"Host": service.authority, **(headers or {})})
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()

    def settle(self, receiver, service, headers=None):
        """Makes one more sampled call and waits for its spans: what was exported before it has come by then.

        `headers`: of a sampled caller, where traceparent is not read.
        """
        path = self.path("settled")
        trace, span = self.ids()
        status = self.get(service, path, headers or {"traceparent": f"00-{trace}-{span}-01"})
        if status != 200:
            raise Failed(f"the last call got {status}")
        receiver.wait("the last call", 2, lambda one: path_of(one) == path)

    def of_path(self, receiver, path, count, what="a call"):
        """The spans of the trace with a span for this path, as soon as there are so many."""
        first = receiver.wait(what, 1, lambda span: path_of(span) == path)[0]
        return receiver.wait(what, count, lambda span: span["trace"] == first["trace"])

    def whole(self, spans, outside=()):
        """A check that these spans are one connected trace."""
        wrong = trees.objections(spans, outside)
        self.report.check("one connected trace", not wrong, wrong)

    def strict(self, but=()):
        """A check that no receiver has objected to anything."""
        wrong = [wrong for receiver in self.receivers for wrong in receiver.wrongs(but)]
        self.report.check("the receiver has nothing to object to", not wrong, f"{len(wrong)}: {wrong[:8]}")
