"""A WebSocket echo server for the soak: prints its address and serves until it is killed. No pings of its own."""

import sys

from websockets.sync.server import serve


def _echo(connection):
    for message in connection:
        connection.send(message)


def main():
    """Serves."""
    with serve(_echo, "127.0.0.1", 0, ping_interval=None) as server:
        host, port = server.socket.getsockname()[:2]
        print(f"{host}:{port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
