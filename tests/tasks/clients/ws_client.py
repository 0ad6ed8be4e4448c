"""WebSocket with the websockets package, as it comes: `ws_client.py URL APP`."""

import json
import sys

from told import check, differs, unmarked
from websockets.sync.client import connect


def main():
    """Messages, a ping and a close."""
    url, app = sys.argv[1:]

    def talk():
        with connect(url, max_size=None, open_timeout=20) as connection:
            first = json.loads(connection.recv(timeout=20))
            if wrong := unmarked(first["requestId"]) or differs(first["app"], app):
                return wrong
            for message in ("hello", b"\0" * 1_000_000, "ünicode"):
                connection.send(message)
                if wrong := differs(connection.recv(timeout=20), message):
                    return wrong
            if not connection.ping().wait(20):
                return "no pong"
            connection.close(1001, "done")
            return differs(connection.protocol.close_rcvd.code, 1001)

    check("websockets, messages, ping and close", talk)


if __name__ == "__main__":
    main()
