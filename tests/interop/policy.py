"""Traffic policy in real Envoy and gRPC: the checks `policy` and `grpc-policy` of `control_check.py`."""

import asyncio
import json

import grpc

from control_stage import NAMESPACE, Control, answer, answers, expect, wait_for

ENVOY_FORWARD_PROXY = "127.0.0.1:15001"
ECHO = {"x-echo": "1"}
ROUTES = [
    {"name": "gone", "match": {"path": {"exact": "/gone"}},
     "respond": {"status": 410, "body": "gone " * 2000, "headers": {"x-why": "100% moved"}}},
    {"name": "moved", "match": {"path": {"prefix": "/old"}}, "rewrite": {"prefix": "/new"},
     "redirect": {"status": 301, "host": "other.test", "scheme": "https"}},
    {"name": "api", "match": {"path": {"prefix": "/api"}}, "to": [{"service": "api"}], "rewrite": {"prefix": "/"}},
    {"name": "template", "match": {"path": {"template": "/users/{id}/cart/{*rest}"}},
     "rewrite": {"path": "/carts/{id}/{rest}", "host": "carts.test"}},
    {"name": "delete", "match": {"method": "DELETE"}, "respond": {"status": 405}},
    {"name": "host", "match": {"hosts": ["*.example.com"]}, "respond": {"status": 421}},
    {"name": "query", "match": {"query": {"debug": {"exact": "yes"}}}, "respond": {"status": 418}},
    {"name": "split", "match": {"path": {"prefix": "/split"}},
     "to": [{"service": "server", "weight": 1}, {"service": "api", "weight": 3}]},
    {"name": "user", "match": {"path": {"prefix": "/user"}}, "splitBy": {"header": "x-user"},
     "to": [{"service": "server", "weight": 1}, {"service": "api", "weight": 1}]},
    {"name": "v2", "match": {"headers": {"x-version": {"exact": "v2"}}},
     "to": [{"service": "parts", "subset": {"version": "v2", "size": "l"}}]},
    {"name": "v9", "match": {"headers": {"x-version": {"exact": "v9"}}},
     "to": [{"service": "parts", "subset": {"version": "v9"}}]},
    {"name": "changed", "match": {"path": {"prefix": "/changed"}},
     "headers": {"request": {"remove": ["x-secret"], "set": {"x-set": "route"}, "add": {"x-added": "50%"}},
                 "response": {"set": {"x-endpoint": "hidden"}}}},
    {"name": "copied", "match": {"path": {"prefix": "/copied"}}, "mirror": {"service": "copies"}},
    {"name": "fault", "match": {"path": {"prefix": "/fault"}},
     "fault": {"abort": {"status": 599}, "onlyWithHeader": "x-fault"}},
    {"name": "slow", "match": {"path": {"prefix": "/slow"}}, "fault": {"delay": {"seconds": 0.5}}},
    {"name": "quick", "match": {"path": {"prefix": "/wait"}}, "timeout": {"perRequestTimeoutSeconds": 0.2}},
    {"name": "few", "match": {"path": {"prefix": "/few"}},
     "rateLimit": [{"requestsPerMinute": 1, "burst": 3, "side": "outbound"}]},
]


async def bodies(url, count, headers=None):
    """Who has answered, as a list."""
    return [(await answer(url, headers=headers))[1] for _ in range(count)]


async def routes(at, stage):
    """Each route does what it says."""
    status, body, headers = await answer(f"{at}/gone")
    expect("a fixed answer", (status, len(body), headers["x-why"]), (status, len(body), headers["x-why"]) ==
           (410, 10000, "100% moved"))
    status, _, headers = await answer(f"{at}/old/a?b=c")
    expect("a redirect", (status, headers["location"]), status == 301
           and headers["location"] == "https://other.test/new/a?b=c")
    for path, wanted in (("/api/x?y=z", "/x?y=z"), ("/api", "/"), ("/apis", "/apis")):
        status, body, headers = await answer(at + path, headers=ECHO)
        by = "server-a" if path == "/apis" else "api-a"
        seen = (status, headers["x-endpoint"], json.loads(body)["path"])
        expect(f"{path} by", seen, seen == (200, by, wanted))
    seen = json.loads((await answer(f"{at}/users/7/cart/a/b?c=d", headers=ECHO))[1])
    seen = (seen["path"], seen["headers"]["host"])
    expect("a template rewritten", seen, seen == ("/carts/7/a/b?c=d", "carts.test"))
    seen = [(await answer(at + path, headers=headers))[0] for path, headers in
            (("/", {"Host": "a.EXAMPLE.com:80"}), ("/", {"Host": "example.com"}), ("/?debug=yes", {}), ("/?debug=no", {}))]
    expect("by host and query", seen, seen == [421, 200, 418, 200])
    share = (await bodies(f"{at}/split", 200)).count("api-a")
    # Drawn by lot: 150 with a standard deviation of 6.
    expect("of 200 split 1 to 3, for the second", share, 110 <= share <= 185)
    users = [set(await bodies(f"{at}/user", 5, {"x-user": f"user-{number}"})) for number in range(20)]
    expect("users split by their header", [len(user) for user in users], all(len(user) == 1 for user in users)
           and len(set.union(*users)) == 2)
    seen = set(await bodies(at, 20, {"x-version": "v2"}))
    expect("a part of a service", seen, seen == {"parts-2"})
    status = (await answer(at, headers={"x-version": "v9"}))[0]
    expect("a part that has nobody", status, status == 503)
    status, body, headers = await answer(f"{at}/changed", headers={**ECHO, "x-secret": "s", "x-set": "mine", "x-added": "a"})
    seen = json.loads(body)["headers"]
    expect("headers changed", (seen, headers["x-endpoint"], headers["x-all"]), "x-secret" not in seen and seen["x-set"] == "route"
           and "50%" in body and seen["x-all"] == "service" and (headers["x-endpoint"], headers["x-all"]) == ("hidden", "back"))
    for _ in range(5):
        await answer(f"{at}/copied", headers={"x-count": "1"})
    await answers("five copies", f"http://{stage.address('copies-a')}/seen", 200, "5")
    seen = [(await answer(f"{at}/fault", headers=headers))[0] for headers in ({}, {"x-fault": "1"})]
    expect("a fault with a header only", seen, seen == [200, 599])
    loop = asyncio.get_running_loop()
    begun = loop.time()
    status = (await answer(f"{at}/slow"))[0]
    took = loop.time() - begun
    # Envoy's clock goes by whole milliseconds.
    expect("seconds with a delay", round(took, 4), status == 200 and took >= 0.49)
    seen = [(await answer(f"{at}/wait/{wait}"))[0] for wait in (1, 2000)]
    expect("a route's timeout", seen, seen == [200, 504])
    seen = [(await answer(f"{at}/few"))[0] for _ in range(5)]
    expect("a route's rate limit of three", seen, seen == [200, 200, 200, 429, 429])


async def calls_checked(stage, vip):
    """An endpoint that says by gRPC that it isn't serving gets nothing."""
    async with grpc.aio.insecure_channel("%s:%d" % vip) as channel:
        async def who():
            call = channel.unary_unary("/test.Echo/Unary")(b"", timeout=5)
            await call
            return {key: value for key, value in await call.trailing_metadata()}.get("x-endpoint")

        async def served(by):
            seen = {await who() for _ in range(20)}
            return seen == by, seen

        await wait_for("calls to both", lambda: served({"calls-a", "calls-b"}))
        async with grpc.aio.insecure_channel(stage.address("calls-b")) as straight:
            await straight.unary_unary("/test.Echo/Sick")(b"yes", timeout=5)
            await wait_for("an endpoint to be taken out by its gRPC health check", lambda: served({"calls-a"}))
            await straight.unary_unary("/test.Echo/Sick")(b"no", timeout=5)
            await wait_for("it to come back", lambda: served({"calls-a", "calls-b"}))
    print("  a gRPC health check took an endpoint out, and brought it back", flush=True)


async def tcp_checked(stage, url, admin):
    """An endpoint to which nobody can connect any more is out, by Envoy's own account because of its health check."""
    async def failed():
        clusters = json.loads((await answer(f"http://{admin}/clusters?format=json"))[1])["cluster_statuses"]
        out = {}
        for host in (host for cluster in clusters for host in cluster.get("host_statuses", [])):
            address = host["address"].get("socket_address", {})
            out[f"{address.get('address')}:{address.get('port_value')}"] = \
                host["health_status"].get("failed_active_health_check", False)
        return out

    async def both():
        seen = set(await bodies(url, 20))
        return seen == {"tcp-a", "tcp-b"}, seen

    await wait_for("requests to both", both)
    dead = stage.address("tcp-b")
    await stage.endpoints["tcp-b"][0].stop(kill=True)

    async def out():
        seen = await failed()
        return seen[dead] and not seen[stage.address("tcp-a")], seen

    await wait_for("an endpoint to be taken out by its TCP health check", out)
    seen = set(await bodies(url, 20))
    expect("after that", seen, seen == {"tcp-a"})


async def check_policy(stage):
    """Routes, parts of services, health checks and limits."""
    names = ["server-a", "api-a", "copies-a", "parts-1", "parts-2", "parts-3", "sick-a", "sick-b", "rated-a", "hash-a",
             "hash-b", "hash-c"]
    names += ["tcp-a", "tcp-b", "zones-a", "zones-b"]
    calls = ["calls-a", "calls-b"]
    await asyncio.gather(stage.endpoint("http", *names), stage.endpoint("grpc", *calls))
    mesh = {}
    for kind, name in [("http", name) for name in names] + [("grpc", name) for name in calls]:
        mesh.setdefault(name.rpartition("-")[0], (kind, 5000 + len(mesh), []))[2].append(name)
    control = Control(stage, mesh)
    control.zones = {"zones-a": "zone-a", "zones-b": "zone-b"}
    for name, labels in (("parts-1", {"version": "v1"}), ("parts-2", {"version": "v2", "size": "l"}),
                         ("parts-3", {"version": "v2", "size": "s"})):
        control.labels[name] = labels
    control.policies = {
        "server": {"routes": ROUTES, "headers": {"request": {"set": {"x-set": "service", "x-all": "service"}},
                                                 "response": {"set": {"x-all": "back"}}}},
        "sick": {"healthCheck": {"http": {"path": "/health", "status": [200, 201]}, "intervalSeconds": 0.2,
                                 "timeoutSeconds": 0.2}, "loadBalancing": {"panicPercent": 0}},
        "tcp": {"healthCheck": {"tcp": {}, "intervalSeconds": 0.2, "timeoutSeconds": 0.2},
                "loadBalancing": {"panicPercent": 0}},
        "calls": {"healthCheck": {"grpc": {}, "intervalSeconds": 0.2, "timeoutSeconds": 0.2},
                  "loadBalancing": {"panicPercent": 0}},
        "zones": {"loadBalancing": {"zoneWeights": {"zone-a": 3, "zone-b": 1}}},
        "parts": {"loadBalancing": {"subset": {"version": "v1"}}},
        "rated": {"rateLimit": [{"requestsPerMinute": 1, "burst": 4, "side": "outbound"},
                                {"requestsPerSecond": 100, "side": "outbound"}],
                  "limits": {"adaptiveConcurrency": {}}},
        "hash": {"loadBalancing": {"policy": "maglev", "hash": {"header": "x-user"}, "boundedLoadPercent": 200}},
    }
    control.write()
    await control.start()
    envoy = await stage.script("envoy_client.py", control.bootstrap("envoy"))
    admin = (await envoy.first())["admin"]
    vips = await control.vips()
    at = {service: f"http://{vip}:{port}" for service, (vip, port) in vips.items()}
    await answers("Envoy", at["server"], 200, "server-a")
    await routes(at["server"], stage)
    status = (await answer(f"http://server.{NAMESPACE}:{mesh['server'][1]}/gone", ENVOY_FORWARD_PROXY))[0]
    expect("the same by the forward proxy", status, status == 410)
    seen = set(await bodies(at["parts"], 20))
    expect("a service that is a part", seen, seen == {"parts-1"})

    await answers("the sick service", at["sick"], 200)
    await answer(f"http://{stage.address('sick-b')}/set-health/500")

    async def alone():
        seen = set(await bodies(at["sick"], 20))
        return seen == {"sick-a"}, seen

    await wait_for("an endpoint to be taken out by its health check", alone)
    await answer(f"http://{stage.address('sick-b')}/set-health/201")

    async def both():
        seen = set(await bodies(at["sick"], 20))
        return seen == {"sick-a", "sick-b"}, seen

    await wait_for("it to come back", both)
    print("  a health check took an endpoint out, and brought it back", flush=True)
    await calls_checked(stage, vips["calls"])
    await tcp_checked(stage, at["tcp"], admin)
    share = (await bodies(at["zones"], 200)).count("zones-a")
    # Drawn by lot: 150 with a standard deviation of 6.
    expect("of 200 for zones of weight 3 and 1, for the first", share, 110 <= share <= 185)
    seen = [(await answer(at["rated"]))[0] for _ in range(6)]
    expect("a service's rate limit of four", seen, seen == [200] * 4 + [429] * 2)
    users = [set(await bodies(at["hash"], 5, {"x-user": f"user-{number}"})) for number in range(20)]
    expect("users by hash", [len(user) for user in users], all(len(user) == 1 for user in users)
           and len(set.union(*users)) == 3)

    # A change is followed, and nothing was refused.
    control.policies["server"] = {"routes": [{"match": {"path": {"exact": "/gone"}}, "to": [{"service": "api"}]}]}
    control.write()
    await answers("a changed route", f"{at['server']}/gone", 200, "api-a")
    await control.check_client("envoy", "server", everything=True)


GRPC_ROUTES = [
    {"match": {"method": "GET"}, "respond": {"status": 403}},
    {"match": {"query": {"a": {"exact": "b"}}}, "respond": {"status": 403}},
    {"match": {"headers": {"x-no": {"present": True}}}, "respond": {"status": 403}},
    {"match": {"headers": {"x-version": {"prefix": "v2"}}}, "to": [{"service": "other"}]},
    {"match": {"path": {"prefix": "/test.Echo"}, "headers": {"x-quick": {"present": True}}},
     "timeout": {"perRequestTimeoutSeconds": 0.05}, "to": [{"service": "other"}]},
    {"match": {"path": {"exact": "/test.Echo/Slow"}}, "to": [{"service": "server"}, {"service": "other", "weight": 3}]},
]


async def check_grpc_policy(stage):
    """Routes and hashes, without a proxy."""
    names = ["server-a", "server-b", "server-c", "other-a"]
    await stage.endpoint("grpc", *names)
    control = Control(stage, {"server": ("grpc", 5000, names[:3]), "other": ("grpc", 5001, names[3:])})
    control.policies["server"] = {"routes": GRPC_ROUTES, "loadBalancing": {"policy": "ringHash", "hash": {"header": "x-user"}}}
    control.write()
    await control.start()
    bootstrap = control.bootstrap("grpc")

    async def calls(method, *metadata):
        """What has become of calls."""
        headers = [word for pair in metadata for word in ("--metadata", *pair)]
        client = await stage.script("grpc_xds_client.py", f"xds:///server.{NAMESPACE}:5000", "--bootstrap", bootstrap,
                                    "--rate", 100, "--seconds", 2, "--method", f"/test.Echo/{method}", *headers)
        total = await client.line("its total", lambda line: line.get("event") == "total")
        return total["served"], total["failures"]

    served, failures = await calls("Unary", ("x-version", "v2.1"))
    expect("gRPC, by a header", (served, failures), set(served) == {"other-a"} and not failures)
    served, failures = await calls("Slow")
    share = served.get("other-a", 0) / max(1, sum(served.values()))
    # Drawn by lot: 0.75 with a standard deviation of 0.03.
    expect("gRPC, split 1 to 3", (served, failures), 0.6 <= share <= 0.9 and not failures)
    served, failures = await calls("Unary", ("x-no", "1"))
    expect("gRPC, a route that doesn't lead on", (served, failures), not served
           and all(failure.startswith("UNAVAILABLE") for failure in failures))
    served, failures = await calls("Slow", ("x-quick", "1"))
    expect("gRPC, calls of 200 ms in a route of 50", (served, failures), not served
           and all(failure.startswith("DEADLINE_EXCEEDED") for failure in failures))
    users = [await calls("Unary", ("x-user", f"user-{number}")) for number in range(3)]
    expect("gRPC, users by hash", users, all(len(served) == 1 and not failures for served, failures in users))
