"""A gRPC server without generated code. It prints {"ports": [port]}, then {"request": {path, headers}} for each call and
{"closed": path} when the caller of /test.Echo/Silent has gone.

/test.Echo/Unary sends the message back. /test.Echo/Refuse ends with the status that the message names, in the headers
(there is no message before it); /test.Echo/Late sends one message and then ends with it, in the trailers.
"""

import json
import sys
import threading
from concurrent import futures

import grpc


def say(**line):
    """One line."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def told(path, context):
    """Says what came."""
    pairs = [[name, value] for name, value in context.invocation_metadata() if isinstance(value, str)]
    say(request={"path": path, "headers": pairs})


def unary(request, context):
    """The message, as it came."""
    told("/test.Echo/Unary", context)
    return request


def refuse(request, context):
    """Nothing but a status."""
    told("/test.Echo/Refuse", context)
    context.abort(grpc.StatusCode[request.decode()], "as asked")


def late(request, context):
    """A message, and then a status."""
    told("/test.Echo/Late", context)
    yield b"first"
    context.abort(grpc.StatusCode[request.decode()], "as asked")


def silent(_, context):
    """Nothing, until the caller goes."""
    gone = threading.Event()
    context.add_callback(gone.set)
    told("/test.Echo/Silent", context)
    gone.wait()
    say(closed="/test.Echo/Silent")
    return b""


def main():
    """Serves until stdin ends."""
    methods = {"Unary": grpc.unary_unary_rpc_method_handler(unary), "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
               "Late": grpc.unary_stream_rpc_method_handler(late), "Silent": grpc.unary_unary_rpc_method_handler(silent)}
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    say(ports=[port])
    sys.stdin.read()
    server.stop(None)


if __name__ == "__main__":
    main()
