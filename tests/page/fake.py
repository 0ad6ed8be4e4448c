"""A stand-in for control: serves the page's files as control does, and the picture of a made-up mesh.

    fake.py [--scenario NAME] [--port N] [--seed N]

It prints its URL and serves until it is ended. The scenarios:

demo     two callers, `server` with five endpoints of which one is ejected, a gRPC service, one that calls another
empty    a mesh without services, and no proxy
silent   services and a proxy that has reported nothing yet
sixty    60 services in five layers
large    200 services with 2,000 endpoints, 300 proxies
hostile  names and texts that try to be markup

The world is the same for a seed, but for its rates, which waver.
"""

import argparse
import contextlib
import http.server
import json
import threading
import time
import urllib.parse
from pathlib import Path

from mesh import SCENARIOS, Mesh

PAGE = Path(__file__).resolve().parents[2] / "control" / "src" / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Fake:
    """The stand-in, on a free port unless told otherwise. `away`: it takes connections and answers nothing good."""

    def __init__(self, scenario="demo", port=0, seed=1):
        self.mesh = Mesh(seed)
        SCENARIOS[scenario](self.mesh)
        self.lock = threading.Lock()
        self.away = False
        self.asked = []  # (moment, path)
        handler = type("Handler", (Handler,), {"fake": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/ui"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def end(self):
        """Serves no more."""
        self.server.shutdown()
        self.server.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    fake = None
    protocol_version = "HTTP/1.1"

    def do_GET(self):  # noqa: N802, the name is http.server's
        """Files as control serves them, and the made-up world."""
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        fake = self.fake
        fake.asked.append((time.monotonic(), self.path))
        file = PAGE / ("index.html" if parts.path in ("/", "/ui") else parts.path.removeprefix("/ui/"))
        if parts.path in ("/", "/ui") or (parts.path.startswith("/ui/") and file.parent == PAGE and file.is_file()):
            return self.answer(200, file.read_bytes(), TYPES[file.suffix])
        if fake.away:
            return self.answer(503, b"control is starting\n", "text/plain")
        with fake.lock:
            if parts.path == "/picture":
                return self.json(fake.mesh.picture())
            if parts.path == "/history" and query.get("service") in fake.mesh.services:
                return self.json(fake.mesh.history(query["service"]))
            if parts.path == "/explain":
                status, told = fake.mesh.explain(query.get("url", ""))
                return (
                    self.json(told)
                    if status == 200
                    else self.answer(status, told.encode(), "text/plain; charset=utf-8")
                )
        return self.answer(404, b"no such page\n", "text/plain")

    def json(self, value):
        """A page of JSON."""
        self.answer(200, json.dumps(value).encode(), "application/json")

    def answer(self, status, body, kind):
        """With the headers that control sets."""
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("cache-control", "no-cache")
        self.send_header("content-security-policy", "default-src 'self'")
        self.send_header("x-content-type-options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def handle(self):
        """Whoever leaves in the middle of an answer is gone."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, *_):
        """Not a word."""


def main():
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=SCENARIOS, default="demo")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(Fake(arguments.scenario, arguments.port, arguments.seed).url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
