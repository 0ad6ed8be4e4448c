"""Circuit breakers: when they open, what callers get, and how they close."""

import time

from backends import Answer
from world import between, eventually, expect


def breaker_of(case):
    """The example's breaker."""
    return case.service["circuitBreaker"]


def fail(case, answer=None):
    """All endpoints fail from now on."""
    for server in case.servers:
        server.answer = lambda _: answer or Answer(status=500)


def well(case):
    """All endpoints are well from now on."""
    for server in case.servers:
        server.answer = None


def asked(case):
    """Requests that came to the service's endpoints."""
    return sum(server.count() for server in case.servers)


def trip(case, most=300):
    """Calls until the breaker is open; returns how many that took."""
    for count in range(1, most):
        before = asked(case)
        case.call()
        if asked(case) == before:
            return count - 1
    expect(f"it opens within {most} calls", False)


def opens(case, answer=None, least=None, most=None):
    """It opens after so many failures, and callers fail at once while it is."""
    case.start()
    fail(case, answer)
    count = trip(case)
    minimum = breaker_of(case).get("minimumRequests", 20)
    between("failures until it was open", count, minimum if least is None else least, minimum + 2 if most is None else most)
    before = asked(case)
    replies = [case.call() for _ in range(10)]
    expect("503, and why", {(reply.status, reply.error) for reply in replies} == {(503, "circuit_open")}, replies[0])
    expect("and when to come again", all(int(reply.header("retry-after")) >= 1 for reply in replies), replies[0])
    expect("at once", max(reply.seconds for reply in replies) < 2, replies)
    expect("nobody is asked", asked(case) == before, asked(case) - before)


def stays_closed(case):
    """Fewer errors than the percentage leave it closed."""
    case.start()
    limit = breaker_of(case)["errorPercent"]
    used = []

    def some(_):
        used.append(1)
        # A fifth of what would open it.
        return Answer(status=500 if len(used) % max(2, int(500 / limit)) == 0 else 200)

    for server in case.servers:
        server.answer = some
    before = asked(case)
    case.calls(120)
    expect("every call was asked for", asked(case) - before == 120, asked(case) - before)
    fail(case)
    trip(case)


def minimum(case):
    """Too few requests leave it closed."""
    case.start()
    fail(case)
    least = breaker_of(case)["minimumRequests"]
    for _ in range(least):
        case.call()
    expect("each was asked for", asked(case) == least, asked(case))
    expect("and then it is open", case.call().error == "circuit_open" and asked(case) == least, asked(case))


def half_open(case):
    """After its reset time one probe goes through, and no more; if it is good, all do."""
    opens(case)
    began = time.monotonic()
    reset = breaker_of(case)["resetSeconds"]
    gate = case.gate()
    for server in case.servers:
        server.answer = lambda _: Answer(until=gate)
    before = asked(case)
    probes = []

    def probing():
        if not probes or all(one.done() for one in probes):
            probes.append(case.begin())
        return asked(case) > before

    eventually("a probe to be let through", probing, reset * 10 + 20)
    expect("not before its time", time.monotonic() - began > reset * 0.7, time.monotonic() - began)
    replies = [case.call() for _ in range(5)]
    expect("others are turned away while it is under way", {reply.status for reply in replies} == {503}, replies[0])
    expect("there is one probe", asked(case) == before + 1, asked(case) - before)
    gate.open()
    well(case)
    for one in probes:
        one.result()
    eventually("it to close", lambda: case.call().status == 200)
    expect("and stay closed", {reply.status for reply in case.calls(20)} == {200})


def opens_again(case):
    """A probe that fails opens it again, for the whole reset time."""
    opens(case)
    reset = breaker_of(case)["resetSeconds"]
    before = asked(case)
    eventually("a probe to be let through", lambda: [case.call()] and asked(case) > before, reset * 10 + 20)
    began = time.monotonic()
    before = asked(case)
    replies = [case.call() for _ in range(5)]
    expect("it is open again", {reply.status for reply in replies} == {503} and asked(case) == before, replies[0])
    well(case)
    eventually("the next probe to close it", lambda: case.call().status == 200, reset * 10 + 20)
    expect("after another reset time", time.monotonic() - began > reset * 0.7, time.monotonic() - began)


def window(case):
    """Failures that are older than the window don't count."""
    case.start()
    limits = breaker_of(case)
    fail(case)
    most = limits["minimumRequests"] - 1
    for _ in range(most):
        case.call()
    expect("it is closed", asked(case) == most)
    end = time.monotonic() + limits["windowSeconds"] * 1.3
    eventually("the window to pass", lambda: time.monotonic() > end, limits["windowSeconds"] * 2 + 5)
    before = asked(case)
    for _ in range(most):
        case.call()
    expect("it is still closed", asked(case) - before == most, asked(case) - before)
    expect("as many within the window open it", trip(case) <= most, asked(case) - before)


def slow_calls(case):
    """Calls that take too long count as errors, though they are answered well."""
    case.start()
    limits = breaker_of(case)
    for server in case.servers:
        server.answer = lambda _: Answer(delay=limits["slowCallSeconds"] * 1.3)
    count = max(limits.get("minimumRequests", 20), limits.get("consecutiveFailures", 0))
    replies = case.together(count)
    expect("they are answered", {reply.status for reply in replies} == {200}, replies[0])
    before = asked(case)
    well(case)
    replies = [case.call() for _ in range(3)]
    expect("it is open", {reply.status for reply in replies} == {503} and asked(case) == before, replies)


def consecutive(case):
    """So many failures in a row open it."""
    case.start()
    most = breaker_of(case)["consecutiveFailures"]
    used = []

    def one_good(_):
        used.append(1)
        return Answer(status=200 if len(used) == most else 500)

    for server in case.servers:
        server.answer = one_good
    count = trip(case)
    expect("a good one in between begins the count anew", count == 2 * most, count)


def timeouts(case):
    """Calls that run into the timeout are failures."""
    case.start()
    limit = case.service["timeout"]["perRequestTimeoutSeconds"]
    fail(case, Answer(then="hang"))
    count = breaker_of(case).get("minimumRequests", 20)
    replies = case.together(count)
    expect("they end in the timeout", {reply.status for reply in replies} == {504}
           and max(reply.seconds for reply in replies) < limit * 10 + 5, replies[0])
    before = asked(case)
    replies = [case.call() for _ in range(3)]
    expect("it is open", {reply.status for reply in replies} == {503} and asked(case) == before, replies)
    expect("they are counted", calls(case, "timeout") == count, calls(case, "timeout"))


def falls_back(case, status=None, body=None, service=None, headers=None):
    """While it is open callers get the fallback."""
    case.start()
    fail(case)
    trip_with_fallback(case)
    replies = [case.call("/what?a=1") for _ in range(5)]
    if service:
        expect(f"{service} answers", {reply.backend for reply in replies} == {f"{service}-0"}, replies[0])
        expect("with the same request", case.backends[service][0].seen("/what")[0].target == "/what?a=1")
    else:
        expect("the fixed response", {(reply.status, reply.body) for reply in replies} == {(status, body)}, replies[0])
        for name, value in (headers or {}).items():
            expect(f"its {name}", replies[0].header(name) == value, replies[0])


def trip_with_fallback(case):
    """Calls until the service is not asked any more."""
    def not_asked():
        before = asked(case)
        case.call()
        return asked(case) == before

    eventually("it to open", not_asked)


def per_endpoint(case):
    """One endpoint's breaker keeps requests from it, and the others go on."""
    case.start(endpoints=3)
    wrong = case.servers[0]
    wrong.answer = lambda _: Answer(status=500)
    limit = breaker_of(case)["perEndpoint"]
    count = limit.get("consecutiveFailures") or limit.get("minimumRequests", 20)
    eventually("it to fail often enough", lambda: [case.calls(6)] and wrong.count() >= count)
    seen = wrong.count()
    between("its failures", seen, count, count + 6)
    replies = case.calls(60)
    expect("it gets nothing more", wrong.count() == seen, wrong.count() - seen)
    expect("the others go on", {reply.status for reply in replies} == {200}, case.shares(replies))


def calls(case, result):
    """So many calls with this result, by the breaker's own count."""
    return case.metric("bowline_circuit_breaker_calls_total", service=case.service["discoveryName"], endpoint="", result=result)


def counted(case):
    """The figures of a breaker: fires, successes, failures, rejects."""
    case.start()
    case.calls(5)
    fail(case)
    failures = trip(case)
    case.calls(10)
    seen = {result: calls(case, result) for result in ("fire", "success", "failure", "timeout", "slow", "reject")}
    # The one that found it open was turned away too.
    wanted = {"fire": 5 + failures + 11, "success": 5, "failure": failures, "timeout": 0, "slow": 0, "reject": 11}
    expect("the counts", seen == wanted, (seen, wanted))


def shown(case):
    """Opening and closing are logged, counted, and shown."""
    opens(case)
    name = case.service["discoveryName"]
    expect("it has opened once", case.metric("bowline_circuit_breaker_opened_total", service=name, endpoint="") == 1)
    expect("it is open", case.metric("bowline_circuit_breaker_state", service=name, endpoint="") == 2,
           case.metric("bowline_circuit_breaker_state"))
    eventually("a line in the log", lambda: "circuit breaker opened" in case.proxy.log.read_text())
    well(case)
    eventually("it to close", lambda: case.call().status == 200, breaker_of(case)["resetSeconds"] * 10 + 20)
    expect("it is closed", case.metric("bowline_circuit_breaker_state", service=name, endpoint="") == 0,
           case.metric("bowline_circuit_breaker_state"))
    eventually("a line in the log", lambda: "circuit breaker closed" in case.proxy.log.read_text())
