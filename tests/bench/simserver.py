"""Simulated servers, all in one process: endpoints that take a known time to answer, and can be made slow.

They don't work, they wait, so it takes next to nothing of the machine to be slow or overloaded. With slots, an endpoint
works on so many requests at a time and lets the others wait in order, for ever and whoever has hung up meanwhile, as servers
do that learn it only when they write. Its clock is its own: the next request begins when the last one was due, not when this
process came round to it, so the capacity is slots / time exactly.

`simserver.py '{"host": …, "ports": […], "control": PORT, "median": seconds, "sigma": …, "slots": …, "seed": …}'` takes lines of JSON
on its control port and answers each with one:

{"start": T, "slow": [from, until, factor, endpoints]}   begins anew: counts at 0, queues empty. Times are in seconds, T on the
                                                         system's monotonic clock, the others from T on; `slow` may be null
{"counts": true}                                         what has come since, by endpoint and tenth of a second
"""

import gc
import heapq
import json
import math
import random
import socket
import sys
import time
from collections import deque

import precise

_BODY = b"0123456789abcdef" * 4
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
# Counts are kept for so long, and by so many parts of a second.
SECONDS = 120
PARTS = 10


class Endpoint:
    """One server: how it is doing, and what has come to it."""

    def __init__(self, number):
        self.number = number
        self.begin()

    def begin(self):
        """Everything that is there is forgotten."""
        self.waiting = deque()
        self.busy = 0
        self.received = [0] * (SECONDS * PARTS)
        self.most_waiting = 0


class Connection:
    """One connection of a proxy; requests come one after the other."""

    __slots__ = ("data", "endpoint", "sock")

    def __init__(self, sock, endpoint):
        self.sock = sock
        self.endpoint = endpoint
        self.data = b""


class Servers:
    """All of them, and their common clock."""

    def __init__(self, spec):
        self.median, self.sigma, self.slots = spec["median"], spec["sigma"], spec["slots"]
        self.rng = random.Random(spec["seed"])
        self.endpoints = [Endpoint(number) for number in range(len(spec["ports"]))]
        self.start, self.slow = time.monotonic(), None
        self.due = []  # (when, a number that no other has, connection, endpoint)
        self.number = 0
        self.epoch = 0  # what was begun in an earlier one is not answered
        self.loop = precise.Loop()
        for endpoint, port in zip(self.endpoints, spec["ports"]):
            self._listen(spec["host"], port, lambda sock, endpoint=endpoint: self._accepted(sock, endpoint))
        self._listen("127.0.0.1", spec["control"], self._controlled)

    def _listen(self, host, port, taken):
        listener = socket.create_server((host, port), backlog=4096)
        listener.setblocking(False)

        def accept():
            while True:
                try:
                    sock, _ = listener.accept()
                except BlockingIOError:
                    return
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                taken(sock)

        self.loop.add(listener, accept)

    def _accepted(self, sock, endpoint):
        connection = Connection(sock, endpoint)
        self.loop.add(sock, lambda: self._readable(connection))

    def _close(self, connection):
        if connection.sock:
            self.loop.remove(connection.sock)
            connection.sock.close()
            connection.sock = None

    def _readable(self, connection):
        try:
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        data = connection.data + data
        # No bodies: a request ends with its head.
        while (end := data.find(b"\r\n\r\n")) >= 0:
            data = data[end + 4:]
            self._request(connection, time.monotonic())
        connection.data = data

    def _request(self, connection, now):
        endpoint = connection.endpoint
        at = int((now - self.start) * PARTS)
        if 0 <= at < len(endpoint.received):
            endpoint.received[at] += 1
        if not self.slots or endpoint.busy < self.slots:
            self._begin(connection, endpoint, now)
        else:
            endpoint.waiting.append(connection)
            endpoint.most_waiting = max(endpoint.most_waiting, len(endpoint.waiting))

    def _begin(self, connection, endpoint, now):
        endpoint.busy += 1
        takes = self.median * math.exp(self.rng.gauss(0.0, self.sigma)) if self.sigma else self.median
        if self.slow:
            begins, ends, factor, which = self.slow
            if begins <= now - self.start < ends and endpoint.number in which:
                takes *= factor
        self.number += 1
        heapq.heappush(self.due, (now + takes, self.number, connection, self.epoch))

    def _finish(self, now):
        due = self.due
        while due and due[0][0] <= now:
            when, _, connection, epoch = heapq.heappop(due)
            if epoch == self.epoch:
                endpoint = connection.endpoint
                endpoint.busy -= 1
                if endpoint.waiting:
                    self._begin(endpoint.waiting.popleft(), endpoint, when)
            if connection.sock:
                try:
                    connection.sock.send(_ANSWER)
                except OSError:
                    self._close(connection)

    def _controlled(self, sock):
        data = bytearray()

        def readable():
            got = sock.recv(65536)
            if not got:
                self.loop.remove(sock)
                sock.close()
                return
            data.extend(got)
            while (end := data.find(b"\n")) >= 0:
                answer = json.dumps(self._command(json.loads(data[:end]))).encode() + b"\n"
                del data[:end + 1]
                # Between rounds nobody minds that this may block.
                sock.setblocking(True)
                sock.sendall(answer)
                sock.setblocking(False)

        self.loop.add(sock, readable)

    def _command(self, command):
        if "start" in command:
            self.start, self.slow = command["start"], command["slow"]
            self.epoch += 1
            for endpoint in self.endpoints:
                # Who still waits gets an answer some time, if only to find its connection usable.
                for connection in endpoint.waiting:
                    self._close(connection)
                endpoint.begin()
            return {"ok": True}
        return {"received": [endpoint.received for endpoint in self.endpoints],
                "most_waiting": [endpoint.most_waiting for endpoint in self.endpoints]}

    def run(self):
        """For ever."""
        while True:
            self.loop.once(self.due[0][0] if self.due else None)
            self._finish(time.monotonic())


if __name__ == "__main__":
    servers = Servers(json.loads(sys.argv[1]))
    # What is made while it runs has no cycles; a collection would only keep requests waiting.
    gc.freeze()
    gc.disable()
    servers.run()
