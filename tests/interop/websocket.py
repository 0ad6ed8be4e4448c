"""A WebSocket server and client (the `websockets` package).

serve: listens on a free port, prints its address, sends every message back.
call ADDR URL [PROXY]: connects to ADDR for URL, or to PROXY with CONNECT, checks that messages come back; prints "ok".
"""

import os
import socket
import sys

from websockets.sync.client import connect
from websockets.sync.server import serve


def echo(connection):
    for message in connection:
        connection.send(message)


def main():
    if sys.argv[1] == "serve":
        with serve(echo, "127.0.0.1", 0, max_size=None) as server:
            host, port = server.socket.getsockname()
            print(f"{host}:{port}", flush=True)
            server.serve_forever()
        return
    addr, url = sys.argv[2], sys.argv[3]
    if len(sys.argv) > 4:
        options = {"proxy": sys.argv[4]}
    else:
        host, port = addr.rsplit(":", 1)
        options = {"proxy": None, "sock": socket.create_connection((host, int(port)), timeout=30)}
    with connect(url, max_size=None, open_timeout=30, **options) as connection:
        large = os.urandom(3_000_000)
        for message in ["hello", "", large, "ünicode"]:
            connection.send(message)
            answer = connection.recv(timeout=30)
            assert answer == message, f"{message!r:.40}: {answer!r:.40}"
        assert connection.ping().wait(30), "no pong"
        connection.close(1001, "done")
        assert connection.protocol.close_rcvd.code == 1001, connection.protocol.close_rcvd
    print("ok")


main()
