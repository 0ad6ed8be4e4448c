"""Network namespaces: networks of the bench's own, gone when it is."""

import ctypes
import os
import threading

CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


class Absent(Exception):
    """This machine does not let us; the message says what is missing."""


class Netns:
    """A network with nothing in it.

    It has no name under /run/netns, which would have to be mounted and taken away again: an open file keeps it, so the
    kernel takes it away when the bench and all that it started there have ended, in whatever way.
    """

    def __init__(self):
        """Raises `Absent` where this is not permitted."""
        self._file = _in_thread(_make)

    @property
    def path(self):
        """By which other programs, `ip` for one, know it while the bench runs."""
        return f"/proc/{os.getpid()}/fd/{self._file}"

    def enter(self):
        """Moves the calling thread into it. For children between fork and exec; the bench's main thread stays outside."""
        if _libc.setns(self._file, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def call(self, function):
        """What `function` returns or raises, called in this network."""

        def inside():
            self.enter()
            return function()

        return _in_thread(inside)


def call(net, function):
    """The same for a network that may be None: the machine's own."""
    return net.call(function) if net else function()


def _make():
    if _libc.unshare(CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise Absent(f"no network namespace can be made here: {os.strerror(code)}")
    # The thread's own: /proc/self would be the main thread's.
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _in_thread(function):
    """Calls it on a thread of its own, since a network is a thread's, and this one should keep the one it has."""
    outcome = []

    def run():
        try:
            outcome.append((function(), None))
        except BaseException as error:  # whatever it is, the caller gets it
            outcome.append((None, error))

    # A daemon, so that Ctrl-C need not wait for it.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    value, error = outcome[0]
    if error:
        raise error
    return value
