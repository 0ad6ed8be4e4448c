"""Which endpoints are well: by their answers, and by asking them."""

from backends import Answer, Grpc, Tcp
from world import between, eventually, expect, first_words


def ejects(case, bad=None, comes_back=False):
    """An endpoint that fails so many times in a row gets nothing more."""
    case.start(endpoints=4, change=in_turn)
    limit = case.service["outlierDetection"].get("consecutiveFailures", 5)
    wrong = case.servers[0]
    wrong.answer = lambda _: bad or Answer(status=500)
    eventually("it to fail often enough", lambda: [case.call()] and wrong.count() >= limit)
    expect("it got no more than that", wrong.count() == limit, wrong.count())
    case.calls(60)
    expect("it gets nothing more", wrong.count() == limit, wrong.count())
    expect("the ejection is counted", case.metric("bowline_ejections_total") == 1, case.metric("bowline_ejections_total"))
    if comes_back:
        wrong.answer = None
        base = case.service["outlierDetection"]["baseEjectionSeconds"]
        eventually("it to come back", lambda: [case.calls(8)] and wrong.count() > limit, base * 10 + 20)
        times = [request.at for request in wrong.seen()]
        between("seconds until then", times[limit] - times[limit - 1], base * 0.9, base * 10 + 5)


def never_ejects(case):
    """With detection off an endpoint that fails goes on getting requests."""
    case.start(change=in_turn)
    wrong = case.servers[0]
    wrong.answer = lambda _: Answer(status=500)
    eventually("fifty failures", lambda: [case.calls(10)] and wrong.count() >= 50)
    expect("nobody is ejected", not case.metric("bowline_ejections_total"), case.metric("bowline_ejections_total"))


def ejects_some(case):
    """However many fail, no more than the percentage is ejected."""
    case.start(endpoints=4)
    percent = case.service["outlierDetection"]["maxEjectionPercent"]
    for server in case.servers:
        server.answer = lambda _: Answer(status=500)
    case.calls(300)
    gone = case.metric("bowline_endpoint_ejected")
    expect(f"{percent} % of four are out", gone == int(4 * percent / 100), gone)


def longer_each_time(case):
    """The second ejection in a row is twice as long, up to the longest."""
    case.start(change=in_turn)
    limits = case.service["outlierDetection"]
    base, most = limits["baseEjectionSeconds"], limits["maxEjectionSeconds"]
    wrong = case.servers[0]
    wrong.answer = lambda _: Answer(status=500)

    def pauses():
        times = [request.at for request in wrong.seen()]
        return [after - before for before, after in zip(times, times[1:]) if after - before > base / 2]

    eventually("three ejections in a row", lambda: [case.calls(4)] and len(pauses()) >= 3, most * 30 + 20)
    first, second, third = pauses()[:3]
    between("the first ejection", first, base * 0.8, base * 10)
    between("the second one", second, min(base * 2, most) * 0.8, min(base * 2, most) * 10)
    between("the third one", third, min(base * 3, most) * 0.8, min(base * 3, most) * 10)
    expect("the second one is longer", second > first * 1.1, (first, second))


def asks(path, answer=None):
    """Makes a backend answer checks so, and other requests well."""
    def answered(request):
        return (answer() if answer else Answer()) if request.path == path else Answer()

    return answered


def others(server, path):
    """Requests that are no checks."""
    return server.count() - server.count(path)


def in_turn(mesh):
    """Endpoints are asked one after the other, where the example does not say how: what gets nothing is out."""
    mesh["services"][0].setdefault("loadBalancing", {}).setdefault("policy", "roundRobin")


def http_check(case, bad, good=None):
    """An endpoint whose answers to checks are bad gets no traffic; when they are good again, it does."""
    path = case.example["services"][0]["healthCheck"]["http"]["path"]
    sick = {"on": False}
    well = good or Answer()
    case.start(endpoints=2, change=in_turn, answer=asks(path, lambda: well))
    check = case.service["healthCheck"]
    wrong = case.servers[0]
    wrong.answer = asks(path, lambda: bad if sick["on"] else well)
    eventually("both to be asked", lambda: all(server.count(path) for server in case.servers))
    eventually("both to get traffic", lambda: [case.calls(10)] and all(others(server, path) for server in case.servers))
    sick["on"] = True
    before = wrong.count(path)

    def out():
        seen = others(wrong, path)
        case.calls(20)
        return others(wrong, path) == seen

    period = check["intervalSeconds"] * check.get("unhealthyThreshold", 2) + check.get("timeoutSeconds", 5)
    eventually("the sick one to get nothing", out, period * 10 + 10)
    expect("it took as many bad checks as it should", wrong.count(path) - before >= check.get("unhealthyThreshold", 2),
           wrong.count(path) - before)
    expect("it is shown", case.metric("bowline_endpoint_healthy", endpoint=wrong.address) == 0)
    still = others(wrong, path)
    case.calls(40)
    expect("it gets nothing at all", others(wrong, path) == still, others(wrong, path) - still)
    sick["on"] = False
    before = wrong.count(path)
    eventually("the well one to get traffic", lambda: not out(), check["intervalSeconds"] * 100 + 10)
    expect("it took as many good checks as it should", wrong.count(path) - before >= check.get("healthyThreshold", 2),
           wrong.count(path) - before)


def check_interval(case):
    """Checks come at the interval, give or take the jitter."""
    case.start(endpoints=1)
    check = case.service["healthCheck"]
    path = check["http"]["path"]
    server = case.servers[0]
    server.answer = asks(path)
    eventually("seven checks", lambda: server.count(path) >= 7, check["intervalSeconds"] * 70 + 10)
    # The second one comes sooner: a new endpoint is asked more often until it is well.
    times = [request.at for request in server.seen(path)][1:7]
    gaps = [after - before for before, after in zip(times, times[1:])]
    jitter = check.get("jitterPercent", 10) / 100
    # Late is allowed ten times as much as early: the machine may be busy.
    for gap in gaps:
        between("the time between two checks", gap, check["intervalSeconds"] * (1 - jitter) * 0.9,
                check["intervalSeconds"] * (1 + jitter) * 10)
    mean = sum(gaps) / len(gaps)
    between("the mean of them", mean, check["intervalSeconds"] * (1 - jitter) * 0.9, check["intervalSeconds"] * 5)


def check_timeout(case):
    """A check that is not answered in time is a bad one."""
    http_check(case, Answer(then="hang"))


def check_host(case):
    """Checks come with the Host that was told."""
    case.start(endpoints=1)
    check = case.service["healthCheck"]["http"]
    server = case.servers[0]
    server.answer = asks(check["path"])
    eventually("a check", lambda: server.count(check["path"]))
    request = server.seen(check["path"])[0]
    expect("its method and Host", (request.method, request.header("host")) == ("GET", check["host"]), request.pairs)


def check_port(case):
    """Checks go to another port than the traffic."""
    from backends import Backend

    health = Backend(case.farm, "health")
    case.ends.append(health.down)

    def at_our_port(mesh):
        mesh["services"][0]["healthCheck"]["port"] = health.port

    case.start(endpoints=1, change=at_our_port)
    path = case.service["healthCheck"]["http"]["path"]
    eventually("a check", lambda: health.count(path))
    expect("traffic goes to the endpoint", {reply.backend for reply in case.calls(5)} == {"server-0"})
    expect("and no check", case.servers[0].count(path) == 0)


def tcp_check(case):
    """An endpoint that takes no connections gets none."""
    case.start(endpoints=2, kinds={"server": Tcp}, change=in_turn)
    check = case.service["healthCheck"]

    def reached(count=12):
        return {first_words(case.vip()[:2]) for _ in range(count)}

    eventually("both to be reached", lambda: reached() == {"server-0", "server-1"})
    case.servers[0].down()
    address = case.servers[0].address

    def unwell():
        return any(one["address"] == address and one["state"] not in ("active", "ok") for one in endpoints(case))

    limit = check["intervalSeconds"] * check.get("unhealthyThreshold", 2) + check.get("timeoutSeconds", 5)
    eventually("it to be unhealthy", unwell, limit * 10 + 10)
    expect("it is not tried", reached() == {"server-1"}, reached())
    case.servers[0].up()
    eventually("it to be back", lambda: reached() == {"server-0", "server-1"}, check["intervalSeconds"] * 100 + 10)


def endpoints(case):
    """What the proxy says of its endpoints."""
    import json

    return json.loads(case.page("/endpoints"))["endpoints"]


def grpc_check(case):
    """An endpoint that does not say SERVING gets no calls."""
    case.start(endpoints=2, kinds={"server": Grpc}, protocol="grpc", change=in_turn)
    check = case.service["healthCheck"]
    name = check["grpc"].get("service", "")
    for server in case.servers:
        server.health = {name: 1}
    eventually("both to be asked", lambda: all(server.checks for server in case.servers))
    expect("about the service that was told", set(case.servers[0].checks) == {name}, case.servers[0].checks)
    channel = case.channel()
    wrong = case.servers[0]
    wrong.health = {name: 2}

    def out():
        seen = len(wrong.calls)
        answers = [case.grpc(channel) for _ in range(20)]
        expect("calls go well", {status for status, _ in answers} == {"OK"}, answers)
        return len(wrong.calls) == seen

    limit = check["intervalSeconds"] * check.get("unhealthyThreshold", 2) + check.get("timeoutSeconds", 5)
    eventually("the one that is not serving to get nothing", out, limit * 10 + 10)
    wrong.health = {name: 1}
    eventually("it to get calls again", lambda: not out(), check["intervalSeconds"] * 100 + 10)


def panics(case):
    """When too few are well, all get traffic."""
    case.start(endpoints=4, change=in_turn)
    path = case.service["healthCheck"]["http"]["path"]
    sick = set()
    for at, server in enumerate(case.servers):
        server.answer = asks(path, lambda at=at: Answer(status=503 if at in sick else 200))
    eventually("all to be asked", lambda: all(server.count(path) for server in case.servers))
    sick.add(0)

    def reached():
        before = [others(server, path) for server in case.servers]
        case.calls(60)
        return {at for at, server in enumerate(case.servers) if others(server, path) > before[at]}

    eventually("the sick one to be left out", lambda: reached() == {1, 2, 3}, 60)
    sick.update({1, 2})
    eventually("all to get traffic, as three of four are sick", lambda: reached() == {0, 1, 2, 3}, 60)


def no_panic(case):
    """With panicPercent 0 sick ones get nothing, however few are well."""
    case.start(endpoints=4, change=in_turn)
    path = case.service["healthCheck"]["http"]["path"]
    sick = set()
    for at, server in enumerate(case.servers):
        server.answer = asks(path, lambda at=at: Answer(status=503 if at in sick else 200))
    eventually("all to be asked", lambda: all(server.count(path) for server in case.servers))
    sick.update({0, 1, 2})

    def reached():
        before = [others(server, path) for server in case.servers]
        case.calls(40)
        return {at for at, server in enumerate(case.servers) if others(server, path) > before[at]}

    eventually("only the well one to get traffic", lambda: reached() == {3}, 60)


def shared(case, workers):
    """All workers know of an ejection, whichever has seen the failures."""
    case.start(flags=["--workers", str(workers)])
    wrong = case.servers[0]
    wrong.answer = lambda _: Answer(status=500)
    eventually("it to be ejected", lambda: [case.call()] and case.metric("bowline_ejections_total"))
    expect("once", case.metric("bowline_ejections_total") == 1)
    seen = wrong.count()
    between("failures until then, over all workers", seen, 5, 5)
    for _ in range(40):
        case.call()
    expect("no worker asks it", wrong.count() == seen, wrong.count() - seen)
