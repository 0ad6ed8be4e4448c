"""Where spans go while something is measured: an OTLP receiver over HTTP/1.1 that costs little, and the handle to it.

It keeps the bodies and answers at once. What spans are in them is counted when somebody asks, between two rounds, so that
counting takes nothing of the load's core meanwhile. Each proxy has a path of its own. `sink.py PORT` serves:

POST /NAME      takes a request
GET /NAME       {"requests": …, "spans": …, "bytes": …} of that path so far
"""

import asyncio
import http.client
import json
import sys
from collections import defaultdict
from pathlib import Path

from ports import accepts, free_port, wait_for

# What it keeps uncounted. Above it counts at once, which a reader of the figures should know.
KEEP_BYTES = 512 << 20
_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7f) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _inside(data, at, end, wanted):
    """(start, end) of each field `wanted` of the message in data[at:end]; what is in others is skipped."""
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 2:
            size, at = _varint(data, at)
            if tag >> 3 == wanted:
                yield at, at + size
            at += size
        elif kind == 0:
            _, at = _varint(data, at)
        else:
            at += {1: 8, 5: 4}[kind]


def count_spans(body):
    """How many spans an ExportTraceServiceRequest has: resource_spans (1), scope_spans (2), spans (2)."""
    return sum(1 for resource in _inside(body, 0, len(body), 1) for scope in _inside(body, *resource, 2)
               for _ in _inside(body, *scope, 2))


class Counts:
    """What came, by path."""

    def __init__(self):
        self.kept = defaultdict(list)
        self.bytes = 0
        self.totals = defaultdict(lambda: {"requests": 0, "spans": 0, "bytes": 0})

    def take(self, path, body):
        """Keeps a body."""
        self.kept[path].append(body)
        self.bytes += len(body)
        if self.bytes > KEEP_BYTES:
            for known in list(self.kept):
                self.count(known)

    def count(self, path):
        """Counts what is kept of a path, and returns all that came for it."""
        total = self.totals[path]
        for body in self.kept.pop(path, ()):
            total["requests"] += 1
            total["bytes"] += len(body)
            total["spans"] += count_spans(body)
            self.bytes -= len(body)
        return total


class Connection(asyncio.Protocol):
    """One connection, with requests of known length."""

    def __init__(self, counts):
        self.counts = counts
        self.transport = None
        self.data = bytearray()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data
        while (head := self.data.find(b"\r\n\r\n")) >= 0:
            method, path, _ = self.data[:self.data.find(b"\r\n")].split(b" ")
            headers = bytes(self.data[:head]).lower()
            if b"\r\ntransfer-encoding: chunked" in headers:
                body, end = self._chunks(head + 4)
            else:
                at = headers.find(b"\r\ncontent-length:")
                size = int(headers[at + 17:].split(b"\r\n", 1)[0]) if at >= 0 else 0
                end = head + 4 + size
                body = bytes(self.data[head + 4:end])
            if end is None or len(self.data) < end:
                return
            del self.data[:end]
            if method == b"POST":
                self.counts.take(bytes(path), body)
                self.transport.write(_OK)
            else:
                answer = json.dumps(self.counts.count(bytes(path))).encode()
                self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer))

    def _chunks(self, at):
        """(body, where it ends) of a chunked body; (None, None) if it is not all there."""
        body = bytearray()
        while (line := self.data.find(b"\r\n", at)) >= 0:
            size = int(self.data[at:line], 16)
            at = line + 4 + size
            if len(self.data) < at:
                break
            if not size:
                return bytes(body), at
            body += self.data[line + 2:at - 2]
        return None, None


async def _serve(port):
    counts = Counts()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(counts), "127.0.0.1", port)
    await server.serve_forever()


class Sink:
    """The handle: starts it, ends it, asks it."""

    def __init__(self, pack, cpus):
        self.pack, self.cpus = pack, cpus
        self.port = free_port()
        self.proc = None

    def start(self):
        """Starts it, unless it runs; after an end on the same port."""
        if self.proc is None or not self.proc.alive():
            self.proc = self.pack.start("sink", [sys.executable, Path(__file__), self.port], self.cpus)
            wait_for(lambda: accepts("127.0.0.1", self.port), 5)

    def kill(self):
        """Ends it at once, as a collector that crashes."""
        self.pack.stop(self.proc, sig=9)

    def url(self, name):
        """Where the spans of that proxy go."""
        return f"http://127.0.0.1:{self.port}/{name}"

    def spans(self, name):
        """How many spans have come from that proxy. Counting takes a while after a round."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", f"/{name}")
            return json.loads(connection.getresponse().read())["spans"]
        finally:
            connection.close()

    def settled(self, name, expected, seconds=8):
        """Waits until so many spans have come, at most so long: what is not there by then was lost. Returns how many have."""
        wait_for(lambda: self.spans(name) >= expected, seconds, step=0.1)
        return self.spans(name)

    def quiet(self, name, seconds=8):
        """Waits, at most so long, until something has come from that proxy and then nothing more for half a second."""
        seen = [0]

        def unchanged():
            seen.append(self.spans(name))
            return len(seen) > 5 and 0 < seen[-6] == seen[-1]

        wait_for(unchanged, seconds, step=0.1)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
