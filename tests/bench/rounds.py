"""One case from start to end: start the proxies, check them, warm up, alternate the rounds, count system calls."""

import time
from dataclasses import asdict

import gates
import measure
import report
import verify
from load import LoadError
from netns import Absent
from openloop import OpenBench
from procs import StartError
from sink import Sink
from stats import med, spread
from task import Network
from verify import WrongAnswer

# A round is done again, at most twice, when the proxy waited more than this share of the time for its core:
# other work that takes turns with it also evicts its cache. Judged by that share alone, never by the figure itself.
REPEATS = 2
WAITED_LIMIT = 0.05
# On a machine that never falls quiet repeating helps nothing: after so many vain ones in a row, no more of it.
VAIN_LIMIT = 6
# A proxy that has just become ready may still be setting itself up.
SETTLE_SECONDS = 1.0


class Bench:
    """What all cases share."""

    def __init__(self, world, loader, syscalls, say, options):
        self.world = world
        self.loader = loader
        self.syscalls = syscalls
        self.say = say
        self.options = options
        self.vain = 0  # repeats in a row that were disturbed too
        self.network = None  # of the tasks; made for the first case that needs it
        self.no_network = None  # or why there is none
        self.open_bench = None  # for open load; made for the first case that needs it
        self.sink = None  # of spans; made for the first case that needs it

    def run(self, case, peers):
        """Measures one case; returns its result as plain data, ready for JSON."""
        result = {"name": case.name, "title": case.title, "unit": case.unit, "metric": case.metric,
                  "proxies": {}, "skipped": {}}
        result["left_out"] = self._why_left_out(case, peers)
        if result["left_out"]:
            self.say(f"  {case.name}: left out: {result['left_out']}")
            result["gates"] = []
            result["steady"] = {"worst_spread": None, "proxy": None, "ok": None}
            return result
        if case.tool == "open":
            result["open"] = case.place
            self.open_bench = self.open_bench or OpenBench(self)
            self.open_bench.run(case, peers, result)
            return self._judged(case, result)
        runnings = []
        if case.place in ("traced", "outage"):
            self.sink = self.sink or Sink(self.world.pack, self.loader.cpus)
            self.sink.start()
        try:
            for peer in peers:
                self._start(case, peer, runnings, result)
            time.sleep(SETTLE_SECONDS)
            for running in runnings:
                result["proxies"][running.peer.name]["rss_start_mb"] = measure.rss_mb(running.pid)
            if case.tool == "none":
                self._idle(runnings, result)
            else:
                self._load(case, runnings, result)
        finally:
            for running in runnings:
                # SIGKILL after a short grace; a proxy's own drain is not what is measured here.
                if running.proc:
                    self.world.pack.stop(running.proc, grace=0.5)
        return self._judged(case, result)

    def _judged(self, case, result):
        result["gates"] = gates.judge(result)
        worst, who = gates.steadiness(result)
        # One round has no spread: then whether the controls were steady is unknown.
        known = case.tool != "none" and self.options.rounds > 1
        result["steady"] = {"worst_spread": worst if known else None, "proxy": who,
                            "ok": worst <= gates.STEADY if known else None}
        return result

    def _why_left_out(self, case, peers):
        if case.place == "task":
            return self._why_no_tasks(peers)
        if case.place == "before" and not self.world.before:
            return "there is no older program to stand beside (--before PATH)"
        return None

    def _why_no_tasks(self, peers):
        """Makes the network and the tasks, once for all cases; the reason if this machine does not let us."""
        if self.network is None and self.no_network is None:
            try:
                self.network = Network(self.world, self.loader.cpus)
                for peer in peers:
                    if "task" in peer.places:
                        self.network.task(peer.name, redirected=not peer.floor)
            except (Absent, StartError) as error:
                self.no_network = str(error)
        return self.no_network

    def _backend(self, case):
        return self.network.backend if case.place == "task" else self.world.backend

    def _start(self, case, peer, runnings, result):
        why = case.why_skipped(peer.name) or (None if case.place in peer.places else "it has no part in this case")
        if why:
            result["skipped"][peer.name] = why
            return
        try:
            if case.place == "task":
                running = peer.start_in(self.network.task(peer.name, redirected=not peer.floor), case.protocol)
            elif case.place in ("traced", "outage"):
                running = peer.start_traced(self.sink, case.place)
            elif case.place in ("policies", "before"):
                running = peer.start_beside(case.place)
            else:
                running = peer.start()
        except StartError as error:
            if peer.control:
                raise
            # Bowline may be younger than its bench: the controls are worth measuring alone.
            result["skipped"][peer.name] = str(error)
            self.say(f"  {case.name}: {peer.title} skipped: {error}")
            return
        runnings.append(running)
        result["proxies"][peer.name] = {}

    def _idle(self, runnings, result):
        before = [measure.cpu_ns(running.pid) for running in runnings]
        start = time.monotonic()
        time.sleep(self.options.seconds)
        took = time.monotonic() - start
        for running, cpu in zip(runnings, before):
            entry = result["proxies"][running.peer.name]
            used = (measure.cpu_ns(running.pid) - cpu) / 1e3 / took
            entry["median"] = {"rss_start_mb": entry["rss_start_mb"], "idle_cpu_us_per_second": used}

    def _load(self, case, runnings, result):
        for running in list(runnings):
            try:
                note = verify.check(self.world.pack, self.world.tools, self.loader.cpus, case, running)
                if running.spans:
                    note += verify.check_spans(self.sink, running)
                self.loader.run(case, running.targets[case.protocol], 1)  # warm-up: pools, caches, allocator
                if case.connections * case.streams >= 16 and case.protocol != "tcp" and not running.peer.floor:
                    verify.check_balance(running, getattr(self._backend(case), "h2" if case.protocol == "h2" else "h1"))
                result["proxies"][running.peer.name]["checked"] = note
            except (WrongAnswer, LoadError, StartError) as error:
                self._give_up(case, running, result, error)
        samples = {running.peer.name: [] for running in runnings}
        for number in range(self.options.rounds):
            # Rotated, so that no proxy always follows the same other one.
            turn = number % max(1, len(runnings))
            for running in runnings[turn:] + runnings[:turn]:
                name = running.peer.name
                if name not in result["proxies"]:
                    continue
                try:
                    sample = self._round(case, running)
                except (LoadError, StartError, OSError) as error:
                    self._give_up(case, running, result, error)
                    continue
                samples[name].append(sample)
                self.say(f"  {case.name:<10} round {number + 1}/{self.options.rounds}  {running.peer.title:<12}"
                         f"{report.number(sample.cpu_us, 2):>9} µs/{case.unit:<7} {sample.rate:9.0f}/s  "
                         f"p50 {sample.p50_us:7.0f} µs  {report.number(sample.rss_busy_mb, 1):>6} MB")
        for running in runnings:
            entry = result["proxies"].get(running.peer.name)
            if entry is None:
                continue
            rounds = [asdict(sample) for sample in samples[running.peer.name]]
            entry["rounds"] = rounds
            entry["median"] = {key: med([r[key] for r in rounds]) for key in rounds[0]}
            if running.spans:
                entry["spans"] = {key: None if any(r[f"spans_{key}"] is None for r in rounds) else
                                  sum(r[f"spans_{key}"] for r in rounds) for key in ("expected", "came", "dropped")}
            entry["median"]["rss_start_mb"] = entry["rss_start_mb"]
            entry["spread"] = {key: spread([r[key] for r in rounds]) for key in ("cpu_us", "p50_us", "p99_us", "rate")}
        # In a quick run only where the count differs between proxies by design; the others would say the same.
        if case.place != "outage" and not self.options.no_syscalls and not (self.options.quick and case.metric != "cpu_us"):
            self._syscalls(case, runnings, result)

    def _round(self, case, running):
        """One round; done again if other work disturbed it."""
        for attempt in range(REPEATS + 1):
            sample = measure.one_round(self.loader, case, running, self.options.seconds, self.sink)
            if sample.waited_share <= WAITED_LIMIT:
                self.vain = 0
                break
            if attempt == REPEATS or self.vain >= VAIN_LIMIT:
                break
            self.vain += 1
            self.say(f"  {case.name:<10} {running.peer.title} waited {sample.waited_share * 100:.0f} % of the time for "
                     f"its core: {'again' if self.vain < VAIN_LIMIT else 'this machine is busy, no more repeats'}")
        return sample

    def _syscalls(self, case, runnings, result):
        for running in runnings:
            entry = result["proxies"].get(running.peer.name)
            if entry is None or not running.pid:
                continue
            counted = self.syscalls.count(self.world.pack, self.loader, case, running, 1)
            if counted:
                per_request = case.units(1)
                entry["median"]["syscalls"] = counted[0] / per_request
                entry["syscalls_by_name"] = {name: calls / per_request for name, calls in counted[1].items()}

    def _give_up(self, case, running, result, error):
        """A proxy that fails is left out of the case, with the reason; it must not take the others with it."""
        name = running.peer.name
        result["skipped"][name] = str(error)
        result["proxies"].pop(name, None)
        if running.proc and not running.proc.alive():
            result["skipped"][name] += f" (it ended with code {running.proc.popen.returncode})"
        self.say(f"  {case.name}: {running.peer.title} left out: {result['skipped'][name]}\n"
                 f"{running.proc.last_words() if running.proc else ''}")
