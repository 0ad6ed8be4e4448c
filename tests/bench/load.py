"""The load generators: wrk for HTTP/1.1 (and TCP), h2load for HTTP/2, both with one thread."""

import json
import re
from dataclasses import dataclass

from cases import MIB

# wrk's printed figures are rounded to three digits; its `done` hook gives them whole. A script with nothing but
# `done` leaves wrk's requests static, so it costs nothing while the load runs.
_WRK_SCRIPT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'BENCH {"requests":%d,"micros":%d,"p50":%d,"p99":%d,"mean":%.3f,"socket":%d,"timeout":%d,"status":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.mean,
    e.connect + e.read + e.write, e.timeout, e.status))
end
"""
# Set once, before the load, so this request is a static one too.
_WRK_POST = f"""
wrk.method = "POST"
wrk.body = string.rep("0123456789abcdef", {MIB // 16})
"""


class LoadError(Exception):
    """The load ran, but not cleanly: its figures would mislead."""


@dataclass
class Load:
    """What one run of a load generator saw."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    mean_us: float
    errors: int
    kinds: str  # of the errors, in words

    @property
    def rate(self):
        """Requests a second."""
        return self.requests / self.seconds if self.seconds else 0.0


class Loader:
    """Runs load against a target, pinned to the load's cores."""

    def __init__(self, pack, tools, cpus):
        self.pack = pack
        self.tools = tools
        self.cpus = cpus
        self.script = pack.workdir / "wrk.lua"
        self.script.write_text(_WRK_SCRIPT)
        self.post = pack.workdir / "wrk-post.lua"
        self.post.write_text(_WRK_POST + _WRK_SCRIPT)

    def run(self, case, target, seconds, while_running=None):
        """One run of `seconds`; raises `LoadError` if more than one request in a thousand failed."""
        run = self._wrk if case.tool == "wrk" else self._h2load
        load = run(case, target, seconds, while_running)
        if load.requests == 0 or load.errors > load.requests / 1000:
            raise LoadError(f"{load.errors} of {load.requests + load.errors} requests failed ({load.kinds})")
        return load

    def _wrk(self, case, target, seconds, while_running):
        out = self.pack.run(
            "wrk",
            [self.tools["wrk"], "-t1", f"-c{case.connections}", f"-d{seconds}s", "--timeout", "5s",
             "-s", self.post if case.sent_bytes else self.script, "-H", f"Host: {target.authority}",
             *(["-H", case.header] if case.header else []), f"http://{target.host}:{target.port}{case.path}"],
            self.cpus, seconds + 20, while_running, net=target.net,
        )
        line = re.search(r"^BENCH (\{.*\})$", out, re.M)
        if not line:
            raise LoadError("wrk printed no figures")
        got = json.loads(line[1])
        failed = got["socket"] + got["timeout"] + got["status"]
        kinds = f"{got['socket']} socket errors, {got['timeout']} over 5 s, {got['status']} by status"
        return Load(got["requests"], got["micros"] / 1e6, got["p50"], got["p99"], got["mean"], failed, kinds)

    def _h2load(self, case, target, seconds, while_running):
        # h2load prints no percentiles; its log of every request gives them. The log lies in tmpfs where there is one.
        log = self.pack.workdir / "h2load.tsv"
        log.unlink(missing_ok=True)
        out = self.pack.run(
            "h2load",
            [self.tools["h2load"], "-t1", f"-c{case.connections}", f"-m{case.streams}", f"-D{seconds}s",
             f"--log-file={log}", f"--connect-to={target.host}:{target.port}", f"http://{target.authority}{case.path}"],
            self.cpus, seconds + 20, while_running, net=target.net,
        )
        finished = re.search(r"finished in ([\d.]+)(us|ms|s|m)", out)
        codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out)
        counts = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", out)
        if not (finished and codes and counts):
            raise LoadError(f"h2load's output was not understood:\n{out[-400:]}")
        took = float(finished[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[finished[2]]
        times = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines() if line.count("\t") >= 2)
        log.unlink()
        pick = lambda q: float(times[min(len(times) - 1, int(q * len(times)))]) if times else 0.0
        # Requests in flight when the time is up are not failures; those h2load names as failed are.
        failed = int(codes[2]) + int(codes[3]) + int(codes[4]) + int(counts[2]) + int(counts[3])
        kinds = f"{counts[2]} errored, {counts[3]} timed out, {failed - int(counts[2]) - int(counts[3])} by status"
        return Load(int(codes[1]), took, pick(0.5), pick(0.99), sum(times) / max(1, len(times)), failed, kinds)
