"""Clients that ask for large bodies and read about 1 KB/s."""

import asyncio
import socket

import h2wire

STEP = 1024  # bytes a second
_RECEIVE_BUFFER = 4096


class SlowClient:
    """One slow reader on a connection of its own. `how`:

    * `h1`: HTTP/1.1; its socket's receive buffer is tiny and read at 1 KB/s.
    * `h2 socket`: HTTP/2 with windows as large as one likes, and such a socket.
    * `h2 window`: HTTP/2 that reads its socket, and gives its stream 1 KB more of window each second.
    """

    def __init__(self, how, target, path):
        self.how, self.target, self.path = how, target, path
        self.received = 0
        self.ended = None
        self.first = b""
        self._task = None

    def start(self):
        """Begins to read."""
        self._task = asyncio.ensure_future(self._run())

    async def stop(self):
        """Hangs up."""
        self._task.cancel()
        await asyncio.wait([self._task], timeout=5)

    async def _run(self):
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            if self.how != "h2 window":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            try:
                await loop.sock_connect(sock, (self.target.host, self.target.port))
                await loop.sock_sendall(sock, self._request())
                await (self._windows if self.how == "h2 window" else self._trickle)(loop, sock)
            except OSError as error:
                self.ended = str(error)

    def _request(self):
        if self.how == "h1":
            return f"GET {self.path} HTTP/1.1\r\nHost: {self.target.authority}\r\n\r\n".encode()
        window = h2wire.DEFAULT_WINDOW if self.how == "h2 window" else 8 << 20
        return (h2wire.opening(STEP if self.how == "h2 window" else window, window)
                + h2wire.get(1, self.target.authority, self.path) + h2wire.frame(h2wire.SETTINGS, h2wire.ACK))

    async def _trickle(self, loop, sock):
        while True:
            data = await loop.sock_recv(sock, STEP)
            if not data:
                self.ended = "closed by the proxy"
                return
            self.received += len(data)
            self.first = self.first or data[:64]
            await asyncio.sleep(len(data) / STEP)

    async def _windows(self, loop, sock):
        frames = h2wire.Frames()
        while True:
            data = await loop.sock_recv(sock, 65536)
            if not data:
                self.ended = "closed by the proxy"
                return
            got = 0
            for kind, flags, stream, payload in frames.feed(data):
                if kind == h2wire.DATA:
                    got += len(payload)
                if stream and (kind == h2wire.RST_STREAM or flags & h2wire.END_STREAM and kind in (h2wire.DATA, h2wire.HEADERS)):
                    self.ended = "the stream ended"
                    return
            self.received += got
            if got:
                await asyncio.sleep(got / STEP)
                await loop.sock_sendall(sock, h2wire.window_update(1, got) + h2wire.window_update(0, got))
