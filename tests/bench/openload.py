"""The open-loop load generator: HTTP/1.1 requests at a constant rate, whether or not answers come.

A client that waits for its answer before it asks again asks less while all is slow, and so leaves the worst out of its
figures ("coordinated omission"). Here each request has a moment at which it is meant to be sent, and its latency runs from
that moment to the end of its answer. It goes over a connection that is free, or a new one; who gets no answer in time hangs up.

`openload.py SPEC`, where SPEC is JSON: host, port, authority, start (of the monotonic clock), phases ([[seconds, requests a second], …]),
timeout (seconds), out (a file). It writes one record a request to the file, as three arrays of doubles, one after the other:
latency in seconds; status (`TIMEOUT`, `BROKEN`, or the answer's); how late it was sent.

With `closed` (a number) instead of phases: so many connections that ask again as soon as they are answered, for `seconds`;
it prints {"answers": …, "seconds": …}.
"""

import errno
import gc
import json
import socket
import sys
import time
from array import array
from collections import deque

import precise

TIMEOUT = 0.0
BROKEN = -1.0
# How soon a request is tried again whose connection was not there yet.
UNSENT = 0.0005
# So many are sent before answers are looked for.
AT_ONCE = 32


class Connection:
    """One connection, with one request at a time; `record` is the one it is at, or None."""

    __slots__ = ("data", "record", "sock")

    def __init__(self, sock):
        self.sock = sock
        self.record = None
        self.data = b""


def length(head):
    """How long the body after this head is; None if it is chunked or ends with the connection."""
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    if at < 0:
        return None
    return int(lower[at + 17:].split(b"\r\n", 1)[0])


def whole(data):
    """(status, whether the connection stays) if a whole answer has come, else None."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end + 2]
    size = length(head)
    if size is None:
        if not data.endswith(b"\r\n0\r\n\r\n"):
            return None
    elif len(data) < end + 4 + size:
        return None
    return float(head[9:12]), b"\r\nconnection: close" not in head.lower()


class Client:
    """Connections to one address."""

    def __init__(self, spec):
        self.address = (spec["host"], spec["port"])
        self.request = (f"GET / HTTP/1.1\r\nhost: {spec['authority']}\r\nuser-agent: openload\r\naccept: */*\r\n\r\n").encode()
        self.loop = precise.Loop()
        self.free = []
        self.unsent = []

    def send(self, record):
        """Sends a request over a connection, which it returns; None if it broke."""
        connection = self.free.pop() if self.free else self._connect()
        connection.record = record
        return connection if self._write(connection) else None

    def _connect(self):
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(self.address)
        connection = Connection(sock)
        self.loop.add(sock, lambda: self._readable(connection))
        return connection

    def _write(self, connection):
        """False if that can't be."""
        try:
            connection.sock.send(self.request)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOTCONN, errno.EALREADY, errno.EINPROGRESS):
                # On loopback a connection is there at once, unless too many wait to be accepted.
                self.unsent.append((connection, connection.record))
                return True
            self.close(connection)
            return False
        return True

    def write_unsent(self):
        """Tries again where a connection was not there yet; call it now and then."""
        unsent, self.unsent = self.unsent, []
        for connection, record in unsent:
            if connection.sock and connection.record == record and not self._write(connection):
                self.answered(record, BROKEN)

    def close(self, connection):
        """Hangs up."""
        if connection.sock:
            self.loop.remove(connection.sock)
            connection.sock.close()
            connection.sock = None
            if connection.record is None and connection in self.free:
                self.free.remove(connection)

    def _readable(self, connection):
        try:
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        record = connection.record
        if not data:
            self.close(connection)
            if record is not None:
                self.answered(record, BROKEN)
            return
        connection.data += data
        done = whole(connection.data)
        if not done or record is None:
            return
        status, stays = done
        connection.record, connection.data = None, b""
        if stays:
            self.free.append(connection)
        else:
            self.close(connection)
        self.answered(record, status)

    def answered(self, record, status):
        """What comes of a request, whatever it is."""
        raise NotImplementedError


class Open(Client):
    """So many requests a second."""

    def __init__(self, spec):
        super().__init__(spec)
        self.start, self.timeout, self.out = spec["start"], spec["timeout"], spec["out"]
        self.meant = []
        at = 0.0
        for seconds, rate in spec["phases"]:
            self.meant += [at + number / rate for number in range(round(seconds * rate))]
            at += seconds
        self.latency = array("d", [self.timeout]) * len(self.meant)
        self.status = array("d", [TIMEOUT]) * len(self.meant)
        self.late = array("d", [0.0]) * len(self.meant)
        self.open = 0

    def answered(self, record, status):
        """Noted."""
        self.latency[record] = time.monotonic() - self.start - self.meant[record]
        self.status[record] = status
        self.open -= 1

    def run(self):
        """All requests, and then until the last one is answered or its time is up."""
        meant, start, loop = self.meant, self.start, self.loop
        waiting = deque()  # (connection, record), in the order of their deadlines
        number = 0
        while number < len(meant) or self.open:
            now = time.monotonic() - start
            # Not all at once where it is behind: who doesn't listen meanwhile opens ever more connections.
            last = min(len(meant), number + AT_ONCE)
            while number < last and meant[number] <= now:
                self.late[number] = now - meant[number]
                self.open += 1
                connection = self.send(number)
                if connection:
                    waiting.append((connection, number))
                else:
                    self.answered(number, BROKEN)
                number += 1
                now = time.monotonic() - start
            while waiting and (waiting[0][0].record != waiting[0][1] or meant[waiting[0][1]] + self.timeout <= now):
                connection, record = waiting.popleft()
                if connection.record == record and connection.sock:
                    # Its status stays TIMEOUT, and its latency the timeout.
                    self.close(connection)
                    self.open -= 1
            if self.unsent:
                self.write_unsent()
                loop.once(time.monotonic() + UNSENT)
                continue
            soon = [meant[number]] if number < len(meant) else []
            soon += [meant[waiting[0][1]] + self.timeout] if waiting else []
            if soon:
                loop.once(start + min(soon))
        with open(self.out, "wb") as file:
            for figures in (self.latency, self.status, self.late):
                figures.tofile(file)


class Closed(Client):
    """So many connections."""

    def __init__(self, spec):
        super().__init__(spec)
        self.connections, self.seconds = spec["closed"], spec["seconds"]
        self.answers = 0

    def answered(self, record, status):
        """Asks again."""
        self.answers += status == 200.0
        if self.send(0) is None:
            raise OSError("the connection could not be had back")

    def run(self):
        """Counts from when all connections are busy."""
        for _ in range(self.connections):
            if self.send(0) is None:
                raise OSError(f"no connection to {self.address}")
            self.write_unsent()
        begins = time.monotonic() + 0.5
        while (now := time.monotonic()) < begins:
            self.loop.once(begins)
        self.answers = 0
        ends = now + self.seconds
        while (over := time.monotonic()) < ends:
            self.loop.once(ends)
        print(json.dumps({"answers": self.answers, "seconds": over - now}))


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    client = Closed(asked) if "closed" in asked else Open(asked)
    # What is made while it runs has no cycles; a collection would only keep requests waiting.
    gc.freeze()
    gc.disable()
    client.run()
