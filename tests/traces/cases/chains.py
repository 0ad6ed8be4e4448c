"""Several processes in a row."""

import trees
from expect import calls, check, client, internal, server, split, traceparent
from world import Service, free_port, header_of

from cases.others import call


def two(world):
    """The sidecar of the caller, then the one of the app: HTTP, an answer of 503 and of 404, and gRPC."""
    report, receiver, endpoint = world.report, world.receiver(), world.endpoint()
    echo = world.program("grpc", "grpc_endpoint.py")
    behind = world.sidecar("bowline-b", [], receiver, inbound=(endpoint.port, echo.port))
    service = Service("server", [behind.inbound[endpoint.port]], retry={"retries": 0})
    rpcs = Service("rpcs", [behind.inbound[echo.port]], protocol="grpc")
    world.sidecar("bowline-a", [service, rpcs], receiver)
    for status, failed in ((200, False), (404, False), (503, True)):
        path = world.path()
        endpoint.order(str(status), "plan")
        answer = world.curl(service, path, "--user-agent", "curl-as-it-comes")
        report.check(f"curl gets {status}", answer.status == status, answer)
        spans = world.of_path(receiver, path, 3)
        bad = status >= 400
        calls(report, spans, internal("GET", service, path, status, failed=bad),
              [client("GET", service, status, service.ports[0], failed=bad)], "bowline-a")
        _, _, servers = split(spans, "bowline-b")
        if report.check("one SERVER span of the app's sidecar", len(servers) == 1, spans):
            check(report, "the app's span", servers[0],
                  server("GET", path, status, endpoint, failed, **{"user_agent.original": "curl-as-it-comes"}))
            report.check("its name begins with the method", servers[0]["name"].split(" ")[0] == "GET", servers[0]["name"])
            seen = header_of(endpoint.request(path), "traceparent")
            report.check("the app is told of it", seen == traceparent(servers[0]), seen)
        report.check("each span has one child at most", trees.chain(spans) is not None,
                     [(one["kind"], one["name"], one["id"], one["parent"]) for one in spans])
        world.whole(spans)
    # In a server's span NOT_FOUND is no error, and UNAVAILABLE is one.
    for word, failed in (("OK", False), ("NOT_FOUND", False), ("INTERNAL", True)):
        trace, caller, seen = call(world, rpcs, "Unary" if word == "OK" else "Refuse", word.encode())
        report.check(f"gRPC: the caller gets {word}", seen == word, seen)
        spans = receiver.wait(f"gRPC, {word}", 3, lambda span, trace=trace: span["trace"] == trace)
        _, _, servers = split(spans, "bowline-b")
        if report.check("one SERVER span of the app's sidecar", len(servers) == 1, spans):
            span = servers[0]
            good = span["attributes"].get("rpc.response.status_code") == word and span["status"] == ("ERROR" if failed else "UNSET")
            report.check(f"{word} {'is' if failed else 'is not'} the server's error", good, span)
        world.whole(spans, {caller})
    world.strict()


def sdk(world):
    """curl → app → its sidecar → the sidecar of the next app → that app → its sidecar → the last app, all apps with
    OpenTelemetry's own SDK: one trace of five processes."""
    report, receiver = world.report, world.receiver()
    last = world.app("app-last", receiver)
    onward = Service("last", last.ports)
    # The middle app calls through its sidecar, which passes its callers on to it: each is told of the other's port.
    port = free_port()
    sidecar = world.sidecar("bowline-b", [onward], receiver, inbound=(port,))
    world.app("app-middle", receiver, onward.url("/onward"), onward.authority, PORT=port)
    service = Service("middle", [sidecar.inbound[port]])
    world.sidecar("bowline-a", [service], receiver)
    first = world.app("app-first", receiver, service.url("/relay"), service.authority)
    status, body = world.ask(first.port, "/relay")
    report.check("the last app's answer comes back", (status, body) == (200, "app-last"), (status, body))
    spans = world.of_path(receiver, "/onward", 10, "the whole chain")
    line = trees.chain(spans)
    seen = [(span["resource"]["service.name"], span["kind"]) for span in line or spans]
    wanted = [("app-first", "SERVER"), ("app-first", "CLIENT"), ("bowline-a", "INTERNAL"), ("bowline-a", "CLIENT"),
              ("bowline-b", "SERVER"), ("app-middle", "SERVER"), ("app-middle", "CLIENT"), ("bowline-b", "INTERNAL"),
              ("bowline-b", "CLIENT"), ("app-last", "SERVER")]
    report.check("one chain of ten spans", seen == wanted, seen)
    world.whole(spans)

    world.strict(SDK)


# The SDK does not put the W3C flags into OTLP.
SDK = {(name, "flags-sampled") for name in ("app-first", "app-middle", "app-last")}
