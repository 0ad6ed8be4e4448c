"""An endpoint: answers every request with 200 after a few milliseconds. It prints its address and serves until it is
ended."""

import http.server
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection, kept alive."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):  # noqa: N802, the name is http.server's
        """Works a little."""
        time.sleep(0.003)
        self.send_response(200)
        self.send_header("content-length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_):
        """Not a word."""


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print("%s:%d" % server.server_address[:2], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Event().wait()
