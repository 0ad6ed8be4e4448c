#!/usr/bin/env python3
"""The compose example, brought up as it is by a docker daemon of the test's own.

    compose_check.py --proxy PATH --control PATH --bowline PATH [--dynamic] [--cache DIR]

Bowline's images are built of the given programs (`--dynamic`: not static), the apps' by their own Dockerfiles on a Debian
base that is made here; npm and PyPI are asked for their packages. One line a check; exit 1 if one fails. Needs root, Debian's
docker.io and docker-compose, debootstrap, node, npm and curl.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading

import compose_base
import images
from docker_daemon import Daemon, NoDocker
from docker_host import DEPLOY, DockerHost, until
from image_checks import Report

# Free ports are the bench's.
sys.path.append(os.path.join(os.path.dirname(DEPLOY), "tests", "bench"))

from ports import free_port  # noqa: E402

COMPOSE = os.path.join(DEPLOY, "compose")
# Where the proxy has no DNS server yet, the names stand in the hosts file that app and sidecar share.
HOSTS = """services:
  web-sidecar: {{ extra_hosts: ["greeter.hello-world.com:{greeter}"] }}
  greeter-sidecar: {{ extra_hosts: ["web.hello-world.com:{web}"] }}
  web: {{ volumes: ["/dev/null:/unused:ro"] }}
"""
# Dockerfiles, and what the example calls their images.
IMAGES = {"proxy": "bowline-proxy", "control": "bowline-control", "bowline": "bowline"}
VIPS = {"web": "127.255.0.21", "greeter": "127.255.0.22"}


def arguments():
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proxy", required=True, help="bowline-proxy")
    parser.add_argument("--control", required=True, help="bowline-control")
    parser.add_argument("--bowline", required=True, help="bowline, the command line")
    parser.add_argument("--dynamic", action="store_true", help="the programs are not static")
    parser.add_argument("--cache", help="a folder that keeps the Debian base for the next time")
    return parser.parse_args()


class Stack:
    """The example's containers."""

    def __init__(self, daemon, folder, dns):
        self.daemon = daemon
        self.port = free_port()
        # A copy, because the test changes the mesh file.
        self.folder = os.path.join(folder, "compose")
        shutil.copytree(COMPOSE, self.folder)
        self.files = ["-f", os.path.join(self.folder, "compose.yaml")]
        if not dns:
            self.without_dns()
        plugin = subprocess.run([daemon.client, "compose", "version"], capture_output=True)
        self.command = [daemon.client, "compose"] if plugin.returncode == 0 else ["docker-compose"]

    def without_dns(self):
        """Names by the hosts file: for a proxy that has no DNS server."""
        override = os.path.join(self.folder, "hosts.yaml")
        with open(override, "w", encoding="utf-8") as file:
            file.write(HOSTS.format(**VIPS))
        self.files += ["-f", override]
        path = os.path.join(self.folder, "mesh", "mesh.yaml")
        with open(path, encoding="utf-8") as file:
            mesh = file.read()
        for name, vip in VIPS.items():
            mesh = mesh.replace(f"discoveryName: {name}\n", f"discoveryName: {name}\n    vip: {vip}\n")
        with open(path, "w", encoding="utf-8") as file:
            file.write(mesh)

    def compose(self, *words, check=True):
        """Runs docker compose on the example."""
        done = subprocess.run(
            [*self.command, "-p", "example", *self.files, *words],
            env={**self.daemon.environment(), "WEB_PORT": str(self.port)}, capture_output=True, text=True,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(f"compose {' '.join(words)}: {done.stdout}{done.stderr}")
        return done

    def get(self, path):
        """What the app says to somebody outside."""
        done = subprocess.run(
            ["curl", "-s", "--noproxy", "*", "--max-time", "20", "-w", " %{http_code}",
             f"http://127.0.0.1:{self.port}{path}"],
            capture_output=True, text=True,
        )  # fmt: skip
        return " ".join(done.stdout.split())

    def inside(self, service, *command):
        """A program of this machine in a container's network."""
        container = self.compose("ps", "-q", service).stdout.strip()
        pid = self.daemon.docker("inspect", "-f", "{{.State.Pid}}", container).stdout.strip()
        done = subprocess.run(["nsenter", "-t", pid, "-n", *command], capture_output=True, text=True)
        return done.stdout

    def answered(self, service, name):
        """How many requests for a service its sidecar has sent on with success."""
        total = 0
        for line in self.inside(service, "curl", "-s", "http://127.0.0.1:15000/metrics").splitlines():
            if line.startswith("bowline_requests_total{") and f'service="{name}"' in line and 'class="2xx"' in line:
                total += float(line.rsplit(" ", 1)[1])
        return total


def check(report, stack, dns):
    """All that is expected of the example."""
    stack.compose("up", "-d", "--no-build")
    good = "Hello, Countess Ada 200"
    report.check("compose: Node calls Python, which calls Node", lambda: until(lambda: same(stack.get("/hello/Ada"), good)))
    report.check("compose: a name without a title", lambda: same(stack.get("/hello/Grace"), "Hello, Grace 200"))
    for sidecar, service in (("web-sidecar", "greeter"), ("greeter-sidecar", "web")):
        report.check(
            f"compose: {sidecar} carried the calls to {service}",
            lambda sidecar=sidecar, service=service: (lambda n: (n >= 2, f"{n:.0f} requests"))(
                stack.answered(sidecar, service)
            ),
        )
    report.check("compose: the command line sees both sidecars and their apps", lambda: until(lambda: status(stack)))
    if dns:
        report.check("compose: other names are docker's", lambda: resolved(stack, "control", ("10.", "172.", "192.168.")))
        report.check("compose: a name that is added resolves at once", lambda: added(stack))
    stack.compose("stop", "control")
    report.check("compose: without the control plane it goes on", lambda: same(stack.get("/hello/Ada"), good))
    stack.compose("start", "control")
    report.check("compose: a new greeter is found by itself, under load", lambda: replaced(stack, good))
    stack.compose("stop")
    codes = stack.daemon.docker("inspect", "-f", "{{.Name}} {{.State.ExitCode}}", *stack.compose("ps", "-q").stdout.split())
    report.check(
        "compose: all end by themselves", lambda: (not [c for c in codes.stdout.split()[1::2] if c != "0"], codes.stdout)
    )


def same(seen, wanted):
    """Whether it is that."""
    return seen == wanted, seen


def status(stack):
    """`bowline status`, as the README has it."""
    done = stack.compose("run", "--rm", "bowline", "status", "--output", "json", check=False)
    try:
        seen = json.loads(done.stdout)["control"]
        clients, services = len(seen["clients"]), {s["service"]: len(s["endpoints"]) for s in seen["snapshot"]["services"]}
    except (ValueError, KeyError, TypeError) as error:
        return False, f"exit {done.returncode}, {error!r}: {(done.stdout + done.stderr)[-300:]}"
    good = done.returncode == 0 and clients == 2 and services == {"web": 1, "greeter": 1}
    return good, f"exit {done.returncode}, {clients} clients, endpoints {services}"


def resolved(stack, name, start):
    """What the greeter's app gets for a name, from the sidecar's DNS server."""
    container = stack.compose("ps", "-q", "greeter").stdout.strip()
    done = stack.daemon.docker(
        "exec", container, "python3", "-c", f"import socket; print(socket.gethostbyname('{name}'))", check=False
    )
    last = (done.stdout + done.stderr).strip().splitlines()[-1]
    return done.returncode == 0 and last.startswith(start), last


def added(stack):
    """The mesh file is saved as editors do it: a new file in the old one's place."""
    before = resolved(stack, "later.hello-world.com", "127.")
    path = os.path.join(stack.folder, "mesh", "mesh.yaml")
    with open(path, encoding="utf-8") as file:
        mesh = file.read()
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(f"{mesh}\n  - {{ discoveryName: later, clientAliases: [{{ port: 81 }}], endpoints: {{ registered: {{}} }} }}\n")
    os.replace(f"{path}.new", path)
    after = until(lambda: resolved(stack, "later.hello-world.com", "127."))
    return after[0] and not before[0], f"before: {before[1]}; after: {after[1]}"


def replaced(stack, good):
    """The greeter's app is made anew while somebody calls. It is the only one: until it is back calls fail, then none does."""
    answers, stop = [], threading.Event()

    def call():
        while not stop.is_set():
            answers.append(stack.get("/hello/Ada"))

    caller = threading.Thread(target=call)
    caller.start()
    try:
        stack.compose("up", "-d", "--no-build", "--no-deps", "--force-recreate", "greeter")
        back = until(lambda: same(stack.get("/hello/Ada"), good))
    finally:
        stop.set()
        caller.join()
    return back[0] and bool(answers), f"{len(answers)} calls, {sum(a == good for a in answers)} good, at the end {back[1]}"


def main():
    """Runs all; returns the exit code."""
    options = arguments()
    report = Report()
    usage = subprocess.run([options.proxy, "run", "--help"], capture_output=True, text=True).stdout
    dns = "--dns " in usage
    if not dns:
        report.left_out("compose: names by the sidecar's DNS server", "this bowline-proxy has none")
    with tempfile.TemporaryDirectory(prefix="bowline-compose-") as folder:
        try:
            with Daemon(folder) as daemon:
                for name, programs in images.plan(options).items():
                    if name in IMAGES:
                        built = images.build(DockerHost(daemon, folder), folder, name, programs, options.dynamic)
                        daemon.docker("tag", built, IMAGES[name])
                compose_base.make(daemon, folder, options.cache)
                compose_base.build_apps(daemon, COMPOSE)
                stack = Stack(daemon, folder, dns)
                try:
                    check(report, stack, dns)
                finally:
                    if report.failed:
                        print(stack.compose("logs", "--no-color", check=False).stdout[-6000:])
                    stack.compose("down", "-v", "-t", "5", check=False)
        except NoDocker as error:
            report.left_out("compose", str(error))
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
