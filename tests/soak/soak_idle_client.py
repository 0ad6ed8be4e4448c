"""Opens idle keep-alive connections, for the soak: each makes one request, then says nothing.

Arguments: host, port, authority, how many, a file. Prints `open N`; when the file exists it looks whether all of them
still stand, makes one more request on every hundredth, closes all, prints `closed {"lost": N, "failed": N}` and ends.
"""

import json
import select
import socket
import sys
import time
from pathlib import Path

_EVERY = 100


def _request(sock, authority):
    """One request on a kept connection; True if the answer came whole, with status 200."""
    sock.sendall(f"GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
    got = b""
    while True:
        head, found, body = got.partition(b"\r\n\r\n")
        if found:
            length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
                          if line.startswith(b"content-length:"))
            if len(body) >= length:
                return head.startswith(b"HTTP/1.1 200")
        more = sock.recv(65536)
        if not more:
            return False
        got += more


def main():
    """Opens, waits, looks, closes."""
    host, port, authority, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    socks, failed = [], 0
    for _ in range(count):
        sock = socket.create_connection((host, port), 30)
        failed += not _request(sock, authority)
        socks.append(sock)
    print(f"open {len(socks)}", flush=True)
    while not Path(sys.argv[5]).exists():
        time.sleep(0.1)
    # An idle connection has nothing to read unless it was closed.
    poll = select.poll()
    for sock in socks:
        poll.register(sock, select.POLLIN)
    lost = len(poll.poll(0))
    if not lost:
        failed += sum(not _request(sock, authority) for sock in socks[::_EVERY])
    for sock in socks:
        sock.close()
    print("closed " + json.dumps({"lost": lost, "failed": failed}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
