"""docs/settings/envoy.md, row by row."""

import socket
import time
from functools import partial

import balance
import bounds
import breaking
import edge
import routing
import tries
import watch
from backends import Answer, Grpc
from world import eventually, expect


def by_version(case):
    """Routes lead to endpoints with certain labels."""
    case.start()
    names = {one["metadata"]["version"]: f"server-{at}" for at, one in
             enumerate(case.service["endpoints"]["static"])}
    for _ in range(10):
        reply = case.call(headers={"x-version": "v2"})
        expect("v2", reply.backend == names["v2"], reply)
        expect("v1", case.call().backend == names["v1"])
    case.service["endpoints"]["static"].pop()
    case.reload()
    reply = case.call(headers={"x-version": "v2"})
    expect("nobody has that label: 503", (reply.status, reply.error) == (503, "no_endpoints"), reply)
    expect("others are served", case.call().backend == names["v1"])


def no_timeout(case):
    """A route without the timeout that the service has."""
    case.start(endpoints=1)
    case.servers[0].answer = lambda _: Answer(delay=case.service["timeout"]["responseHeadersSeconds"] * 2)
    expect("the route waits", case.call("/slow").status == 200)
    expect("others don't", case.call("/").status == 504)


def headers_on_requests(case):
    """Removed, set, added; elsewhere untouched."""
    case.start()
    sent = {"X-Internal": "1", "X-Tenant": "forged", "X-Seen": "app"}
    case.call("/a", headers=sent)
    case.call("/b", headers=sent)
    seen = {one.path: one for server in case.servers for one in server.seen()}
    there, elsewhere = seen["/a"], seen["/b"]
    expect("removed", there.header("x-internal") is None, there.pairs)
    expect("set", there.headers("x-tenant") == ["acme"], there.pairs)
    values = [part.strip() for value in there.headers("x-seen") for part in value.split(",")]
    expect("added", values == ["app", "bowline"], there.pairs)
    expect("elsewhere untouched", [elsewhere.header(name) for name in sent] == list(sent.values()), elsewhere.pairs)


def headers_on_responses(case):
    """Removed, set, added; elsewhere untouched."""
    sent = [("Server", "Apache"), ("X-Powered-By", "PHP"), ("Cache-Control", "public"), ("Vary", "accept")]
    case.start()
    for server in case.servers:
        server.answer = lambda _: Answer(headers=sent)
    there, elsewhere = case.call("/a"), case.call("/b")
    expect("removed", (there.header("server"), there.header("x-powered-by")) == (None, None), there)
    expect("set", there.headers("cache-control") == ["no-store"], there)
    values = [part.strip() for value in there.headers("vary") for part in value.split(",")]
    expect("added", values == ["accept", "x-user"], there)
    expect("elsewhere untouched", [elsewhere.header(name) for name, _ in sent] == [value for _, value in sent], elsewhere)


def grpc_route(case):
    """gRPC goes to one service, everything else to another."""
    case.start(kinds={"rpc": Grpc})
    expect("gRPC", case.grpc() == ("OK", "rpc-0"), case.grpc())
    expect("the rest", routing.service_of(case.call()) == "server")


def websocket_lives(case):
    """A WebSocket outlives the timeout for requests."""
    from websockets.sync.client import connect

    case.start()
    vip, port, name = case.vip()
    limit = case.service["routes"][0]["timeout"]["responseHeadersSeconds"]
    sock = socket.create_connection((vip, port), timeout=30)
    with connect(f"ws://{name}:{port}/ws", sock=sock, compression=None, proxy=None) as caller:
        end = time.monotonic() + limit * 2
        while time.monotonic() < end:
            caller.send("still there")
            expect("the echo", caller.recv(timeout=30) == "still there")
            time.sleep(0.05)  # between two messages
    for server in case.servers:
        server.answer = lambda _: Answer(then="hang")
    expect("a plain request does not", case.call("/ws").error == "response_timeout")


def priorities(case):
    """High priority gets in where normal does not, low is turned away first."""
    case.start()
    first = case.service["limits"]["adaptiveConcurrency"]["initialConcurrency"]
    gate = case.gate()
    for server in case.servers:
        server.answer = lambda _: Answer(until=gate)

    def held(count, path):
        begun = [case.begin(path) for _ in range(count)]
        total = len(all_held) + count
        eventually("them to arrive", lambda: sum(server.in_flight for server in case.servers) == total)
        all_held.extend(begun)

    all_held = []
    held(int(first * 3 / 4), "/")
    expect("low is turned away at three quarters", case.call("/report").status == 503)
    held(first - len(all_held), "/")
    expect("normal is turned away at the limit", case.call("/").status == 503)
    held(1, "/pay")
    gate.open()
    expect("all of them end well", {one.result().status for one in all_held} == {200})


def other_host(case):
    """The second attempt goes to the other endpoint, each time."""
    case.start(endpoints=2)
    case.servers[0].answer = lambda _: Answer(status=503)
    replies = case.calls(30)
    expect("nobody sees the sick one", {reply.backend for reply in replies} == {"server-1"}, case.shares(replies))


def not_zone_aware(case):
    """All zones get their share."""
    case.start(flags=["--zone", "a"])
    found = balance.shares(case, 40)
    expect("a quarter each", set(found.values()) == {0.25}, found)




ROWS = {
    "envoy-match-prefix": lambda case: routing.goes(
        case, ({"path": "/v1/a"}, "api"), ({"path": "/v1"}, "api"), ({"path": "/v10"}, "server")),
    "envoy-match-path-separated-prefix": lambda case: routing.goes(
        case, ({"path": "/v1/"}, "api"), ({"path": "/v1?a"}, "api"), ({"path": "/v1x/a"}, "server")),
    "envoy-match-path": lambda case: routing.goes(
        case, ({"path": "/login"}, "auth"), ({"path": "/login?a=1"}, "auth"), ({"path": "/login/"}, "server")),
    "envoy-match-safe-regex": lambda case: routing.goes(
        case, ({"path": "/item/7"}, "items"), ({"path": "/item/7?a=/x"}, "items"), ({"path": "/item/7/x"}, "server")),
    "envoy-match-template": lambda case: routing.goes(
        case, ({"path": "/users/1/cart/2"}, "users"), ({"path": "/users/1/cart"}, "users"), ({"path": "/users/1"}, "server"),
        ({"path": "/user/1/cart"}, "server")),
    "envoy-match-headers": lambda case: routing.goes(
        case, ({"headers": {"X-User": "me", "X-Kind": "aaa"}}, "mine"),
        ({"headers": {"X-User": "me", "X-Kind": "ab"}}, "server"),
        ({"headers": {"X-User": "me"}}, "server"), ({"headers": {"x-user": "team-7"}}, "teams"),
        ({"headers": {"x-user": "my-team-7"}}, "server")),
    "envoy-match-present": lambda case: routing.goes(
        case, ({}, "anonymous"), ({"headers": {"X-User": "me"}}, "server")),
    "envoy-match-method": lambda case: routing.goes(
        case, ({"method": "POST", "body": b"x"}, "writer"), ({"method": "PUT", "body": b"x"}, "server"), ({}, "server")),
    "envoy-match-query": lambda case: routing.goes(
        case, ({"path": "/?debug&v=2"}, "second"), ({"path": "/?v=2"}, "server"), ({"path": "/?v=3&debug=1"}, "server")),
    "envoy-domains": lambda case: routing.goes(
        case, ({"host": "a.example.com"}, "site"), ({"host": "b.example.org:80"}, "site"), ({"host": "example.org"}, "server"),
        ({}, "server")),
    "envoy-match-grpc": grpc_route,
    "envoy-runtime-fraction": partial(routing.split, path="/new"),
    "envoy-weighted-clusters": routing.split,
    "envoy-weighted-by-hash": routing.split_stays,
    "envoy-metadata-match": by_version,
    "envoy-timeout": partial(routing.route_timeout, path="/quick", other="/other"),
    "envoy-timeout-whole": tries.whole_timeout,
    "envoy-timeout-off": no_timeout,
    "envoy-idle-timeout": tries.idle_timeout,
    "envoy-max-stream-duration": tries.whole_timeout,
    "envoy-grpc-timeout": tries.grpc_deadline,
    "envoy-prefix-rewrite": lambda case: routing.arrives(
        case, ({"path": "/api/auth/login?a=1"}, {"path": "/api/v1/auth/login?a=1"}),
        ({"path": "/api/auth"}, {"path": "/api/v1/auth"}),
        ({"path": "/api/authors"}, {"path": "/api/authors"})),
    "envoy-regex-rewrite": lambda case: routing.arrives(
        case, ({"path": "/service/foo/v1/api?x=1"}, {"path": "/v1/api/instance/foo?x=1"})),
    "envoy-host-rewrite": lambda case: routing.arrives(case, ({}, {"host": "app.internal"})),
    "envoy-request-mirror": routing.mirrored_share,
    "envoy-redirect": lambda case: routing.redirected(
        case, ({"path": "/old/a?b=1"}, 308, "https://new.example.com:8443/new?b=1")),
    "envoy-direct-response": partial(routing.responded, path="/gone/x", status=404, body=b"not here\n", other="/"),
    "envoy-request-headers": headers_on_requests,
    "envoy-response-headers": headers_on_responses,
    "envoy-websocket": websocket_lives,
    "envoy-priority": priorities,
    "envoy-num-retries": partial(tries.attempts, answer=Answer(status=503), expected=4, status=503, endpoints=4),
    "envoy-route-retry": partial(routing.route_retries, path="/often", expected=4, other="/", others=2),
    "envoy-no-retries": partial(tries.attempts, answer=Answer(status=503), expected=1, status=503),
    "envoy-retry-5xx": partial(tries.tried_again, statuses=(500, 502, 503, 504), reset=True, refuse=True,
                               methods=("GET", "POST"), not_statuses=(429,)),
    "envoy-retry-gateway-error": partial(tries.tried_again, statuses=(502, 503, 504), reset=True, methods=("GET", "POST"),
                                         not_statuses=(500,)),
    "envoy-retry-reset": partial(tries.tried_again, reset=True, methods=("GET", "POST"), not_statuses=(503,)),
    "envoy-retry-connect-failure": partial(tries.tried_again, refuse=True, methods=("GET", "POST"), not_statuses=(503,)),
    "envoy-retry-before-request": partial(tries.tried_again, refuse=True, methods=("POST",), not_statuses=(502,)),
    "envoy-retry-4xx": partial(tries.tried_again, statuses=(409,), not_statuses=(503, 400)),
    "envoy-retry-status-codes": partial(tries.tried_again, statuses=(425, 429), not_statuses=(503,)),
    "envoy-retry-unavailable": tries.grpc_unavailable,
    "envoy-per-try-timeout": tries.attempt_timeout,
    "envoy-retry-back-off": tries.backoff,
    "envoy-previous-hosts": other_host,
    "envoy-retry-budget": tries.budget,
    "envoy-buffer-limit": tries.kept_body,
    "envoy-hedge": tries.hedged_posts,
    "envoy-round-robin": balance.round_robin,
    "envoy-least-request": balance.least_requests,
    "envoy-random": balance.at_random,
    "envoy-ring-hash": balance.sticky,
    "envoy-maglev": partial(balance.sticky, moves=0.2),
    "envoy-peak-ewma": balance.fastest,
    "envoy-hash-header": balance.sticky,
    "envoy-hash-cookie": balance.sticky_cookie,
    "envoy-hash-source-ip": partial(balance.sticky, moves=0.2),
    "envoy-hash-query": balance.sticky,
    "envoy-hash-path": balance.sticky,
    "envoy-hash-balance-factor": balance.bounded,
    "envoy-endpoint-weight": balance.by_weight,
    "envoy-locality-weights": balance.zone_weights,
    "envoy-zone-aware": balance.own_zone,
    "envoy-zone-aware-off": not_zone_aware,
    "envoy-priority-level": balance.backup,
    "envoy-panic": watch.panics,
    "envoy-panic-off": watch.no_panic,
    "envoy-slow-start": balance.slow_start,
    "envoy-subset": balance.subset,
    "envoy-strict-dns": balance.resolved,
    "envoy-consecutive-5xx": watch.ejects,
    "envoy-enforcing-0": watch.never_ejects,
    "envoy-base-ejection-time": partial(watch.ejects, comes_back=True),
    "envoy-max-ejection-time": watch.longer_each_time,
    "envoy-max-ejection-percent": watch.ejects_some,
    "envoy-failure-percentage": breaking.per_endpoint,
    "envoy-http-health-check": partial(watch.http_check, bad=Answer(status=503)),
    "envoy-health-thresholds": partial(watch.http_check, bad=Answer(status=404)),
    "envoy-expected-statuses": partial(watch.http_check, bad=Answer(status=201), good=Answer(status=204, body=b"")),
    "envoy-health-receive": partial(watch.http_check, bad=Answer(body=b"starting"), good=Answer(body=b"it is ready")),
    "envoy-health-host": watch.check_host,
    "envoy-grpc-health-check": watch.grpc_check,
    "envoy-tcp-health-check": watch.tcp_check,
    "envoy-health-timeout": watch.check_timeout,
    "envoy-health-interval": watch.check_interval,
    "envoy-health-port": watch.check_port,
    "envoy-max-connections": bounds.connections,
    "envoy-max-connections-tcp": bounds.tunnels,
    "envoy-max-pending-requests": bounds.waits,
    "envoy-max-requests": bounds.too_many,
    "envoy-fault-delay": partial(routing.delayed, path="/slow", plain={"path": "/"}),
    "envoy-fault-abort": partial(routing.aborted, path="/broken", plain={"path": "/"}),
    "envoy-fault-grpc": routing.aborted_grpc,
    "envoy-fault-header": partial(routing.aborted, headers={"X-Chaos": "please"}, plain={"path": "/"}),
    "envoy-local-ratelimit": bounds.limited,
    "envoy-ratelimit-descriptors": bounds.limited,
    "envoy-ratelimit-route": partial(bounds.limited, path="/search", other="/"),
    "envoy-adaptive-concurrency": bounds.adaptive,
    "envoy-adaptive-bounds": bounds.adaptive,
    "envoy-jwt-local": partial(edge.jwt, algorithm="ES256"),
    "envoy-jwt-remote": partial(edge.jwt, by_url=True),
    "envoy-jwt-rules": partial(edge.jwt, public="/status"),
    "envoy-api-key": edge.api_key,
    "envoy-connect-timeout": tries.connect_timeout_next,
    "envoy-upstream-idle-timeout": tries.idle_timeout,
    "envoy-tcp-idle-timeout": tries.idle_tunnel,
    "envoy-request-id": tries.request_id,
}
