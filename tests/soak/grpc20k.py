"""20,000 gRPC streaming calls to three endpoints of which one is dead: every call must come back complete and correct."""

import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from bowline import Bowline, static
from field import SoakError
from outcome import Outcome
from ports import free_port, wait_for

NAME = "grpc20k"
TITLE = "gRPC streaming calls to three endpoints, one of them dead"
CALLERS = 2  # processes
CHANNELS = 4  # connections of each
AT_ONCE = 8  # calls on each connection
SHOWN = 8  # failures printed
_HERE = Path(__file__).resolve().parent


def bound(options):
    """Seconds after which it is hopeless; calls take a few milliseconds on a busy machine."""
    return 240 + options.calls / 15


def run(field):
    """The control, then both ways of being dead with half of the calls each."""
    out = Outcome(NAME, TITLE)
    calls = field.options.calls
    _Load(field, out, "direct", max(200, calls // 20)).run()
    _Load(field, out, "refusing", calls // 2).run()
    _Load(field, out, "killed", calls - calls // 2, first=calls // 2).run()
    return out


class _Load:
    """Calls of one mode: `direct` (no proxy: the control), `refusing` (the dead endpoint's port is closed all along) or
    `killed` (its process is killed when the load has just begun)."""

    def __init__(self, field, out, mode, calls, first=0):
        self.field, self.out, self.mode, self.calls, self.first = field, out, mode, calls, first
        self.procs = []
        self.callers = []
        self.victim = self.proxy = self.killed_at = None
        self.dead = ""

    def run(self):
        """Starts everything, waits for the calls, judges them, ends everything."""
        try:
            address, authority = self._start()
            took = self._wait(address, authority)
            self._judge(took)
        finally:
            for proc in [*self.callers, *self.procs]:
                self.field.pack.stop(proc, sig=signal.SIGKILL)

    def _endpoint(self, name):
        proc = self.field.pack.start(f"{self.mode}-{name}", [sys.executable, _HERE / "grpc_endpoint.py"], self.field.cpus)
        self.procs.append(proc)
        said = lambda: Path(proc.log).read_text(errors="replace")
        wait_for(lambda: not proc.alive() or "\n" in said(), 30)
        if not proc.alive() or not said().startswith("127."):
            raise SoakError(f"a gRPC endpoint did not start:\n{proc.last_words()}")
        return proc, said().split("\n")[0]

    def _start(self):
        live = [self._endpoint(f"endpoint-{number}")[1] for number in range(2)]
        if self.mode == "direct":
            return live[0], live[0]
        if self.mode == "killed":
            self.victim, self.dead = self._endpoint("victim")
        else:
            self.dead = f"127.0.0.1:{free_port()}"
        self.proxy = Bowline(self.field, {"appProtocol": "grpc", "endpoints": static(self.dead, *live)},
                             f"bowline-{self.mode}")
        self.procs.append(self.proxy.proc)
        return f"{self.proxy.target.host}:{self.proxy.target.port}", self.proxy.authority

    def _wait(self, address, authority):
        """Makes the calls; returns how long they took."""
        began = time.monotonic()
        for number in range(CALLERS):
            order = {"address": address, "authority": authority, "seed": self.field.seed, "first": self.first + number,
                     "step": CALLERS, "until": self.first + self.calls, "channels": CHANNELS, "at_once": AT_ONCE}
            self.callers.append(self.field.pack.start(
                f"{self.mode}-caller-{number}", [sys.executable, _HERE / "grpc_caller.py", json.dumps(order)],
                self.field.cpus))
        next_word = began + 10
        while any(proc.alive() for proc in self.callers):
            done = self._done()
            if self.victim and not self.killed_at and done >= self.calls / 20:
                # Its process ends with calls in flight; from then on its port refuses.
                self.field.pack.stop(self.victim, sig=signal.SIGKILL)
                self.killed_at = time.monotonic()
            if time.monotonic() > next_word:
                self.field.say(f"  {self.mode}: {done} of {self.calls} calls")
                next_word += 10
            time.sleep(0.05)
        return time.monotonic() - began

    def _done(self):
        """Calls that are over so far, as the callers say now and then."""
        total = 0
        for proc in self.callers:
            said = [line for line in Path(proc.log).read_text(errors="replace").splitlines() if line.startswith("done ")]
            total += int(said[-1].split()[1]) if said else 0
        return total

    def _results(self):
        """What all callers found, in one."""
        whole = {"done": 0, "messages": 0, "bytes": 0, "kinds": Counter(), "failures": []}
        for proc in self.callers:
            said = [line for line in Path(proc.log).read_text(errors="replace").splitlines() if line.startswith("result ")]
            if not said:
                raise SoakError(f"a caller ended early:\n{proc.last_words()}")
            for key, value in json.loads(said[-1][7:]).items():
                if key == "kinds":
                    whole[key].update(value)
                else:
                    whole[key] += value
        return whole

    def _judge(self, took):
        out, mode, result = self.out, self.mode, self._results()
        failures, done = result["failures"], result["done"]
        # Calls under way at the killed process can't all be saved: the endpoint may have acted on them, and gRPC calls
        # are not safe to repeat. Only those that began before it had ended may fail, and only in one of these ways.
        in_flight = [f for f in failures if self.killed_at and f["began"] < self.killed_at
                     and f["kind"] in ("status UNAVAILABLE", "status INTERNAL")]
        failed = [f for f in failures if f not in in_flight]
        mistold = [f for f in in_flight if f["kind"] != "status UNAVAILABLE"]
        out.line(f"{mode}: {done:,} calls in {took:.1f} s, {done / took:,.0f}/s, {result['messages']:,} messages, "
                 f"{result['bytes'] / 1e6:,.0f} MB received")
        out.line("  " + ", ".join(f"{n:,} {kind}" for kind, n in sorted(result["kinds"].items())))
        for failure in [*failed, *mistold][:SHOWN]:
            age = f", begun {(failure['began'] - self.killed_at) * 1000:+.0f} ms from the kill" if self.killed_at else ""
            out.line(f"  call {failure['call']} ({failure['method']}{age}): {failure['text']}")
        metrics = {}
        if self.proxy:
            metrics = self.proxy.metrics("bowline_retries", "bowline_local", "bowline_broken", "bowline_ejections",
                                         "bowline_endpoint_connects", "bowline_requests")
            retried = sum(v for k, v in metrics.items() if k.startswith("bowline_retries_total"))
            ejected = sum(v for k, v in metrics.items() if k.startswith("bowline_ejections_total") and self.dead in k)
            out.line(f"  the proxy tried {retried:.0f} calls again, and ejected the dead endpoint {ejected:.0f} times")
        if failures and self.proxy:
            out.line("  the proxy says: " + ", ".join(f"{k} {v:.0f}" for k, v in metrics.items()))
        kinds = Counter(f["kind"] for f in failed)
        have = f"{done - len(failures):,} of {self.calls:,}"
        if self.killed_at:
            have += f", and {len(in_flight)} cut off by the kill"
        out.require(f"{mode}: calls that came back complete and correct", not failed and done == self.calls,
                    have + "".join(f"; {n} × {kind}" for kind, n in kinds.most_common()))
        if self.killed_at:
            most = CALLERS * CHANNELS * AT_ONCE
            out.require(f"{mode}: at most the calls in flight were cut off", len(in_flight) <= most,
                        f"{len(in_flight)} ≤ {most}")
            out.require(f"{mode}: those cut off got UNAVAILABLE, as without a proxy", not mistold,
                        f"{len(in_flight) - len(mistold)} of {len(in_flight)}")
        elif self.victim:
            out.require(f"{mode}: the endpoint was killed under load", False, "the calls were over before")
        out.figures[mode] = {"calls": done, "seconds": took, "calls_per_second": done / took, "kinds": result["kinds"],
                             "failed_by_kind": kinds, "cut_off": len(in_flight), "failures": failures[:200],
                             "metrics": metrics, "messages": result["messages"], "bytes": result["bytes"]}
