"""Real endpoints on real sockets, in this process: HTTP/1.1, TCP, WebSocket and gRPC servers, and a DNS server.

All HTTP and TCP ones live on the loop of one thread, the `Farm`.
"""

import asyncio
import base64
import hashlib
import socket
import struct
import threading
import time
from concurrent import futures

WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Gate:
    """Opens once, from any thread; what waits on the farm's loop goes on then."""

    def __init__(self, farm):
        self.farm = farm
        self.event = asyncio.Event()

    def open(self):
        """Lets all through."""
        self.farm.loop.call_soon_threadsafe(self.event.set)


class Request:
    """What came."""

    def __init__(self, connection, head):
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        if len(first.split(" ")) != 3:
            raise ConnectionError(f"not HTTP/1.1: {first!r}")
        self.method, self.target, _ = first.split(" ")
        self.path = self.target.split("?")[0]
        self.pairs = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        self.connection = connection
        self.at = time.monotonic()
        self.body = b""

    def headers(self, name):
        """All values of a header."""
        return [value for key, value in self.pairs if key.lower() == name.lower()]

    def header(self, name):
        """The first value of a header, or None."""
        return next(iter(self.headers(name)), None)


class Answer:
    """What a backend does with a request."""

    def __init__(self, status=200, body=None, headers=(), delay=0, until=None, then="keep"):
        """`then`: keep the connection, `reset` it instead of an answer, or `hang` without one; `head` sends only the head
        and a length."""
        self.status = status
        self.body = body
        self.headers = list(headers)
        self.delay = delay
        self.until = until
        self.then = then


class Farm:
    """The thread with the loop."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.tasks = set()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def keep(self):
        """Keeps the task that runs alive: a loop does not, while it waits for what will never come."""
        task = asyncio.current_task()
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def run(self, coroutine):
        """Runs it there, and returns what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def end(self):
        """Ends all that still runs there."""
        async def cancel():
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.run(cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)


class Listener:
    """A server on a port of its own, that can go down and come up again there. `_serve` takes its connections."""

    def __init__(self, farm, name, host="127.0.0.1", port=0):
        self.farm = farm
        self.name = name
        self.host = host
        self.port = port
        self.connections = 0
        self.writers = set()
        self.server = None
        self.listener = None
        self.held = None  # A socket that keeps the port, and never listens
        self.up()

    @property
    def address(self):
        """As the mesh file has it."""
        return f"{self.host}:{self.port}"

    def up(self):
        """Listens, on the port it had before if it had one."""
        async def listen():
            if not self.held:
                self.held = self._bound(self.port)
                self.port = self.held.getsockname()[1]
            self.listener = self._bound(self.port)
            return await asyncio.start_server(self._serve, sock=self.listener, backlog=1024, limit=1 << 20)

        self.server = self.farm.run(listen())

    def down(self):
        """Listens no more, and closes what is open: who connects is refused."""
        async def close():
            # A program that another thread starts has a copy of the socket for a moment: closed here alone, it would
            # still listen.
            self.listener.shutdown(socket.SHUT_RDWR)
            self.server.close()
            for writer in list(self.writers):
                writer.transport.abort()

        self.farm.run(close())

    def _bound(self, port):
        """A socket on this port. Two may have it, of which one listens: the other keeps it while nobody does, else the
        port would be the next one's who asks for any, and somebody would answer."""
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((self.host, port))
        return bound


class Backend(Listener):
    """An HTTP/1.1 server. `answer(request)` says what it does; without one it answers 200 with its name."""

    def __init__(self, farm, name, host="127.0.0.1", port=0):
        self.answer = None
        self.requests = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.reads = True  # False: takes connections, and reads nothing
        super().__init__(farm, name, host, port)

    def seen(self, path=None):
        """What came, without health checks; for this path alone if one is given."""
        return [one for one in list(self.requests) if path is None or one.path == path]

    def count(self, path=None):
        """How many came."""
        return len(self.seen(path))

    async def _serve(self, reader, writer):
        self.connections += 1
        number = self.connections
        self.writers.add(writer)
        self.farm.keep()
        try:
            if not self.reads:
                writer.transport.pause_reading()
                await asyncio.Event().wait()
            while True:
                request = Request(number, await reader.readuntil(b"\r\n\r\n"))
                await self._body(reader, request)
                self.requests.append(request)
                if (request.header("upgrade") or "").lower() == "websocket":
                    await self._echo(reader, writer, request)
                    return
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    if not await self._answer(reader, writer, request):
                        return
                finally:
                    self.in_flight -= 1
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    @staticmethod
    async def _body(reader, request):
        if "chunked" in (request.header("transfer-encoding") or ""):
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                request.body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readuntil(b"\r\n")
        else:
            request.body = await reader.readexactly(int(request.header("content-length") or 0))

    async def _answer(self, reader, writer, request):
        """Answers; returns whether the connection goes on."""
        answer = self.answer(request) if self.answer else Answer()
        gone = asyncio.ensure_future(reader.read(1)) if answer.delay or answer.until or answer.then == "hang" else None
        waits = []
        if answer.delay:
            waits.append(asyncio.sleep(answer.delay))
        if answer.until:
            waits.append(answer.until.event.wait())
        if answer.then == "hang":
            waits.append(asyncio.Event().wait())
        if waits:
            # Whoever hangs up frees the place.
            both = asyncio.gather(*waits)
            await asyncio.wait([both, gone], return_when=asyncio.FIRST_COMPLETED)
            over = gone.done()
            for one in (both, gone):
                one.cancel()
            await asyncio.gather(both, gone, return_exceptions=True)
            if over:
                return False
        if answer.then == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        body = f"from {self.name}".encode() if answer.body is None else answer.body
        lines = [f"HTTP/1.1 {answer.status} so", f"x-backend: {self.name}"]
        lines += [f"{name}: {value}" for name, value in answer.headers]
        if answer.status not in (204, 304):
            lines.append(f"content-length: {len(body) + (answer.then == 'head')}")
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + (b"" if request.method == "HEAD" else body))
        await writer.drain()
        if answer.then == "head":
            await reader.read()
            return False
        return True

    async def _echo(self, reader, writer, request):
        """A WebSocket that sends back what comes, byte for byte but for the mask."""
        accept = base64.b64encode(hashlib.sha1(request.header("sec-websocket-key").encode() + WEBSOCKET).digest())
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
                     b"sec-websocket-accept: " + accept + b"\r\n\r\n")
        while True:
            first, second = await reader.readexactly(2)
            mask, data = await reader.readexactly(4), await reader.readexactly(second & 0x7F)
            data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
            writer.write(bytes([first, len(data)]) + data)
            await writer.drain()
            if first & 0xF == 8:
                return


class Tcp(Listener):
    """A TCP server that says its name first, and then sends back what comes."""

    async def _serve(self, reader, writer):
        self.connections += 1
        self.writers.add(writer)
        self.farm.keep()
        try:
            writer.write(f"{self.name}\n".encode())
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()


class BlackHole:
    """Nobody answers here, not even the kernel: the queue of the listening socket is full, and nothing is taken off it."""

    def __init__(self, *_):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.address = "%s:%d" % self.listener.getsockname()
        self.fill = []
        while True:
            one = socket.socket()
            one.settimeout(0.3)
            self.fill.append(one)
            try:
                one.connect(self.listener.getsockname())
            except TimeoutError:
                return

    def down(self):
        """Closes all of it."""
        for one in [*self.fill, self.listener]:
            one.close()


class Grpc:
    """A gRPC server: /test.Echo/Call answers with its name, or as `answer(context)` says; grpc.health.v1 is served as well."""

    def __init__(self, farm, name):
        import grpc

        del farm
        self.name = name
        self.answer = None
        self.calls = []
        self.checks = []
        self.health = {"": 1}
        self.host = "127.0.0.1"
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=(("grpc.so_reuseport", 0),))
        call = grpc.unary_unary_rpc_method_handler(self._call)
        check = grpc.unary_unary_rpc_method_handler(self._check)
        self.server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler("test.Echo", {"Call": call, "Other": call}),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check}),
        ))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    address = Backend.address

    def _call(self, _, context):
        self.calls.append(dict(context.invocation_metadata()))
        if self.answer:
            self.answer(context)
        return self.name.encode()

    def _check(self, request, context):
        import grpc

        # HealthCheckRequest { string service = 1 }, HealthCheckResponse { ServingStatus status = 1 }
        service = request[2:].decode() if request else ""
        self.checks.append(service)
        if service not in self.health:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return bytes([8, self.health[service]])

    def down(self):
        """Ends it at once."""
        self.server.stop(None)


class Dns:
    """A DNS server for one name: `records` are addresses (A), or (priority, weight, port, target, address) (SRV)."""

    def __init__(self, name, records):
        self.name = name.rstrip(".").lower()
        self.records = records
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = "%s:%d" % self.socket.getsockname()
        threading.Thread(target=self._serve, daemon=True).start()

    @staticmethod
    def _wire(name):
        return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"

    def _serve(self):
        while True:
            try:
                query, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            at, labels = 12, []
            while query[at]:
                labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
                at += query[at] + 1
            kind = struct.unpack("!H", query[at + 1 : at + 3])[0]
            name, question = ".".join(labels), query[12 : at + 5]
            answers, more = [], []
            known = name == self.name
            for record in self.records:
                if isinstance(record, str):
                    if known and kind == 1:
                        answers.append(self._record(name, 1, socket.inet_aton(record)))
                    continue
                priority, weight, port, target, address = record
                if known and kind == 33:
                    answers.append(self._record(name, 33, struct.pack("!HHH", priority, weight, port) + self._wire(target)))
                    more.append(self._record(target, 1, socket.inet_aton(address)))
                if name == target:
                    known = True
                    if kind == 1:
                        answers.append(self._record(name, 1, socket.inet_aton(address)))
            flags = 0x8580 if known else 0x8583
            head = query[:2] + struct.pack("!HHHHH", flags, 1, len(answers), 0, len(more))
            self.socket.sendto(head + question + b"".join(answers + more), peer)

    def _record(self, name, kind, data):
        return self._wire(name) + struct.pack("!HHIH", kind, 1, 1, len(data)) + data

    def down(self):
        """Closes it."""
        self.socket.close()
