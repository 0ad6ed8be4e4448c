"""docs/settings/nginx.md, row by row."""

from functools import partial

import balance
import bounds
import breaking
import edge
import routing
import tries
import watch
from backends import Answer, Grpc, Tcp
from world import expect, raw


def grpc_passes(case):
    """gRPC calls pass."""
    case.start(endpoints=2, kinds={"server": Grpc})
    channel = case.channel()
    seen = {case.grpc(channel) for _ in range(20)}
    expect("both endpoints answer", seen == {("OK", "server-0"), ("OK", "server-1")}, seen)


def tcp_passes(case):
    """Bytes pass both ways, and either side may speak first."""
    case.start(endpoints=1, kinds={"server": Tcp})
    with raw(case.vip()[:2]) as caller:
        expect("the server speaks first", caller.recv(100) == b"server-0\n")
        caller.sendall(b"hello")
        expect("and echoes", caller.recv(100) == b"hello")


ROWS = {
    "nginx-round-robin": balance.round_robin,
    "nginx-weight": balance.by_weight,
    "nginx-least-conn": balance.least_requests,
    "nginx-ip-hash": balance.sticky,
    "nginx-hash-uri": balance.sticky,
    "nginx-hash-header": balance.sticky,
    "nginx-hash-arg": balance.sticky,
    "nginx-random": balance.at_random,
    "nginx-random-two": balance.least_requests,
    "nginx-least-time": balance.fastest,
    "nginx-sticky-cookie": balance.sticky_cookie,
    "nginx-max-fails": watch.ejects,
    "nginx-fail-timeout": partial(watch.ejects, comes_back=True),
    "nginx-max-fails-0": watch.never_ejects,
    "nginx-backup": balance.backup,
    "nginx-down": balance.no_traffic,
    "nginx-drain": balance.no_traffic,
    "nginx-max-conns": bounds.connections,
    "nginx-queue": bounds.waits,
    "nginx-slow-start": balance.slow_start,
    "nginx-resolve": balance.resolved,
    "nginx-service": partial(balance.resolved, srv=True),
    "nginx-keepalive": tries.keeps_alive,
    "nginx-keepalive-timeout": tries.idle_timeout,
    "nginx-zone": partial(watch.shared, workers=2),
    "nginx-connect-timeout": tries.connect_timeout,
    "nginx-read-timeout": tries.headers_timeout,
    "nginx-read-timeout-stream": tries.stream_lives,
    "nginx-send-timeout": tries.upload_timeout,
    "nginx-next-upstream": partial(tries.tried_again, statuses=(502, 503, 504), reset=True, refuse=True,
                                   not_statuses=(500, 429)),
    "nginx-next-upstream-status": partial(tries.tried_again, statuses=(429, 500, 502, 503, 504), reset=True),
    "nginx-idempotent": partial(tries.tried_again, statuses=(503,), methods=("GET", "PUT", "DELETE"),
                                never=("POST", "PATCH")),
    "nginx-non-idempotent": partial(tries.tried_again, statuses=(502, 503, 504), reset=True, methods=("GET", "POST")),
    "nginx-next-upstream-off": partial(tries.attempts, answer=Answer(status=503), expected=1, status=503),
    "nginx-next-upstream-tries": partial(tries.attempts, answer=Answer(status=503), expected=4, status=503, endpoints=4),
    "nginx-next-upstream-timeout": tries.headers_timeout,
    "nginx-body-buffer": tries.kept_body,
    "nginx-error-page": partial(breaking.falls_back, status=503, body=b"back soon\n", headers={"retry-after": "30"}),
    "nginx-limit-req": edge.limited_by_address,
    "nginx-limit-req-nodelay": bounds.refills,
    "nginx-limit-req-burst": bounds.queued,
    "nginx-limit-req-delay": partial(bounds.queued, count=4),
    "nginx-limit-req-minute": bounds.limited,
    "nginx-limit-req-header": bounds.limited,
    "nginx-limit-req-server": bounds.limited,
    "nginx-limit-req-location": partial(bounds.limited, path="/login", other="/"),
    "nginx-limit-req-zone": bounds.limited,
    "nginx-limit-conn": bounds.too_many,
    "nginx-location-prefix": lambda case: routing.goes(
        case, ({"path": "/v1/a"}, "api"), ({"path": "/v1"}, "api"), ({"path": "/v1?x=1"}, "api"),
        ({"path": "/v10"}, "server"), ({"path": "/v1/admin/x"}, "admin"), ({"path": "/"}, "server")),
    "nginx-location-exact": lambda case: routing.goes(
        case, ({"path": "/login"}, "auth"), ({"path": "/login?next=/"}, "auth"), ({"path": "/login/x"}, "server")),
    "nginx-location-regex": lambda case: routing.goes(
        case, ({"path": "/item/42"}, "items"), ({"path": "/item/4x"}, "server"), ({"path": "/a/item/42"}, "server"),
        ({"path": "/item/42/x"}, "server")),
    "nginx-proxy-pass-uri": lambda case: routing.arrives(
        case, ({"path": "/api/auth/login?a=1"}, {"path": "/api/v1/auth/login?a=1"}),
        ({"path": "/api/auth/"}, {"path": "/api/v1/auth/"}), ({"path": "/api/other"}, {"path": "/api/other"})),
    "nginx-rewrite": lambda case: routing.arrives(
        case, ({"path": "/users/42/cart?x=1"}, {"path": "/carts/42?x=1"}), ({"path": "/users/42"}, {"path": "/users/42"})),
    "nginx-server-name": lambda case: routing.goes(
        case, ({"host": "a.example.com"}, "site"), ({"host": "A.Example.com:5000"}, "site"),
        ({"host": "x.example.org"}, "site"), ({"host": "x.y.example.org"}, "site"), ({}, "server")),
    "nginx-if-header": lambda case: routing.goes(
        case, ({"headers": {"X-Beta": "yes"}}, "beta"), ({"headers": {"X-Beta": "no"}}, "server"), ({}, "server")),
    "nginx-if-method": lambda case: routing.goes(
        case, ({"path": "/orders/1", "method": "POST", "body": b"x"}, "writer"), ({"path": "/orders/1"}, "server"),
        ({"path": "/", "method": "POST", "body": b"x"}, "server")),
    "nginx-if-arg": lambda case: routing.goes(
        case, ({"path": "/?v=2"}, "second"), ({"path": "/a?x=1&v=2"}, "second"), ({"path": "/?v=20"}, "server"),
        ({"path": "/?w=2"}, "server")),
    "nginx-split-clients": routing.split_stays,
    "nginx-split-requests": routing.split,
    "nginx-mirror": routing.mirrored,
    "nginx-return-301": lambda case: routing.redirected(
        case, ({"path": "/old/a?b=1"}, 301, "https://new.example.com/old/a?b=1")),
    "nginx-return-200": partial(routing.responded, path="/ping", body=b"ok\n", headers={"content-type": "text/plain"},
                                other="/"),
    "nginx-return-403": partial(routing.responded, path="/internal/x", status=403, other="/"),
    "nginx-add-header": lambda case: routing.comes_back(case, ({}, {"x-frame-options": "DENY"})),
    "nginx-proxy-set-header": lambda case: routing.arrives(
        case, ({"headers": {"X-Tenant": "forged"}}, {"x-tenant": "acme"}), ({}, {"x-tenant": "acme"})),
    "nginx-unset-header": lambda case: routing.arrives(
        case, ({"headers": {"Accept-Encoding": "gzip", "Accept": "a/b"}}, {"accept-encoding": None, "accept": "a/b"})),
    "nginx-set-host": lambda case: routing.arrives(case, ({}, {"host": "app.internal"})),
    "nginx-proxy-hide-header": lambda case: routing.comes_back(
        case, ({}, {"x-powered-by": None, "server": None, "x-kept": "1"}),
        backend=[("X-Powered-By", "PHP"), ("Server", "Apache"), ("X-Kept", "1")]),
    "nginx-request-id": tries.request_id,
    "nginx-forwarded-for": edge.forwarded_for,
    "nginx-websocket": routing.websocket,
    "nginx-grpc-pass": grpc_passes,
    "nginx-stream": tcp_passes,
    "nginx-stream-timeout": tries.idle_tunnel,
    "nginx-auth-jwt": edge.jwt,
    "nginx-health-check": partial(watch.http_check, bad=Answer(status=500)),
    "nginx-health-check-match": partial(watch.http_check, bad=Answer(status=200, body=b"starting"),
                                        good=Answer(status=200, body=b"I am ready.")),
    "nginx-health-check-port": watch.check_port,
    "nginx-health-check-jitter": watch.check_interval,
    "nginx-health-check-grpc": watch.grpc_check,
    "nginx-health-check-tcp": watch.tcp_check,
}
