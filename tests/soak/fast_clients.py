"""Clients of small requests at a fixed rate, open loop: a slow answer does not delay the next request.

A request's time runs from when it is sent. It is sent when it is due and never waits for another: over HTTP/1.1 on a free
keep-alive connection or else a new one, over HTTP/2 as one more stream.
"""

import asyncio
import time
from collections import defaultdict

import h2wire

_SHARED_STREAM_WINDOW = 16 * 1024
LOST_AFTER = 10.0  # seconds after which an answer is given up


class H1(asyncio.Protocol):
    """An HTTP/1.1 keep-alive connection, one request at a time."""

    def __init__(self, clients):
        self.clients = clients
        self.sent_at = None
        self.buffer = b""
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def request(self, sent_at):
        """Sends a request."""
        self.clients.busy.add(self)
        self.sent_at, self.buffer = sent_at, b""
        self.transport.write(f"GET / HTTP/1.1\r\nHost: {self.clients.target.authority}\r\n\r\n".encode())

    def data_received(self, data):
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found or self.sent_at is None:
            return
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(body) >= length:
            self.clients.busy.discard(self)
            self.clients.answered("h1", self.sent_at, head.startswith(b"HTTP/1.1 200"))
            self.sent_at = None
            self.clients.free.append(self)

    def connection_lost(self, exc):
        if self in self.clients.free:
            self.clients.free.remove(self)
        self.clients.busy.discard(self)
        if self.sent_at is not None:
            self.clients.answered("h1", self.sent_at, False)
            self.sent_at = None


class H2(asyncio.Protocol):
    """An HTTP/2 connection. Slow streams may be opened beside the fast ones; `read_slowly` gives them window."""

    def __init__(self, clients, group):
        self.clients, self.group = clients, group
        self.frames = h2wire.Frames()
        self.next_stream = 1
        self.sent_at = {}
        self.slow = {}  # stream -> bytes received
        self.unread = 0  # received and not given back to the connection's window
        self.transport = None
        self.closed = False  # by the proxy, without having been asked

    def connection_made(self, transport):
        self.transport = transport
        # The connection's window is large and always given back: a client that did otherwise would stall itself.
        transport.write(h2wire.opening(_SHARED_STREAM_WINDOW, 4 << 20))

    def _open(self, path):
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        self.transport.write(h2wire.get(stream, self.clients.target.authority, path))
        return stream

    def request(self, sent_at):
        """Sends a small request."""
        self.sent_at[self._open("/")] = sent_at

    def open_slow(self, count, path):
        """Opens streams with large bodies."""
        if self.closed:
            return
        for _ in range(count):
            self.slow[self._open(path)] = 0

    def read_slowly(self, amount):
        """Lets each slow stream go on by so much."""
        if self.slow:
            self.transport.write(b"".join(h2wire.window_update(stream, amount) for stream in self.slow))

    def close_slow(self):
        """Gives the slow streams up."""
        if self.slow:
            self.transport.write(b"".join(h2wire.reset(stream) for stream in self.slow))
        self.slow = {}

    def data_received(self, data):
        for kind, flags, stream, payload in self.frames.feed(data):
            if kind == h2wire.SETTINGS and not flags & h2wire.ACK:
                self.transport.write(h2wire.frame(h2wire.SETTINGS, h2wire.ACK))
            elif kind == h2wire.PING and not flags & h2wire.ACK:
                self.transport.write(h2wire.frame(h2wire.PING, h2wire.ACK, 0, payload))
            elif kind == h2wire.DATA:
                self.unread += len(payload)
                if stream in self.slow:
                    self.slow[stream] += len(payload)
            ended = kind == h2wire.RST_STREAM or kind in (h2wire.DATA, h2wire.HEADERS) and flags & h2wire.END_STREAM
            if kind == h2wire.HEADERS and stream in self.sent_at and not h2wire.is_ok(payload):
                ended, kind = True, h2wire.RST_STREAM
            if ended and stream in self.sent_at:
                self.clients.answered(self.group, self.sent_at.pop(stream), kind != h2wire.RST_STREAM)
            elif ended and stream in self.slow:
                del self.slow[stream]
        if self.unread >= 32 * 1024:
            self.transport.write(h2wire.window_update(0, self.unread))
            self.unread = 0

    def connection_lost(self, exc):
        for sent_at in self.sent_at.values():
            self.clients.answered(self.group, sent_at, False)
        self.sent_at, self.slow = {}, {}
        self.closed = not self.clients.leaving


class FastClients:
    """All clients of one proxy: `h1`, `h2` on a connection of their own, and `h2 shared` with slow streams."""

    GROUPS = ("h1", "h2", "h2 shared")
    # Half over HTTP/1.1, half over HTTP/2.
    _TURN = ("h1", "h2", "h1", "h2 shared")

    def __init__(self, h1_target, h2_target):
        self.h1_target = self.target = h1_target
        self.h2_target = h2_target
        self.free = []
        self.busy = set()
        self.under_way = 0
        self.leaving = False
        self.times = None

    async def connect(self):
        """Opens the connections that are there from the start."""
        loop = asyncio.get_running_loop()
        self.target = self.h2_target
        self.h2 = {}
        for group in self.GROUPS[1:]:
            _, self.h2[group] = await loop.create_connection(lambda g=group: H2(self, g), self.h2_target.host,
                                                             self.h2_target.port)
        for _ in range(8):
            self.free.append(await self._connect_h1())

    async def _connect_h1(self):
        _, connection = await asyncio.get_running_loop().create_connection(lambda: H1(self), self.h1_target.host,
                                                                           self.h1_target.port)
        return connection

    @property
    def shared(self):
        """The connection that slow streams share with fast ones."""
        return self.h2["h2 shared"]

    def answered(self, group, sent_at, fine):
        """A request is over."""
        self.under_way -= 1
        if self.times is not None:
            (self.times[group] if fine else self.failed[group]).append(time.perf_counter() - sent_at)

    async def phase(self, seconds, rate):
        """Sends at `rate` for so long; returns ({group: seconds of each answer}, {group: failures})."""
        self.times, self.failed = defaultdict(list), defaultdict(list)
        began = time.perf_counter()
        for number in range(int(seconds * rate)):
            due = began + number / rate
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            await self._send(self._TURN[number % len(self._TURN)])
        give_up = time.perf_counter() + LOST_AFTER
        while self.under_way > 0 and time.perf_counter() < give_up:
            await asyncio.sleep(0.01)
        lost = self._lost()
        times, failed = self.times, {group: len(self.failed[group]) + lost.get(group, 0) for group in self.GROUPS}
        self.times = None
        return times, failed

    async def _send(self, group):
        self.under_way += 1
        if group == "h1":
            connection = self.free.pop() if self.free else await self._connect_h1()
        else:
            connection = self.h2[group]
            if connection.transport.is_closing():
                self.answered(group, time.perf_counter(), False)
                return
        connection.request(time.perf_counter())

    def _lost(self):
        """Requests that have no answer after all; counted as failures, and not waited for any more."""
        lost = {"h1": len(self.busy)}
        for connection in self.busy:
            connection.sent_at = None
            connection.transport.abort()
        self.busy.clear()
        for group, connection in self.h2.items():
            lost[group] = len(connection.sent_at)
            connection.sent_at = {}
        self.under_way = 0
        return lost

    def close(self):
        """Closes all connections."""
        self.leaving = True
        for connection in [*self.free, *self.busy, *self.h2.values()]:
            connection.transport.close()
