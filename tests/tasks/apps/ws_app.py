"""A WebSocket server: `ws_app.py ADDRESS PORT NAME`. Its first message says who it is and which request id came; then it
sends every message back."""

import json
import sys

from websockets.sync.server import serve


def main():
    """Serves until killed."""
    address, port, name = sys.argv[1:]

    def echo(connection):
        seen = connection.request.headers.get("x-request-id", "")
        connection.send(json.dumps({"app": name, "requestId": seen}))
        for message in connection:
            connection.send(message)

    with serve(echo, address, int(port), max_size=None) as server:
        print("up", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
