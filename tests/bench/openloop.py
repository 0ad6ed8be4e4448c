"""Cases under open-loop load: brown-outs and overload, with simulated servers behind the proxies.

One round of one proxy: it is started anew, so that nothing of an earlier round is left in it, the servers begin anew, and the
load goes through its phases while the servers go through theirs, by the same clock.
"""

import json
import socket
import sys
import time
from array import array
from dataclasses import dataclass
from pathlib import Path

import measure
import report
from load import LoadError
from openload import BROKEN, TIMEOUT
from ports import accepts, free_port, wait_for
from procs import StartError
from simserver import PARTS
from stats import med, percentile, spread

_HERE = Path(__file__).resolve().parent
# Between the command and its first moment: both programs have started by then.
_LEAD = 0.5
# A round whose load was sent late was disturbed by other work: it is done again, twice at most.
REPEATS = 2
# On a machine that never falls quiet repeating helps nothing: after so many vain ones in a row, no more of it.
VAIN_LIMIT = 4
# The retry budget's defaults, of both.
BUDGET_PERCENT = 20
BUDGET_PER_SECOND = 3


class Servers:
    """The simulated servers of one case, in a process of their own."""

    def __init__(self, pack, cpus, case):
        setup = case.setup
        self.host = "127.0.0.1"
        self.ports = [free_port() for _ in range(setup.endpoints)]
        control = free_port()
        spec = {"host": self.host, "ports": self.ports, "control": control, "median": setup.takes, "sigma": setup.sigma,
                "slots": setup.slots, "seed": setup.seed}
        self.pack = pack
        self.proc = pack.start(f"servers-{case.name}", [sys.executable, _HERE / "simserver.py", json.dumps(spec)], cpus)
        if not wait_for(lambda: not self.proc.alive() or accepts("127.0.0.1", control), 10) or not self.proc.alive():
            raise StartError(f"the simulated servers did not start:\n{self.proc.last_words()}")
        with socket.create_connection(("127.0.0.1", control), 10) as connection:
            self._lines = connection.makefile("rw")

    def _ask(self, command):
        self._lines.write(json.dumps(command) + "\n")
        self._lines.flush()
        return json.loads(self._lines.readline())

    def stop(self):
        """Ends the process."""
        self._lines.close()
        self.pack.stop(self.proc, grace=0.5)

    def begin(self, start, slow=None):
        """Everything anew, with times from `start` on."""
        self._ask({"start": start, "slow": slow})

    def counts(self):
        """What has come since, as `simserver` says it."""
        return self._ask({"counts": True})


@dataclass
class Seen:
    """The requests of one round, by number."""

    meant: list  # seconds from the start
    latency: array  # seconds
    status: array
    late: array  # seconds

    def part(self, begins, ends):
        """Those that were meant for that time."""
        chosen = [n for n, at in enumerate(self.meant) if begins <= at < ends]
        return Seen([self.meant[n] for n in chosen], *(array("d", (figures[n] for n in chosen))
                                                       for figures in (self.latency, self.status, self.late)))

    def micros(self, quantile, status=None):
        """A quantile of the latencies, of the answers of this status alone where one is given; None of nothing."""
        return percentile([t * 1e6 for t, s in zip(self.latency, self.status) if status in (None, s)], quantile)

    def count(self, status):
        """How many had this status."""
        return sum(1 for s in self.status if s == status)

    @property
    def good(self):
        """The share that was answered with 200 in time."""
        return self.count(200.0) / len(self.status)


def meant_times(phases):
    """When each request is meant to be sent; the generator's own rule."""
    times, at = [], 0.0
    for seconds, rate in phases:
        times += [at + number / rate for number in range(round(seconds * rate))]
        at += seconds
    return times


def read(path, phases):
    """What the load generator wrote."""
    figures = array("d", Path(path).read_bytes())
    size = len(figures) // 3
    return Seen(meant_times(phases), figures[:size], figures[size:2 * size], figures[2 * size:])


def received(counts, begins, ends, which=None):
    """How many requests came to those endpoints (None: all) in that time."""
    first, last = round(begins * PARTS), round(ends * PARTS)
    return sum(sum(parts[first:last]) for number, parts in enumerate(counts["received"])
               if which is None or number in which)


def brownout_figures(setup, seen, counts):
    """What one round of a brown-out came to."""
    calm, slow, after = setup.times()
    before, during, later = (seen.part(*times) for times in (calm, slow, after))
    which = setup.slow_endpoints
    # From the beginning of the calm time, so that what the budget has saved up is counted where it is spent.
    sent = len(before.meant) + len(during.meant)
    retries = max(0, received(counts, calm[0], slow[1]) - sent)
    allowed = sent * BUDGET_PERCENT / 100 + BUDGET_PER_SECOND * (slow[1] - calm[0])
    late_end = (after[1] - 2.0, after[1])
    return {
        "calm_success": before.good, "calm_p50_us": before.micros(0.5), "calm_p99_us": before.micros(0.99),
        "p50_us": during.micros(0.5), "p99_us": during.micros(0.99), "p999_us": during.micros(0.999),
        "success": during.good,
        "retries": (received(counts, *slow) - len(during.meant)) / len(during.meant),
        "budget_used": retries / allowed,
        "slow_share": received(counts, *slow, which) / max(1, received(counts, *slow)),
        "after_p99_us": later.micros(0.99), "after_success": later.good,
        "back_share": received(counts, *late_end, which) / max(1, received(counts, *late_end)),
    }


def overload_figures(setup, seen, counts, capacity):
    """What one round of an overload came to."""
    begins, ends = setup.overload_times()
    # Its first second opens connections, and is not looked at.
    calm, during = seen.part(1.0, begins), seen.part(begins, ends)
    seconds = ends - begins
    good = during.count(200.0)
    return {
        "capacity": capacity, "offered": len(during.meant) / seconds,
        "goodput": good / seconds, "goodput_share": good / seconds / capacity,
        "p50_us": during.micros(0.5, 200.0), "p99_us": during.micros(0.99, 200.0),
        "shed": during.count(503.0) / seconds, "broken": during.count(BROKEN) / seconds,
        "shed_p50_us": during.micros(0.5, 503.0), "shed_p99_us": during.micros(0.99, 503.0),
        "lost": during.count(TIMEOUT) / seconds,
        "other": (len(during.meant) - good - during.count(503.0) - during.count(TIMEOUT)) / seconds,
        "reached": received(counts, begins, ends) / seconds / capacity,
        "most_waiting": max(counts["most_waiting"]),
        "calm_p50_us": calm.micros(0.5), "calm_success": calm.good,
    }


class OpenBench:
    """Runs these cases, with what the other ones run with."""

    def __init__(self, bench):
        self.bench = bench
        self.pack = bench.world.pack
        self.cpus = bench.loader.cpus
        self.vain = 0

    def run(self, case, peers, result):
        """Fills the result of one case."""
        result["late_limit_us"] = case.setup.late * 1e6
        servers = Servers(self.pack, self.cpus, case)
        try:
            capacity = self._capacity(case, servers) if case.setup.slots else None
            self._rounds(case, peers, servers, capacity, result)
        finally:
            servers.stop()

    def _load(self, name, spec, timeout, meanwhile=None):
        return self.pack.run(name, [sys.executable, _HERE / "openload.py", json.dumps(spec)], self.cpus, timeout, meanwhile)

    def _capacity(self, case, servers):
        """Answers a second with twice as many connections as slots, without a proxy."""
        setup = case.setup
        servers.begin(time.monotonic())
        out = json.loads(self._load("capacity", {
            "host": servers.host, "port": servers.ports[0], "authority": "capacity", "closed": 2 * setup.slots,
            "seconds": 3}, 30))
        capacity = out["answers"] / out["seconds"]
        self.bench.say(f"  {case.name:<12} capacity {capacity:.0f}/s")
        return capacity

    def _rounds(self, case, peers, servers, capacity, result):
        taking = []
        for peer in peers:
            why = case.why_skipped(peer.name) or (
                None if case.place in peer.places else "it has no part in this case")
            if why:
                result["skipped"][peer.name] = why
            else:
                taking.append(peer)
                result["proxies"][peer.name] = {"rounds": []}
        for number in range(min(case.rounds, self.bench.options.rounds)):
            # Rotated, so that no proxy always follows the same other one.
            turn = number % max(1, len(taking))
            for peer in taking[turn:] + taking[:turn]:
                if peer.name not in result["proxies"]:
                    continue
                try:
                    figures = self._round(case, peer, servers, capacity)
                except (StartError, LoadError, OSError) as error:
                    if peer.control and not peer.twin and isinstance(error, StartError):
                        raise
                    # Bowline may be younger than its bench, or older.
                    result["skipped"][peer.name] = " ".join(str(error).split())
                    result["proxies"].pop(peer.name)
                    self.bench.say(f"  {case.name}: {peer.title} left out: {error}")
                    continue
                result["proxies"][peer.name]["rounds"].append(figures)
                self.bench.say(f"  {case.name:<12} round {number + 1}  {peer.title:<18} {report.open_line(case.place, figures)}")
        for entry in result["proxies"].values():
            rounds = entry["rounds"]
            entry["median"] = {key: med([r[key] for r in rounds]) for key in rounds[0]}
            entry["spread"] = {key: spread([r[key] for r in rounds]) for key in rounds[0]}

    def _round(self, case, peer, servers, capacity):
        """One round; done again if other work kept the load from being sent in time."""
        setup = case.setup
        for attempt in range(REPEATS + 1):
            figures = self._once(case, peer, servers, capacity)
            in_time = figures["late_p99_us"] <= setup.late * 1e6
            if in_time:
                self.vain = 0
            if in_time or attempt == REPEATS or self.vain >= VAIN_LIMIT:
                break
            self.vain += 1
            self.bench.say(f"  {case.name:<12} {peer.title}: the load was {figures['late_p99_us'] / 1e3:.1f} ms late: "
                           f"{'again' if self.vain < VAIN_LIMIT else 'again, and then no more, as this machine is busy'}")
        # Right before fast; but not of what the machine did. Who sheds load may err a little, which is reported.
        if in_time and figures["calm_success"] < (0.98 if setup.slots else 0.999):
            raise LoadError(f"{peer.title} answered {figures['calm_success'] * 100:.1f} % while nothing was wrong")
        if in_time and figures["idle_endpoints"]:
            raise LoadError(f"{peer.title} left {figures['idle_endpoints']} of {setup.endpoints} endpoints idle")
        return figures

    def _once(self, case, peer, servers, capacity):
        setup = case.setup
        running = peer.start_open(case.place, servers)
        try:
            target = running.targets["h1"]
            phases = setup.phases(capacity)
            out = self.pack.workdir / "open.out"
            start = time.monotonic() + _LEAD
            servers.begin(start, setup.slow_times())
            busy = [measure.rss_mb(running.pid)]
            cpu, waited, began = measure.cpu_ns(running.pid), measure.waited_ns(running.pid), time.monotonic()
            self._load("load", {
                "host": target.host, "port": target.port, "authority": target.authority, "start": start,
                "phases": phases, "timeout": setup.deadline, "out": str(out),
            }, sum(seconds for seconds, _ in phases) + 30, lambda: busy.append(measure.rss_mb(running.pid)))
            took = time.monotonic() - began
            cpu = measure.cpu_ns(running.pid) - cpu
            longest = max((ns - waited.get(thread, 0) for thread, ns in measure.waited_ns(running.pid).items()), default=0)
            seen = read(out, phases)
            if not running.proc.alive():
                raise StartError(f"{peer.title} ended in mid-load:\n{running.proc.last_words()}")
            counts = servers.counts()
            if setup.slots:
                figures = overload_figures(setup, seen, counts, capacity)
            else:
                figures = brownout_figures(setup, seen, counts)
            idle = [number for number in range(setup.endpoints) if not received(counts, 0.0, setup.calm, [number])]
            return {**figures, "cpu_us": cpu / 1e3 / len(seen.meant), "rss_busy_mb": max(busy), "idle_endpoints": len(idle),
                    "late_p99_us": percentile([t * 1e6 for t in seen.late], 0.99), "waited_share": longest / 1e9 / took}
        finally:
            self.pack.stop(running.proc, grace=0.5)
