"""A proxyless gRPC client (grpcio): calls `xds:///NAME:PORT` at a steady rate, with nothing between it and the endpoints.

The bootstrap comes from GRPC_XDS_BOOTSTRAP (a file) or GRPC_XDS_BOOTSTRAP_CONFIG (the JSON itself), or by --bootstrap and
--control. It calls until the time is over, or until stdin closes. Calls that are due but can't begin because too many are
under way are not made up for.

On stdout a JSON line a second (--tell-every), and at the end one more with everything:

    {"event": "second", "calls": 100, "failed": 0, "served": {"a": 50, "b": 50}}
    {"event": "total", "calls": ..., "failed": ..., "served": {...}, "failures": {"UNAVAILABLE: details": 3}}

"served" counts by who answered: the metadata `x-endpoint` (initial or trailing), else the response itself if that is short text. Calls
wait for the name to become known (--no-wait: they don't, and fail). The exit code is 0 whatever the calls did, since that
is in the total.
"""

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path

# Settings that are read when grpc is imported, and only then.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


class Tally:
    """How calls ended; asked from several threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.all = self.fresh()
        self.second = self.fresh()

    @staticmethod
    def fresh():
        """Nothing counted yet."""
        return {"calls": 0, "failed": 0, "served": Counter(), "failures": Counter()}

    def add(self, served=None, failure=None):
        """One call has ended."""
        with self.lock:
            for counts in (self.all, self.second):
                counts["calls"] += 1
                if failure is None:
                    counts["served"][served] += 1
                else:
                    counts["failed"] += 1
                    counts["failures"][failure] += 1

    def take_second(self):
        """What ended since it was last asked."""
        with self.lock:
            taken, self.second = self.second, self.fresh()
        return taken


def say(event, counts):
    """One line on stdout; failures only where there are any."""
    line = {"event": event, **counts}
    if event == "second" and not line["failures"]:
        del line["failures"]
    print(json.dumps(line), flush=True)


def who(call):
    """Which endpoint has answered this call."""
    for key, value in (*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())):
        if key == "x-endpoint":
            return value
    body = call.result()
    return body.decode(errors="replace") if 0 < len(body) <= 64 else "?"


def run(grpc, arguments):
    """Calls until it is over. Returns the tally."""
    tally = Tally()
    over = threading.Event()
    ended = threading.Semaphore(0)
    room = threading.Semaphore(arguments.at_once)

    def watch_stdin():
        while os.read(0, 4096):
            pass
        over.set()

    def on_end(call):
        room.release()
        try:
            if call.code() == grpc.StatusCode.OK:
                tally.add(served=who(call))
            else:
                tally.add(failure=f"{call.code().name}: {call.details()}")
        finally:
            ended.release()

    def tell():
        while not over.wait(arguments.tell_every):
            say("second", tally.take_second())

    if not arguments.ignore_stdin:
        threading.Thread(target=watch_stdin, daemon=True).start()
    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    # Trying again is for the service's policy alone, as the control plane gives it.
    options = (("grpc.enable_http_proxy", 0), ("grpc.primary_user_agent", "bowline-interop"))
    with grpc.insecure_channel(arguments.target, options) as channel:
        method = channel.unary_unary(arguments.method)
        begun = time.monotonic()
        made = 0
        for number in range(sys.maxsize):
            due = begun + number / arguments.rate
            if arguments.seconds and due - begun >= arguments.seconds:
                break
            if over.wait(max(0, due - time.monotonic())):
                break
            if not room.acquire(blocking=False):
                continue
            made += 1
            call = method.future(arguments.message.encode(), timeout=arguments.timeout,
                                 metadata=tuple(map(tuple, arguments.metadata)),
                                 wait_for_ready=not arguments.no_wait)
            call.add_done_callback(on_end)
        # Each call has a timeout, so this ends.
        for _ in range(made):
            ended.acquire()
        over.set()
    # Else its last line and the total could be written into each other.
    teller.join()
    return tally


def main():
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="e.g. xds:///server.hello-world.com:5000; other gRPC targets work too")
    parser.add_argument("--bootstrap", type=Path, help="a bootstrap file")
    parser.add_argument("--control", metavar="HOST:PORT",
                        help="put in the place of CONTROL_HOST and CONTROL_PORT in the bootstrap")
    parser.add_argument("--method", default="/test.Echo/Unary", help="a unary method (default: %(default)s)")
    parser.add_argument("--message", default="", help="what is sent (default: nothing)")
    parser.add_argument("--metadata", nargs=2, action="append", metavar=("KEY", "VALUE"), default=[],
                        help="sent with each call")
    parser.add_argument("--rate", type=float, default=50, help="calls a second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="how long (default: until stdin closes)")
    parser.add_argument("--timeout", type=float, default=10, help="seconds a call may take (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=200, help="calls under way at most (default: %(default)s)")
    parser.add_argument("--no-wait", action="store_true", help="fail calls at once while no endpoint is known")
    parser.add_argument("--tell-every", type=float, default=1, help="seconds between lines (default: %(default)s)")
    parser.add_argument("--ignore-stdin", action="store_true", help="go on when stdin closes")
    arguments = parser.parse_args()
    if arguments.bootstrap:
        text = arguments.bootstrap.read_text()
        if arguments.control:
            host, _, port = arguments.control.rpartition(":")
            text = text.replace("CONTROL_HOST", host).replace("CONTROL_PORT", port)
        os.environ["GRPC_XDS_BOOTSTRAP_CONFIG"] = text
        os.environ.pop("GRPC_XDS_BOOTSTRAP", None)
    import grpc  # now that its settings are there

    say("total", run(grpc, arguments).all)


if __name__ == "__main__":
    sys.exit(main())
