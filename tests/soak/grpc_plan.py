"""What each gRPC call of the soak is: made from the seed and the call's number, so that client and server agree on every
byte without telling each other, and a failed call can be made again."""

import json
import random
import struct
import zlib
from dataclasses import asdict, dataclass

import grpc

KINDS = ("ServerStream", "ClientStream", "Bidi")
UP, DOWN = 0, 1  # the client's messages, and the server's
MAX_SIZE = 40_000
_HEAD = struct.Struct(">QBII")  # call, direction, number of the message, bytes that follow
# Message bodies are cut from here, each from another place.
_NOISE = random.Random("noise").randbytes(1 << 17)

# Anything but OK. UNAVAILABLE comes after a message only: before the first, the proxy is right to try another endpoint.
_STATUSES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
_WORDS = ["no such thing: ü", "line one\nline two", "100 % full", "", "a" * 700, "日本 ", "plain"]


@dataclass(frozen=True)
class Plan:
    """One call. The server is given it as metadata."""

    call: int
    seed: int
    kind: str
    up: int  # messages of the client
    down: int  # messages of the server
    lockstep: bool  # each message is answered before the next one is sent; else both sides send as they can
    abort_after: int  # the server ends the call after so many messages (of its own, or read if it has none to send)
    status: str
    details: str

    def to_text(self):
        """For a metadata value, which must be ASCII."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_text(text):
        """The inverse."""
        return Plan(**json.loads(text))

    @property
    def aborts(self):
        """The server ends this call with an error, on request."""
        return self.status != "OK"

    def message(self, direction, number):
        """The bytes of one message."""
        rng = random.Random(f"{self.seed} {self.call} {direction} {number}")
        # Most are small, some are large enough for many frames and window updates.
        size = rng.choice((0, 1, rng.randrange(100), rng.randrange(2_000), rng.randrange(MAX_SIZE)))
        start = rng.randrange(len(_NOISE) - MAX_SIZE)
        return _HEAD.pack(self.call, direction, number, size) + _NOISE[start:start + size]

    def trailing(self, received):
        """The trailing metadata the server must send, given the checksum of what it has received."""
        raw = random.Random(f"{self.seed} {self.call} trailing").randbytes(24)
        return (("x-call", str(self.call)), ("x-received", str(received)), ("x-raw-bin", raw))


def make(seed, call):
    """The plan of a call."""
    rng = random.Random(f"{seed} {call}")
    kind = rng.choice(KINDS)
    many = rng.choice((1, rng.randrange(1, 8), rng.randrange(1, 40)))
    up, down = {"ServerStream": (1, many), "ClientStream": (many, 1), "Bidi": (many, many)}[kind]
    status, details, after = "OK", "", 0
    if rng.random() < 0.2:
        code = rng.choice(_STATUSES)
        after = rng.randrange(many + 1)
        if code is grpc.StatusCode.UNAVAILABLE and (after == 0 or kind == "ClientStream"):
            code = grpc.StatusCode.ABORTED
        status, details = code.name, rng.choice(_WORDS)
    return Plan(call, seed, kind, up, down, rng.random() < 0.3, after, status, details)


def sum_of(checksum, message):
    """The running checksum of messages."""
    return zlib.crc32(message, checksum)
