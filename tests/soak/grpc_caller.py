"""A caller of the gRPC soak, on grpcio: makes its share of the calls and checks everything that comes back.

Argument: a JSON object with address, authority, seed, first, step, until (call numbers), channels, at_once. On stdout: a
line `done N` now and then, and at last a line `result {...}`.

It takes grpcio's threads and not its asyncio side, which turns the status of a call that ends while a message is being
written into INTERNAL "Internal error from Core" by itself, without any proxy too.
"""

import json
import queue
import sys
import threading
import time
from collections import Counter

import grpc
from grpc_plan import DOWN, UP, make, sum_of

# For a call that hangs: far more than any call takes, even on a busy machine.
HANG_SECONDS = 60


class Failure(Exception):
    """A call did not come back as it must. `kind` is for counting."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


class Running:
    """A call under way: what was sent, what came back."""

    def __init__(self, plan):
        self.plan = plan
        self.began = time.monotonic()
        self.sent = 0
        self.got = []
        self.call = None
        self.hung = False
        self.answers = queue.SimpleQueue()  # for calls in lockstep: one item for each message received

    def requests(self):
        """The client's messages, as grpcio asks for them."""
        for number in range(self.plan.up):
            if number and self.plan.lockstep and self.plan.kind == "Bidi" and not self.answers.get():
                return
            self.sent = number + 1
            yield self.plan.message(UP, number)

    def read_all(self):
        """Until the server has ended the call, however."""
        try:
            for message in self.call:
                self.got.append(message)
                self.answers.put(True)
        except grpc.RpcError:
            pass  # how it ended is asked for afterwards
        finally:
            self.answers.put(False)


class Caller:
    """Makes calls, and remembers how they ended."""

    def __init__(self, order):
        self.order = order
        self.numbers = iter(range(order["first"], order["until"], order["step"]))
        self.lock = threading.Lock()  # over all that follows
        self.running = set()
        self.done = 0
        self.kinds = Counter()
        self.messages = 0
        self.bytes = 0
        self.failures = []

    def run(self):
        """All calls of this caller."""
        options = (("grpc.default_authority", self.order["authority"]), ("grpc.enable_http_proxy", 0),
                   # Otherwise channels to one address share one connection.
                   ("grpc.use_local_subchannel_pool", 1),
                   # A caller that tried again by itself would hide what the proxy does.
                   ("grpc.enable_retries", 0))
        channels = [grpc.insecure_channel(self.order["address"], options) for _ in range(self.order["channels"])]
        workers = [threading.Thread(target=self._work, args=(channel,))
                   for channel in channels for _ in range(self.order["at_once"])]
        threading.Thread(target=self._watch, daemon=True).start()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        for channel in channels:
            channel.close()

    def _watch(self):
        """Ends calls that hang, so that they are counted and the others go on."""
        while True:
            time.sleep(1)
            with self.lock:
                late = [r for r in self.running if time.monotonic() - r.began > HANG_SECONDS and r.call]
            for running in late:
                running.hung = True
                running.call.cancel()

    def _work(self, channel):
        while True:
            with self.lock:
                number = next(self.numbers, None)
            if number is None:
                return
            running = Running(make(self.order["seed"], number))
            with self.lock:
                self.running.add(running)
            failure = None
            try:
                self._call(channel, running)
                self._check(running)
            except Failure as error:
                failure = (error.kind, str(error))
            except Exception as error:  # noqa: BLE001: whatever it is, the other calls go on, and it is told
                failure = ("exception", repr(error))
            if running.hung:
                failure = ("hung", f"no end after {HANG_SECONDS} s, {running.sent} messages sent, "
                                   f"{len(running.got)} received")
            with self.lock:
                self._over(running, failure)

    def _over(self, running, failure):
        plan = running.plan
        self.running.discard(running)
        self.kinds[plan.kind + (" aborted" if plan.aborts else "")] += 1
        self.messages += running.sent + len(running.got)
        self.bytes += sum(map(len, running.got))
        if failure:
            self.failures.append({"call": plan.call, "began": running.began, "ended": time.monotonic(),
                                  "kind": failure[0], "method": plan.kind, "expected": plan.status, "text": failure[1]})
        self.done += 1
        if self.done % 50 == 0:
            print(f"done {self.done}", flush=True)

    def _call(self, channel, running):
        plan = running.plan
        path = f"/soak.Load/{plan.kind}"
        # Some with a deadline, which the proxy reads too, some without.
        options = {"metadata": (("x-plan", plan.to_text()),), "timeout": HANG_SECONDS * 2 if plan.call % 2 else None}
        if plan.kind == "ServerStream":
            running.sent = 1
            running.call = channel.unary_stream(path)(plan.message(UP, 0), **options)
            running.read_all()
        elif plan.kind == "Bidi":
            running.call = channel.stream_stream(path)(running.requests(), **options)
            running.read_all()
        else:
            running.call = channel.stream_unary(path).future(running.requests(), **options)
            try:
                running.got.append(running.call.result())
            except (grpc.RpcError, grpc.FutureCancelledError):
                pass

    def _check(self, running):
        call, plan, got = running.call, running.plan, running.got
        code, details = call.code(), call.details()
        if code.name != plan.status or (plan.aborts and details != plan.details):
            raise Failure(f"status {code.name}", f"{code.name} {details!r}, expected {plan.status} {plan.details!r:.60}, "
                          f"after {running.sent} messages sent and {len(got)} received")
        for number, message in enumerate(got):
            if message != plan.message(DOWN, number):
                raise Failure("wrong message", f"message {number}, {len(message)} bytes, is not what was sent")
        # A client stream that is aborted has no answer.
        want = plan.down if not plan.aborts else 0 if plan.kind == "ClientStream" else plan.abort_after
        if len(got) != want:
            raise Failure("messages missing", f"{len(got)} messages, not {want}")
        # The server has read them all, or as many as it was to read before it aborted.
        read = plan.abort_after if plan.aborts and plan.kind != "ServerStream" else plan.up
        checksum = 0
        for number in range(read):
            checksum = sum_of(checksum, plan.message(UP, number))
        trailing = dict(call.trailing_metadata())
        for key, value in plan.trailing(checksum):
            if trailing.get(key) != value:
                raise Failure("wrong trailing metadata", f"{key}: {trailing.get(key)!r}, expected {value!r}")

    def result(self):
        """What the soak wants to know."""
        return {"done": self.done, "kinds": self.kinds, "messages": self.messages, "bytes": self.bytes,
                "failures": self.failures}


def main():
    """Runs; exit code 0 whatever the calls did, since that is in the result."""
    caller = Caller(json.loads(sys.argv[1]))
    caller.run()
    print("result " + json.dumps(caller.result()), flush=True)


if __name__ == "__main__":
    sys.exit(main())
