"""Which requests go where, and what is changed on the way."""

import socket
import time

from backends import Answer, Grpc
from balance import keyed
from world import between, eventually, expect


def service_of(reply):
    """Whose endpoint answered."""
    return reply.backend.rsplit("-", 1)[0] if reply.backend else None


def goes(case, *expected, start=True, to=None, **more):
    """Each request, by its call's arguments, goes to the service of this name, or gets this status from the proxy."""
    if start:
        case.start(**more)
    for request, outcome in expected:
        reply = case.call(to=to, **request)
        if isinstance(outcome, int):
            expect(f"{request} gets {outcome} from the proxy", (reply.status, reply.backend) == (outcome, None), reply)
        else:
            expect(f"{request} goes to {outcome}", reply.status == 200 and service_of(reply) == outcome, reply)


def arrives(case, *expected, start=True, to=None, service=None, **more):
    """Each request arrives as told: (call's arguments, {path, host, and headers by name; None: not there})."""
    if start:
        case.start(**more)
    for request, wanted in expected:
        before = sum(server.count() for servers in case.backends.values() for server in servers)
        reply = case.call(to=to, **request)
        expect(f"{request} is answered", reply.status == 200, reply)
        seen = [one for servers in case.backends.values() for server in servers for one in server.seen()]
        latest = max(seen, key=lambda one: one.at)
        expect("one request arrived", len(seen) == before + 1, len(seen) - before)
        for name, value in wanted.items():
            found = latest.target if name == "path" else latest.header(name)
            expect(f"{request}: {name} is {value!r}", found == value, found)


def comes_back(case, *expected, backend=(), start=True, to=None, **more):
    """Each response has these headers: (call's arguments, {name: value, or None: not there}). `backend`: what it sends."""
    if start:
        case.start(**more)
    for servers in case.backends.values():
        for server in servers:
            server.answer = lambda _: Answer(headers=backend)
    for request, wanted in expected:
        reply = case.call(to=to, **request)
        for name, value in wanted.items():
            found = reply.header(name)
            expect(f"{request}: {name} is {value!r}", found == value, reply)


def split(case, path="/", count=500, to=None, **more):
    """Shares follow the weights of a route's targets."""
    case.start(**more)
    targets = next(route["to"] for route in case.service["routes"] if route.get("to"))
    replies = case.calls(count, path, to=to)
    expect("every call gets its answer", {reply.status for reply in replies} == {200}, replies[0])
    weights = sum(one.get("weight", 1) for one in targets)
    for target in targets:
        fits = target_fits(case, target)
        seen = sum(reply.backend in fits for reply in replies) / count
        fair = target.get("weight", 1) / weights
        # Over 500 calls a share strays by 0.022 at most; this is five times that.
        between(f"the share of {target}", seen, max(0, fair - 0.11), fair + 0.11)
        expect(f"{target} gets something if it should", (seen > 0) == (fair > 0), seen)


def target_fits(case, target):
    """The names of the backends of a target."""
    labels = target.get("subset", {}).items()
    return {f"{target['service']}-{at}" for at, one in enumerate(case.of(target["service"])["endpoints"]["static"])
            if labels <= one.get("metadata", {}).items()}


def split_stays(case, path="/", to=None, **more):
    """The same caller goes to the same target, and callers are split."""
    case.start(**more)
    on = next(route["splitBy"] for route in case.service["routes"] if "splitBy" in route)
    if isinstance(on, dict) and "cookie" in on:
        jars = []
        for _ in range(60):
            first = case.call(path, to=to)
            cookie = (first.header("set-cookie") or "").split(";")[0]
            expect("a cookie is set", cookie.startswith(f"{on['cookie']['name']}="), first)
            again = {service_of(case.call(path, headers={"cookie": cookie}, to=to)) for _ in range(3)}
            expect("the caller stays", again == {service_of(first)}, (again, first))
            jars.append(service_of(first))
        expect("callers are split", len(set(jars)) >= 2, jars)
        return
    homes = []
    for key in range(100):
        found = {service_of(case.call(**{"path": path, **keyed(on, key)}, to=to)) for _ in range(3)}
        expect(f"caller {key} stays", len(found) == 1, found)
        homes += found
    expect("callers are split", len(set(homes)) >= 2, set(homes))


def mirrored(case, path="/a?b=1", shadow="shadow"):
    """The mirror gets a copy, its answer is thrown away, and nobody waits for it."""
    case.start()
    copy = case.backends[shadow][0]
    copy.answer = lambda _: Answer(status=500)
    reply = case.call(path, method="POST", body=b"hello", headers={"x-own": "1"})
    expect("the answer is the service's", reply.status == 200 and service_of(reply) == "server", reply)
    eventually("the copy to come", lambda: copy.count() == 1)
    request = copy.seen()[0]
    expect("it is the same", (request.method, request.target, request.body, request.header("x-own"))
           == ("POST", path, b"hello", "1"), (request.method, request.target, request.pairs))
    copy.answer = lambda _: Answer(then="hang")
    replies = case.calls(10, path)
    expect("a mirror that hangs delays nobody", max(reply.seconds for reply in replies) < 5
           and {reply.status for reply in replies} == {200}, replies)
    copy.down()
    replies = case.calls(10, path)
    expect("one that is down hurts nobody", {reply.status for reply in replies} == {200}, replies)


def mirrored_share(case, path="/", shadow="shadow"):
    """The mirror gets its share."""
    case.start()
    percent = next(route["mirror"]["percent"] for route in case.service["routes"] if "mirror" in route)
    expect("all are answered", {reply.status for reply in case.calls(300, path)} == {200})
    copy = case.backends[shadow][0]
    fair = 300 * percent / 100
    # Copies are sent beside the answers; what has not come now comes in a moment.
    eventually("enough copies", lambda: copy.count() >= fair * 0.4)
    between("copies of 300 requests", copy.count(), fair * 0.4, fair * 1.8)


def delayed(case, path="/", headers=None, plain=None):
    """A delay made on purpose; `plain`: arguments of a call that has none."""
    case.start()
    delay = next(route["fault"]["delay"] for route in case.service["routes"] if "fault" in route)
    reply = case.call(path, headers=headers)
    expect("it is answered all the same", reply.status == 200, reply)
    between("seconds", reply.seconds, delay["seconds"] * 0.9, delay["seconds"] * 10 + 5)
    if plain:
        reply = case.call(**plain)
        expect("others have no delay", reply.status == 200 and reply.seconds < delay["seconds"], reply)


def aborted(case, path="/", headers=None, plain=None):
    """An error made on purpose."""
    case.start()
    abort = next(route["fault"]["abort"] for route in case.service["routes"] if "fault" in route)
    percent = abort.get("percent", 100)
    replies = [case.call(path, headers=headers) for _ in range(100 if percent < 100 else 5)]
    failed = [reply for reply in replies if reply.status == abort["status"]]
    expect("the proxy says so itself", all(reply.backend is None for reply in failed), failed[:1])
    between("aborts", len(failed) / len(replies), percent / 100 * 0.4, min(1, percent / 100 * 1.6))
    counted = case.metric("bowline_faults_injected_total", kind="abort")
    expect("they are counted", counted == len(failed), (counted, len(failed)))
    if plain:
        replies = [case.call(**plain) for _ in range(5)]
        expect("others have none", {reply.status for reply in replies} == {200}, replies)


def aborted_grpc(case):
    """gRPC callers get a gRPC status."""
    case.start(kinds={"server": Grpc}, protocol="grpc")
    status, _ = case.grpc()
    expect("UNAVAILABLE", status == "UNAVAILABLE", status)
    expect("and nobody was asked", not any(server.calls for server in case.servers))


def redirected(case, *expected, to=None):
    """(call's arguments, status, Location)."""
    case.start()
    for request, status, location in expected:
        reply = case.call(to=to, **request)
        expect(f"{request} is redirected", (reply.status, reply.header("location")) == (status, location), reply)
        expect("by the proxy itself", reply.backend is None, reply)


def responded(case, path="/", status=200, body=b"", headers=None, other=None, to=None):
    """A fixed response."""
    case.start()
    reply = case.call(path, to=to)
    expect("the fixed response", (reply.status, reply.body, reply.backend) == (status, body, None), reply)
    for name, value in (headers or {}).items():
        expect(f"its {name}", reply.header(name) == value, reply)
    if other:
        expect("others get the service", case.call(other, to=to).status == 200)


def websocket(case, path="/ws"):
    """A WebSocket passes, both ways, and stays."""
    from websockets.sync.client import connect

    case.start()
    vip, port, name = case.vip()
    sock = socket.create_connection((vip, port), timeout=30)
    with connect(f"ws://{name}:{port}{path}", sock=sock, compression=None, proxy=None) as caller:
        for word in ("one", "two", "three"):
            caller.send(word)
            expect("the echo", caller.recv(timeout=30) == word)
    return next(one for servers in case.backends.values() for server in servers for one in server.seen()
                if one.header("upgrade"))


def route_timeout(case, path, other=None, key="responseHeadersSeconds", error="response_timeout"):
    """A route's own timeout; another path keeps the service's."""
    case.start(endpoints=1)
    limit = next(route["timeout"][key] for route in case.service["routes"] if key in route.get("timeout", {}))
    gate = case.gate()
    case.servers[0].answer = lambda _: Answer(until=gate)
    reply = case.call(path)
    expect("504, and why", (reply.status, reply.error) == (504, error), reply)
    between("seconds", reply.seconds, limit * 0.9, limit * 10 + 5)
    if other:
        waiting = case.begin(other)
        eventually("it to arrive", lambda: case.servers[0].count(other) == 1)
        end = time.monotonic() + limit * 1.5
        eventually("longer than the route's timeout", lambda: time.monotonic() > end)
        expect("another path waits for longer", not waiting.done())
        gate.open()
        expect("and gets its answer", waiting.result().status == 200)


def route_retries(case, path, expected, other=None, others=None, status=503):
    """A route's own number of attempts."""
    case.start(endpoints=2)
    for server in case.servers:
        server.answer = lambda _: Answer(status=status)
    case.call(path)
    seen = sum(server.count(path) for server in case.servers)
    expect(f"{expected} attempts on the route", seen == expected, seen)
    if other:
        case.call(other)
        seen = sum(server.count(other) for server in case.servers)
        expect(f"{others} attempts elsewhere", seen == others, seen)
