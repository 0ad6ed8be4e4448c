"""gRPC, callers that go away, and WebSocket."""

import socket
import time

import grpc
import h2.config
import h2.connection
import h2.events
from websockets.sync.client import connect

from expect import ABSENT, ANY, calls, check, client, internal, split, traceparent
from report import DEADLINE, Failed
from world import Service, header_of


def channel(service):
    """A channel to the VIP, which asks for the name."""
    return grpc.insecure_channel(f"{service.vip}:{service.port}", options=(
        ("grpc.default_authority", service.authority), ("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0)))


def call(world, service, method, message=b"", streams=False):
    """(trace id, status) of one gRPC call with a caller's span."""
    trace, span = world.ids()
    metadata = (("traceparent", f"00-{trace}-{span}-01"),)
    with channel(service) as opened:
        try:
            if streams:
                list(opened.unary_stream(f"/test.Echo/{method}")(message, metadata=metadata, timeout=DEADLINE))
            else:
                opened.unary_unary(f"/test.Echo/{method}")(message, metadata=metadata, timeout=DEADLINE)
            return trace, span, "OK"
        except grpc.RpcError as error:
            return trace, span, error.code().name


def grpc_calls(world):
    """gRPC: good, failed in the headers, failed in the trailers, tried again."""
    report, receiver = world.report, world.receiver()
    endpoint = world.program("grpc", "grpc_endpoint.py")
    other = world.program("grpc", "grpc_endpoint.py")
    service = Service("server", [endpoint.port, other.port], protocol="grpc")
    world.sidecar("bowline-a", [service], receiver)

    def look(what, method, want, attempts=1, **more):
        trace, caller, word = call(world, service, method, **more)
        report.check(f"{what}: the caller gets {want}", word == want, word)
        spans = receiver.wait(what, 1 + attempts, lambda span: span["trace"] == trace)
        inner, clients, _ = split(spans)
        if not report.check(f"{what}: one INTERNAL span, {attempts} CLIENT", (len(inner), len(clients)) == (1, attempts),
                            [(span["kind"], span["name"]) for span in spans]):
            return
        failed = want != "OK"
        for number, span in enumerate(clients):
            check(report, f"{what}: the attempt's span", span, (
                {"name": f"test.Echo/{method}", "status": "ERROR" if failed else "UNSET", "parent": inner[0]["id"]},
                {"rpc.system.name": "grpc", "rpc.method": f"test.Echo/{method}", "rpc.response.status_code": want,
                 "error.type": ANY if failed else ABSENT, "network.peer.port": set(service.ports), "http.request.resend_count": number or ABSENT}))
        check(report, f"{what}: the request's span", inner[0], (
            {"status": "ERROR" if failed else "UNSET", "parent": caller},
            {"bowline.service": "server", "bowline.attempts": attempts, "rpc.response.status_code": want,
             "rpc.method": f"test.Echo/{method}", "error.type": ANY if failed else ABSENT}))
        requests = [one for app in (endpoint, other) for one in app.requests(f"/test.Echo/{method}")]
        told = {header_of(one, "traceparent") for one in requests}
        report.check(f"{what}: the endpoint is told of the attempt's span", traceparent(clients[-1]) in told, told)
        world.whole(spans, {caller})

    look("good", "Unary", "OK", message=b"hello")
    look("a status in the headers", "Refuse", "FAILED_PRECONDITION", message=b"FAILED_PRECONDITION")
    look("a status in the trailers", "Late", "DATA_LOSS", message=b"DATA_LOSS", streams=True)
    look("not there, tried again", "Refuse", "UNAVAILABLE", attempts=3, message=b"UNAVAILABLE")
    world.strict()


def gone(world, receiver, trace, what, **more):
    """The checks of a call whose caller went away."""
    spans = receiver.wait(what, 2, lambda span: span["trace"] == trace)
    inner, clients, _ = split(spans)
    if world.report.check(f"{what}: one INTERNAL span, one CLIENT", (len(inner), len(clients)) == (1, 1), spans):
        for which, span in (("request", inner[0]), ("attempt", clients[0])):
            check(world.report, f"{what}: the {which}'s span", span,
                  ({"status": "ERROR"}, {"error.type": "cancelled", "http.response.status_code": ABSENT, **more}))


def cancel(world):
    """Callers that go away: a closed connection, a reset stream, a cancelled gRPC call."""
    report, receiver, endpoint = world.report, world.receiver(), world.endpoint(2)
    echo = world.program("grpc", "grpc_endpoint.py")
    # One failure would be enough.
    service = Service("server", endpoint.ports, outlierDetection={"consecutiveFailures": 1})
    rpcs = Service("rpcs", [echo.port], protocol="grpc")
    sidecar = world.sidecar("bowline-a", [service, rpcs], receiver)
    outside = set()

    path, (trace, span) = world.path("silent"), world.ids()
    outside.add(span)
    with socket.create_connection((service.vip, service.port), DEADLINE) as caller:
        caller.sendall(f"GET {path} HTTP/1.1\r\nHost: {service.authority}\r\ntraceparent: 00-{trace}-{span}-01\r\n\r\n".encode())
        endpoint.line("the request", lambda line: line and line.get("request", {}).get("path") == path)
    endpoint.line("the end of the attempt", lambda line: line and line.get("closed") == path)
    gone(world, receiver, trace, "h1, closed")

    path, (trace, span) = world.path("silent"), world.ids()
    outside.add(span)
    with socket.create_connection((service.vip, service.port), DEADLINE) as caller:
        wire = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        wire.initiate_connection()
        wire.send_headers(1, [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", service.authority),
                              ("traceparent", f"00-{trace}-{span}-01")], end_stream=True)
        caller.sendall(wire.data_to_send())
        endpoint.line("the request", lambda line: line and line.get("request", {}).get("path") == path)
        wire.reset_stream(1, error_code=8)  # CANCEL
        caller.sendall(wire.data_to_send())
        endpoint.line("the end of the attempt", lambda line: line and line.get("closed") == path)
        gone(world, receiver, trace, "h2, reset")

    trace, span = world.ids()
    outside.add(span)
    with channel(rpcs) as opened:
        future = opened.unary_unary("/test.Echo/Silent").future(b"", metadata=(("traceparent", f"00-{trace}-{span}-01"),))
        echo.line("the call", lambda line: line and line.get("request", {}).get("path") == "/test.Echo/Silent")
        future.cancel()
        echo.line("the end of the call", lambda line: line and "closed" in line)
    gone(world, receiver, trace, "gRPC, cancelled")

    ejected = sidecar.metric("bowline_ejections_total") or 0
    report.check("no endpoint is blamed for it", ejected == 0, ejected)
    world.strict()


def websocket(world):
    """The spans of a WebSocket are as long as it is."""
    report, receiver = world.report, world.receiver()
    echo, plain = world.program("ws", "ws_endpoint.py"), world.endpoint()
    service, other = Service("server", [echo.port]), Service("other", plain.ports)
    world.sidecar("bowline-a", [service, other], receiver)
    path, (trace, span) = world.path("ws"), world.ids()
    with connect(f"ws://{service.authority}{path}", sock=socket.create_connection((service.vip, service.port), DEADLINE),
                 additional_headers={"traceparent": f"00-{trace}-{span}-01"}, open_timeout=DEADLINE, proxy=None) as opened:
        opened.send("hello")
        if opened.recv(timeout=DEADLINE) != "hello":
            raise Failed("the message did not come back")
        request = echo.request(path)
        world.settle(receiver, other)
        early = receiver.spans(lambda one: one["trace"] == trace)
        report.check("no span while it is open", not early, early)
        opened.send("again")
        opened.recv(timeout=DEADLINE)
        closing = time.time_ns()
    spans = receiver.wait("the WebSocket", 2, lambda one: one["trace"] == trace)
    found = calls(report, spans, internal("GET", service, path, 101), [client("GET", service, 101, echo.port)])
    if found:
        report.check("they end when it does", all(one["end"] >= closing for one in spans),
                     [(one["end"] - closing) / 1e6 for one in spans])
        seen = header_of(request, "traceparent")
        report.check("the endpoint is told of the attempt's span", seen == traceparent(found[1][0]), seen)
    world.whole(spans, {span})
    world.strict()
