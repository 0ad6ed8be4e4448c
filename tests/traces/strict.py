"""What an OTLP request must be, span by span. Nothing here knows Bowline: it is OTLP and the semantic conventions.

Each rule has a name, so that a selfcheck can show that it is kept, and that a test can let one pass for a program that
is known to break it.
"""

import re

from google.protobuf.unknown_fields import UnknownFieldSet

from conventions import GRPC, GRPC_SERVER_ERRORS, INT, STR, BOOL, DOUBLE, objection

KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}
CODES = {0: "UNSET", 1: "OK", 2: "ERROR"}
SAMPLED, HAS_REMOTE, REMOTE = 0x01, 0x100, 0x200
RULES = ("unknown-field", "empty", "resource", "scope", "trace-id", "span-id", "parent-id", "trace-state", "name", "kind",
         "times", "flags-sampled", "flags-remote", "attribute-twice", "attribute-name", "attribute-type", "required",
         "status", "error-type", "twice", "dropped")
# A member of tracestate: key, `=`, value, which does not end in a space.
_STATE = re.compile(r"[a-z0-9][a-z0-9_\-*/]{0,255}(@[a-z][a-z0-9_\-*/]{0,13})?="
                    r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_SCALARS = {"string_value": STR, "int_value": INT, "bool_value": BOOL, "double_value": DOUBLE}


class Strict:
    """Reads requests. `since`: nothing may have begun before it (Unix time in ns)."""

    def __init__(self, since):
        self.since = since
        self.seen = set()  # of (trace, span)

    def read(self, request, now):
        """(spans as plain data, [(rule, service, text)]) of a request that came at `now`."""
        spans, wrongs = [], []
        for where in unknown(request, "request"):
            wrongs.append(("unknown-field", "", where))
        if not request.resource_spans:
            wrongs.append(("empty", "", "a request without spans"))
        for resource_spans in request.resource_spans:
            reading = Reading(self, now, resource_spans.resource)
            for scope_spans in resource_spans.scope_spans:
                spans += reading.scope(scope_spans)
            if not resource_spans.scope_spans:
                reading.wrong("empty", "a resource without spans")
            wrongs += [(rule, reading.service, text) for rule, text in reading.wrongs]
        return spans, wrongs


class Reading:
    """What is being read of one resource."""

    def __init__(self, strict, now, resource):
        self.strict = strict
        self.now = now
        self.wrongs = []
        self.where = "resource"
        self.resource = self.attributes(resource.attributes)
        self.service = self.resource.get("service.name", "")
        if not isinstance(self.service, str) or not self.service:
            self.wrong("resource", "no service.name")
            self.service = ""
        for name in ("telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version"):
            if not self.resource.get(name):
                self.wrong("resource", f"no {name}")
        if resource.dropped_attributes_count:
            self.wrong("dropped", "attributes of the resource were dropped")

    def wrong(self, rule, text):
        """Notes what is wrong."""
        assert rule in RULES, rule
        self.wrongs.append((rule, f"{self.where}: {text}"))

    def attributes(self, pairs):
        """{name: value}."""
        out = {}
        for pair in pairs:
            kind, value = plain(pair.value)
            if pair.key in out:
                self.wrong("attribute-twice", pair.key)
            if not pair.key:
                self.wrong("attribute-name", "an attribute without a name")
            elif kind is None:
                self.wrong("attribute-type", f"{pair.key} has no value, or one of mixed types")
            elif said := objection(pair.key, kind):
                self.wrong(*said)
            elif value == "":
                self.wrong("attribute-type", f"{pair.key} is empty")
            out[pair.key] = value
        return out

    def scope(self, scope_spans):
        """The spans of one scope."""
        self.where = "scope"
        if not scope_spans.scope.name:
            self.wrong("scope", "it has no name")
        if not scope_spans.spans:
            self.wrong("empty", "a scope without spans")
        self.attributes(scope_spans.scope.attributes)
        scope = {"name": scope_spans.scope.name, "version": scope_spans.scope.version}
        return [{**self.span(span), "resource": self.resource, "scope": scope} for span in scope_spans.spans]

    def span(self, span):
        """One span as plain data."""
        self.where = f"span {span.name!r}"
        self.ids(span)
        if not span.name:
            self.wrong("name", "it has none")
        if span.kind not in KINDS:
            self.wrong("kind", f"{span.kind} is no kind")
        self.times(span)
        self.flags(span)
        attributes = self.attributes(span.attributes)
        events = [{"name": event.name, "time": event.time_unix_nano, "attributes": self.attributes(event.attributes)}
                  for event in span.events]
        for event in events:
            if not event["name"]:
                self.wrong("name", "an event has none")
            if not span.start_time_unix_nano <= event["time"] <= span.end_time_unix_nano:
                self.wrong("times", f"the event {event['name']} is not within the span")
        if span.dropped_attributes_count or span.dropped_events_count or span.dropped_links_count:
            self.wrong("dropped", "something of it was dropped")
        plain_span = {
            "trace": span.trace_id.hex(), "id": span.span_id.hex(), "parent": span.parent_span_id.hex(),
            "state": span.trace_state, "flags": span.flags, "kind": KINDS.get(span.kind, str(span.kind)),
            "name": span.name, "start": span.start_time_unix_nano, "end": span.end_time_unix_nano,
            "attributes": attributes, "events": events, "links": len(span.links),
            "status": CODES.get(span.status.code, str(span.status.code)), "message": span.status.message,
        }
        self.required(plain_span)
        self.status(plain_span)
        return plain_span

    def ids(self, span):
        """Trace, span and parent, and the state."""
        if len(span.trace_id) != 16 or not any(span.trace_id):
            self.wrong("trace-id", f"{span.trace_id.hex() or 'nothing'} is no trace id")
        if len(span.span_id) != 8 or not any(span.span_id):
            self.wrong("span-id", f"{span.span_id.hex() or 'nothing'} is no span id")
        if span.parent_span_id and (len(span.parent_span_id) != 8 or not any(span.parent_span_id)):
            self.wrong("parent-id", f"{span.parent_span_id.hex()} is no span id")
        if span.parent_span_id == span.span_id:
            self.wrong("parent-id", "it is its own parent")
        ids = span.trace_id, span.span_id
        if ids in self.strict.seen:
            self.wrong("twice", "it came before")
        self.strict.seen.add(ids)
        members = [member.strip(" \t") for member in span.trace_state.split(",")]
        if span.trace_state and (len(members) > 32 or not all(_STATE.fullmatch(member) for member in members if member)):
            self.wrong("trace-state", f"{span.trace_state!r}")

    def times(self, span):
        """From when to when."""
        if not span.start_time_unix_nano <= span.end_time_unix_nano:
            self.wrong("times", "it ends before it starts")
        if span.start_time_unix_nano < self.strict.since:
            self.wrong("times", "it starts before the test")
        if span.end_time_unix_nano > self.now:
            self.wrong("times", f"it ends {(span.end_time_unix_nano - self.now) / 1e6:.3f} ms after it came")

    def flags(self, span):
        """The W3C flags, and whether the parent is somebody else's."""
        if not span.flags & SAMPLED:
            self.wrong("flags-sampled", "it is exported, and not marked as sampled")
        if span.flags & ~(0xff | HAS_REMOTE | REMOTE):
            self.wrong("flags-remote", f"unknown flags {span.flags:#x}")
        if not span.flags & HAS_REMOTE:
            self.wrong("flags-remote", "it doesn't say whether its parent is remote")
        if span.flags & REMOTE and not span.parent_span_id:
            self.wrong("flags-remote", "it has no parent, but a remote one")

    def required(self, span):
        """What a span of HTTP, or of gRPC, must have."""
        attributes = span["attributes"]
        if "rpc.system.name" in attributes:
            wanted = {"CLIENT": ("rpc.method", "server.address", "server.port"), "SERVER": ("rpc.method",)}
        elif any(name.startswith("http.") for name in attributes):
            wanted = {"CLIENT": ("http.request.method", "server.address", "server.port", "url.full"),
                      "SERVER": ("http.request.method", "url.path", "url.scheme")}
        else:
            return
        wanted = wanted.get(span["kind"], ())
        if missing := [name for name in wanted if name not in attributes]:
            self.wrong("required", f"no {', '.join(missing)}")

    def status(self, span):
        """Whether it says that it failed, and if so why."""
        attributes = span["attributes"]
        failed = span["status"] == "ERROR"
        if span["message"] and not failed:
            self.wrong("status", f"{span['status']}, with the message {span['message']!r}")
        if ("error.type" in attributes) != failed:
            self.wrong("error-type", "an error without error.type" if failed else "error.type, and no error")
        server = span["kind"] == "SERVER"
        why = None
        code = attributes.get("http.response.status_code")
        if isinstance(code, int):
            if not 100 <= code <= 599:
                self.wrong("status", f"{code} is no HTTP status")
            why = f"HTTP status {code}" if code >= (500 if server else 400) else None
        rpc = attributes.get("rpc.response.status_code")
        if rpc is not None:
            if rpc not in GRPC:
                self.wrong("status", f"{rpc} is no gRPC status")
            if rpc in GRPC_SERVER_ERRORS or (not server and rpc != "OK"):
                why = f"gRPC status {rpc}"
        if why and not failed:
            self.wrong("status", f"{span['status']} with {why}")
        # A server's span fails for a 4xx only when there was something else, which error.type then names.
        if failed and not why and server and 400 <= (code or 0) <= 499 and attributes.get("error.type") == str(code):
            self.wrong("status", f"ERROR for {code}, which is the caller's own fault")


def read_metrics(request):
    """(how many data points, [(rule, service, text)]) of a request with metrics, which programs send beside their spans."""
    count, wrongs = 0, [("unknown-field", "", where) for where in unknown(request, "metrics")]
    for resource_metrics in request.resource_metrics:
        reading = Reading(None, 0, resource_metrics.resource)
        for metric in (metric for scope in resource_metrics.scope_metrics for metric in scope.metrics):
            reading.where = f"metric {metric.name!r}"
            data = metric.WhichOneof("data")
            points = getattr(metric, data).data_points if data else ()
            count += len(points)
            if not metric.name or not points:
                reading.wrong("name" if not metric.name else "empty", "it has no name, or no data points")
            if any(not point.time_unix_nano or point.start_time_unix_nano > point.time_unix_nano for point in points):
                reading.wrong("times", "a data point has no time, or starts after it")
        wrongs += [(rule, reading.service, text) for rule, text in reading.wrongs]
    return count, wrongs


def plain(value):
    """(type, Python value) of an AnyValue; the type is None where there is no right one."""
    which = value.WhichOneof("value")
    if which in _SCALARS:
        return _SCALARS[which], getattr(value, which)
    if which == "array_value":
        inside = [plain(one) for one in value.array_value.values]
        kinds = {kind for kind, _ in inside}
        return (f"{kinds.pop()}[]" if len(kinds) == 1 and None not in kinds else None), [one for _, one in inside]
    return None, None


def unknown(message, where):
    """Where in a message there are fields that its definition doesn't have."""
    fields = UnknownFieldSet(message)
    found = [f"{where}: field {fields[at].field_number}" for at in range(len(fields))]
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        many = value if not isinstance(value, type(message)) and hasattr(value, "__len__") else [value]
        for one in many:
            found += unknown(one, f"{where}.{descriptor.name}")
    return found
