"""docs/settings/app-mesh.md, row by row."""

from functools import partial

import balance
import bounds
import edge
import envoy
import nginx
import routing
import tries
import watch
from backends import Answer, Grpc
from world import expect


def grpc_goes(case, *expected):
    """gRPC calls go to services: (arguments, service)."""
    case.start(kinds={service["discoveryName"]: Grpc for service in case.example["services"]})
    channel = case.channel()
    for arguments, service in expected:
        status, who = case.grpc(channel, **arguments)
        expect(f"{arguments} goes to {service}", (status, who.rsplit("-", 1)[0]) == ("OK", service), (status, who))


ROWS = {
    "app-mesh-weighted-targets": routing.split,
    "app-mesh-prefix": lambda case: routing.goes(
        case, ({"path": "/v1/a"}, "api"), ({"path": "/v1"}, "api"), ({"path": "/v10"}, "server"), ({"path": "/"}, "server")),
    "app-mesh-path-exact": lambda case: routing.goes(case, ({"path": "/login?x=1"}, "auth"), ({"path": "/login/"}, 404)),
    "app-mesh-path-regex": lambda case: routing.goes(
        case, ({"path": "/item/12"}, "items"), ({"path": "/item/"}, "server"), ({"path": "/x/item/12"}, "server")),
    "app-mesh-method": lambda case: routing.goes(case, ({"method": "POST", "body": b"x"}, "writer"), ({}, "server")),
    "app-mesh-headers": lambda case: routing.goes(
        case, ({"headers": {"X-User": "me"}}, "mine"), ({"headers": {"X-User": "ME"}}, "users")),
    "app-mesh-header-present": lambda case: routing.goes(case, ({"headers": {"x-user": "you"}}, "users"), ({}, "server")),
    "app-mesh-query": lambda case: routing.goes(case, ({"path": "/?v=2"}, "second"), ({"path": "/?v=1"}, "server")),
    "app-mesh-route-priority": lambda case: routing.goes(
        case, ({"path": "/v1/special"}, "special"), ({"path": "/v1/special/x"}, "api"), ({"path": "/v2"}, "server")),
    "app-mesh-no-route": lambda case: routing.goes(case, ({"path": "/login"}, "auth"), ({"path": "/"}, 404)),
    "app-mesh-grpc-method": lambda case: grpc_goes(case, ({"method": "Call"}, "echo"), ({"method": "Other"}, "server")),
    "app-mesh-grpc-metadata": lambda case: grpc_goes(
        case, ({"metadata": (("x-tenant", "acme"),)}, "acme"), ({"metadata": (("x-tenant", "other"),)}, "server"),
        ({}, "server")),
    "app-mesh-tcp-route": nginx.tcp_passes,
    "app-mesh-max-retries": partial(tries.attempts, answer=Answer(status=503), expected=4, status=503, endpoints=4),
    "app-mesh-route-retry": partial(routing.route_retries, path="/often", expected=4, other="/", others=3),
    "app-mesh-server-error": partial(tries.tried_again, statuses=(500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511),
                                     reset=True, not_statuses=(409,)),
    "app-mesh-gateway-error": partial(tries.tried_again, statuses=(502, 503, 504), reset=True, methods=("GET", "POST"),
                                      not_statuses=(500,)),
    "app-mesh-client-error": partial(tries.tried_again, statuses=(409,), not_statuses=(404, 503)),
    "app-mesh-connection-error": partial(tries.tried_again, refuse=True, methods=("GET", "POST"), not_statuses=(503,)),
    "app-mesh-grpc-unavailable": tries.grpc_unavailable,
    "app-mesh-per-retry-timeout": tries.attempt_timeout,
    "app-mesh-default-retry": partial(tries.tried_again, statuses=(503,), reset=True, refuse=True, never=("POST",)),
    "app-mesh-per-request": tries.whole_timeout,
    "app-mesh-route-timeout": partial(routing.route_timeout, path="/quick", other="/other", key="perRequestTimeoutSeconds",
                                      error="request_timeout"),
    "app-mesh-per-request-off": envoy.no_timeout,
    "app-mesh-idle": tries.idle_timeout,
    "app-mesh-tcp-idle": tries.idle_tunnel,
    "app-mesh-dns": balance.resolved,
    "app-mesh-max-server-errors": watch.ejects,
    "app-mesh-base-ejection": partial(watch.ejects, comes_back=True),
    "app-mesh-max-ejection-percent": watch.ejects_some,
    "app-mesh-pool-http": bounds.connections,
    "app-mesh-pool-requests": bounds.too_many,
    "app-mesh-pool-tcp": bounds.tunnels,
    "app-mesh-health-http": partial(watch.http_check, bad=Answer(status=500)),
    "app-mesh-health-tcp": watch.tcp_check,
    "app-mesh-health-grpc": watch.grpc_check,
    "app-mesh-health-port": watch.check_port,
    "app-mesh-protocol": nginx.grpc_passes,
    "app-mesh-gateway": lambda case: edge.at_ingress(
        routing.goes, case, ({"path": "/orders/1"}, "orders"), ({"path": "/users"}, "users"), ({"path": "/"}, 404)),
    "app-mesh-gateway-expose": edge.one_entry,
    "app-mesh-gateway-hostname": lambda case: edge.at_ingress(
        routing.goes, case, ({"host": "a.example.com"}, "a"), ({"host": "x.example.org:8080"}, "org"),
        ({"host": "b.example.com"}, 404)),
    "app-mesh-gateway-rewrite-prefix": lambda case: edge.at_ingress(
        routing.arrives, case, ({"path": "/api/auth/login?x=1"}, {"path": "/api/v1/auth/login?x=1"})),
    "app-mesh-gateway-rewrite-path": lambda case: edge.at_ingress(
        routing.arrives, case, ({"path": "/test?x=1"}, {"path": "/rewrittenPath?x=1"}),
        ({"path": "/test/a"}, {"path": "/test/a"})),
    "app-mesh-gateway-rewrite-host": lambda case: edge.at_ingress(
        routing.arrives, case, ({"host": "www.example.com"}, {"host": "server.hello-world.com"})),
    "app-mesh-gateway-strip": lambda case: edge.at_ingress(
        routing.arrives, case, ({"path": "/shop/cart"}, {"path": "/cart"}),
        ({"path": "/kept/cart"}, {"path": "/kept/cart"})),
}
