#!/usr/bin/env python3
"""Shows that the receiver is strict, and not too strict: spans of OpenTelemetry's SDK and of Envoy's tracer pass, and each
rule refuses what breaks it. Nothing of Bowline takes part.

    selfcheck.py [table] [wrong] [trees] [metrics] [modes] [sdk] [envoy]       (default: all)
"""

import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import run

# Before what needs the packages.
run.with_packages()

import grpc  # noqa: E402
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics  # noqa: E402
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service  # noqa: E402

import conventions  # noqa: E402
import receiver as otlp  # noqa: E402
import strict  # noqa: E402
import trees  # noqa: E402
import world as worlds  # noqa: E402
from cases.chains import SDK  # noqa: E402
from envoy_sidecar import Envoy  # noqa: E402
from report import Failed, Report, eventually  # noqa: E402
from tap import Tap  # noqa: E402

DAY = 86400 * 10**9  # ns
# Envoy 1.40 has the attributes' names of before the stable conventions.
ENVOY = ("attribute-name", "required")


def table(world):
    """The table of types has no name that the conventions lack."""
    registry = conventions.registry()
    names = [*conventions.TYPES, *(name.rstrip(".") for name in conventions.TEMPLATES)]
    gone = [name for name in names if name not in registry or registry[name]]
    world.report.check(f"all {len(names)} names of the table are in the package, and alive", not gone, gone)
    known = [name for name in ("http.url", "rpc.grpc.status_code") if registry.get(name)]
    world.report.check("and it knows which ones are gone", len(known) == 2, known)


def good(rng, now, code=200):
    """A request of three spans that breaks no rule."""
    request = service.ExportTraceServiceRequest()
    spans = request.resource_spans.add()
    for name, value in (("service.name", "self"), ("telemetry.sdk.name", "self"), ("telemetry.sdk.language", "python"),
                        ("telemetry.sdk.version", "1")):
        add(spans.resource.attributes, name, value)
    scope = spans.scope_spans.add()
    scope.scope.name = "self"
    trace, parent = rng.randbytes(16), b""
    for depth, kind in enumerate((2, 1, 3)):
        span = scope.spans.add(trace_id=trace, span_id=rng.randbytes(8), parent_span_id=parent, name="GET", kind=kind,
                               start_time_unix_nano=now - 5_000_000 + depth, end_time_unix_nano=now - 1_000_000 - depth,
                               flags=strict.SAMPLED | strict.HAS_REMOTE)
        parent = span.span_id
        add(span.attributes, "http.request.method", "GET")
        add(span.attributes, "http.response.status_code", code)
        add(span.attributes, "url.path", "/")
        add(span.attributes, "url.scheme", "http")
        span.attributes.add(key="http.request.header.x-a").value.array_value.values.add(string_value="1")
        add(span.attributes, "url.full", "http://a/")
        add(span.attributes, "server.address", "a")
        add(span.attributes, "server.port", 80)
    return request


def add(attributes, name, value):
    """Adds an attribute."""
    one = attributes.add(key=name)
    if isinstance(value, bool):
        one.value.bool_value = value
    elif isinstance(value, int):
        one.value.int_value = value
    elif isinstance(value, float):
        one.value.double_value = value
    else:
        one.value.string_value = value


def drop(attributes, name):
    """Takes an attribute out."""
    kept = [one for one in attributes if one.key != name]
    del attributes[:]
    attributes.extend(kept)


# What is done to a good request -> the rule that must refuse it. `s`: the spans SERVER, INTERNAL, CLIENT; `r`: the resource
# with its spans.
WRONG = {
    "an unknown field in a span": ("unknown-field", lambda r, s: s[2].MergeFromString(b"\xf8\x3f\x01")),
    "an unknown field in a value": ("unknown-field", lambda r, s: s[2].attributes[0].value.MergeFromString(b"\xf8\x3f\x01")),
    "an unknown field in the resource": ("unknown-field", lambda r, s: r.resource.MergeFromString(b"\xf8\x3f\x01")),
    "no service.name": ("resource", lambda r, s: drop(r.resource.attributes, "service.name")),
    "no telemetry.sdk.name": ("resource", lambda r, s: drop(r.resource.attributes, "telemetry.sdk.name")),
    "a scope without a name": ("scope", lambda r, s: r.scope_spans[0].scope.ClearField("name")),
    "a scope without spans": ("empty", lambda r, s: r.scope_spans.add(scope={"name": "other"})),
    "a short trace id": ("trace-id", lambda r, s: setattr(s[2], "trace_id", b"\1" * 15)),
    "a trace id of zeros": ("trace-id", lambda r, s: setattr(s[2], "trace_id", bytes(16))),
    "no trace id": ("trace-id", lambda r, s: s[2].ClearField("trace_id")),
    "a long span id": ("span-id", lambda r, s: setattr(s[2], "span_id", b"\1" * 16)),
    "a span id of zeros": ("span-id", lambda r, s: setattr(s[2], "span_id", bytes(8))),
    "a parent of zeros": ("parent-id", lambda r, s: setattr(s[2], "parent_span_id", bytes(8))),
    "its own parent": ("parent-id", lambda r, s: setattr(s[2], "parent_span_id", s[2].span_id)),
    "a span twice": ("twice", lambda r, s: r.scope_spans[0].spans.add().CopyFrom(s[2])),
    "a state that is none": ("trace-state", lambda r, s: setattr(s[2], "trace_state", "Ä=1")),
    "no name": ("name", lambda r, s: s[2].ClearField("name")),
    "no kind": ("kind", lambda r, s: s[2].ClearField("kind")),
    "an end before the start": ("times", lambda r, s: setattr(s[2], "end_time_unix_nano", s[2].start_time_unix_nano - 1)),
    "a start of yesterday": ("times", lambda r, s: setattr(s[0], "start_time_unix_nano", s[0].start_time_unix_nano - DAY)),
    "an end of tomorrow": ("times", lambda r, s: setattr(s[0], "end_time_unix_nano", s[0].end_time_unix_nano + DAY)),
    "microseconds": ("times", lambda r, s: setattr(s[0], "start_time_unix_nano", s[0].start_time_unix_nano // 1000)),
    "not marked as sampled": ("flags-sampled", lambda r, s: setattr(s[2], "flags", strict.HAS_REMOTE)),
    "no word on the parent": ("flags-remote", lambda r, s: setattr(s[2], "flags", strict.SAMPLED)),
    "a remote parent, and none": ("flags-remote", lambda r, s: setattr(s[0], "flags", 0x301)),
    "an attribute twice": ("attribute-twice", lambda r, s: add(s[2].attributes, "http.request.method", "GET")),
    "a name that is none": ("attribute-name", lambda r, s: add(s[2].attributes, "http.request.methods", "GET")),
    "a name that is gone": ("attribute-name", lambda r, s: add(s[2].attributes, "http.url", "/")),
    "an attribute without a name": ("attribute-name", lambda r, s: add(s[2].attributes, "", "x")),
    "a status as text": ("attribute-type", lambda r, s: (drop(s[2].attributes, "http.response.status_code"), add(
        s[2].attributes, "http.response.status_code", "200"))),
    "a port as a double": ("attribute-type", lambda r, s: add(s[2].attributes, "network.peer.port", 80.0)),
    "an empty value": ("attribute-type", lambda r, s: add(s[2].attributes, "network.peer.address", "")),
    "no value": ("attribute-type", lambda r, s: s[2].attributes.add(key="network.peer.address")),
    "a retry count as text": ("attribute-type", lambda r, s: add(s[1].attributes, "bowline.retries", "1")),
    "a name of Bowline's that is none": ("attribute-name", lambda r, s: add(s[1].attributes, "bowline.retrys", 1)),
    "a CLIENT without a server's address": ("required", lambda r, s: drop(s[2].attributes, "server.address")),
    "a header that is no list": ("attribute-type", lambda r, s: add(s[2].attributes, "http.request.header.x-a", "1")),
    "a header in upper case": ("attribute-name", lambda r, s: add(s[2].attributes, "http.request.header.X-A", "1")),
    "a CLIENT without a URL": ("required", lambda r, s: drop(s[2].attributes, "url.full")),
    "a gRPC call without a method": ("required", lambda r, s: add(s[2].attributes, "rpc.system.name", "grpc")),
    "a SERVER without a path": ("required", lambda r, s: drop(s[0].attributes, "url.path")),
    "a message without an error": ("status", lambda r, s: setattr(s[2].status, "message", "fine")),
    "an error without error.type": ("error-type", lambda r, s: setattr(s[2].status, "code", 2)),
    "error.type without an error": ("error-type", lambda r, s: add(s[2].attributes, "error.type", "x")),
    "a gRPC status that is none": ("status", lambda r, s: add(s[2].attributes, "rpc.response.status_code", "BAD")),
    "a gRPC failure that is no error": ("status", lambda r, s: add(s[2].attributes, "rpc.response.status_code", "NOT_FOUND")),
    "dropped attributes": ("dropped", lambda r, s: setattr(s[2], "dropped_attributes_count", 1)),
    "an event outside of its span": ("times", lambda r, s: s[2].events.add(name="e", time_unix_nano=1)),
}


class Sender:
    """Sends requests to a receiver over gRPC, as bytes."""

    def __init__(self, receiver):
        self.receiver = receiver
        self.channel = grpc.insecure_channel(f"127.0.0.1:{receiver.grpc}", options=(("grpc.enable_http_proxy", 0),))
        self.call = self.channel.unary_unary(f"/{otlp.EXPORT}/Export")

    def send(self, request, timeout=30):
        """The wrongs that the receiver has found in it."""
        since = len(self.receiver.lines)
        self.call(request.SerializeToString(), timeout=timeout, wait_for_ready=True)
        return [line["wrong"] for line in self.receiver.lines[since:] if isinstance(line, dict) and "wrong" in line]


def wrong(world):
    """Each rule refuses what breaks it, and what breaks none passes."""
    receiver = world.receiver()
    sender = Sender(receiver)

    def rules(change, code=200):
        request = good(world.rng, time.time_ns(), code)
        spans = request.resource_spans[0]
        change(spans, list(spans.scope_spans[0].spans))
        return wrongs_of(receiver, sender, request)

    def wrongs_of(receiver, sender, request):
        number = len(receiver.values("request"))
        sender.send(request)
        # Its wrongs are said after the request itself, and before its spans.
        eventually("the request's spans", lambda: len(receiver.values("request")) > number and receiver.spans(
            lambda span: span["id"] == request.resource_spans[0].scope_spans[0].spans[0].span_id.hex()))
        before = [line for line in list(receiver.lines)]
        starts = [at for at, line in enumerate(before) if isinstance(line, dict) and "request" in line]
        return {line["wrong"][0] for line in before[starts[-1]:] if isinstance(line, dict) and "wrong" in line}

    found = rules(lambda r, s: None)
    world.report.check("a good request passes", not found, found)
    for what, (rule, change) in WRONG.items():
        found = rules(change)
        world.report.check(f"{what}: refused by {rule}", rule in found, found)
    for code, kinds in ((404, "CLIENT and INTERNAL"), (503, "all three")):
        found = rules(lambda r, s: None, code)
        world.report.check(f"{code} that is no error of {kinds}: refused by status", found == {"status"}, found)

    def marked(which, code):
        def change(_, spans):
            for span in (spans[at] for at in which):
                span.status.code = 2
                add(span.attributes, "error.type", str(code))
        return change

    found = rules(marked((1, 2), 404), 404)
    world.report.check("404 that is one of CLIENT and INTERNAL passes", not found, found)
    found = rules(marked((0, 1, 2), 404), 404)
    world.report.check("404 that is one of SERVER too: refused by status", found == {"status"}, found)
    found = rules(marked((0, 1, 2), 503), 503)
    world.report.check("503 that is one of all three passes", not found, found)
    checked = {rule for rule, _ in WRONG.values()} | {"status"}
    world.report.check("every rule has been seen to refuse", set(strict.RULES) == checked, set(strict.RULES) ^ checked)


def tree(world):
    """Whole traces: what is not connected is found."""
    def spans():
        request = good(world.rng, time.time_ns())
        reading = strict.Strict(0).read(request, time.time_ns())[0]
        return {span["kind"]: span for span in reading}

    def rules(change, outside=()):
        made = spans()
        change(made)
        return {rule for rule, _ in trees.objections(list(made.values()), outside)}

    def other(span):
        span["resource"] = {"service.name": "another"}

    check = world.report.check
    check("a good trace passes", not rules(lambda s: None))
    check("two roots", "root" in rules(lambda s: s["CLIENT"].update(parent="")))
    check("a parent that never came", "parent" in rules(lambda s: s["CLIENT"].update(parent="0" * 15 + "1")))
    check("a remote parent in the same process", "remote" in rules(lambda s: s["CLIENT"].update(flags=0x301)))
    check("a parent elsewhere, not remote", "remote" in rules(lambda s: other(s["CLIENT"])))
    check("a child that outlives its parent", "inside" in rules(lambda s: s["CLIENT"].update(end=s["SERVER"]["end"] + 1)))
    check("a child before its parent", "inside" in rules(lambda s: s["CLIENT"].update(start=s["SERVER"]["start"] - 1)))
    check("a CLIENT below a CLIENT", "kinds" in rules(lambda s: s["INTERNAL"].update(kind="CLIENT")))
    check("a loop", "loop" in rules(lambda s: s["SERVER"].update(parent=s["CLIENT"]["id"])))
    made = spans()
    made["SERVER"].update(parent="00000000000000aa", flags=0x301)
    check("a caller's span as the parent passes", not trees.objections(list(made.values()), {"00000000000000aa"}))
    made["SERVER"].update(flags=0x101)
    check("and has to be marked as remote", trees.objections(list(made.values()), {"00000000000000aa"}))


def metric(world):
    """Metrics, which come beside spans: right ones pass, wrong ones don't."""
    now = time.time_ns()
    request = metrics.ExportMetricsServiceRequest()
    kept = request.resource_metrics.add()
    kept.resource.CopyFrom(good(world.rng, now).resource_spans[0].resource)
    one = kept.scope_metrics.add().metrics.add(name="requests")
    one.sum.data_points.add(time_unix_nano=now, start_time_unix_nano=now - 1, as_int=1)
    count, wrongs = strict.read_metrics(request)
    world.report.check("good ones pass", (count, wrongs) == (1, []), (count, wrongs))
    changes = {"unknown-field": lambda: one.MergeFromString(b"\xf8\x3f\x01"), "name": lambda: one.ClearField("name"),
               "empty": lambda: one.sum.ClearField("data_points"),
               "times": lambda: one.sum.data_points[0].ClearField("time_unix_nano"),
               "resource": lambda: kept.resource.ClearField("attributes")}
    before = request.SerializeToString()
    for rule, change in changes.items():
        request.ParseFromString(before)
        kept = request.resource_metrics[0]
        one = kept.scope_metrics[0].metrics[0]
        change()
        found = {wrong[0] for wrong in strict.read_metrics(request)[1]}
        world.report.check(f"wrong ones are refused by {rule}", rule in found, found)


def modes(world):
    """Slow, refusing, partly taking, killed and back."""
    report, receiver = world.report, world.receiver()
    sender = Sender(receiver)
    receiver.order("refusing", "mode")
    try:
        sender.send(good(world.rng, time.time_ns()))
        report.failure("refusing", "it took it")
    except grpc.RpcError as error:
        report.check("refusing: UNAVAILABLE", error.code() == grpc.StatusCode.UNAVAILABLE, error)
    report.check("refusing: no span", not receiver.spans(), receiver.spans())
    receiver.order("slow 1", "mode")
    began = time.monotonic()
    sender.send(good(world.rng, time.time_ns()))
    took = time.monotonic() - began
    report.check("slow: it answers after a second", took >= 1, took)
    receiver.order("partial", "mode")
    answer = service.ExportTraceServiceResponse.FromString(
        sender.call(good(world.rng, time.time_ns()).SerializeToString(), timeout=30))
    report.check("partial: one span is rejected", answer.partial_success.rejected_spans == 1, answer)
    receiver.kill()
    try:
        sender.call(b"", timeout=30)
        report.failure("killed", "it answered")
    except grpc.RpcError as error:
        report.check("killed: UNAVAILABLE", error.code() == grpc.StatusCode.UNAVAILABLE, error)
    back = world.receiver("--grpc", receiver.grpc)
    Sender(back).send(good(world.rng, time.time_ns()))
    back.wait("three spans at the one that came back", 3, lambda _: True)
    report.check("back on the same port", back.grpc == receiver.grpc, back.grpc)


def sdk(world):
    """Three apps with OpenTelemetry's SDK, over both protocols."""
    report = world.report
    for protocol in ("grpc", "http/protobuf"):
        receiver = world.receiver()
        with Tap(receiver.grpc if protocol == "grpc" else receiver.http) as tap:
            more = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
                    "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{tap.port}"}
            last = world.app("app-last", receiver, **more)
            middle = world.app("app-middle", receiver, f"http://127.0.0.1:{last.port}/onward", "last", **more)
            first = world.app("app-first", receiver, f"http://127.0.0.1:{middle.port}/relay", "middle", **more)
            status, body = world.ask(first.port, "/relay")
            report.check(f"{protocol}: the last app's answer comes back", (status, body) == (200, "app-last"), body)
            spans = world.of_path(receiver, "/onward", 5, "the chain")
            line = trees.chain(spans)
            report.check(f"{protocol}: one chain of five spans", line and len(line) == 5, spans)
            world.whole(spans)
            if protocol == "grpc":
                flags = tap.compressed()
                report.check(f"{protocol}: compressed messages are told from others", flags and all(flags), flags)
    world.strict(SDK)
    broken = {(who, rule) for one in world.receivers for rule, who, _ in one.wrongs()}
    report.check("what is let pass for the SDK is really so", broken == SDK, broken ^ SDK)


def envoy(world):
    """An app with the SDK, two Envoys in a row, another app."""
    report, receiver = world.report, world.receiver()
    last = world.app("app-last", receiver)
    inbound = Envoy(world, "envoy-b", last.port, receiver.grpc, False)
    outbound = Envoy(world, "envoy-a", inbound.port, receiver.grpc, True)
    first = world.app("app-first", receiver, f"http://127.0.0.1:{outbound.port}/onward", "any")
    status, body = world.ask(first.port, "/relay")
    report.check("the last app's answer comes back", (status, body) == (200, "app-last"), (status, body))
    trace = receiver.wait("the last app's span", 1, lambda s: s["attributes"].get("url.path") == "/onward")[0]["trace"]
    spans = receiver.wait("the whole chain", 6, lambda span: span["trace"] == trace)
    line = trees.chain(spans)
    seen = [(span["resource"].get("service.name"), span["kind"]) for span in line or spans]
    report.check("one chain of six spans", line and len(line) == 6, seen)
    report.tell(f"{' → '.join(f'{who} {kind}' for who, kind in seen)}")
    world.whole(spans)
    known = {(who, rule) for who in ("envoy-a", "envoy-b") for rule in ENVOY} | SDK
    world.strict(known)
    broken = sorted({rule for rule, who, _ in receiver.wrongs() if who.startswith("envoy")})
    report.tell(f"Envoy's spans break {', '.join(broken)}")
    report.check("what is let pass for Envoy is really so", set(broken) == set(ENVOY), set(broken) ^ set(ENVOY))


CASES = {"table": table, "wrong": wrong, "trees": tree, "metrics": metric, "modes": modes, "sdk": sdk, "envoy": envoy}


def main():
    """Runs the cases; returns the exit code."""
    names = sys.argv[1:] or list(CASES)
    if unknown := set(names) - set(CASES):
        print(f"no case named {', '.join(unknown)}; there are {', '.join(CASES)}", file=sys.stderr)
        return 2
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    report = Report()
    folder = Path(tempfile.mkdtemp(prefix="bowline-traces-"))
    try:
        for name in names:
            report.case = name
            (folder / name).mkdir()
            stage = worlds.World(report, None, folder / name, random.Random(f"{seed} {name}"))
            try:
                CASES[name](stage)
            except Failed as failed:
                report.failure("", failed)
            finally:
                stage.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.case = ""
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
