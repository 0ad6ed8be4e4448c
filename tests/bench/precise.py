"""An event loop for load and servers that are about milliseconds: it wakes within a tenth of one.

Python's epoll waits for whole milliseconds; `select` on the epoll's own descriptor doesn't.
"""

import select
import time


class Loop:
    """Sockets, and what to do when something can be read from them."""

    def __init__(self):
        self._epoll = select.epoll()
        self._fd = [self._epoll.fileno()]
        self._handlers = {}

    def add(self, sock, readable):
        """Calls `readable` when there is something to read, or the other side has gone."""
        self._handlers[sock.fileno()] = readable
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def remove(self, sock):
        """Before it is closed."""
        del self._handlers[sock.fileno()]
        self._epoll.unregister(sock.fileno())

    def once(self, until):
        """Waits for events until that moment of the monotonic clock (None: for ever), and handles them."""
        wait = None if until is None else until - time.monotonic()
        if wait is None or wait > 0:
            select.select(self._fd, (), (), wait)
        for fd, _ in self._epoll.poll(0):
            # One handler may have closed another's.
            handler = self._handlers.get(fd)
            if handler:
                handler()
