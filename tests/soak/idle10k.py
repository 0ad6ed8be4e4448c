"""10,000 idle connections, held and closed: what they cost, and whether the memory comes back."""

import json
import sys
import time
from pathlib import Path

import load
import measure
from bowline import Bowline, static
from cases import Case
from field import SoakError
from outcome import Outcome, table
from ports import wait_for
from soak_backend import start_backend

NAME = "idle10k"
TITLE = "idle keep-alive connections, held, then closed"
BUSY = Case("busy", "1,000 busy connections", "h1", "wrk", 1000)
BUSY_SECONDS = 5
# After a load, before its level is noted: allocators and pools give back by and by.
SETTLE_SECONDS = 30
HOLD_SECONDS = 10
# What may be left over the level of the first load.
LEFT_MB = 8
_HERE = Path(__file__).resolve().parent


def bound(options):
    """Seconds after which it is hopeless."""
    proxies = 3 if options.peers else 1
    return 240 + 3 * SETTLE_SECONDS + HOLD_SECONDS + proxies * (60 + options.idle / 50)


class _Side:
    """One proxy, and its resident MB at each step."""

    def __init__(self, running):
        self.running, self.name, self.title = running, running.peer.name, running.peer.title
        self.mb = {}
        self.requests = []
        self.client = self.go = None
        self.kept = {"lost": None, "failed": None}

    def note(self, step):
        """Remembers the resident memory now."""
        self.mb[step] = measure.rss_mb(self.running.pid)

    def open(self, field, count):
        """Opens the idle connections, by a process of its own: their number is near the limit for one process."""
        target = self.running.targets["h1"]
        self.go = field.pack.workdir / f"close-{self.name}"
        self.client = field.pack.start(f"idle-{self.name}", [
            sys.executable, _HERE / "soak_idle_client.py", target.host, target.port, target.authority, count, self.go,
        ], field.cpus)
        self._await("open ", 60 + count / 50)

    def close(self):
        """Closes them."""
        self.go.touch()
        self.kept = json.loads(self._await("closed ", 60))

    def _await(self, word, seconds):
        """What the client says after this word."""
        found = []

        def said():
            lines = Path(self.client.log).read_text(errors="replace").splitlines()
            found.extend(line[len(word):] for line in lines if line.startswith(word))
            return found or not self.client.alive()

        wait_for(said, seconds, 0.1)
        if not found:
            raise SoakError(f"{self.title}: the idle connections could not be opened, held or closed:\n"
                            f"{self.client.last_words()}")
        return found[0]


def run(field):
    """Each step for every proxy, then the wait for all of them together."""
    out = Outcome(NAME, TITLE)
    backend = start_backend(field)
    bowline = Bowline(field, {"appProtocol": "http", "endpoints": static(f"127.0.0.1:{backend.h1[0]}")})
    sides = [_Side(bowline.running)]
    if field.options.peers:
        import soak_peers

        sides += [_Side(running) for running in soak_peers.start(field, backend, shared=False)]
    loader = load.Loader(field.pack, field.tools, field.cpus)
    time.sleep(1)
    _note(sides, "start")
    _busy(field, loader, sides, "busy", "level")
    count = field.options.idle
    for side in sides:
        field.say(f"  {side.title}: opening {count:,} connections")
        side.open(field, count)
    time.sleep(HOLD_SECONDS)
    _note(sides, "idle")
    for side in sides:
        side.close()
    time.sleep(SETTLE_SECONDS)
    _note(sides, "closed")
    _busy(field, loader, sides, "busy again", "end")
    _judge(out, sides, count, bowline)
    return out


def _note(sides, step):
    for side in sides:
        side.note(step)


def _busy(field, loader, sides, busy, after):
    """1,000 busy connections on each proxy in turn; then a rest, and the level."""
    for side in sides:
        highest = []
        done = loader.run(BUSY, side.running.targets["h1"], BUSY_SECONDS,
                          lambda: highest.append(measure.rss_mb(side.running.pid)))
        side.mb[busy] = max(highest)
        side.requests.append(done.requests)
        field.say(f"  {side.title}: {BUSY.connections:,} busy connections, {done.rate:,.0f}/s, {side.mb[busy]:.1f} MB")
    time.sleep(SETTLE_SECONDS)
    _note(sides, after)


def _judge(out, sides, count, bowline):
    steps = list(sides[0].mb)
    rows = [["resident MB", *steps, "KB per idle", "left over"]]
    for side in sides:
        cost = (side.mb["idle"] - side.mb["level"]) * 1024 / count
        from_start = (side.mb["idle"] - side.mb["start"]) * 1024 / count
        rows.append([side.title, *(f"{side.mb[step]:.1f}" for step in steps), f"{cost:.1f} ({from_start:.1f})",
                     f"{side.mb['end'] - side.mb['level']:+.1f}"])
        out.figures[side.name] = {"rss_mb": side.mb, "kb_per_idle_over_level": cost, "kb_per_idle_over_start": from_start,
                                  "busy_requests": side.requests, **side.kept}
    for line in table(rows):
        out.line(line)
    out.line(f"level: {SETTLE_SECONDS} s after the first load; KB per idle connection: over the level, and over the start")
    ours = sides[0]
    for side in sides[1:]:
        mine, theirs = (out.figures[s.name]["kb_per_idle_over_start"] for s in (ours, side))
        out.line(f"an idle connection costs {mine / theirs:.2f} × {side.title}'s")
    out.require("every idle connection lived, and went on when asked", ours.kept["lost"] == 0 and ours.kept["failed"] == 0,
                f"{ours.kept['lost']} lost, {ours.kept['failed']} requests failed, of {count:,}")
    left = ours.mb["end"] - ours.mb["level"]
    out.require(f"after it all the memory is within {LEFT_MB} MB of the level", left <= LEFT_MB, f"{left:+.1f} MB")
    open_now = bowline.metrics("bowline_downstream_connections").get("bowline_downstream_connections{}", 0)
    out.require("no connection is left", open_now == 0, f"{open_now:.0f}")
