"""gRPC with grpcio, as it comes: `grpc_client.py TARGET APP`."""

import queue
import sys

import grpc
from told import check, differs, unmarked


def main():
    """Unary and streams."""
    target, app = sys.argv[1:]

    def right(call):
        seen = dict(call.trailing_metadata())
        return unmarked(seen.get("x-seen-request-id")) or differs(seen["x-app"], app)

    def unary(channel, size):
        answer, call = channel.unary_unary("/test.Echo/Unary").with_call(b"x" * size, timeout=20)
        return right(call) or differs(answer, b"x" * size)

    def count(channel):
        call = channel.unary_stream("/test.Echo/Count")(b"1000", timeout=20)
        got = list(call)
        return right(call) or differs(got, [b"%d" % number for number in range(1000)])

    def bidi(channel):
        # Each message is answered before the next one is sent.
        sending = queue.SimpleQueue()
        call = channel.stream_stream("/test.Echo/Bidi")(iter(sending.get, None), timeout=20)
        for number in range(50):
            sending.put(b"%d" % number)
            if wrong := differs(next(call), b"%d" % number):
                return wrong
        sending.put(None)
        return differs(list(call), []) or right(call)

    with grpc.insecure_channel(target) as channel:
        check("grpcio, unary", lambda: unary(channel, 10))
        check("grpcio, unary, 1 MB", lambda: unary(channel, 1_000_000))
        check("grpcio, 1,000 messages in a stream", lambda: count(channel))
        check("grpcio, stream both ways", lambda: bidi(channel))


if __name__ == "__main__":
    main()
