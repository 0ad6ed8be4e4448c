"""docs/settings/alb.md, row by row: ALB, NLB and API Gateway."""

from functools import partial

import balance
import bounds
import edge
import nginx
import routing
import tries
import watch
from backends import Answer, Backend, Tcp
from world import eventually, expect, first_words, raw


def leaves_in_peace(case):
    """A request that is under way at an endpoint which goes ends in peace; new ones go elsewhere."""
    case.start(endpoints=2)
    gate = case.gate()
    for server in case.servers:
        server.answer = lambda request: Answer(until=gate if request.path == "/long" else None)
    held = [case.begin("/long") for _ in range(8)]
    eventually("them to arrive", lambda: sum(server.in_flight for server in case.servers) == 8)
    expect("both have some", all(server.in_flight for server in case.servers), [one.in_flight for one in case.servers])
    gone = case.servers[1]
    case.service["endpoints"]["static"].pop()
    case.reload()
    replies = case.calls(20)
    expect("new ones go elsewhere", {reply.backend for reply in replies} == {"server-0"}, case.shares(replies))
    expect("those under way are still there", gone.in_flight > 0)
    gate.open()
    expect("and end well", {one.result().status for one in held} == {200})


def same_host(case):
    """The Host arrives as it was written."""
    routing.arrives(case, ({"host": "Shop.Example.com:8080"}, {"host": "Shop.Example.com:8080"}))


def app_cookie(case):
    """The app's own cookie keeps its user at one endpoint, and is not set again."""
    case.start(endpoints=3, change=balance.patient)
    name = case.service["loadBalancing"]["hash"]["cookie"]["name"]
    homes = set()
    for key in range(20):
        replies = [case.call(headers={"cookie": f"theme=dark; {name}=user-{key}"}) for _ in range(4)]
        expect("a user stays", len(case.shares(replies)) == 1, case.shares(replies))
        expect("no cookie is set", not any(reply.header("set-cookie") for reply in replies), replies[0])
        homes.add(replies[0].backend)
    expect("users spread", len(homes) >= 2, homes)


def minimum_healthy(case):
    """Half of them sick is not too many, where the threshold is a quarter; all but one below it is."""
    case.start(endpoints=4, change=watch.in_turn)
    path = case.service["healthCheck"]["http"]["path"]
    sick = set()
    for at, server in enumerate(case.servers):
        server.answer = watch.asks(path, lambda at=at: Answer(status=503 if at in sick else 200))
    eventually("all to be asked", lambda: all(server.count(path) for server in case.servers))

    def reached():
        before = [watch.others(server, path) for server in case.servers]
        case.calls(60)
        return {at for at, server in enumerate(case.servers) if watch.others(server, path) > before[at]}

    sick.update({0, 1, 2})
    eventually("the one that is well to carry it", lambda: reached() == {3}, 60)
    sick.add(3)
    eventually("all to get traffic, as all are sick", lambda: reached() == {0, 1, 2, 3}, 60)


def tcp_least(case):
    """A new connection goes where fewer are open."""
    case.start(endpoints=2, kinds={"server": Tcp})
    held = []
    for _ in range(10):
        caller = raw(case.vip()[:2])
        case.ends.append(caller.close)
        held.append((caller, caller.recv(100)))
    seen = [who for _, who in held]
    expect("five each", seen.count(b"server-0\n") == 5, seen)


def tcp_sticky(case):
    """All connections of a task go to one endpoint, and to another one when that is gone."""
    case.start(endpoints=3, kinds={"server": Tcp})

    def homes():
        seen = set()
        for _ in range(20):
            with raw(case.vip()[:2]) as caller:
                seen.add(caller.recv(100).decode().strip())
        return seen

    first = homes()
    expect("one endpoint", len(first) == 1, first)
    next(server for server in case.servers if server.name in first).down()
    second = homes()
    expect("another one", len(second) == 1 and second != first, second)


def http_check_of_tcp(case):
    """A TCP service whose health is asked for by HTTP on another port."""
    health = Backend(case.farm, "health")
    case.ends.append(health.down)
    sick = {"on": False}
    health.answer = lambda _: Answer(status=503 if sick["on"] else 200)

    def at_our_port(mesh):
        mesh["services"][0]["healthCheck"]["port"] = health.port
        mesh["services"][0]["endpoints"]["static"] = mesh["services"][0]["endpoints"]["static"][:1]
        mesh["services"][0].setdefault("loadBalancing", {})["panicPercent"] = 0

    case.start(endpoints=1, kinds={"server": Tcp}, change=at_our_port)
    path = case.service["healthCheck"]["http"]["path"]
    eventually("a check", lambda: health.count(path))

    def reached():
        return first_words(case.vip()[:2]) == "server-0"

    eventually("it to be reached", reached)
    sick["on"] = True
    eventually("it not to be reached", lambda: not reached(), 60)


ROWS = {
    "alb-rule-order": lambda case: routing.goes(
        case, ({"path": "/v1/admin/x"}, "admin"), ({"path": "/v1/x"}, "api"), ({"path": "/"}, "server")),
    "alb-path-prefix": lambda case: routing.goes(
        case, ({"path": "/v1/a/b"}, "api"), ({"path": "/v1"}, "api"), ({"path": "/v11"}, "server")),
    "alb-path-exact": lambda case: routing.goes(
        case, ({"path": "/process-conversation"}, "conversations"), ({"path": "/process-conversation/x"}, "server")),
    "alb-path-wildcard": lambda case: routing.goes(
        case, ({"path": "/img/a/b.png"}, "images"), ({"path": "/img/b.jpg"}, "server"), ({"path": "/img/bxpng"}, "server")),
    "alb-host-header": lambda case: routing.goes(
        case, ({"host": "a.example.org"}, "org"), ({"host": "A.EXAMPLE.ORG:80"}, "org"), ({"host": "example.com"}, "server")),
    "alb-http-header": lambda case: routing.goes(
        case, ({"headers": {"X-Beta": "on"}}, "beta"), ({"headers": {"X-Beta": "yes"}}, "beta"),
        ({"headers": {"X-Beta": "only"}}, "server")),
    "alb-method": lambda case: routing.goes(case, ({"method": "POST", "body": b"x"}, "writer"), ({}, "server")),
    "alb-query-string": lambda case: routing.goes(
        case, ({"path": "/?a=1&version=2"}, "second"), ({"path": "/?version=3"}, "server")),
    "alb-weighted": routing.split,
    "alb-weighted-sticky": routing.split_stays,
    "alb-redirect": lambda case: routing.redirected(
        case, ({"path": "/secure/a?b=1", "host": "shop.example.com"}, 301, "https://shop.example.com/secure/a?b=1")),
    "alb-redirect-path": lambda case: routing.redirected(
        case, ({"path": "/docs?a=1"}, 302, "http://docs.example.com/welcome?a=1")),
    "alb-fixed-response": partial(routing.responded, path="/closed/x", status=503, body=b"closed for today\n",
                                  headers={"content-type": "text/plain"}, other="/"),
    "alb-rewrite": lambda case: routing.arrives(
        case, ({"path": "/api/v1/users?a=1"}, {"path": "/users?a=1"}), ({"path": "/api/v1"}, {"path": "/"}),
        ({"path": "/other"}, {"path": "/other"})),
    "alb-jwt": partial(edge.jwt, by_url=True),
    "alb-round-robin": balance.round_robin,
    "alb-least-outstanding": balance.least_requests,
    "alb-weighted-random": balance.fastest,
    "alb-lb-cookie": balance.sticky_cookie,
    "alb-app-cookie": app_cookie,
    "alb-slow-start": balance.slow_start,
    "alb-deregistration": leaves_in_peace,
    "alb-health-path": partial(watch.http_check, bad=Answer(status=500)),
    "alb-health-interval": watch.check_interval,
    "alb-health-thresholds": partial(watch.http_check, bad=Answer(status=500)),
    "alb-health-matcher": partial(watch.http_check, bad=Answer(status=202), good=Answer(status=204)),
    "alb-health-port": watch.check_port,
    "alb-health-grpc": watch.grpc_check,
    "alb-fail-open": watch.panics,
    "alb-minimum-healthy": minimum_healthy,
    "alb-cross-zone": partial(balance.own_zone, zone="eu-west-1b"),
    "alb-idle-timeout": tries.idle_timeout,
    "alb-preserve-host": same_host,
    "alb-server-header": lambda case: routing.comes_back(case, ({}, {"server": None}), backend=[("Server", "Apache")]),
    "alb-grpc": nginx.grpc_passes,
    "alb-websocket": routing.websocket,
    "alb-nlb-tcp": nginx.tcp_passes,
    "alb-nlb-grpc": nginx.grpc_passes,
    "alb-nlb-tcp-check": watch.tcp_check,
    "alb-nlb-http-check": http_check_of_tcp,
    "alb-nlb-least": tcp_least,
    "alb-nlb-source-ip": tcp_sticky,
    "alb-nlb-idle": tries.idle_tunnel,
    "alb-gw-throttle": edge.limited_in_all,
    "alb-gw-throttle-method": lambda case: bounds.limited(
        case, "/search", other="/", to=edge.start(case), start=False),
    "alb-gw-usage-plan": edge.limited_with_keys,
    "alb-gw-api-key": edge.api_key,
    "alb-gw-by-address": edge.limited_by_address,
    "alb-gw-jwt": partial(edge.jwt, by_url=True),
    "alb-gw-scopes": edge.jwt,
    "alb-gw-public": partial(edge.jwt, public="/status"),
    "alb-gw-claims": edge.jwt,
    "alb-gw-entry": lambda case: edge.at_ingress(
        routing.goes, case, ({"path": "/orders/1/items"}, "orders"), ({"path": "/users"}, "users"), ({"path": "/x"}, 404)),
    "alb-gw-path-mapping": lambda case: edge.at_ingress(
        routing.arrives, case, ({"path": "/v1/42?a=1"}, {"path": "/items/42?a=1"})),
    "alb-gw-timeout": tries.headers_timeout,
    "alb-gw-mock": lambda case: routing.responded(
        case, "/mock", body=b"{}", headers={"content-type": "application/json"}, other="/"),
}
