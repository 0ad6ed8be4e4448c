"""What a process costs: CPU, memory, system calls."""

import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from load import LoadError
from procs import StartError


def _threads(pid):
    return Path(f"/proc/{pid}/task").iterdir() if pid else ()


def cpu_ns(pid):
    """CPU time (user and system) of all threads so far, in nanoseconds. Of no process: 0.

    From schedstat, which the scheduler keeps to the nanosecond; /proc/PID/stat counts ticks of 10 ms. The proxies
    measured keep their threads for life, so no thread's time is lost by its end.
    """
    total = 0
    for task in _threads(pid):
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def rss_mb(pid):
    """Resident memory in MB (10^6 bytes would be 2 % more; this is MiB, as top shows it). Of no process: None."""
    if pid is None:
        return None
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def waited_ns(pid):
    """How long each of its threads has been ready to run while something else had the core, by thread id.

    That, and not the core's idle time, tells whether other work got into the way: /proc/stat samples by ticks and is
    off by tens of percent for work made of very short bursts.
    """
    waited = {}
    for task in _threads(pid):
        try:
            waited[task.name] = int((task / "schedstat").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return waited


@dataclass
class Sample:
    """One round of one proxy in one case. Where there is no proxy, what is one's is None."""

    cpu_us: float | None  # proxy CPU per unit (request or MiB)
    rate: float  # requests a second
    p50_us: float
    p99_us: float
    mean_us: float
    rss_busy_mb: float | None  # highest while the load ran
    rss_after_mb: float | None
    core_share: float | None  # how much of its core the proxy used, 0..1
    waited_share: float  # how much of the time it was ready to run, but other work had its core, 0..1
    requests: int
    errors: int
    spans_expected: int | None = None  # of those requests, where they are traced
    spans_came: int | None = None  # to the sink
    spans_dropped: int | None = None  # as the proxy says itself


def one_round(loader, case, running, seconds, sink=None):
    """Runs the load once and says what it cost the proxy. `sink`: where the spans go in cases about traces."""
    busy = [rss_mb(running.pid)]
    traced = sink is not None and running.spans
    if traced:
        sink.start()
        came0, dropped0 = sink.spans(running.peer.name), running.dropped() if running.dropped else None
    cpu0, waited0, t0 = cpu_ns(running.pid), waited_ns(running.pid), time.monotonic()

    def meanwhile():
        busy.append(rss_mb(running.pid))
        if traced and running.outage and sink.proc.alive() and time.monotonic() - t0 > seconds / 2:
            sink.kill()

    load = loader.run(case, running.targets[case.protocol], seconds, meanwhile)
    took = time.monotonic() - t0
    used = cpu_ns(running.pid) - cpu0 if running.pid else None
    # Of the thread that waited longest: a sum over Envoy's many threads could pass 100 %.
    waited = max((ns - waited0.get(thread, 0) for thread, ns in waited_ns(running.pid).items()), default=0)
    expected = came = dropped = None
    if traced:
        expected = load.requests * running.spans
        # What went to a sink that was killed went with it.
        came = None
        if running.outage:
            # What has piled up must not be sent while another one is measured.
            sink.start()
            sink.quiet(running.peer.name)
        else:
            came = sink.settled(running.peer.name, came0 + expected) - came0
        dropped = running.dropped() if running.dropped else None
        dropped = None if dropped is None else dropped - (dropped0 or 0)
    return Sample(
        cpu_us=used / 1000 / case.units(load.requests) if running.pid else None,
        rate=load.rate,
        p50_us=load.p50_us,
        p99_us=load.p99_us,
        mean_us=load.mean_us,
        rss_busy_mb=max(busy) if running.pid else None,
        rss_after_mb=rss_mb(running.pid),
        core_share=used / 1e9 / took if running.pid else None,
        waited_share=waited / 1e9 / took,
        requests=load.requests,
        errors=load.errors,
        spans_expected=expected,
        spans_came=came,
        spans_dropped=dropped,
    )


# The calls a proxy is made of: the table behind the total. Counted by name where the kernel knows the tracepoint.
_NAMED = ["epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "read", "write", "readv", "writev", "recvfrom",
          "recvmsg", "sendto", "sendmsg", "sendfile64", "splice", "accept4", "socket", "connect", "close", "futex",
          "setsockopt", "getsockopt", "shutdown", "madvise", "mmap", "munmap", "mremap", "brk", "io_uring_enter",
          "clock_gettime", "gettimeofday", "getrandom", "sched_yield", "rt_sigprocmask", "timerfd_settime"]


class Syscalls:
    """Counts system calls per request in a run of its own, never in one whose CPU is reported.

    perf counts in the kernel at small cost. strace stops the proxy at every call; that slows it so much that more
    events wait at each epoll_wait and the count per request comes out too small, so it is only the second choice.
    """

    def __init__(self, tools, cpus):
        self.tools = tools
        self.cpus = cpus
        self.events = self._perf_events() if tools.get("perf") else None
        self.how = "perf" if self.events else "strace" if tools.get("strace") else None

    def _perf_events(self):
        root = next((p for p in (Path("/sys/kernel/tracing/events"), Path("/sys/kernel/debug/tracing/events"))
                     if (p / "raw_syscalls/sys_enter").exists()), None)
        if not root:
            return None
        events = ["raw_syscalls:sys_enter"]
        events += [f"syscalls:sys_enter_{n}" for n in _NAMED if (root / f"syscalls/sys_enter_{n}").exists()]
        probe = subprocess.run([self.tools["perf"], "stat", "-x,", "-e", events[0], "true"],
                               capture_output=True, text=True, check=False)
        return events if re.search(r"^\d+,", probe.stderr, re.M) else None

    def count(self, pack, loader, case, running, seconds):
        """(calls per request, {name: calls per request}), or None if neither tool works here."""
        if not self.how:
            return None
        if self.how == "perf":
            argv = [self.tools["perf"], "stat", "-x,", "-e", ",".join(self.events), "-p", running.pid]
        else:
            argv = [self.tools["strace"], "-c", "-f", "-U", "calls,name", "-p", running.pid]
        log = pack.workdir / "syscalls.log"
        log.unlink(missing_ok=True)
        tracer = pack.start("syscalls", argv, self.cpus)
        time.sleep(0.3)  # both attach in a few milliseconds and say so nowhere
        try:
            load = loader.run(case, running.targets[case.protocol], seconds)
        except (LoadError, StartError):
            return None
        finally:
            pack.stop(tracer, sig=signal.SIGINT, grace=5)
        calls = self._parse(Path(tracer.log).read_text(errors="replace"))
        total = calls.pop("total", 0)
        if not total:
            return None
        return total / load.requests, {n: c / load.requests for n, c in sorted(calls.items(), key=lambda x: -x[1])
                                       if c / load.requests >= 0.005}

    def _parse(self, text):
        calls = {}
        if self.how == "perf":
            for count, event in re.findall(r"^(\d+),[^,]*,([a-z_]+:sys_enter\w*),", text, re.M):
                name = "total" if event == "raw_syscalls:sys_enter" else event.split("sys_enter_")[1]
                calls[name] = int(count)
        else:
            for count, name in re.findall(r"^\s*(\d+)\s+(\w+)\s*$", text, re.M):
                calls[name] = int(count)
        return calls
