"""Free ports on loopback addresses."""

import random
import socket
import time
from pathlib import Path

_given = set()


def free_port(host="127.0.0.1"):
    """A port nobody listens on, and that this run has not given away before.

    It lies below the range the kernel takes the local ports of outgoing connections from: the thousands of
    connections of a run could otherwise take a port between our look and the listener's bind.
    """
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    first, last = (10000, low - 1) if low > 12000 else (10000, 60000)
    for _ in range(1000):
        port = random.randint(first, last)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise OSError(f"no free port found on {host} between {first} and {last}")


def accepts(host, port, timeout=0.5):
    """True if something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout):
            return True
    except OSError:
        return False


def wait_for(check, seconds, step=0.02):
    """Calls `check` until it is true; False if it never was."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(step)
    return False
