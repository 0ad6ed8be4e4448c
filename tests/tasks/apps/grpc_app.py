"""A gRPC server without generated code: `grpc_app.py ADDRESS PORT NAME`. Messages are bytes.

/test.Echo/Unary sends the message back, /test.Echo/Count streams as many messages as the message says, /test.Echo/Bidi sends
back each message as it comes, /test.Echo/Slowly is as Count with 10 ms between two messages. Trailing metadata say by
whom, and which request id came.

After SIGTERM it goes on for three seconds, then takes nothing new, finishes what it has begun, and ends. Without these
seconds grpcio would cancel calls that come in the moment of its end: that is no draining, with or without a mesh.
"""

import signal
import sys
import threading
import time
from concurrent import futures

import grpc

DRAIN_SECONDS = 3


def main():
    """Serves until SIGTERM."""
    address, port, name = sys.argv[1:]

    def told(context):
        seen = dict(context.invocation_metadata())
        context.set_trailing_metadata((("x-app", name), ("x-seen-request-id", seen.get("x-request-id", ""))))

    def unary(request, context):
        told(context)
        return request

    def count(request, context):
        told(context)
        for number in range(int(request)):
            yield b"%d" % number

    def slowly(request, context):
        for message in count(request, context):
            yield message
            time.sleep(0.01)  # so that a stream is under way for a while

    def bidi(requests, context):
        told(context)
        yield from requests

    methods = {"Unary": grpc.unary_unary_rpc_method_handler(unary), "Count": grpc.unary_stream_rpc_method_handler(count),
               "Slowly": grpc.unary_stream_rpc_method_handler(slowly), "Bidi": grpc.stream_stream_rpc_method_handler(bidi)}
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
    if not server.add_insecure_port(f"{address}:{port}"):
        sys.exit("the port is taken")
    term = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: term.set())
    server.start()
    print("up", flush=True)
    term.wait()
    time.sleep(DRAIN_SECONDS)
    server.stop(grace=10).wait()


if __name__ == "__main__":
    main()
