"""A made-up mesh, and what control would say of it: the scenarios of `fake.py`. The world is the same for a seed, but
for its rates, which waver."""

import math
import random
import time
import urllib.parse

NAMESPACE = "hello-world.com"
HOSTILE = [
    "<img src=x onerror=window.hacked=1>",
    "<script>window.hacked=1</script>",
    '"><svg onload=window.hacked=1>',
    "javascript:window.hacked=1",
    "{{constructor}}",
    "__proto__",
    "\u202egnp.exe",
    "a" * 300,
    "' onfocus='window.hacked=1",
]


class Service:
    """A service of the made-up mesh. `milliseconds`: its p50."""

    def __init__(self, name, endpoints, milliseconds, source="static", aliases=None):
        self.name = name
        self.endpoints = {address: {"zone": zone, "weight": 1, "state": "active"} for address, zone in endpoints}
        self.milliseconds = milliseconds
        self.source = source
        self.aliases = [f"{name}.{NAMESPACE}:5000"] if aliases is None else aliases
        self.ratio = 1.0
        self.held = False
        self.settled = True


class Mesh:
    """A made-up mesh. `calls`: {(caller, service): requests a second}."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.namespace = NAMESPACE
        self.services = {}
        self.calls = {}
        self.proxies = []
        self.failures = []
        self.troubles = []
        self.revision = 42
        self.waver = True

    def service(self, name, count, milliseconds=4.0, **more):
        """Adds one with so many endpoints."""
        block = len(self.services)
        endpoints = [(f"10.0.{block % 250}.{17 + number}:9001", "abc"[number % 3]) for number in range(count)]
        self.services[name] = Service(
            name, [(one, f"eu-central-1{zone}") for one, zone in endpoints], milliseconds, **more
        )
        return self.services[name]

    def proxy(self, caller, **more):
        """Adds one."""
        number = len(self.proxies)
        self.proxies.append(
            {
                "id": f"task-{self.random.getrandbits(48):012x}",
                "caller": caller,
                "kind": "bowline",
                "version": "0.1.0",
                "zone": f"eu-central-1{'abc'[number % 3]}",
                "peer": f"10.0.9.{number % 250}:{40000 + number}",
                "connectedSeconds": 3600.0 + 61 * number,
                "acknowledged": self.revision,
                "behind": 0,
                "acknowledgedAfterMilliseconds": 1.4 + self.random.random(),
                "nacks": 0,
                "lastNack": None,
                "reportedSecondsAgo": self.random.random(),
                **more,
            }
        )

    def fail(self, service, endpoint, reason, detail, told=False, times=1, caller=None, ago=0.0):
        """A failure that somebody has reported."""
        proxy = next((one for one in self.proxies if caller in (None, one["caller"])), {"id": "task-0", "caller": ""})
        self.failures.append(
            {
                "at": time.time() - ago,
                "proxy": proxy["id"],
                "caller": proxy["caller"],
                "service": service,
                "endpoint": endpoint,
                "reason": reason,
                "detail": detail,
                "told": told,
                "times": times,
            }
        )
        del self.failures[:-200]

    def kill(self, service, address):
        """An endpoint dies, and is ejected by everybody."""
        self.services[service].endpoints[address]["state"] = "ejected"
        for proxy in self.proxies[:1]:
            self.fail(
                service,
                address,
                "connect_failure",
                f"connect to {address}: Connection refused (os error 111)",
                times=5,
                caller=proxy["caller"],
            )
            self.fail(service, address, "ejected", "5 failures in a row; for 30 s", caller=proxy["caller"])

    def bring_back(self, service, address):
        """It is alive again."""
        self.services[service].endpoints[address]["state"] = "active"

    def about(self, value, phase):
        """The value, a little more or less as time goes by."""
        return value * (1 + 0.06 * math.sin(time.time() / 3 + phase)) if self.waver else value

    def picture(self):
        """As `GET /picture` answers it."""
        services = []
        for phase, service in enumerate(self.services.values()):
            total = sum(rate for (_, to), rate in self.calls.items() if to == service.name)
            total = self.about(total, phase)
            active = [one for one in service.endpoints.values() if one["state"] == "active"]
            seen = len({caller for caller, to in self.calls if to == service.name})
            endpoints = []
            for number, (address, one) in enumerate(service.endpoints.items()):
                share = total / max(1, len(active)) * (1 + number % 3 / 20) if one["state"] == "active" else 0.0
                endpoints.append(
                    {
                        "address": address,
                        "zone": one["zone"],
                        "weight": one["weight"],
                        "state": one["state"],
                        "ejectedBy": seen if one["state"] == "ejected" else 0,
                        "seenBy": seen,
                        "requestsPerSecond": round(share, 3),
                        "failuresPerSecond": round(share * (1 - service.ratio), 3),
                        "p50Milliseconds": service.milliseconds * (1 + number / 40) if share else None,
                        "p99Milliseconds": service.milliseconds * (4 + number / 9) if share else None,
                        "inFlight": round(share * service.milliseconds / 1000),
                    }
                )
            services.append(
                {
                    "service": service.name,
                    "source": service.source,
                    "held": service.held,
                    "settled": service.settled,
                    "aliases": service.aliases,
                    "requestsPerSecond": total,
                    "successRatio": service.ratio if total else None,
                    "p50Milliseconds": service.milliseconds if total else None,
                    "p95Milliseconds": service.milliseconds * 2.2 if total else None,
                    "p99Milliseconds": service.milliseconds * 4.1 if total else None,
                    "inFlight": round(total * service.milliseconds / 1000),
                    "retriesPerSecond": total * (1 - service.ratio) * 2,
                    "endpoints": endpoints,
                }
            )
        calls = [
            {
                "from": caller,
                "to": to,
                "requestsPerSecond": self.about(rate, phase),
                "successRatio": self.services[to].ratio,
                "p50Milliseconds": self.services[to].milliseconds,
                "p99Milliseconds": self.services[to].milliseconds * 4.1,
            }
            for phase, ((caller, to), rate) in enumerate(self.calls.items())
        ]
        callers = {}
        for proxy in self.proxies:
            callers.setdefault(proxy["caller"], []).append(proxy["id"])
        return {
            "namespace": self.namespace,
            "revision": self.revision,
            "now": time.time(),
            "windowSeconds": 10,
            "services": services,
            "callers": [{"caller": one, "proxies": ids} for one, ids in callers.items()],
            "calls": calls,
            "proxies": self.proxies,
            "failures": self.failures[::-1],
            "troubles": self.troubles,
        }

    def history(self, name):
        """As `GET /history` answers it: a day's wave, a deployment in the middle, and a quarter of an hour without
        requests."""
        now = time.time() // 10 * 10
        service = self.services[name]
        rate = sum(rate for (_, to), rate in self.calls.items() if to == name)
        points = []
        for step in range(360):
            at = now - 3590 + 10 * step
            noise = math.sin(step / 5) * math.cos(step / 17) + math.sin(step * 1.7) / 3
            quiet = 40 <= step < 60 or not rate
            deploy = 200 <= step < 212
            points.append(
                {
                    "at": at,
                    "requestsPerSecond": 0.0 if quiet else rate * (0.8 + 0.2 * math.sin(step / 60) + 0.04 * noise),
                    "successRatio": None if quiet else (0.972 if deploy else min(1.0, 0.9997 + 0.0003 * noise)),
                    "p50Milliseconds": None if quiet else service.milliseconds * (1 + 0.08 * noise + 0.6 * deploy),
                    "p99Milliseconds": None if quiet else service.milliseconds * (4.1 + 0.9 * noise + 4 * deploy),
                }
            )
        return {"service": name, "stepSeconds": 10, "points": points}

    def explain(self, url):
        """(status, answer) as `GET /explain` answers it; a text where it is an error."""
        parts = urllib.parse.urlsplit(url)
        if not parts.hostname:
            return 400, f"{url!r} is no absolute URL, such as http://server.{NAMESPACE}:5000/\n"
        for service in self.services.values():
            if any(parts.netloc == alias for alias in service.aliases):
                ends = service.endpoints.items()
                return 200, {
                    "url": url,
                    "service": service.name,
                    "steps": [
                        f"{parts.netloc} is an alias of {service.name}",
                        f"{service.name} has {len(ends)} endpoints from {service.source}",
                        "the balancer takes the better of two by expected latency (peakEwma), the own zone first",
                        "up to 2 retries, each at another endpoint, inside a budget of 20 %",
                    ],
                    "candidates": [address for address, one in ends if one["state"] == "active"],
                    "notCandidates": [
                        {"address": address, "why": "ejected by 2 of 2 proxies: 5 failures in a row"}
                        for address, one in ends
                        if one["state"] != "active"
                    ],
                }
        why = f"{parts.netloc} is no alias of namespace {NAMESPACE}; did you mean server.{NAMESPACE}:5000?"
        return 200, {"url": url, "steps": [why], "candidates": [], "notCandidates": []}


def demo(mesh):
    """What most people see first."""
    server = mesh.service("server", 5, 3.2, source="registered")
    mesh.service("chat", 2, 1.1, source="dns", aliases=[f"chat.{NAMESPACE}:6000"])
    mesh.service("stock", 3, 0.7)
    for caller in ("web", "web", "worker"):
        mesh.proxy(caller)
    mesh.proxy("server", behind=1, acknowledged=mesh.revision - 1)
    mesh.calls = {
        ("web", "server"): 312.0,
        ("worker", "server"): 88.0,
        ("web", "chat"): 41.0,
        ("server", "stock"): 260.0,
    }
    server.ratio = 0.9996
    mesh.services["chat"].ratio = 0.968
    dead = [*server.endpoints][2]
    mesh.fail(
        "chat", "10.0.1.18:9001", "response_timeout", "no response head within 15 s", told=True, caller="web", ago=220
    )
    mesh.fail("server", [*server.endpoints][0], "status_503", "the endpoint answered 503", ago=95, caller="worker")
    mesh.fail(
        "chat",
        "10.0.1.17:9001",
        "reset",
        "the stream was reset with INTERNAL_ERROR before the response head was complete",
        told=True,
        times=3,
        caller="web",
        ago=31,
    )
    mesh.kill("server", dead)


def empty(_):
    """Nothing at all."""


def silent(mesh):
    """Started, and not used."""
    mesh.service("server", 2)
    mesh.proxy("web", reportedSecondsAgo=None, acknowledgedAfterMilliseconds=None)


def sixty(mesh):
    """Layers of services that call one another."""
    layers = [
        [f"edge-{n}" for n in range(4)],
        [f"api-{n:02}" for n in range(16)],
        [f"domain-{n:02}" for n in range(20)],
        [f"store-{n:02}" for n in range(14)],
        [f"legacy-{n}" for n in range(6)],
    ]
    for layer in layers:
        for name in layer:
            mesh.service(name, mesh.random.randint(1, 9), mesh.random.uniform(0.4, 30))
            mesh.proxy(name)
    for entry in ("gateway", "mobile"):
        mesh.proxy(entry)
        for name in layers[0]:
            mesh.calls[(entry, name)] = mesh.random.uniform(50, 900)
    for left, right in zip(layers, layers[1:]):
        for name in right:
            for caller in mesh.random.sample(left, min(len(left), mesh.random.randint(1, 3))):
                mesh.calls[(caller, name)] = mesh.random.uniform(0.2, 300)
    mesh.calls[("store-03", "api-02")] = 3.0  # a circle
    mesh.calls[("edge-0", "store-05")] = 20.0  # past two layers
    mesh.services["store-05"].ratio = 0.91
    mesh.kill("domain-04", [*mesh.services["domain-04"].endpoints][0])


def large(mesh):
    """As much as a page must bear."""
    for number in range(200):
        mesh.service(f"service-{number:03}", 10, mesh.random.uniform(0.5, 40))
    names = list(mesh.services)
    for number in range(300):
        mesh.proxy(names[number % 40] if number % 3 else f"app-{number % 12:02}")
    tiers = [[f"app-{number:02}" for number in range(12)], names[:40], names[40:120], names[120:]]
    for callers, called in zip(tiers, tiers[1:]):
        for name in called:
            for caller in mesh.random.sample(callers, 3):
                mesh.calls[(caller, name)] = mesh.random.uniform(0.1, 500)
    for number in range(200):
        name = mesh.random.choice(names)
        mesh.fail(
            name, [*mesh.services[name].endpoints][0], "reset", "reset by peer", told=number % 5 == 0, ago=200 - number
        )


def hostile(mesh):
    """Names are what somebody else wrote."""
    mesh.namespace = HOSTILE[0]
    for text in HOSTILE:
        service = mesh.service(text, 1, source=text, aliases=[text])
        service.endpoints = {
            text: {"zone": text, "weight": 1, "state": "ejected"},
            "10.0.0.1:1": {"zone": None, "weight": 0, "state": "draining"},
        }
        service.held, service.settled = True, False
        mesh.proxy(text, id=text, zone=text, version=text, kind=text, peer=text, nacks=1, lastNack=text)
        mesh.troubles.append({"source": text, "service": text, "why": text, "seconds": 12.0})
    for text in HOSTILE:
        mesh.calls[(text, HOSTILE[0])] = 5.0
        mesh.calls[("app " + text, text)] = 1.0
        mesh.fail(text, text, text, text, told=True, caller=text)


SCENARIOS = {build.__name__: build for build in (demo, empty, silent, sixty, large, hostile)}
