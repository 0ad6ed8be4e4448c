"""A WebSocket server that sends every message back. It prints {"ports": [port]}, then {"request": {path, headers}}."""

import json
import sys
import threading

from websockets.sync.server import serve


def main():
    """Serves until stdin ends."""

    def echo(connection):
        request = connection.request
        line = {"request": {"path": request.path, "headers": list(map(list, request.headers.raw_items()))}}
        # In one piece: each connection has a thread of its own.
        print(json.dumps(line) + "\n", end="", flush=True)
        for message in connection:
            connection.send(message)

    server = serve(echo, "127.0.0.1", 0)
    print(json.dumps({"ports": [server.socket.getsockname()[1]]}), flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
