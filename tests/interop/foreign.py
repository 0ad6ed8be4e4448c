"""bowline-proxy on a control plane that isn't Bowline's; a part of `control_check.py`."""

import asyncio
import json

import resources
from control_stage import NAMESPACE, VIP_RANGE, answer, answers, expect, finish
from selfcheck import EACH, NAME, Failed, HttpLoad


class Foreign:
    """`ads_server.py` with standard resources for four services."""

    VIPS = {"server": "127.78.7.7:5000", "echo": "127.78.7.8:50051", "db": "127.78.7.9:5432"}

    def __init__(self, stage):
        self.stage = stage
        self.state = stage.folder / "state.json"
        self.server = self.address = None

    def write(self, names, **cluster):
        """`names`: of the endpoints of `server`, or addresses."""
        addresses = [self.stage.address(name) if name in self.stage.endpoints else name for name in names]
        host = resources.virtual_host
        # Three by their listeners; the fourth name is known from the routes of a forward proxy alone.
        made = [
            resources.cluster("server", **cluster), resources.endpoints("server", addresses),
            resources.listener(NAME, self.VIPS["server"], resources.manager("server", [
                host("server", ["*"], "server", timeout="15s", retry_policy={
                    **resources.retry_policy(), "retry_on": "connect-failure,refused-stream,reset"})])),
            resources.cluster("echo", http2=True), resources.endpoints("echo", [self.stage.address("echo-a")]),
            resources.listener(f"echo.{NAMESPACE}:50051", self.VIPS["echo"],
                               resources.manager("echo", [host("echo", ["*"], "echo")])),
            resources.cluster("db"), resources.endpoints("db", [self.stage.address("db-a")]),
            resources.tcp_listener(f"db.{NAMESPACE}:5432", self.VIPS["db"], "db"),
            resources.cluster("other"), resources.endpoints("other", [self.stage.address("db-a")]),
            resources.listener("outbound", "127.0.0.1:15001", resources.manager("outbound", rds="outbound")),
            resources.routes("outbound", [host("other", [f"other.{NAMESPACE}:7000"], "other")])]
        fresh = self.state.with_suffix(".new")
        fresh.write_text(json.dumps({"resources": made}))
        fresh.rename(self.state)

    async def start(self):
        """Starts it; the second time at the same address."""
        port = self.address.rpartition(":")[2] if self.address else 0
        self.server = await self.stage.script("ads_server.py", self.state, "--port", port)
        self.address = (await self.server.first())["address"]

    async def change(self, names, answer="ack", of="ClusterLoadAssignment", **cluster):
        """Serves something else. Returns the client's answer, which must be such a one."""
        since = len(self.server.lines)
        self.write(names, **cluster)
        await self.server.tell("reload")
        sent = await self.server.line(f"a response of {of}", since=since, wanted=lambda line: (
            line["event"] == "response" and line["type"] == of))
        got = await self.server.line(f"an answer for {of}", since=since, wanted=lambda line: (
            line["event"] in ("ack", "nack") and line["type"] == of and line["nonce"] == sent["nonce"]))
        said = next((line["error"] for line in self.server.lines[since:]
                     if line and line["event"] == "request" and line["nonce"] == sent["nonce"]), None)
        if got["event"] != answer:
            raise Failed(f"{got['event']} instead of {answer}: {said}")
        return said


async def check_foreign(stage):
    """bowline-proxy on a control plane that isn't Bowline's."""
    await asyncio.gather(stage.endpoint("http", "server-a", "server-b", "server-c", "db-a"),
                         stage.endpoint("grpc", "echo-a"))
    foreign = Foreign(stage)
    foreign.write(["server-a", "server-b"])
    await foreign.start()
    run = ("run", "--control", f"http://{foreign.address}", "--namespace", NAMESPACE, "--outbound", "127.0.0.1:0",
           "--admin", "127.0.0.1:0", "--vip-range", VIP_RANGE, "--state-dir", stage.folder / "proxy-state")
    proxy, up = await stage.bowline("proxy", *run)
    outbound, admin = up["outbound"], up["admin"]
    await answers("HTTP through the forward proxy", f"http://{NAME}/", 200, proxy=outbound)
    await answers("HTTP at the listener's address", f"http://{Foreign.VIPS['server']}/", 200)
    await answers("a name from routes alone", f"http://other.{NAMESPACE}:7000/", 200, "db-a", proxy=outbound)
    await answers("TCP", f"http://{Foreign.VIPS['db']}/", 200, "db-a")
    calls = await stage.script("grpc_xds_client.py", f"dns:///{Foreign.VIPS['echo']}", "--seconds", 2)
    total = await calls.line("the total", lambda line: line["event"] == "total")
    expect("gRPC", total, total["calls"] and not total["failed"])

    host, _, port = outbound.rpartition(":")
    load = HttpLoad((host, int(port)), target=f"http://{NAME}/wait/30")
    await load.follows(["server-a", "server-b"])
    for names in (["server-b", "server-c"], ["server-a"], ["server-a", "server-c"]) * 3:
        await foreign.change(names)
        await load.follows(names)
    print("  9 changes of endpoints followed", flush=True)

    async def rejected():
        return (json.loads((await answer(f"http://{admin}/config"))[1]))["controlPlane"]["rejected"]

    good = ["server-a", "server-c"]
    for bad, reason, mended in (("localhost:80", "localhost", ["server-b"]),
                                ("127.0.0.1:70000", "70000", ["server-a"])):
        said = await foreign.change([bad], "nack")
        expect(f"refused, {bad}", said, said and "server" in said and reason in said)
        shown = await rejected()
        expect("shown in /config", shown, len(shown) == 1 and shown[0]["name"] == "server"
               and reason in shown[0]["why"])
        await load.follows(good)  # the last good one
        await foreign.change(mended)
        await load.follows(mended)
        expect("rejected once that is mended", await rejected(), not await rejected())
        good = mended
    said = await foreign.change(good, "nack", "Cluster", type="LOGICAL_DNS")
    expect("refused, a cluster of type LOGICAL_DNS", said, said and "server" in said and "LOGICAL_DNS" in said)
    shown = await rejected()
    expect("shown in /config", shown, len(shown) == 1 and shown[0]["name"] == "server" and "DNS" in shown[0]["why"])
    await load.follows(good)
    await foreign.change(good, of="Cluster")

    await foreign.server.stop(kill=True)
    before = load.served.total()
    await load.until("requests while the server is away", lambda served: served.total() >= before + EACH)
    foreign.write(["server-b"])
    await foreign.start()
    await load.follows(["server-b"])
    await foreign.change(["server-c"])
    await load.follows(["server-c"])
    print("  the server was away; it came back, and is followed again", flush=True)
    await finish("requests", load)

    # What it has kept must not keep it from what is new.
    await proxy.stop()
    proxy, up = await stage.bowline("proxy", *run)
    await answers("a proxy restarted", f"http://{NAME}/", 200, "server-c", proxy=up["outbound"])
    await foreign.change(["server-a"])
    await answers("a change after the restart", f"http://{NAME}/", 200, "server-a", proxy=up["outbound"])
    print("  a restarted proxy follows", flush=True)
