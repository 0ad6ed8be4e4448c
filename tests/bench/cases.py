"""The cases: what is asked of every proxy. Names are stable; reports and gates refer to them."""

from dataclasses import dataclass, field

MIB = 1 << 20


@dataclass(frozen=True)
class Case:
    """One kind of load."""

    name: str
    title: str
    protocol: str  # what the client speaks to the proxy: h1, h2 or tcp
    tool: str  # wrk, h2load, or none
    place: str = field(default="host", kw_only=True)  # host: everything on loopback; task: see task.py; traced, outage: see sink.py
    connections: int = 0
    streams: int = 1
    path: str = "/"
    body_bytes: int = 64
    sent_bytes: int = 0  # of the request's body
    unit: str = "request"  # what CPU is counted per: request or MiB
    quick: bool = False  # part of --quick
    skips: tuple = ()  # (proxy, why) pairs: proxies that can't or needn't do this case
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
]

BY_NAME = {case.name: case for case in ALL}
