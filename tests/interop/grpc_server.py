"""A gRPC server on grpcio, without generated code: messages are bytes. It prints its port and serves until killed."""

import sys
import time
from concurrent import futures

import grpc


def unary(request, context):
    return request


def fail(request, context):
    context.set_trailing_metadata((("x-detail", "some"), ("x-raw-bin", b"\x00\x01\x02")))
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: ü")


def slow(request, context):
    while context.is_active():
        time.sleep(0.02)
    return request


def server_stream(request, context):
    for n in range(100):
        yield b"%d" % n


def client_stream(requests, context):
    return b"%d" % sum(1 for _ in requests)


def bidi(requests, context):
    yield from requests


def metadata(request, context):
    context.send_initial_metadata((("x-initial", "1"),))
    context.set_trailing_metadata((("x-trailing", "2"),))
    return dict(context.invocation_metadata()).get("x-sent", "").encode()


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
    "Metadata": grpc.unary_unary_rpc_method_handler(metadata),
}


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", METHODS),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    sys.exit(main())
