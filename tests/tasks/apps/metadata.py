"""The metadata endpoints of ECS and EC2: `metadata.py FILE ADDRESS...`, on port 80 of each address.

FILE is JSON: {task: {address, desired}}; it is read at each request. /v4/TASK is the container's page, /v4/TASK/task the
task's; everything else is answered with `metadata`.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FILE = Path(sys.argv[1])


class Page(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self):
        parts = self.path.strip("/").split("/")
        status, body = 200, b"metadata"
        if parts[0] == "v4" and len(parts) > 1:
            state = json.loads(FILE.read_text()).get(parts[1])
            if state is None:
                status, body = 404, b"no such task"
            else:
                known = {"DesiredStatus": state["desired"], "KnownStatus": "RUNNING"}
                page = {**known, "Networks": [{"NetworkMode": "awsvpc", "IPv4Addresses": [state["address"]]}]}
                if parts[2:] == ["task"]:
                    page = {**known, "AvailabilityZone": "eu-west-1a", "Containers": [page]}
                body = json.dumps(page).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    """Serves until killed."""
    for address in sys.argv[2:]:
        server = ThreadingHTTPServer((address, 80), Page)
        threading.Thread(target=server.serve_forever).start()
    print("up", flush=True)


if __name__ == "__main__":
    main()
