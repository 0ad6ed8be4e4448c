"""What Bowline's spans must say."""

# Of an attribute: it is not there; it is there, whatever it says.
ABSENT, ANY = object(), object()


def differs(span, attributes=None, **fields):
    """In words, how a span differs from what is expected; None if it doesn't.

    Expected values are values, sets of values, functions of the value, ABSENT or ANY.
    """
    wrong = []
    for name, wanted in [*fields.items(), *(attributes or {}).items()]:
        seen = span[name] if name in fields else span["attributes"].get(name)
        if wanted is ABSENT:
            good = seen is None
        elif wanted is ANY:
            good = seen is not None
        elif callable(wanted):
            good = seen is not None and wanted(seen)
        elif isinstance(wanted, set):
            good = seen in wanted
        else:
            good = seen == wanted and isinstance(seen, bool) == isinstance(wanted, bool)
        if not good:
            said = {id(ABSENT): "nothing", id(ANY): "anything"}.get(id(wanted), getattr(wanted, "__doc__", None)
                                                                   if callable(wanted) else repr(wanted))
            wrong.append(f"{name} is {seen!r}, not {said}")
    return f"{span['kind']} {span['name']!r}: {'; '.join(wrong)}" if wrong else None


def split(spans, service=None):
    """(the INTERNAL spans, the CLIENT spans, the SERVER spans), of one sidecar if it is named; each in the order given."""
    own = [span for span in spans if service is None or span["resource"].get("service.name") == service]
    return tuple([span for span in own if span["kind"] == kind] for kind in ("INTERNAL", "CLIENT", "SERVER"))


def internal(method, service, path, status, attempts=1, failed=False, **more):
    """`differs`' arguments for the span of a whole request."""
    return {"name": f"{method} {service.name}", "kind": "INTERNAL", "status": "ERROR" if failed else "UNSET"}, {
        "http.request.method": method, "url.path": path, "http.response.status_code": status,
        "network.protocol.version": "1.1", "server.address": service.host, "server.port": service.port,
        "bowline.service": service.name,
        "bowline.attempts": attempts, "bowline.retries": attempts - 1 if attempts > 1 else {0, None},
        "error.type": ANY if failed else ABSENT, "url.query": ABSENT, **more}


def client(method, service, status, port=None, again=0, failed=False, **more):
    """`differs`' arguments for the span of an attempt; `again`: how many attempts were before it."""
    def one_of(address):
        return address in {f"127.0.0.1:{one}" for one in service.ports}

    one_of.__doc__ = f"one of {service.ports} on 127.0.0.1"
    return {"name": method, "kind": "CLIENT", "status": "ERROR" if failed else "UNSET"}, {
        "http.request.method": method, "http.response.status_code": ABSENT if status is None else status,
        "network.peer.address": "127.0.0.1", "network.peer.port": port or set(service.ports),
        "http.request.resend_count": again or ABSENT, "bowline.endpoint": f"127.0.0.1:{port}" if port else one_of,
        "bowline.zone": service.zone, "bowline.service": {service.name, None},
        "server.address": ANY, "server.port": ANY, "error.type": ANY if failed else ABSENT, **more}


def server(method, path, status, app, failed=False, **more):
    """`differs`' arguments for the span of a call of the app."""
    return {"kind": "SERVER", "status": "ERROR" if failed else "UNSET"}, {
        "http.request.method": method, "url.path": path, "http.response.status_code": status, "client.address": "127.0.0.1",
        "error.type": ANY if failed else ABSENT, **more}


def check(report, what, span, expected, **fields):
    """One check of one span."""
    own, attributes = expected
    wrong = differs(span, attributes, **{**own, **fields})
    return report.check(what, wrong is None, wrong)


def calls(report, spans, want_internal, want_clients, sidecar=None):
    """The checks of an outbound request: its INTERNAL span and the CLIENT spans below it. Returns (INTERNAL, CLIENTs), or
    None if their number is not right."""
    inner, clients, _ = split(spans, sidecar)
    numbers = len(inner), len(clients)
    if not report.check(f"one INTERNAL span, {len(want_clients)} CLIENT", numbers == (1, len(want_clients)),
                        f"{numbers}: {[(span['kind'], span['name']) for span in spans]}"):
        return None
    check(report, "the request's span", inner[0], want_internal)
    for number, (span, expected) in enumerate(zip(clients, want_clients), 1):
        which = "the attempt's span" if len(clients) == 1 else f"attempt {number}'s span"
        check(report, which, span, expected, parent=inner[0]["id"], trace=inner[0]["trace"])
    return inner[0], clients


def traceparent(span, flags="01"):
    """The header that names this span."""
    return f"00-{span['trace']}-{span['id']}-{flags}"


def reasons(spans):
    """All words of `bowline.reason`."""
    return [span["attributes"]["bowline.reason"] for span in spans if "bowline.reason" in span["attributes"]]
