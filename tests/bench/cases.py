"""The cases: what is asked of every proxy. Names are stable; reports and gates refer to them."""

from dataclasses import dataclass, field

MIB = 1 << 20


@dataclass(frozen=True)
class Brownout:
    """Endpoints of which some become slow for a while. Times are in seconds."""

    endpoints: int = 10
    slow: int = 1  # how many of them become slow
    factor: float = 50.0  # by how much
    rate: float = 1000.0  # requests a second
    takes: float = 0.004  # the median time of an answer
    sigma: float = 0.3  # log-normal: one in a hundred takes twice as long
    warm_up: float = 2.0
    calm: float = 4.0
    brown: float = 12.0
    after: float = 6.0
    deadline: float = 1.0  # when a client hangs up
    late: float = 0.003  # a round whose load was sent later than this (99th percentile) was disturbed by other work
    slots: int = 0  # each works on any number at a time
    seed: int = 7

    @property
    def slow_endpoints(self):
        """Their numbers."""
        return list(range(self.slow))

    def times(self):
        """(begin, end) of the calm time, of the slow one, and of what comes after."""
        first = self.warm_up + self.calm
        return (self.warm_up, first), (first, first + self.brown), (first + self.brown, first + self.brown + self.after)

    def phases(self, _capacity):
        """Of the load: one."""
        return [[self.times()[2][1], self.rate]]

    def slow_times(self):
        """For the servers."""
        begins, ends = self.times()[1]
        return [begins, ends, self.factor, self.slow_endpoints]


@dataclass(frozen=True)
class Overload:
    """One server of known capacity under more than it bears. Times are in seconds."""

    endpoints: int = 1
    slots: int = 20  # what it works on at a time
    takes: float = 0.02  # the time of an answer
    sigma: float = 0.0
    times_capacity: float = 3.0
    calm: float = 5.0  # at half of its capacity
    overload: float = 20.0
    deadline: float = 0.25  # when a client hangs up
    # Whoever hangs up needs a new connection next time, so where nothing sheds load three thousand are opened a second.
    late: float = 0.01
    seed: int = 7

    def overload_times(self):
        """(begin, end)."""
        return self.calm, self.calm + self.overload

    def phases(self, capacity):
        """Of the load."""
        return [[self.calm, capacity / 2], [self.overload, capacity * self.times_capacity]]

    def slow_times(self):
        """It is as fast as ever."""
        return None


@dataclass(frozen=True)
class Case:
    """One kind of load."""

    name: str
    title: str
    protocol: str  # what the client speaks to the proxy: h1, h2 or tcp
    tool: str  # wrk, h2load, open (see openload.py), or none
    place: str = field(default="host", kw_only=True)  # host: everything on loopback; task: see task.py;
    # traced, outage: see sink.py; brownout, overload: see openloop.py; policies, before: beside a second Bowline
    connections: int = 0
    streams: int = 1
    path: str = "/"
    body_bytes: int = 64
    sent_bytes: int = 0  # of the request's body
    unit: str = "request"  # what CPU is counted per: request or MiB
    quick: bool = False  # part of --quick
    on_demand: bool = False  # only run by its name
    skips: tuple = ()  # (proxy, why) pairs: proxies that can't or needn't do this case
    header: str = ""  # that each request has besides the usual ones, as `name: value`
    setup: object = None  # of the servers and the load, where the load is open
    rounds: int = 3  # at most, where the load is open
    metric: str = "cpu_us"  # what the gates judge, and by which the controls are checked for steadiness

    def units(self, requests):
        """How many units (requests or MiB) that many requests are."""
        return requests * (self.body_bytes + self.sent_bytes) / MIB if self.unit == "MiB" else requests

    def why_skipped(self, proxy):
        """The reason this proxy takes no part, or None."""
        return dict(self.skips).get(proxy)


# The floor says what copying bytes costs here; once is enough, in the case that is all system calls.
_NO_FLOOR = ("haproxy-tcp", "the floor is measured in h1 alone")
_NO_ORIGINAL = ("nginx", "it does not ask the kernel where a redirected connection was going")
_NO_TRACER = (("haproxy", "Debian's has no OpenTelemetry"), ("nginx", "Debian's has no OpenTelemetry"))

ALL = [
    Case("h1", "HTTP/1.1 keep-alive, 64 connections, 64-byte body", "h1", "wrk", 64, quick=True),
    Case("h2", "HTTP/2 prior knowledge, 8 connections x 32 streams, 64-byte body", "h2", "h2load", 8, 32,
         quick=True, skips=(_NO_FLOOR,)),
    Case("latency", "HTTP/1.1, 1 connection, one request at a time", "h1", "wrk", 1, quick=True, metric="p50_us",
         skips=(_NO_FLOOR,)),
    Case("idle", "started and ready, no traffic", "h1", "none", quick=True, metric="rss_start_mb",
         skips=(_NO_FLOOR,)),
    Case("busy1000", "HTTP/1.1, 1,000 busy connections, 64-byte body", "h1", "wrk", 1000, quick=True,
         metric="rss_busy_mb", skips=(_NO_FLOOR,)),
    Case("body1m-h1", "HTTP/1.1, 16 connections, 1 MiB body", "h1", "wrk", 16, path="/1m", body_bytes=MIB,
         unit="MiB", skips=(_NO_FLOOR,)),
    Case("body1m-h2", "HTTP/2, 4 connections x 4 streams, 1 MiB body", "h2", "h2load", 4, 4, path="/1m",
         body_bytes=MIB, unit="MiB", skips=(_NO_FLOOR,)),
    Case("tcp", "TCP pass-through, 16 connections, 1 MiB HTTP/1.1 body inside", "tcp", "wrk", 16, path="/1m",
         body_bytes=MIB, unit="MiB",
         skips=(_NO_FLOOR,
                ("nginx", "Debian's nginx-light has no stream module"))),
    Case("redirect-h1", "Redirected: HTTP/1.1 to a VIP, 64 connections, 64-byte body", "h1", "wrk", 64, place="task",
         skips=(_NO_ORIGINAL,)),
    Case("passthrough", "Passed through: 16 connections, 1 MiB each way", "tcp", "wrk", 16, path="/both",
         body_bytes=MIB, sent_bytes=MIB, unit="MiB", place="task", skips=(_NO_ORIGINAL,)),
    Case("passthrough-rr", "Passed through: 1 connection, 64 bytes asked for at a time", "tcp", "wrk", 1,
         metric="p50_us", place="task", skips=(_NO_ORIGINAL,)),
    Case("traced-h1", "All traced: HTTP/1.1 keep-alive, 64 connections, 64-byte body", "h1", "wrk", 64, place="traced",
         skips=_NO_TRACER),
    Case("collector-down", "All traced, the collector killed in mid-load: HTTP/1.1, 8 connections", "h1", "wrk", 8,
         place="outage", metric="p99_us", skips=_NO_TRACER),
    Case("policies-h1", "20 routes, breaker, health check, rate limit: HTTP/1.1, 64 connections, 64-byte body", "h1", "wrk", 64,
         place="policies", header="x-bench: last"),
    Case("policies-unused", "No policy, beside an older program: HTTP/1.1, 64 connections, 64-byte body", "h1", "wrk", 64,
         place="before", on_demand=True),
    Case("brownout-one", "One of ten endpoints 50 times slower: 1,000 requests/s, open loop, 24 s a round", "h1", "open",
         place="brownout", on_demand=True, setup=Brownout(), metric="p99_us"),
    Case("brownout-all", "All ten endpoints 50 times slower: 1,000 requests/s, open loop, 24 s a round", "h1", "open",
         place="brownout", on_demand=True, setup=Brownout(slow=10), metric="p99_us"),
    Case("overload", "Three times the capacity of the server, open loop, 25 s a round", "h1", "open",
         place="overload", on_demand=True, setup=Overload(), metric="goodput"),
]

BY_NAME = {case.name: case for case in ALL}
