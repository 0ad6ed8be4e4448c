"""Outbound HTTP calls: what goes well, what is tried again, what fails."""

import socket

from expect import ABSENT, ANY, calls, check, client, internal, reasons, split, traceparent
from world import Service, header_of, headers_of, path_of


def success(world):
    """One attempt, good at once."""
    report, receiver, endpoint = world.report, world.receiver(), world.endpoint(2)
    service = Service("server", endpoint.ports)
    world.sidecar("bowline-a", [service], receiver)

    path = world.path()
    answer = world.curl(service, f"{path}?token=hush")
    report.check("curl gets 200", answer.status == 200, answer)
    spans = world.of_path(receiver, path, 2)
    request = endpoint.request(path)
    port = request["port"]
    none = {"bowline.reason": ABSENT, "bowline.ejected": ABSENT}
    found = calls(report, spans, internal("GET", service, path, 200, **none),
                  [client("GET", service, 200, port, **none)])
    if found:
        inner, clients = found
        check(report, "the request's span is the root", inner, ({}, {}), parent="")
        seen = headers_of(request, "traceparent")
        report.check("the endpoint is told of the attempt's span", seen == [traceparent(clients[0])], seen)
    report.check("the query string is in no span", not any("hush" in str(span) for span in spans), spans)
    world.whole(spans)

    path = world.path()
    trace, span = world.ids()
    answer = world.curl(service, path, "--header", f"traceparent: 00-{trace}-{span}-01", "--data", "x=1")
    spans = receiver.wait("a call with a caller's span", 2, lambda one: one["trace"] == trace)
    found = calls(report, spans, internal("POST", service, path, 200, **{"http.request.body.size": 3}),
                  [client("POST", service, 200)])
    if found:
        check(report, "the request's span is below the caller's", found[0], ({}, {}), parent=span)
        report.check("and its parent is marked as remote", found[0]["flags"] & 0x200, hex(found[0]["flags"]))
    world.whole(spans, {span})

    path = world.path()
    world.curl(service, path, "--http2-prior-knowledge")
    spans = world.of_path(receiver, path, 2)
    calls(report, spans, internal("GET", service, path, 200, **{"network.protocol.version": "2"}),
          [client("GET", service, 200)])

    path = world.path()
    endpoint.order("404", "plan")
    answer = world.curl(service, path)
    spans = world.of_path(receiver, path, 2)
    report.check("curl gets 404", answer.status == 404, answer)
    calls(report, spans, internal("GET", service, path, 404, failed=True, **{"error.type": "404"}),
          [client("GET", service, 404, failed=True, **{"error.type": "404"})])
    world.strict()


def retry(world):
    """A 503, a reset, and then a good answer."""
    report, receiver, endpoint = world.report, world.receiver(), world.endpoint(3)
    service = Service("server", endpoint.ports)
    sidecar = world.sidecar("bowline-a", [service], receiver)

    path = world.path()
    endpoint.order("503 reset", "plan")
    answer = world.curl(service, path)
    report.check("curl gets 200", answer.status == 200, answer)
    spans = world.of_path(receiver, path, 4)
    requests = endpoint.requests(path)
    ports = [request["port"] for request in requests]
    found = calls(report, spans, internal("GET", service, path, 200, attempts=3), [
        client("GET", service, 503, ports[0], failed=True, **{"error.type": "503"}),
        client("GET", service, None, ports[1], again=1, failed=True),
        client("GET", service, 200, ports[2], again=2),
    ])
    if found:
        seen = [headers_of(request, "traceparent") for request in requests]
        wanted = [[traceparent(span)] for span in found[1]]
        report.check("each attempt tells its endpoint of its own span", seen == wanted, seen)
        words = reasons(found[1])
        report.check("the spans say why it was tried again", len(words) == 2 and all(words), words)
        report.tell(f"reasons: {words}")
        ends = [span["end"] for span in found[1]]
        starts = [span["start"] for span in found[1]]
        report.check("one attempt after the other", all(end <= start for end, start in zip(ends, starts[1:])),
                     list(zip(starts, ends)))
    world.whole(spans)

    # Nobody listens on a port that was free a moment ago.
    gone = Service("gone", [endpoint.ports[0], closed_port()])
    world.sidecar("bowline-b", [gone], receiver)
    for _ in range(64):
        path = world.path()
        if world.curl(gone, path).status != 200:
            report.failure("a call with one dead endpoint", "it did not get 200")
        spans = world.of_path(receiver, path, 2)
        if split(spans)[0][0]["attributes"].get("bowline.attempts") == 2:
            spans = world.of_path(receiver, path, 3)
            calls(report, spans, internal("GET", gone, path, 200, attempts=2),
                  [client("GET", gone, None, gone.ports[1], failed=True),
                   client("GET", gone, 200, gone.ports[0], again=1)])
            world.whole(spans)
            break
    else:
        report.failure("a connection that is refused", "in 64 calls the dead endpoint was never tried")
    retries = sidecar.metric("bowline_retries_total")
    report.check("the metric counts as many retries as the spans", retries == 2, retries)
    world.strict()


# What keeps these ports from being given to somebody else.
KEPT = []


def closed_port():
    """A port on which nobody listens, for as long as this process lives."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    KEPT.append(taken)
    return taken.getsockname()[1]


def timeout(world):
    """No answer in time."""
    report, receiver, endpoint = world.report, world.receiver(), world.endpoint()
    service = Service("server", endpoint.ports, timeout={"responseHeadersSeconds": 1}, retry={"retries": 0})
    world.sidecar("bowline-a", [service], receiver)
    path = world.path("silent")
    answer = world.curl(service, path)
    word = answer.headers.get("x-bowline-error")
    report.check("curl gets 504 and why", answer.status == 504 and word, answer)
    spans = world.of_path(receiver, path, 2)
    found = calls(report, spans, internal("GET", service, path, 504, failed=True, **{"bowline.reason": word}),
                  [client("GET", service, None, service.ports[0], failed=True)])
    if found:
        kinds = [span["attributes"].get("error.type") for span in (found[0], *found[1])]
        report.tell(f"reason {word}; error.type of request and attempt: {kinds}")
        took = (found[1][0]["end"] - found[1][0]["start"]) / 1e9
        report.check("the attempt's span is as long as the timeout", 0.99 <= took < 10, took)
    world.whole(spans)
    world.strict()


def ejection(world):
    """Failures until an endpoint is taken out."""
    report, receiver, endpoint = world.report, world.receiver(), world.endpoint(2)
    service = Service("server", endpoint.ports, retry={"retries": 0}, outlierDetection={"consecutiveFailures": 2})
    world.sidecar("bowline-a", [service], receiver)
    endpoint.order(" ".join(["503"] * 12), "plan")
    paths = [world.path() for _ in range(12)]
    for path in paths:
        world.curl(service, path)
    spans = [span for path in paths for span in world.of_path(receiver, path, 2)]
    clients = split(spans)[1]
    ejecting = [span for span in clients if "bowline.ejected" in span["attributes"]]
    # At most half of the endpoints: one of two.
    if report.check("one attempt's failure has ejected its endpoint", len(ejecting) == 1, len(ejecting)):
        check(report, "its span says so", ejecting[0], client("GET", service, 503, failed=True, **{"bowline.ejected": True}))
        mine = [span for span in clients if span["attributes"]["network.peer.port"] ==
                ejecting[0]["attributes"]["network.peer.port"]]
        report.check("it was that endpoint's second failure", mine.index(ejecting[0]) == 1, mine.index(ejecting[0]))
        report.check("and nothing goes there after it", len(mine) == 2, len(mine))
    world.strict()


def nothing(world):
    """A service without a live endpoint: no attempt, and a span that says why."""
    report, receiver = world.report, world.receiver()
    service = Service("server", [closed_port()], retry={"retries": 0})
    world.sidecar("bowline-a", [service], receiver)
    path = world.path()
    answer = world.curl(service, path)
    word = answer.headers.get("x-bowline-error")
    report.check("curl gets 503 or 502, and why", answer.status in (502, 503) and word, answer)
    spans = world.of_path(receiver, path, 2)
    calls(report, spans, internal("GET", service, path, answer.status, failed=True, **{"bowline.reason": word}),
          [client("GET", service, None, service.ports[0], failed=True, **{"error.type": ANY})])
    world.whole(spans)
    world.strict()


def headers(world):
    """With tracing on, what the caller says of itself passes: state, baggage, and what is not ours."""
    report, receiver, endpoint = world.report, world.receiver(), world.endpoint()
    service = Service("server", endpoint.ports)
    world.sidecar("bowline-a", [service], receiver)
    trace, span = world.ids()
    path = world.path()
    world.curl(service, path, "--header", f"traceparent: 00-{trace}-{span}-01", "--header", "tracestate: a=1,b@c=2",
               "--header", "baggage: user=me;p=1,x=%20y", "--header", "X-B3-TraceId: 1", "--header", "uber-trace-id: 1:2:3:1")
    spans = receiver.wait("a call with a state", 2, lambda one: one["trace"] == trace)
    request = endpoint.request(path)
    for name, value in (("tracestate", "a=1,b@c=2"), ("baggage", "user=me;p=1,x=%20y"), ("x-b3-traceid", "1"),
                        ("uber-trace-id", "1:2:3:1")):
        report.check(f"{name} is kept", header_of(request, name) == value, request["headers"])
    states = {one["state"] for one in spans}
    report.check("the spans have the state", states == {"a=1,b@c=2"}, states)
    bad = {"a version that is none": "ff-{trace}-{span}-01", "a trace id of zeros": "00-{zeros}-{span}-01",
           "upper case": "00-{upper}-{span}-01", "too short": "00-{trace}-{span}", "rubbish": "rubbish"}
    for what, text in bad.items():
        path = world.path()
        trace, span = world.ids()
        trace = f"abc{trace[3:]}"
        sent = text.format(trace=trace, span=span, zeros="0" * 32, upper=trace.upper())
        world.curl(service, path, "--header", f"traceparent: {sent}", "--header", "tracestate: a=1")
        spans = world.of_path(receiver, path, 2)
        report.check(f"a traceparent that is wrong ({what}) is not followed",
                     spans[0]["trace"] != trace and not spans[0]["parent"], spans[0])
        seen = [header_of(endpoint.request(path), name) for name in ("traceparent", "tracestate")]
        report.check(f"and another takes its place ({what})", seen == [traceparent(spans[1]), None], seen)
    path = world.path()
    trace, span = world.ids()
    world.curl(service, path, "--header", f"traceparent: cc-{trace}-{span}-01-what-the-future-will-be")
    spans = world.of_path(receiver, path, 2)
    report.check("a later version is followed", spans[0]["trace"] == trace and spans[0]["parent"] == span, spans[0])
    world.strict()


def odd(world):
    """Requests that are strange, and none of which may break the batch it is in."""
    report, receiver, endpoint = world.report, world.receiver(), world.endpoint()
    service = Service("server", endpoint.ports)
    world.sidecar("bowline-a", [service], receiver)

    path = world.path()
    answer = world.curl(service, path, "--request", "FROB")
    report.check("a method that nobody knows gets through", answer.status == 200, answer)
    spans = world.of_path(receiver, path, 2)
    for span in spans:
        check(report, "a method that nobody knows", span, ({"name": "HTTP server" if span["kind"] == "INTERNAL" else "HTTP"},
              {"http.request.method": "_OTHER", "http.request.method_original": "FROB"}))

    def raw(word, head):
        """The spans of a request with these bytes in its head."""
        path = world.path(word)
        trace, span = world.ids()
        with socket.create_connection((service.vip, service.port), 25) as caller:
            caller.sendall(head % path.encode() + f"Host: {service.authority}\r\ntraceparent: 00-{trace}-{span}-01\r\n"
                           "Connection: close\r\n\r\n".encode())
            answer = b""
            while piece := caller.recv(65536):
                answer += piece
        if report.check(f"{word}: it is answered", answer.startswith(b"HTTP/1.1 200"), answer[:200]):
            spans = receiver.wait(word, 2, lambda one: one["trace"] == trace)
            world.whole(spans, {span})

    raw("user-agent-of-no-encoding", b"GET %s HTTP/1.1\r\nUser-Agent: \xff\xfe\x80\r\n")
    raw("long-user-agent", b"GET %s HTTP/1.1\r\nUser-Agent: " + b"long" * 8000 + b"\r\n")
    raw("long-path", b"GET %s/" + b"long" * 2000 + b"?q HTTP/1.1\r\n")
    raw("request-id-of-no-encoding", b"GET %s HTTP/1.1\r\nx-request-id: \xe4\r\n")
    raw("state-of-no-encoding", b"GET %s HTTP/1.1\r\ntracestate: a=\xe4\r\n")
    world.strict()


def forward(world):
    """The forward proxy: the same spans, and none for a tunnel."""
    report, receiver, endpoint = world.report, world.receiver(), world.endpoint()
    service = Service("server", endpoint.ports)
    sidecar = world.sidecar("bowline-a", [service], receiver)
    by = ("--noproxy", "", "--proxy", f"http://127.0.0.1:{sidecar.outbound}")
    path = world.path()
    answer = world.curl(service, path, *by)
    report.check("curl gets 200", answer.status == 200, answer)
    spans = world.of_path(receiver, path, 2)
    calls(report, spans, internal("GET", service, path, 200), [client("GET", service, 200)])
    world.whole(spans)
    path = world.path()
    world.curl(service, path, *by, "--proxytunnel")
    request = endpoint.request(path)
    world.settle(receiver, service)
    found = receiver.spans(lambda span: path_of(span) == path or "CONNECT" in span["name"])
    report.check("a tunnel is no request, and what is inside nobody sees", not found and not headers_of(request, "traceparent"),
                 (found, request))
    world.strict()
