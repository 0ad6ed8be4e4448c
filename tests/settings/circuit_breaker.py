"""docs/settings/circuit-breaker.md, row by row: opossum, resilience4j and axios-retry."""

from functools import partial

import bounds
import breaking
import tries
from backends import Answer
from world import between, expect


def without(case):
    """Without a breaker every call is asked for, however many fail."""
    case.start()
    breaking.fail(case)
    before = breaking.asked(case)
    case.calls(60)
    expect("every call was asked for", breaking.asked(case) - before == 60, breaking.asked(case) - before)


def next_address(case):
    """Who can't be reached is passed over."""
    case.start(endpoints=3)
    for server in case.servers[:2]:
        server.down()
    replies = [case.call() for _ in range(12)]
    expect("the third one answers", {reply.backend for reply in replies} == {"server-2"}, replies)


def latency(case):
    """The histogram has what was seen, and percentiles can be made of it."""
    case.start(endpoints=1)
    case.servers[0].answer = lambda _: Answer(delay=0.3)
    case.together(20)
    name = "bowline_request_duration_seconds"
    expect("twenty calls", case.metric(f"{name}_count", service="server") == 20)
    mean = case.metric(f"{name}_sum", service="server") / 20
    between("their mean, in seconds", mean, 0.27, 3)
    below = {}
    for line in case.page("/metrics").splitlines():
        if line.startswith(f"{name}_bucket") and 'service="server"' in line:
            edge = line.split('le="')[1].split('"')[0]
            if edge != "+Inf":
                below[float(edge)] = float(line.split(" ")[1])
    edges = [edge for edge, count in sorted(below.items()) if count >= 19]
    expect("the 95th percentile lies where it should", edges and 0.27 <= edges[0] <= 5, below)


def whole_client(case):
    """Retries with backoff for one call; then the breaker, when all fail."""
    case.start()
    used = []

    def once(_):
        used.append(1)
        return Answer(status=503 if len(used) <= 2 else 200)

    for server in case.servers:
        server.answer = once
    reply = case.call(headers={"x-mine": "1"})
    expect("the third attempt is good", reply.status == 200 and len(used) == 3, (reply, len(used)))
    ids = {request.header("x-request-id") for server in case.servers for request in server.seen()}
    expect("all attempts have one id", len(ids) == 1 and None not in ids, ids)
    breaking.fail(case)
    count = breaking.trip(case)
    between("failures until it is open", count, 9, 12)
    expect("503, and why", case.call().error == "circuit_open")


ROWS = {
    "circuit-breaker-timeout": breaking.timeouts,
    "circuit-breaker-error-threshold": breaking.opens,
    "circuit-breaker-below-threshold": breaking.stays_closed,
    "circuit-breaker-reset-timeout": breaking.half_open,
    "circuit-breaker-half-open": breaking.half_open,
    "circuit-breaker-open-again": breaking.opens_again,
    "circuit-breaker-rolling-window": breaking.window,
    "circuit-breaker-volume-threshold": breaking.minimum,
    "circuit-breaker-warm-up": breaking.minimum,
    "circuit-breaker-fallback": partial(breaking.falls_back, status=200, body=b'{"items":[]}',
                                        headers={"content-type": "application/json"}),
    "circuit-breaker-fallback-service": partial(breaking.falls_back, service="cached"),
    "circuit-breaker-capacity": bounds.too_many,
    "circuit-breaker-off": without,
    "circuit-breaker-stats": breaking.counted,
    "circuit-breaker-latency": latency,
    "circuit-breaker-events": breaking.shown,
    "circuit-breaker-failure-rate": breaking.opens,
    "circuit-breaker-slow-calls": breaking.slow_calls,
    "circuit-breaker-slow-rate": breaking.slow_calls,
    "circuit-breaker-minimum-calls": breaking.minimum,
    "circuit-breaker-sliding-window": breaking.window,
    "circuit-breaker-wait-duration": breaking.half_open,
    "circuit-breaker-consecutive": breaking.consecutive,
    "circuit-breaker-per-endpoint": breaking.per_endpoint,
    "circuit-breaker-bulkhead": bounds.waits,
    "circuit-breaker-rate-limiter": bounds.limited,
    "circuit-breaker-rate-limiter-wait": bounds.queued,
    "circuit-breaker-time-limiter": tries.whole_timeout,
    "circuit-breaker-axios-timeout": tries.whole_timeout,
    "circuit-breaker-axios-reset-timeout": tries.attempt_timeout,
    "circuit-breaker-axios-retries": partial(tries.attempts, answer=Answer(status=503), expected=4, status=503, endpoints=4),
    "circuit-breaker-axios-backoff": tries.backoff,
    "circuit-breaker-axios-condition": partial(tries.tried_again, statuses=(502, 503, 504), reset=True, refuse=True,
                                               methods=("GET", "PUT", "DELETE"), never=("POST",)),
    "circuit-breaker-axios-all": partial(tries.tried_again, statuses=(500, 502, 503, 504), reset=True,
                                         methods=("GET", "POST")),
    "circuit-breaker-request-id": tries.request_id,
    "circuit-breaker-keep-alive": tries.keeps_alive,
    "circuit-breaker-next-address": next_address,
    "circuit-breaker-grpc": tries.grpc_unavailable,
    "circuit-breaker-client": whole_client,
}
