"""Readers of 1 KB/s beside a steady load of small requests: the others must not feel them, and memory must be bounded."""

import asyncio
import gc
from statistics import median

import measure
from bowline import Bowline, static
from fast_clients import LOST_AFTER, FastClients
from outcome import Outcome, table
from soak_backend import LARGE_PATH, start_backend
from slow_clients import STEP, SlowClient

NAME = "slowreaders"
TITLE = "readers of 1 KB/s beside 500 small requests a second"
RATE = 500
PHASE_SECONDS = 6
# For the slow readers to fill every window and buffer they can, before anything is measured.
FILL_SECONDS = 2
REST_SECONDS = 1
# 20 on connections of their own, and 10 streams on a connection that others use too.
OWN = ("h1",) * 10 + ("h2 socket",) * 5 + ("h2 window",) * 5
SHARED_STREAMS = 10
READERS = len(OWN) + SHARED_STREAMS
# p99 beside slow readers: at most this many times the p99 without them, and a millisecond for the noise of the clients
# and of a machine that does other things.
RATIO, NOISE_MS = 1.5, 1.0
# A reader who stops may leave 64 KiB lying on the way in (the stream window towards endpoints) and as much on the way
# out (the write buffer towards the app); a few MB are for connections and for what the allocator keeps.
PER_READER_KB, FEW_MB = 128, 4


def bound(options):
    """Seconds after which it is hopeless."""
    proxies = 3 if options.peers else 1
    return 120 + options.rounds * proxies * 3 * (2 * PHASE_SECONDS + FILL_SECONDS + REST_SECONDS)


class _Side:
    """One proxy under this load."""

    def __init__(self, running):
        self.running, self.name, self.title = running, running.peer.name, running.peer.title
        self.clients = FastClients(running.targets["h1"], running.targets["h2"])
        self.rounds = []
        self.before = self.highest = self.after = 0.0
        self.closed = []

    def rss(self):
        """Resident MB now."""
        return measure.rss_mb(self.running.pid)


def run(field):
    """All rounds of all proxies, in turn."""
    out = Outcome(NAME, TITLE)
    backend = start_backend(field)
    bowline = Bowline(field, {"appProtocol": "http2", "endpoints": static(*(f"127.0.0.1:{p}" for p in backend.h2))})
    sides = [_Side(bowline.running)]
    if field.options.peers:
        import soak_peers

        sides += [_Side(running) for running in soak_peers.start(field, backend, shared=True)]
    gc.freeze()  # the clients' own pauses would be taken for the proxy's
    asyncio.run(_rounds(field, sides))
    gc.unfreeze()
    _judge(field, out, sides, bowline)
    return out


async def _rounds(field, sides):
    for side in sides:
        await side.clients.connect()
        await side.clients.phase(2, RATE)  # warm-up
        side.before = side.rss()
    for number in range(field.options.rounds):
        # Rotated, so that no proxy always follows the same other one.
        turn = number % len(sides)
        for side in sides[turn:] + sides[:turn]:
            without = await _phase(side)
            slow = [SlowClient(how, side.running.targets["h1" if how == "h1" else "h2"], LARGE_PATH) for how in OWN]
            for client in slow:
                client.start()
            side.clients.shared.open_slow(SHARED_STREAMS, LARGE_PATH)
            pulse = asyncio.ensure_future(_pulse(side))
            await asyncio.sleep(FILL_SECONDS)
            beside = await _phase(side)
            beside["served"] = sum(1 for c in slow if c.received and not c.ended and _is_ok(c))
            beside["served"] += sum(1 for received in side.clients.shared.slow.values() if received)
            beside["ended"] = sorted({f"{c.how}: {c.ended}" for c in slow if c.ended})
            pulse.cancel()
            side.clients.shared.close_slow()
            for client in slow:
                await client.stop()
            side.rounds.append((without, beside))
            field.say(f"  round {number + 1}/{field.options.rounds}  {side.title:<8} " + "   ".join(
                f"{g} p99 {_ms(without, g, 99):.2f} → {_ms(beside, g, 99):.2f} ms" for g in FastClients.GROUPS)
                + f"   RSS {side.highest:.1f} MB")
            await asyncio.sleep(REST_SECONDS)
    await asyncio.sleep(5)
    for side in sides:
        side.after = side.rss()
        side.closed = [group for group, connection in side.clients.h2.items() if connection.closed]
        side.clients.close()


def _is_ok(client):
    return client.how != "h1" or client.first.startswith(b"HTTP/1.1 200")


async def _pulse(side):
    """Once a second: the slow streams of the shared connection go on, and memory is looked at."""
    while True:
        side.highest = max(side.highest, side.rss())
        side.clients.shared.read_slowly(STEP)
        await asyncio.sleep(1)


async def _phase(side):
    times, failed = await side.clients.phase(PHASE_SECONDS, RATE)
    return {"times": times, "failed": failed}


def _ms(phase, group, percent):
    """A percentile in milliseconds. Those that never came are in it, as if they had come when they were given up."""
    times = sorted([*phase["times"].get(group, ()), *[LOST_AFTER] * phase["failed"].get(group, 0)])
    return times[min(len(times) - 1, int(len(times) * percent / 100))] * 1000 if times else float("inf")


def _medians(side, group, percent):
    """(without, with): medians over the rounds."""
    return tuple(median(_ms(round_[i], group, percent) for round_ in side.rounds) for i in (0, 1))


def _judge(field, out, sides, bowline):
    rows = [["", "p50 ms", "with", "p99 ms", "with", "ratio", "failed"]]
    ratios = {}
    for side in sides:
        for group in FastClients.GROUPS:
            p50, p99 = _medians(side, group, 50), _medians(side, group, 99)
            ratios[side.name, group] = p99[1] / p99[0]
            failed = sum(phase["failed"].get(group, 0) for round_ in side.rounds for phase in round_)
            rows.append([f"{side.title}, {group}", *(f"{ms:.2f}" for ms in (*p50, *p99)), f"{p99[1] / p99[0]:.2f}", str(failed)])
            out.figures.setdefault(side.name, {})[group] = {
                "p50_ms": p50, "p99_ms": p99, "failed": failed,
                "rounds_p99_ms": [[_ms(phase, group, 99) for phase in round_] for round_ in side.rounds]}
        out.figures[side.name]["rss_mb"] = {"before": side.before, "highest": side.highest, "after": side.after}
    for line in table(rows):
        out.line(line)
    for side in sides:
        served = [round_[1]["served"] for round_ in side.rounds]
        ended = sorted({text for round_ in side.rounds for text in round_[1]["ended"]})
        out.line(f"{side.title}: resident MB {side.before:.1f} before, {side.highest:.1f} highest with slow readers, "
                 f"{side.after:.1f} five seconds after; {min(served)} of {READERS} slow readers served"
                 + "".join(f"; {text}" for text in ended) + "".join(f"; it closed the connection of {g}" for g in side.closed))
        if side.name != "bowline":
            out.line("  Bowline's ratio beside " + side.title + "'s: " + ", ".join(
                f"{g} {ratios['bowline', g] / ratios[side.name, g]:.2f}" for g in FastClients.GROUPS))
    ours = sides[0]
    for group in FastClients.GROUPS:
        without, beside = _medians(ours, group, 99)
        limit = RATIO * without + NOISE_MS
        out.require(f"{group}: p99 beside slow readers ≤ {RATIO} × p99 without + {NOISE_MS:.0f} ms", beside <= limit,
                    f"{beside:.2f} ms ≤ {limit:.2f} ms")
    failed = sum(sum(phase["failed"].values()) for round_ in ours.rounds for phase in round_)
    out.require("no small request failed", failed == 0, f"{failed} of {len(ours.rounds) * 2 * PHASE_SECONDS * RATE:,}")
    served = min(round_[1]["served"] for round_ in ours.rounds)
    out.require("every slow reader is served all along", served == READERS, f"{served} of {READERS}")
    limit = READERS * PER_READER_KB / 1024 + FEW_MB
    out.require(f"memory of {READERS} slow readers ≤ {PER_READER_KB} KB each + {FEW_MB} MB", ours.highest - ours.before <= limit,
                f"{ours.highest - ours.before:.1f} MB ≤ {limit:.1f} MB")
    if not out.met:
        out.line("Bowline says: " + ", ".join(f"{k} {v:.0f}" for k, v in bowline.metrics(
            "bowline_retries", "bowline_local", "bowline_broken", "bowline_endpoint_conn", "bowline_downstream").items()))
