"""How requests are spread over endpoints."""

import time

from backends import Answer, Backend, Dns
from world import between, eventually, expect


def shares(case, count, **more):
    """{backend: its share} of so many calls, all of which must go well."""
    replies = case.calls(count, **more)
    bad = [reply for reply in replies if reply.status != 200]
    expect("every call gets its answer", not bad, bad[:1])
    found = case.shares(replies)
    return {server.name: found.get(server.name, 0) / count for server in case.servers}


def round_robin(case):
    """One after the other."""
    case.start(endpoints=3, change=patient)
    found = case.shares(case.calls(30))
    expect("three endpoints get ten of thirty each", sorted(found.values()) == [10, 10, 10], found)


def by_weight(case, count=400):
    """Shares follow the weights of the endpoints."""
    case.start()
    weights = [one.get("weight", 1) for one in case.service["endpoints"]["static"]]
    found = shares(case, count)
    for server, weight in zip(case.servers, weights):
        fair = weight / sum(weights)
        # At random, over 400 calls, a share strays by 0.022: this is five times that.
        between(f"the share of {server.name}, of weight {weight}", found[server.name], fair - 0.11, fair + 0.11)


def at_random(case):
    """About half each, however slow they are, and in no order."""
    case.start()
    case.servers[0].answer = lambda _: Answer(delay=0.01)
    replies = case.calls(200)
    between("calls of one of two endpoints", case.shares(replies).get("server-0", 0), 50, 150)
    again = sum(one.backend == other.backend for one, other in zip(replies, replies[1:]))
    between("calls that went where the one before had gone", again, 30, 170)


def least_requests(case):
    """Who is busy gets nothing while another is free; who is only slow gets as much as others."""
    case.start()
    gate = case.gate()
    for server in case.servers:
        server.answer = lambda request: Answer(until=gate if request.path == "/held" else None)
    held = case.begin("/held")
    busy = eventually("the held call to arrive", lambda: next((one for one in case.servers if one.count("/held")), None))
    replies = case.calls(20, "/")
    expect("the idle endpoint gets all", busy.name not in case.shares(replies), case.shares(replies))
    gate.open()
    expect("the held call ends well", held.result().status == 200)
    busy.answer = lambda _: Answer(delay=0.02)
    # At random, over 100 calls one after the other, the share strays by 0.05: this is four times that.
    between("the slow one's share", shares(case, 100)[busy.name], 0.3, 0.7)


def fastest(case):
    """Who is slow gets little."""
    case.start()
    case.servers[0].answer = lambda _: Answer(delay=0.3)
    found = shares(case, 100)
    between("the slow endpoint's share", found["server-0"], 0, 0.25)


def no_traffic(case):
    """An endpoint of weight 0 gets nothing."""
    case.start()
    idle = [at for at, one in enumerate(case.service["endpoints"]["static"]) if one.get("weight") == 0]
    expect("the example has an endpoint of weight 0", idle)
    found = shares(case, 50)
    for at in idle:
        expect("it gets nothing", found[f"server-{at}"] == 0, found)


def backup(case):
    """The second level gets nothing before the first one is down, and then everything."""
    case.start()
    first = [at for at, one in enumerate(case.service["endpoints"]["static"]) if not one.get("priority")]
    found = shares(case, 40)
    expect("the first level gets all", sum(found[f"server-{at}"] for at in first) == 1, found)
    for at in first:
        case.servers[at].down()
    found = shares(case, 40)
    expect("the backup answers, and no call fails", sum(found[f"server-{at}"] for at in first) == 0, found)


def keyed(on, key):
    """What a call has that carries this key."""
    if on == "clientAddress":
        return {"headers": {"x-forwarded-for": f"10.3.{key}.7"}}
    if on == "path":
        return {"path": f"/item/{key}"}
    if "header" in on:
        return {"headers": {on["header"]: f"key-{key}"}}
    if "query" in on:
        return {"path": f"/?{on['query']}=key-{key}"}
    return {"headers": {"cookie": f"other=1; {on['cookie']['name']}=key-{key}"}}


def patient(mesh):
    """No attempt is given up for another endpoint because this machine is busy."""
    mesh["services"][0].setdefault("timeout", {}).setdefault("perAttemptSeconds", 0)


def sticky(case, moves=0.0, endpoints=3):
    """The same key goes to the same endpoint; when one goes, only its keys move, but for a share of `moves`."""
    case.start(endpoints=endpoints, change=patient)
    on = case.service["loadBalancing"]["hash"]
    home = {}
    for key in range(40):
        found = case.shares([case.call(**keyed(on, key)) for _ in range(3)])
        expect(f"key {key} sticks", len(found) == 1, (found, "retries", case.metric("bowline_retries_total")))
        home[key] = next(iter(found))
    expect("keys spread over all endpoints", len(set(home.values())) == len(case.servers), home)
    gone = case.service["endpoints"]["static"].pop()
    expect("the last one goes", gone)
    lost = case.servers[-1].name
    case.reload()
    after = {key: case.call(**keyed(on, key)).backend for key in home}
    expect("nothing goes to the one that is gone", lost not in after.values(), after)
    stayers = [key for key in home if home[key] != lost]
    moved = [key for key in stayers if home[key] != after[key]]
    between("the share of other keys that moved", len(moved) / len(stayers), 0, moves)


def sticky_cookie(case):
    """Who has no cookie gets one, and stays where it leads."""
    case.start(endpoints=3, change=patient)
    cookie = case.service["loadBalancing"]["hash"]["cookie"]
    homes = set()
    for _ in range(20):
        first = case.call()
        given = first.header("set-cookie") or ""
        parts = [part.strip() for part in given.split(";")]
        expect("a cookie is set", parts[0].startswith(f"{cookie['name']}=") and len(parts[0]) > len(cookie["name"]) + 1, given)
        expect("its path", f"path={cookie.get('path', '/')}" in [part.lower() for part in parts], given)
        ages = [part.split("=")[1] for part in parts if part.lower().startswith("max-age=")]
        expect("its age", ages == ([str(cookie["ttlSeconds"])] if cookie.get("ttlSeconds") else []), given)
        expect("it is HttpOnly", "httponly" in [part.lower() for part in parts], given)
        again = [case.call(headers={"cookie": parts[0]}) for _ in range(4)]
        expect("the caller stays", case.shares(again) == {first.backend: 4}, (first.backend, case.shares(again)))
        expect("no second cookie", not any(reply.header("set-cookie") for reply in again), again[0])
        homes.add(first.backend)
    expect("callers spread", len(homes) >= 2, homes)


def bounded(case):
    """A hot key overflows to others when its endpoint has more than its share."""
    case.start(endpoints=3, change=patient)
    on = case.service["loadBalancing"]["hash"]
    percent = case.service["loadBalancing"]["boundedLoadPercent"]
    expect("alone it sticks", len(case.shares([case.call(**keyed(on, 1)) for _ in range(5)])) == 1)
    gate = case.gate()
    for server in case.servers:
        server.answer = lambda _: Answer(until=gate)
    held = [case.begin(**keyed(on, 1)) for _ in range(12)]
    eventually("all to arrive", lambda: sum(server.in_flight for server in case.servers) == 12)
    most = max(server.in_flight for server in case.servers)
    # 12 over 3 endpoints: a fair share is 4, and one more for rounding up.
    between("the fullest endpoint", most, 4, int(4 * percent / 100 + 1))
    gate.open()
    expect("all end well", {one.result().status for one in held} == {200})


def slow_start(case):
    """A new endpoint gets little at first, and its full share later."""
    case.start()
    late = case.service["endpoints"]["static"].pop()
    case.reload()
    case.calls(20)
    expect("it was not there", case.servers[-1].count() <= 20)
    before = case.servers[-1].count()
    case.service["endpoints"]["static"].append(late)
    case.reload()
    began = time.monotonic()
    seconds = case.service["loadBalancing"]["slowStartSeconds"]
    case.calls(200)
    took = time.monotonic() - began
    expect("two hundred calls take a fraction of the slow start", took < seconds / 2, took)
    count = len(case.service["endpoints"]["static"])
    between("of two hundred calls, those of the new one", case.servers[-1].count() - before, 0, 200 / count * 0.6)

    def grown():
        since = case.servers[-1].count()
        case.calls(300)
        return case.servers[-1].count() - since > 300 / count * 0.8

    eventually("the new one to get its share", grown)
    expect("it had to wait for it", time.monotonic() - began > seconds * 0.4, time.monotonic() - began)


def zone_weights(case):
    """Zones get what they are given."""
    case.start()
    weights = case.service["loadBalancing"]["zoneWeights"]
    zones = [one.get("zone") for one in case.service["endpoints"]["static"]]
    found = shares(case, 400)
    for zone in set(zones):
        fair = weights.get(zone, 0) / sum(weights.values())
        seen = sum(found[f"server-{at}"] for at, one in enumerate(zones) if one == zone)
        between(f"the share of zone {zone}", seen, fair * 0.7, fair * 1.3)


def own_zone(case, zone="a"):
    """With twice as many endpoints as zones the caller's own zone gets all that it can carry."""
    case.start(flags=["--zone", zone])
    zones = [one["zone"] for one in case.service["endpoints"]["static"]]
    expect("the example has enough endpoints", len(zones) >= 2 * len(set(zones)))
    found = shares(case, 100)
    near = sum(found[f"server-{at}"] for at, one in enumerate(zones) if one == zone)
    expect("all stays in the zone", near == 1, found)


def subset(case):
    """Only endpoints with the labels."""
    case.start()
    labels = case.service["loadBalancing"]["subset"]
    found = shares(case, 60)
    for at, one in enumerate(case.service["endpoints"]["static"]):
        fits = labels.items() <= one.get("metadata", {}).items()
        expect(f"server-{at} gets something if it fits", (found[f"server-{at}"] > 0) == fits, found)


def resolved(case, srv=False):
    """Endpoints come from DNS, and change with it."""
    one = Backend(case.farm, "one", host="127.0.0.2")
    two = Backend(case.farm, "two", host="127.0.0.3", port=one.port)
    case.ends += [one.down, two.down]
    records = [(0, 1, one.port, "one.test", "127.0.0.2"), (0, 1, one.port, "two.test", "127.0.0.3")] if srv else \
        ["127.0.0.2", "127.0.0.3"]
    server = Dns(case.example["services"][0]["endpoints"]["dns"]["name"], records[:1])
    case.ends.append(server.down)

    def at_our_port(mesh):
        if not srv:
            mesh["services"][0]["endpoints"]["dns"]["port"] = one.port

    case.start(flags=["--resolver", server.address], change=at_our_port)
    eventually("the first address", lambda: case.call().backend == "one")
    server.records = records
    eventually("the second address as well", lambda: {one.backend for one in case.calls(20)} == {"one", "two"})
    server.records = records[1:]
    eventually("the first one to be gone", lambda: {one.backend for one in case.calls(20)} == {"two"})
