"""Contexts in and out, in every format, and the caller's decision whether to sample."""

import time

from expect import split, traceparent
from world import Service, header_of, headers_of, path_of

NAMES = ("traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-parentspanid", "x-b3-flags",
         "x-amzn-trace-id")


def xray(trace, span=None, sampled="1"):
    """The header as AWS writes it; without a span as a load balancer does."""
    parts = [f"Root=1-{trace[:8]}-{trace[8:]}"] + ([f"Parent={span}"] if span else [])
    return ";".join(parts + ([f"Sampled={sampled}"] if sampled else []))


def sent(word, trace, span, sampled=True):
    """{header: value}, as a caller with this format sends them."""
    digit = "1" if sampled else "0"
    return {
        "tracecontext": {"traceparent": f"00-{trace}-{span}-0{digit}"},
        "b3": {"b3": f"{trace}-{span}-{digit}"},
        "b3multi": {"X-B3-TraceId": trace, "X-B3-SpanId": span, "X-B3-Sampled": digit},
        "xray": {"X-Amzn-Trace-Id": xray(trace, span, digit)},
    }[word]


def read(word, request):
    """(trace id, span id, sampled) of what an endpoint got in this format; None where it got none."""
    get = lambda name: header_of(request, name)
    try:
        if word == "tracecontext":
            _, trace, span, flags = get("traceparent").split("-")
            return trace, span, flags == "01"
        if word == "b3":
            parts = get("b3").split("-")
            return parts[0], parts[1], parts[2] == "1"
        if word == "b3multi":
            return get("x-b3-traceid"), get("x-b3-spanid"), get("x-b3-sampled") == "1"
        parts = dict(part.split("=", 1) for part in get("x-amzn-trace-id").split(";"))
        version, first, rest = parts["Root"].split("-")
        return (first + rest, parts["Parent"], parts["Sampled"] == "1") if version == "1" else None
    except (AttributeError, ValueError, KeyError, IndexError):
        return None


def options(headers):
    """curl's."""
    return [part for name, value in headers.items() for part in ("--header", f"{name}: {value}")]


def now_ids(world):
    """Ids of a trace that X-Ray would take: it begins with the time."""
    trace, span = world.ids()
    return f"{int(time.time()):08x}{trace[8:]}", span


def propagators(world):
    """Each format in and out, alone and together."""
    report, receiver, endpoint = world.report, world.receiver(), world.endpoint()
    for words in ("tracecontext", "b3", "b3multi", "xray", "tracecontext,b3,xray"):
        service = Service("server", endpoint.ports)
        world.sidecar("bowline-a", [service], receiver, OTEL_PROPAGATORS=f"{words},baggage")
        for word in words.split(","):
            trace, span = now_ids(world)
            path = world.path()
            world.curl(service, path, *options({**sent(word, trace, span), "baggage": "a=1"}))
            spans = world.of_path(receiver, path, 2)
            report.check(f"{words}: a caller's {word} is followed", (spans[0]["trace"], spans[0]["parent"]) == (trace, span),
                         spans[0])
            request = endpoint.request(path)
            for out in words.split(","):
                seen = read(out, request)
                report.check(f"{words}: after {word} the endpoint gets {out}", seen == (trace, spans[-1]["id"], True),
                             request["headers"])
            report.check(f"{words}: baggage is kept", header_of(request, "baggage") == "a=1", request["headers"])
            world.whole(spans, {span})
            unsampled(world, receiver, endpoint, service, word, words)
        path = world.path()
        world.curl(service, path)
        spans = world.of_path(receiver, path, 2)
        request = endpoint.request(path)
        for out in words.split(","):
            seen = read(out, request)
            report.check(f"{words}: a call without a context gets one in {out}",
                         seen == (spans[0]["trace"], spans[-1]["id"], True), request["headers"])
        spoken = {name for name in NAMES if headers_of(request, name)}
        wanted = {name for word in words.split(",") for name in map(str.lower, sent(word, *now_ids(world)))}
        report.check(f"{words}: and in no other", spoken == wanted, spoken)
        if "xray" in words:
            first = int(spans[0]["trace"][:8], 16)
            report.check(f"{words}: its trace id begins with the time", abs(first - time.time()) < 600, first)
            trace, _ = now_ids(world)
            path = world.path()
            world.curl(service, path, *options({"X-Amzn-Trace-Id": xray(trace, sampled=None)}))
            spans = world.of_path(receiver, path, 2)
            report.check(f"{words}: a load balancer's header without a parent gives the trace id",
                         (spans[0]["trace"], spans[0]["parent"]) == (trace, ""), spans[0])
        if words == "b3":
            path = world.path()
            world.curl(service, path, *options({"b3": "0"}))
            world.settle(receiver, service, sent("b3", *now_ids(world)))
            found = receiver.spans(lambda one, path=path: path_of(one) == path)
            report.check("b3: a decision without ids is kept to", not found, found)
            seen = headers_of(endpoint.request(path), "b3")
            report.check("b3: and passed on", seen == ["0"], seen)
    world.strict()


def unsampled(world, receiver, endpoint, service, word, words):
    """The checks of a caller who has decided not to sample."""
    trace, span = now_ids(world)
    path = world.path()
    headers = sent(word, trace, span, sampled=False)
    world.curl(service, path, *options({**headers, **({"tracestate": "a=1"} if word == "tracecontext" else {})}))
    world.settle(receiver, service, sent(word, *now_ids(world)))
    found = receiver.spans(lambda one: one["trace"] == trace or path_of(one) == path)
    world.report.check(f"{words}: no span of an unsampled caller's ({word})", not found, found)
    request = endpoint.request(path)
    seen = {name: headers_of(request, name) for name in NAMES if headers_of(request, name)}
    wanted = {name.lower(): [value] for name, value in headers.items()}
    if word == "tracecontext":
        wanted["tracestate"] = ["a=1"]
    world.report.check(f"{words}: its headers pass untouched ({word})", seen == wanted, seen)


def none(world):
    """OTEL_PROPAGATORS=none: spans, but nothing is read and nothing written."""
    report, receiver, endpoint = world.report, world.receiver(), world.endpoint()
    service = Service("server", endpoint.ports)
    world.sidecar("bowline-a", [service], receiver, OTEL_PROPAGATORS="none")
    trace, span = world.ids()
    path = world.path()
    world.curl(service, path, "--header", f"traceparent: 00-{trace}-{span}-01")
    spans = world.of_path(receiver, path, 2)
    report.check("a trace of its own", spans[0]["trace"] != trace and not spans[0]["parent"], spans[0])
    seen = headers_of(endpoint.request(path), "traceparent")
    report.check("the caller's header passes untouched", seen == [f"00-{trace}-{span}-01"], seen)
    path = world.path()
    world.curl(service, path)
    world.of_path(receiver, path, 2)
    seen = headers_of(endpoint.request(path), "traceparent")
    report.check("and none is written", not seen, seen)
    world.strict()


def samplers(world):
    """OTEL_TRACES_SAMPLER, with and without a caller's decision. `0.5`: about half of a hundred."""
    report, receiver, endpoint = world.report, world.receiver(), world.endpoint()
    # sampler, its argument -> how many of a hundred calls: without a context, of a sampled caller, of an unsampled one
    table = {("always_on", None): (100, 100, 100), ("always_off", None): (0, 0, 0),
             ("traceidratio", "0"): (0, 0, 0), ("traceidratio", "1"): (100, 100, 100),
             ("parentbased_always_on", None): (100, 100, 0), ("parentbased_always_off", None): (0, 100, 0),
             ("parentbased_traceidratio", "0.5"): (None, 100, 0), (None, None): (100, 100, 0)}
    for (sampler, argument), wanted in table.items():
        service = Service("server", endpoint.ports)
        env = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}
        sidecar = world.sidecar("bowline-a", [service], receiver, **{key: value for key, value in env.items() if value})
        began = time.time_ns()
        name = " ".join(filter(None, (sampler, argument))) or "unset"
        for kind, count in zip(("no context", "a sampled caller", "an unsampled caller"), wanted):
            paths = [world.path("sampled") for _ in range(100)]
            flags = {"a sampled caller": "01", "an unsampled caller": "00"}.get(kind)
            for path in paths:
                trace, span = world.ids()
                world.get(service, path, {"traceparent": f"00-{trace}-{span}-{flags}"} if flags else {})
            if count:
                receiver.wait(f"{name}, {kind}", 2 * count, lambda one, of=set(paths): path_of(one) in of)
            # Where not even a sampled caller's call is sampled, there is nothing to wait for: see below.
            if wanted[1]:
                world.settle(receiver, service)
            inner, clients, _ = split(receiver.spans(lambda one, of=set(paths): path_of(one) in of))
            # Five standard deviations: once in two million runs.
            good = len(inner) == count if count is not None else 25 <= len(inner) <= 75
            report.check(f"{name}: {kind}: {'about half' if count is None else count} of 100", good and
                         len(clients) == len(inner), (len(inner), len(clients)))
        if not wanted[1]:
            sidecar.stop()
            # All that it has is exported before it ends.
            late = receiver.spans(lambda one, since=began: one["start"] >= since)
            report.check(f"{name}: nor at its end", not late, late[:1])
        else:
            request = endpoint.request(paths[-1])
            report.check(f"{name}: each request has one traceparent", len(headers_of(request, "traceparent")) == 1, request)
            sidecar.stop()
    world.strict()


def off(world):
    """Without OTEL_ variables, and with those that say so, nothing is exported and no header written."""
    report, receiver, endpoint = world.report, world.receiver(), world.endpoint()
    there = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.http}"}
    for what, env in (("without variables", {}), ("OTEL_SDK_DISABLED", {**there, "OTEL_SDK_DISABLED": "true"}),
                      ("OTEL_TRACES_EXPORTER=none", {**there, "OTEL_TRACES_EXPORTER": "none"})):
        service = Service("server", endpoint.ports)
        sidecar = world.sidecar("bowline-a", [service], None, **env)
        path = world.path()
        world.curl(service, path)
        request = endpoint.request(path)
        seen = [name for name in NAMES if headers_of(request, name)]
        report.check(f"{what}: no header of a trace is written", not seen, seen)
        report.check(f"{what}: a request id is", header_of(request, "x-request-id"), request)
        trace, span = world.ids()
        headers = {"traceparent": f"00-{trace}-{span}-01", "tracestate": "a=1", "b3": f"{trace}-{span}-1"}
        path = world.path()
        world.curl(service, path, *options(headers))
        seen = {name: header_of(endpoint.request(path), name) for name in headers}
        report.check(f"{what}: a caller's pass untouched", seen == headers, seen)
        # What it has would be exported before it ends.
        code = sidecar.stop()
        report.check(f"{what}: it ends well", code == 0, code)
    report.check("nothing came to the receiver", not receiver.values("request"), receiver.values("request"))
    # The same with tracing on, so that the silence above means something.
    service = Service("server", endpoint.ports)
    world.sidecar("bowline-a", [service], receiver)
    path = world.path()
    world.curl(service, path)
    spans = world.of_path(receiver, path, 2)
    seen = headers_of(endpoint.request(path), "traceparent")
    report.check("and with tracing on it does", seen == [traceparent(spans[-1])], seen)
    world.strict()
