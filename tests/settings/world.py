"""What one row's test plays with: its example, real endpoints, a real proxy, and callers."""

import http.client
import json
import random
import re
import socket
import sys
import threading
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Processes, and waiting for what is to come, are those of the tasks.
sys.path.append(str(HERE.parent / "tasks"))

from process import Process, environment  # noqa: E402
from report import Failed, Over, eventually  # noqa: E402

import backends  # noqa: E402
import pages  # noqa: E402

# What does not end when its stdin does is killed when this process ends in whatever way.
ENDS_WITH_US = ("setpriv", "--pdeathsig", "SIGKILL")
UP = re.compile(r"is up .*?outbound=(\S+).*? admin=(\S+)")


def expect(what, good, seen=""):
    """Fails unless it is good."""
    if not good:
        raise Failed(f"{what}; seen: {seen}" if seen != "" else what)


def between(what, seen, least, most):
    """Fails unless it lies between the two."""
    expect(f"{what} should be {least} to {most}", least <= seen <= most, seen)


class Reply:
    """What a caller got."""

    def __init__(self, status, pairs, body, seconds, whole=True):
        self.status, self.pairs, self.body, self.seconds, self.whole = status, pairs, body, seconds, whole

    def headers(self, name):
        """All values of a header."""
        return [value for key, value in self.pairs if key.lower() == name.lower()]

    def header(self, name):
        """The first value of a header, or None."""
        return next(iter(self.headers(name)), None)

    @property
    def backend(self):
        """Who answered, by name; None: the proxy itself."""
        return self.header("x-backend")

    @property
    def error(self):
        """Why the proxy answered itself."""
        return self.header("x-bowline-error")

    def __repr__(self):
        return f"{self.status} {dict(self.pairs)} {self.body[:120]!r} after {self.seconds:.2f} s"


class Case:
    """One row: `start` it, call, look."""

    ranges = random.SystemRandom().randrange(0, 120 * 256)
    lock = threading.Lock()

    def __init__(self, row, example, options, farm, folder, seed):
        self.row = row
        self.text = example
        self.options = options
        self.farm = farm
        self.folder = folder
        self.rng = random.Random(f"{seed} {row}")
        self.mesh = None
        self.table = {}  # the example's address: the real one
        self.backends = {}  # service: [backend]
        self.ends = []
        self.proxy = None
        self.admin = self.outbound = None
        self.names = None

    # ---- setting up

    def start(self, endpoints=2, kinds=None, flags=(), protocol=None, change=None, answer=None):
        """Starts backends for all addresses of the example, and the proxy on it.

        `kinds`: {service or (service, place): what is started there instead of an HTTP server}; `change(mesh)` may add
        what the example leaves open, such as where a file is. `protocol`: where the example leaves it open. `answer`: of
        all HTTP servers, from the very first request on.
        """
        kinds = kinds or {}
        self.mesh = pages.whole(self.text, endpoints, protocol)
        for service, addresses in pages.addresses(self.mesh).items():
            self.backends[service] = []
            for at, address in enumerate(addresses):
                kind = kinds.get((service, at), kinds.get(service, backends.Backend))
                backend = kind(self.farm, f"{service}-{at}")
                if answer:
                    backend.answer = answer
                self.ends.append(backend.down)
                self.table[address] = backend.address
                self.backends[service].append(backend)
        if change:
            change(self.mesh)
        self.write()
        self._run(flags)
        return self

    def write(self):
        """Writes the mesh file, with the real addresses."""
        path = self.folder / "mesh.json"
        fresh = path.with_suffix(".new")
        mesh = pages.blank(self.mesh) if self.options.blank else self.mesh
        fresh.write_text(json.dumps(pages.replace(mesh, self.table), indent=1))
        fresh.rename(path)

    def reload(self):
        """Writes the mesh file again, and waits until it is in force."""
        before = self.metric("bowline_mesh_generation")
        self.write()
        eventually("the new mesh to be in force", lambda: self.metric("bowline_mesh_generation") > before)

    def _run(self, flags):
        with self.lock:
            Case.ranges += 1
            self.range = f"127.{130 + Case.ranges // 256 % 120}.{Case.ranges % 256}.0/24"
        self.proxy = Process("proxy", [*ENDS_WITH_US, self.options.proxy, "run", "--mesh", self.folder / "mesh.json",
                                       "--vip-range", self.range, "--admin", "127.0.0.1:0", "--outbound", "127.0.0.1:0",
                                       "--drain-seconds", "1", *flags], self.folder, environment(self.folder))
        self.ends.append(self.proxy.kill)

        def up():
            if not self.proxy.alive():
                raise Over(f"the proxy ended: {self.proxy.last_words()}")
            return UP.search(self.proxy.log.read_text(errors="replace"))

        self.outbound, self.admin = eventually("the proxy to be up", up).groups()
        eventually("the proxy to be ready", lambda: self.page("/health/ready") is not None)

    def close(self):
        """Ends all that was started."""
        for end in reversed(self.ends):
            try:
                end()
            except Exception as error:  # what has ended already
                del error

    # ---- the example

    @property
    def example(self):
        """The example's mesh, before anything is started."""
        return pages.whole(self.text)

    @property
    def service(self):
        """The first service of the mesh, which callers call."""
        return self.mesh["services"][0]

    def of(self, name):
        """A service of the mesh, by name."""
        return next(one for one in self.mesh["services"] if one["discoveryName"] == name)

    @property
    def servers(self):
        """The first service's backends."""
        return self.backends[self.service["discoveryName"]]

    # ---- calling

    def vip(self, service=None):
        """(vip, port, dnsName) of a service's alias."""
        name = service or self.service["discoveryName"]
        if self.names is None:
            self.names = {one["service"]: one["aliases"] for one in json.loads(self.page("/services"))["services"]}
        alias = self.names[name][0]
        return alias["vip"], alias["port"], alias["dnsName"]

    def connection(self, service=None, source=None, timeout=60, to=None):
        """A connection of a caller."""
        address = to or self.vip(service)[:2]
        return http.client.HTTPConnection(*address, timeout=timeout, source_address=source and (source, 0))

    def call(self, path="/", method="GET", headers=None, body=None, service=None, host=None, source=None, over=None,
             to=None, timeout=60):
        """One request; the whole answer. `over`: on this connection; `to`: (address, port) instead of the alias's."""
        connection = over or self.connection(service, source, timeout, to)
        if host is None and to is None:
            _, port, name = self.vip(service)
            host = f"{name}:{port}"
        began = time.monotonic()
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("host", host or "outside.example")
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("content-length", str(len(body)))
            connection.endheaders()
            if body is not None:
                try:
                    connection.send(body)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # answered before it was read
            response = connection.getresponse()
            whole = True
            try:
                content = response.read()
            except (http.client.IncompleteRead, ConnectionError) as error:
                content, whole = getattr(error, "partial", b""), False
            return Reply(response.status, response.getheaders(), content, time.monotonic() - began, whole)
        finally:
            if over is None:
                connection.close()

    def calls(self, count, *arguments, **more):
        """So many requests one after the other, on one connection."""
        connection = self.connection(more.get("service"), to=more.get("to"))
        try:
            return [self.call(*arguments, over=connection, **more) for _ in range(count)]
        finally:
            connection.close()

    def together(self, count, *arguments, **more):
        """So many requests at once, each on a connection of its own."""
        with ThreadPoolExecutor(max_workers=count) as pool:
            return [one.result() for one in [pool.submit(self.call, *arguments, **more) for _ in range(count)]]

    def begin(self, *arguments, **more):
        """Begins a request; its `result()` is waited for later."""
        pool = ThreadPoolExecutor(max_workers=1)
        try:
            return pool.submit(self.call, *arguments, **more)
        finally:
            pool.shutdown(wait=False)

    def gate(self):
        """Something to hold answers back with."""
        gate = backends.Gate(self.farm)
        self.ends.append(gate.open)
        return gate

    def channel(self, service=None):
        """A gRPC channel to a service."""
        import grpc

        vip, port, name = self.vip(service)
        channel = grpc.insecure_channel(f"{vip}:{port}", options=(("grpc.default_authority", f"{name}:{port}"),
                                                                  ("grpc.enable_retries", 0)))
        self.ends.append(channel.close)
        return channel

    def grpc(self, channel=None, method="Call", metadata=(), timeout=30):
        """One gRPC call: (status name, answer)."""
        import grpc

        call = (channel or self.channel()).unary_unary(f"/test.Echo/{method}")
        try:
            return "OK", call(b"", metadata=metadata, timeout=timeout).decode()
        except grpc.RpcError as error:
            return error.code().name, error.details()

    # ---- looking

    def page(self, path):
        """A page of the admin port."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{self.admin}{path}", timeout=20) as response:
            return response.read().decode()

    def metric(self, name, **labels):
        """The sum of a metric's series that have these labels; None if there is no such metric."""
        total = None
        for line in self.page("/metrics").splitlines():
            found = re.match(rf"{name}(?:\{{(.*)\}})? ([0-9.eE+-]+)$", line)
            if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
                total = (total or 0) + float(found[2])
        return total

    def explain(self, path="/", **more):
        """What the proxy would do with a request."""
        _, port, name = self.vip()
        query = urllib.parse.urlencode({"url": f"http://{name}:{port}{path}", **more})
        return json.loads(self.page(f"/explain?{query}"))

    @staticmethod
    def shares(replies):
        """{backend: how many it answered}."""
        shares = {}
        for reply in replies:
            shares[reply.backend] = shares.get(reply.backend, 0) + 1
        return shares


def raw(address):
    """A plain TCP connection."""
    return socket.create_connection(address, timeout=60)


def first_words(address):
    """What a TCP server says first; nothing if the connection is closed or reset instead."""
    try:
        with raw(address) as caller:
            return caller.recv(100).decode().strip()
    except ConnectionResetError:
        return ""


__all__ = ["Case", "Failed", "between", "eventually", "expect", "first_words", "raw"]
