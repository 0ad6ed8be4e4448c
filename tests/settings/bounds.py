"""How many at once, and how many a second."""

import time

from backends import Answer, Tcp
from world import between, eventually, expect, first_words, raw


def limit_of(case):
    """The example's rate limit: of the service, or of its first route that has one."""
    if "rateLimit" in case.service:
        return case.service["rateLimit"][0]
    return next(route["rateLimit"][0] for route in case.service["routes"] if "rateLimit" in route)


def rate(limit):
    """Requests a second."""
    return limit["requestsPerSecond"] if "requestsPerSecond" in limit else limit["requestsPerMinute"] / 60


def burst_of(limit):
    """Requests at once."""
    return limit.get("burst", limit.get("requestsPerSecond", limit.get("requestsPerMinute")))


def keyed(limit, key):
    """What a call has that has this key."""
    if limit.get("key") == "clientAddress":
        return {"x-forwarded-for": f"10.4.0.{key}"}
    if "header" in (limit.get("key") or {}):
        return {limit["key"]["header"]: f"key-{key}"}
    return {}


def limited(case, path="/", other=None, to=None, source=False, start=True, **start_more):
    """A burst passes, what is beyond it gets 429, and says when to come again. `other`: a path that has no limit."""
    if start:
        case.start(**start_more)
    limit = limit_of(case)
    allowed = burst_of(limit)

    def burst(key, count):
        more = {"source": f"127.0.3.{key}"} if source else {"headers": keyed(limit, key)}
        began = time.monotonic()
        replies = []
        for _ in range(count):
            replies.append(case.call(path, to=to, **more))
        return replies, time.monotonic() - began

    replies, took = burst(1, allowed + 30)
    good = [reply for reply in replies if reply.status == 200]
    bad = [reply for reply in replies if reply.status != 200]
    # What came back into the bucket while they went.
    between("requests that passed", len(good), allowed, allowed + took * rate(limit) + 1)
    expect("the others get 429", {reply.status for reply in bad} == {429}, bad[:1])
    refused = case.metric("bowline_rate_limit_total", result="refused")
    expect("they are counted", refused == len(bad), (refused, len(bad)))
    expect("with Retry-After", all(int(reply.header("retry-after")) >= 1 for reply in bad), bad[0])
    expect("and the limit", bad[0].header("x-ratelimit-limit") == str(allowed)
           and bad[0].header("x-ratelimit-remaining") == "0" and bad[0].header("x-ratelimit-reset"), bad[0])
    if limit.get("key"):
        expect("another key has a bucket of its own", burst(2, 1)[0][0].status == 200)
    if other:
        expect("what has no limit passes", {reply.status for reply in case.calls(5, other)} == {200})
    return bad


def refills(case, **more):
    """And after a while requests pass again."""
    limited(case, **more)
    eventually("the bucket to fill", lambda: case.call(headers=keyed(limit_of(case), 1)).status == 200)


def queued(case, count=6):
    """What is beyond what may pass at once waits for its turn, and all pass in the end."""
    case.start()
    limit = limit_of(case)
    at_once = limit["atOnce"]
    count += at_once
    expect("the example's burst takes them", count <= burst_of(limit), limit)
    began = time.monotonic()
    replies = case.together(count, headers=keyed(limit, 1))
    took = time.monotonic() - began
    expect("all pass", {reply.status for reply in replies} == {200}, replies)
    least = (count - at_once) / rate(limit) * 0.8
    between("seconds until the last one passed", took, least, least * 10 + 5)
    quick = sorted(reply.seconds for reply in replies)
    expect("some did not wait", quick[0] < least, quick)
    waited = case.metric("bowline_rate_limit_total", result="waited")
    # One more may pass at once for each that came in while they were sent.
    between("those who waited, by the count", waited, 1, count - at_once)


def too_many(case):
    """Requests beyond maxRequests are turned away at once, where none may wait."""
    case.start()
    limits = case.service["limits"]
    most = limits["maxRequests"]
    gate = case.gate()
    for server in case.servers:
        server.answer = lambda _: Answer(until=gate)
    held = [case.begin() for _ in range(most)]
    eventually("all to arrive", lambda: sum(server.in_flight for server in case.servers) == most)
    reply = case.call()
    expect("one more is turned away", (reply.status, reply.error) == (503, "overloaded"), reply)
    expect("at once", reply.seconds < 5, reply)
    gate.open()
    expect("the others end well", {one.result().status for one in held} == {200})


def waits(case):
    """Requests beyond maxRequests wait, as many as may."""
    case.start()
    limits = case.service["limits"]
    most, pending = limits["maxRequests"], limits["maxPendingRequests"]
    gate = case.gate()
    for server in case.servers:
        server.answer = lambda _: Answer(until=gate)
    held = [case.begin() for _ in range(most + pending)]
    eventually("the queue to be full", lambda: case.metric("bowline_requests_waiting") == pending)
    reply = case.call()
    expect("one more is turned away", (reply.status, reply.error) == (503, "overloaded"), reply)
    gate.open()
    expect("those who waited get their answer", {one.result().status for one in held} == {200})
    between("at an endpoint at a time", max(server.most_in_flight for server in case.servers), 1, most)


def connections(case):
    """No more connections than maxConnections."""
    case.start(endpoints=1)
    most = case.service["limits"]["maxConnections"]
    for server in case.servers:
        server.answer = lambda _: Answer(delay=0.05)
    replies = case.together(most * 4)
    expect("all get their answer", {reply.status for reply in replies} == {200}, replies)
    between("connections to the endpoint", case.servers[0].connections, 1, most)


def tunnels(case):
    """A TCP connection beyond maxConnections is refused."""
    case.start(endpoints=1, kinds={"server": Tcp})
    most = case.service["limits"]["maxConnections"]
    held = [raw(case.vip()[:2]) for _ in range(most)]
    case.ends += [one.close for one in held]
    expect("they speak", {one.recv(100) for one in held} == {b"server-0\n"})
    expect("one more is closed", first_words(case.vip()[:2]) == "")


def adaptive(case):
    """Beyond the learnt limit requests are turned away at once, the unimportant ones first."""
    case.start()
    limits = case.service["limits"]["adaptiveConcurrency"]
    first = limits["initialConcurrency"]
    gate = case.gate()
    for server in case.servers:
        server.answer = lambda _: Answer(until=gate)
    held = [case.begin() for _ in range(first)]
    eventually("all to arrive", lambda: sum(server.in_flight for server in case.servers) == first)
    reply = case.call()
    expect("one more is turned away", (reply.status, reply.error) == (503, "overloaded"), reply)
    expect("at once", reply.seconds < 5, reply)
    gate.open()
    expect("the others end well", {one.result().status for one in held} == {200})


def priorities(case):
    """Low priority goes first, high priority last."""
    case.start()
    limits = case.service["limits"]["adaptiveConcurrency"]
    first, header = limits["initialConcurrency"], limits["priorityHeader"]
    gate = case.gate()
    for server in case.servers:
        server.answer = lambda _: Answer(until=gate)
    low = int(first * 3 / 4)
    held = [case.begin() for _ in range(low)]
    eventually("them to arrive", lambda: sum(server.in_flight for server in case.servers) == low)
    expect("low is turned away at three quarters", case.call(headers={header: "low"}).status == 503)
    held += [case.begin() for _ in range(first - low)]
    eventually("them to arrive", lambda: sum(server.in_flight for server in case.servers) == first)
    expect("normal is turned away at the limit", case.call().status == 503)
    held.append(case.begin(headers={header: "high"}))
    eventually("high to arrive", lambda: sum(server.in_flight for server in case.servers) == first + 1)
    gate.open()
    expect("all of them end well", {one.result().status for one in held} == {200})
