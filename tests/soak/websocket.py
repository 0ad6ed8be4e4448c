"""WebSockets under a short idle timeout: a gap shorter than it lives, a longer one ends, and the log says why."""

import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from bowline import Bowline, static
from field import SoakError
from outcome import Outcome
from ports import wait_for

NAME = "websocket"
TITLE = "WebSockets under an idle timeout"
IDLE_SECONDS = 3
SHORT_GAP = 1.5
GAPS = 4  # short gaps, in all longer than the timeout
# An idle end may be noticed by a timer that ticks in steps, on a machine that has other things to do.
LATE_SECONDS = 10
CONNECTIONS = 20
_HERE = Path(__file__).resolve().parent


def bound(options):
    """Seconds after which it is hopeless."""
    del options
    return 120


class _Session(threading.Thread):
    """One client: `gaps` (talks, with short gaps), `pings` (only pings, as keepalives do) or `idle` (says no more)."""

    def __init__(self, proxy, kind):
        super().__init__(daemon=True)
        self.proxy, self.kind = proxy, kind
        self.error = None
        self.lived = None  # seconds from the last message to the end, if it ended

    def run(self):
        """Talks; what went wrong is in `error`."""
        try:
            self._talk()
        except Exception as error:  # noqa: BLE001: told in the report, whatever it is
            self.error = f"{self.kind}: {error!r}"

    def _talk(self):
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.client import connect

        target = self.proxy.target
        sock = socket.create_connection((target.host, target.port), 30)
        with connect(f"ws://{target.authority}/", sock=sock, proxy=None, ping_interval=None, open_timeout=30,
                     close_timeout=1) as connection:
            self._echo(connection, 0)
            if self.kind == "idle":
                last = time.monotonic()
                try:
                    connection.recv(timeout=IDLE_SECONDS + LATE_SECONDS + 5)
                except ConnectionClosed:
                    self.lived = time.monotonic() - last
                except TimeoutError:
                    pass
                return
            for number in range(GAPS):
                time.sleep(SHORT_GAP)
                if self.kind == "pings":
                    if not connection.ping().wait(10):
                        raise SoakError("no pong")
                else:
                    self._echo(connection, number)
            self._echo(connection, GAPS)

    @staticmethod
    def _echo(connection, number):
        message = f"message {number}" * (1 + number * 1000)
        connection.send(message)
        if connection.recv(timeout=30) != message:
            raise SoakError(f"message {number} came back changed")


def run(field):
    """All sessions at once; then the log."""
    out = Outcome(NAME, TITLE)
    server = field.pack.start("websocket-server", [sys.executable, _HERE / "soak_websocket_peer.py"], field.cpus)
    said = lambda: Path(server.log).read_text(errors="replace")
    wait_for(lambda: not server.alive() or "\n" in said(), 30)
    if not said().startswith("127."):
        raise SoakError(f"the WebSocket server did not start:\n{server.last_words()}")
    address = said().split("\n")[0]
    proxy = Bowline(field, {"endpoints": static(address), "timeout": {"idleTimeoutSeconds": IDLE_SECONDS}})
    _phase(out, field, proxy)
    line, missing = _reason(proxy.log(), address)
    if missing:
        out.line("at the default level the log says of it: " + (line or "nothing"))
        _look_at_debug(out, proxy, address)
    out.require("the log, at its default level, gives the reason with service, endpoint and seconds", not missing,
                line if not missing else "missing: " + ", ".join(missing))
    for proc in (proxy.proc, server):
        field.pack.stop(proc, sig=signal.SIGKILL)
    return out


def _phase(out, field, proxy):
    sessions = [_Session(proxy, kind) for kind in ("gaps", "pings", "idle") for _ in range(CONNECTIONS)]
    field.say(f"  {len(sessions)} connections, idle timeout {IDLE_SECONDS} s")
    for session in sessions:
        session.start()
    for session in sessions:
        session.join(60)
    for kind, what in (("gaps", f"gaps of {SHORT_GAP} s live"), ("pings", f"pings every {SHORT_GAP} s keep it alive")):
        errors = [s.error or "it hangs" for s in sessions if s.kind == kind and (s.error or s.is_alive())]
        out.require(what, not errors, f"{CONNECTIONS - len(errors)} of {CONNECTIONS}" + "".join(f"; {e}" for e in errors[:2]))
    idle = [s for s in sessions if s.kind == "idle"]
    lived = sorted(s.lived for s in idle if s.lived is not None)
    # From the last message's arrival at the client; the proxy saw it a little earlier.
    right = [seconds for seconds in lived if IDLE_SECONDS - 0.2 <= seconds <= IDLE_SECONDS + LATE_SECONDS]
    out.require(f"an idle one ends after {IDLE_SECONDS} s", len(right) == CONNECTIONS,
                f"{len(right)} of {CONNECTIONS}" + (f", after {lived[0]:.2f} to {lived[-1]:.2f} s" if lived else "")
                + "".join(f"; {s.error}" for s in idle[:2] if s.error))
    ended = proxy.metrics("bowline_tunnels_ended_total")
    counted = sum(value for key, value in ended.items() if 'end="idle"' in key)
    out.require("bowline_tunnels_ended_total counts them as idle", counted == CONNECTIONS, f"{counted:.0f} of {CONNECTIONS}")
    out.figures.update({"lived_seconds": lived, "tunnels_ended": ended})


def _reason(log, address):
    """(the log's line on an idle end, what it lacks)."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in log.splitlines() if "idle" in line.lower()]
    if not lines:
        return None, ["any line on it"]
    line = lines[-1]
    wanted = {"the service": re.search(r"\bweb\b", line), "the endpoint": address in line,
              "the seconds": re.search(rf"\b{IDLE_SECONDS}(\.0)?\b", line.replace(address, ""))}
    return line, [what for what, found in wanted.items() if not found]


def _look_at_debug(out, proxy, address):
    """What the debug level would say, for the report."""
    proxy.ask("/logging?level=debug", post=True)
    session = _Session(proxy, "idle")
    session.start()
    session.join(60)
    time.sleep(0.5)
    line, missing = _reason(proxy.log(), address)
    out.line("at level debug: " + (line or "nothing") + (f" (missing: {', '.join(missing)})" if missing else ""))
