"""A collector that is slow, refuses, takes half, dies and comes back. The app's requests must not notice."""

import statistics
import threading
import time

from report import Failed, eventually
from world import Service, free_port

# Each call makes a span of more than 4 KB. While the collector is away, without a bound, this many calls would take more
# than twice of what the proxy may grow by; the queue itself is a tenth of that.
USER_AGENT = "long" * 1024
AWAY_CALLS = 6000
MAX_GROWTH_MB = 12
DROPPED = "bowline_otlp_spans_dropped_total"
UNSEEN = "bowline_records_dropped_total"
EXPORTED = "bowline_otlp_spans_exported_total"


class Load:
    """Calls from a few threads, one after the other, until it is told to stop."""

    def __init__(self, world, service, callers=4):
        self.world, self.service = world, service
        self.took = []  # seconds, of all calls
        self.failed = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._call, daemon=True) for _ in range(callers)]
        for thread in self.threads:
            thread.start()

    def _call(self):
        while not self.stopping.is_set():
            began = time.monotonic()
            try:
                status = self.world.get(self.service, "/load", {"User-Agent": USER_AGENT})
            except OSError as error:
                status = repr(error)
            self.took.append(time.monotonic() - began)
            if status != 200:
                self.failed.append(status)

    def more(self, count):
        """Waits until so many more calls have been made."""
        until = len(self.took) + count
        eventually(f"{count} more calls", lambda: len(self.took) >= until, 120)

    def stop(self):
        """Ends it; returns (calls, failed ones)."""
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        return len(self.took), self.failed


def started(world, *arguments, protocol="grpc", **env):
    """(receiver, service, sidecar)."""
    receiver, endpoint = world.receiver("--quiet", *arguments), world.endpoint(2)
    service = Service("server", endpoint.ports)
    port = receiver.grpc if protocol == "grpc" else receiver.http
    return receiver, service, world.sidecar("bowline-a", [service], receiver, OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
                                            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}", **env)


def accounted(world, what, sidecar, made, receivers=None, slack=0):
    """The check that each span that was made has come to one of the receivers (default: all) or was counted as dropped.

    `slack`: so many may be both: what a collector has got and not yet confirmed when it was killed.
    """
    def both():
        # A request that nobody could look at would have made two spans.
        unseen = 2 * (sidecar.metric(UNSEEN) or 0)
        return came(*(receivers or world.receivers)) + (sidecar.metric(DROPPED) or 0) + unseen

    try:
        eventually("all spans to be accounted for", lambda: both() >= made)
    except Failed as failed:
        world.report.failure(f"{what}: each span has come or was counted", f"{failed}: {both()} of {made}")
    else:
        world.report.check(f"{what}: each span has come or was counted", made <= both() <= made + slack, (both(), made))


def came(*receivers):
    """How many spans these have taken."""
    return sum(request["spans"] - request["rejected"] for one in receivers for request in one.values("request"))


def calls(world, what, load):
    """Ends the load; the check that no call has failed."""
    count, failed = load.stop()
    quick = statistics.quantiles(load.took, n=100)
    world.report.tell(f"{what}: {count} calls, median {quick[49] * 1e3:.1f} ms, p99 {quick[98] * 1e3:.1f} ms")
    world.report.check(f"{what}: no call failed", not failed, f"{len(failed)} of {count}: {failed[:5]}")
    return quick[49]


def slow(world):
    """It takes two seconds for each request: the queue is full soon, and the calls are as fast as without it."""
    receiver, service, sidecar = started(world, OTEL_BSP_MAX_QUEUE_SIZE=64, OTEL_BSP_MAX_EXPORT_BATCH_SIZE=32)
    first = Load(world, service)
    first.more(300)
    before = calls(world, "a collector at its best", first)
    receiver.order("slow 2", "mode")
    memory = sidecar.resident_mb()
    load = Load(world, service)
    load.more(1000)
    dropped(world, sidecar)
    median = calls(world, "a slow one", load)
    # A call that waited for the collector would take two seconds.
    world.report.check("no call waits for it", median < max(10 * before, 0.2), (before, median))
    counts(world, sidecar, memory)
    receiver.order("normal", "mode")
    accounted(world, "a slow one", sidecar, 2 * (len(first.took) + len(load.took)))
    world.strict()


def dropped(world, sidecar, least=1):
    """The check that so many dropped spans are counted, soon; returns how many are."""
    try:
        eventually("dropped spans", lambda: (sidecar.metric(DROPPED) or 0) >= least)
    except Failed as failed:
        world.report.failure("drops are counted", failed)
    else:
        world.report.check("drops are counted", True)
    return sidecar.metric(DROPPED)


def counts(world, sidecar, memory, exported=True):
    """The checks of what is said to have been exported, and of memory."""
    report = world.report
    lost, sent = sidecar.metric(DROPPED), sidecar.metric(EXPORTED)
    grown = sidecar.resident_mb() - memory
    report.check("memory is bounded", grown < MAX_GROWTH_MB, f"{grown:.1f} MB more")
    report.tell(f"dropped {lost}, exported {sent}, {grown:+.1f} MB")
    if exported and sent is not None:
        seen = came(*world.receivers)
        report.check("no more is counted as exported than came", sent <= seen, (sent, seen))


def refusing(world):
    """UNAVAILABLE, or 503, to everything; then it thinks better of it."""
    for protocol in ("grpc", "http/protobuf"):
        receiver, service, sidecar = started(world, "--mode", "refusing", protocol=protocol, OTEL_BSP_MAX_QUEUE_SIZE=64,
                                             OTEL_BSP_MAX_EXPORT_BATCH_SIZE=32)
        memory = sidecar.resident_mb()
        load = Load(world, service)
        load.more(1000)
        dropped(world, sidecar)
        calls(world, f"{protocol}: one that refuses", load)
        refused = len(receiver.values("refused"))
        world.report.check(f"{protocol}: it was asked, and not all the time", 1 <= refused < 200, refused)
        counts(world, sidecar, memory, exported=False)
        receiver.order("normal", "mode")
        world.get(service, "/again")
        eventually(f"{protocol}: spans", lambda receiver=receiver: receiver.values("request"))
        world.report.check(f"{protocol}: spans come when it does not refuse any more", True)
        accounted(world, protocol, sidecar, 2 * (len(load.took) + 1), [receiver])
    world.strict()


def partial(world):
    """partial_success: what is rejected is counted, and not sent again."""
    receiver, service, sidecar = started(world, "--mode", "partial")
    for _ in range(20):
        world.get(service, "/some")
    eventually("all spans", lambda: sum(request["spans"] for request in receiver.values("request")) >= 40)
    rejected = sum(request["rejected"] for request in receiver.values("request"))
    lost = dropped(world, sidecar, rejected)
    world.report.check("just what was rejected", lost == rejected, (lost, rejected))
    # A span sent twice would be objected to.
    world.strict()


def killed(world):
    """Killed in mid-load, away for a while, and back on the same port."""
    since = time.time_ns()
    # One that no connection going out is given while nobody listens there.
    port = free_port()
    receiver, service, sidecar = started(world, "--grpc", port, OTEL_BSP_MAX_QUEUE_SIZE=512)
    load = Load(world, service)
    eventually("spans", lambda: receiver.values("request"))
    load.more(300)
    memory = sidecar.resident_mb()
    receiver.kill()
    load.more(AWAY_CALLS)
    dropped(world, sidecar)
    counts(world, sidecar, memory, exported=False)
    back = world.receiver("--grpc", port, "--since", since, "--quiet")
    if back.grpc != port:
        raise Failed(f"it came back on {back.grpc}, not on {port}")
    load.more(300)
    eventually("spans at the one that came back", lambda: came(back) > 100)
    world.report.check("spans come again when it is back", True)
    calls(world, "all the while", load)
    # Some batches may have come and not been confirmed when it was killed. What waits in the queue goes first: it may fill it.
    accounted(world, "all the while", sidecar, 2 * len(load.took), slack=2 * 512)
    before = sidecar.metric(DROPPED)
    for _ in range(50):
        world.get(service, "/after")
    accounted(world, "after it", sidecar, 2 * (len(load.took) + 50), slack=2 * 512)
    after = sidecar.metric(DROPPED)
    world.report.check("and nothing is dropped any more", before is not None and before == after, (before, after))
    world.strict()
