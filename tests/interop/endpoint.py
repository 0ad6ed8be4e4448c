"""An endpoint that says who it is: `endpoint.py http NAME` or `endpoint.py grpc NAME`.

It prints its address and serves until SIGTERM, after which it takes nothing new, finishes what it has begun and ends.

http: answers every request with 200, its name as the body and as `x-endpoint`. The path `/status/503` gives that status,
    `/wait/50` waits so many milliseconds before it answers. With a header `x-echo` the body is the request as JSON.
    `/health` gives 200, or what `/set-health/503` has said; `/seen` tells how many requests had a header `x-count`.
grpc: `/test.Echo/Unary` sends the message back, with its name in the trailing metadata as `x-endpoint`. `/test.Echo/Slow`
    does so after 200 ms. `/grpc.health.v1.Health/Check` says SERVING, or NOT_SERVING once the message to `/test.Echo/Sick`
    has been `yes`.
"""

import argparse
import asyncio
import json
import signal
import sys

import grpc


class Http:
    """HTTP/1.1 with keep-alive, as much of it as the load of a test needs."""

    def __init__(self, name):
        self.name = name.encode()
        self.draining = False
        self.health = b"200"
        self.seen = 0
        self.idle = set()  # connections on which no request is under way
        self.tasks = set()

    async def on_connection(self, reader, writer):
        """Serves one connection."""
        task = asyncio.current_task()
        self.tasks.add(task)
        try:
            while not self.draining:
                self.idle.add(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                self.idle.discard(writer)
                length, last, headers = 0, False, {}
                for line in head.split(b"\r\n")[1:]:
                    key, _, value = line.partition(b":")
                    headers[key.decode().lower()] = value.decode().strip()
                    if key.lower() == b"content-length":
                        length = int(value)
                    last |= key.lower() == b"connection" and value.strip().lower() == b"close"
                await reader.readexactly(length)
                path = head.split()[1]
                status = path.removeprefix(b"/status/") if path.startswith(b"/status/") else b"200"
                if path.startswith(b"/wait/"):
                    await asyncio.sleep(int(path.removeprefix(b"/wait/")) / 1000)
                body = self.name
                if path.startswith(b"/set-health/"):
                    self.health = path.removeprefix(b"/set-health/")
                elif path == b"/health":
                    status = self.health
                elif path == b"/seen":
                    body = b"%d" % self.seen
                elif "x-echo" in headers:
                    body = json.dumps({"path": path.decode(), "headers": headers}).encode()
                self.seen += "x-count" in headers
                last |= self.draining
                closing = b"connection: close\r\n" if last else b""
                writer.write(b"HTTP/1.1 " + status + b" so\r\ncontent-length: %d\r\nx-endpoint: " % len(body)
                             + self.name + b"\r\n" + closing + b"\r\n" + body)
                await writer.drain()
                if last:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.idle.discard(writer)
            self.tasks.discard(task)
            writer.close()

    async def serve(self, stop):
        """Until `stop` is set."""
        server = await asyncio.start_server(self.on_connection, "127.0.0.1", 0)
        print("%s:%d" % server.sockets[0].getsockname()[:2], flush=True)
        await stop.wait()
        server.close()
        self.draining = True
        # Those with a request under way end with its response.
        for writer in list(self.idle):
            writer.close()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=5)


async def grpc_serve(name, stop):
    """Until `stop` is set."""
    async def unary(request, context):
        # At the end, so that all of the response goes out at once: a call whose response has begun can't be tried again
        # when this endpoint is killed.
        context.set_trailing_metadata((("x-endpoint", name),))
        return request

    async def slow(request, context):
        await asyncio.sleep(0.2)
        return await unary(request, context)

    sick = False

    async def set_sick(request, context):
        nonlocal sick
        sick = request == b"yes"
        return request

    async def check(_request, _context):
        # A HealthCheckResponse with the status SERVING or NOT_SERVING.
        return b"\x08\x02" if sick else b"\x08\x01"

    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    methods = {"Unary": grpc.unary_unary_rpc_method_handler(unary),
               "Slow": grpc.unary_unary_rpc_method_handler(slow),
               "Sick": grpc.unary_unary_rpc_method_handler(set_sick)}
    health = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),
                                     grpc.method_handlers_generic_handler("grpc.health.v1.Health", health)))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await stop.wait()
    await server.stop(grace=5)


async def run(arguments):
    """Serves."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    if arguments.kind == "http":
        await Http(arguments.name).serve(stop)
    else:
        await grpc_serve(arguments.name, stop)


def main():
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["http", "grpc"])
    parser.add_argument("name")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
