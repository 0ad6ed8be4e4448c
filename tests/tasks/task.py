"""A task: a network, a resolv.conf and a hosts file of its own, and the processes in it.

It has no name under /run/netns, since that needs mounts which can't be made in every root. A process that does nothing
else keeps the namespaces alive; they are gone when it and all other processes in them are.
"""

import ctypes
import http.client
import json
import os
import socket
import subprocess
import threading

from process import Process, environment
from report import DEADLINE, Absent, Failed

CLONE_NEWNET = 0x40000000
# What runs as the sidecar. Not root, as in an image that is built well.
SIDECAR_UID = 20001
ADMIN = 15000
# Names are looked up in the hosts file, then asked of the resolver: nothing else that this machine may have.
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"
KEEPER = """
set -e
cd "$1"
for name in resolv.conf hosts nsswitch.conf; do
    if [ -e "/etc/$name" ]; then mount --bind "$name" "/etc/$name"; fi
done
echo up
exec cat
"""


class Task:
    """One task."""

    def __init__(self, stage, name, resolver="10.0.0.2", hosts=()):
        self.stage = stage
        self.name = name
        self.address = None
        self.processes = []
        self.folder = stage.folder / f"{stage.report.case}-{name}"
        self.folder.mkdir()
        self.write("resolv.conf", f"nameserver {resolver}\noptions timeout:2 attempts:3\n")
        self.write("hosts", "".join(f"{line}\n" for line in ("127.0.0.1 localhost", *hosts)))
        self.write("nsswitch.conf", NSSWITCH)
        keeper = ["unshare", "--net", "--mount", "--propagation", stage.propagation, "sh", "-c", KEEPER, "sh", self.folder]
        self.keeper = Process("keeper", keeper, self.folder, environment(self.folder))
        stage.tasks.append(self)
        try:
            self.keeper.line("the namespaces")
        except Failed as error:
            raise Absent(f"no task can be made here: {error}") from error
        self.ip("link set lo up")

    def write(self, name, text):
        """Writes a file of the task, in place: what is mounted is the file, not its name."""
        path = self.folder / name
        with path.open("w") as file:
            file.write(text)
        return path

    def name_by_hand(self, address, *names):
        """Adds a line to its hosts file."""
        with (self.folder / "hosts").open("a") as file:
            file.write(f"{address} {' '.join(names)}\n")

    def inside(self, command, uid=None):
        """The command that runs `command` in here."""
        enter = ["nsenter", "--target", self.keeper.pid, "--net", "--mount", "--root", "--wd=/"]
        if uid is not None:
            enter += ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--no-new-privs"]
        return [str(part) for part in [*enter, *command]]

    def run(self, *command, env=None, deadline=DEADLINE, stdin="", uid=None):
        """Runs a command to its end. Returns (exit code, stdout, stderr)."""
        try:
            done = subprocess.run(self.inside(command, uid), input=stdin, capture_output=True, text=True, timeout=deadline,
                                  check=False, cwd="/", env=environment(self.folder, env))
        except subprocess.TimeoutExpired as late:
            raise Failed(f"{command[0]} took more than {deadline} s: {late.stdout} {late.stderr}") from late
        return done.returncode, done.stdout, done.stderr

    def must(self, *command, **options):
        """Runs a command that must succeed. Returns its stdout."""
        code, out, err = self.run(*command, **options)
        if code != 0:
            raise Failed(f"{' '.join(map(str, command))}: exit code {code}: {err.strip()} {out.strip()[-500:]}")
        return out

    def ip(self, *lines):
        """Lines for `ip -batch`."""
        self.must("ip", "-batch", "-", stdin="".join(f"{line}\n" for line in lines))

    def sysctl(self, name, value):
        """Sets a parameter of the network's kernel."""
        # What is under net belongs to the namespace of whoever opens it.
        self.must("sh", "-c", f"echo '{value}' > /proc/sys/{name.replace('.', '/')}")

    def start(self, name, *command, env=None, uid=None):
        """Starts a program that ends with the task."""
        process = Process(name, self.inside(command, uid), self.folder, environment(self.folder, env))
        self.processes.append(process)
        return process

    def script(self, path, *arguments, env=None):
        """Starts one of the apps or clients beside this file, and waits until it says `up`."""
        program = "node" if path.endswith(".js") else self.stage.python
        started = self.start(path.rpartition("/")[2].partition(".")[0], program, self.stage.here / path, *arguments, env=env)
        started.line("its start", lambda line: line == "up")
        return started

    def connect(self, address, deadline=DEADLINE):
        """A connection that is made in here, by a thread that enters the network for it."""
        result = []

        def enter():
            try:
                with open(f"/proc/{self.keeper.pid}/ns/net", "rb") as namespace:
                    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                result.append(socket.create_connection(address, deadline))
            except OSError as error:
                result.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if isinstance(result[0], OSError):
            raise result[0]
        return result[0]

    def get(self, path, port=ADMIN, method="GET"):
        """(status, body) of an admin page on the task's loopback."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        connection.sock = self.connect(("127.0.0.1", port))
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except http.client.HTTPException as error:
            raise OSError(f"{path}: {error!r}") from error
        finally:
            connection.close()

    def page(self, path, port=ADMIN):
        """An admin page that is JSON."""
        status, body = self.get(path, port)
        if status != 200:
            raise Failed(f"{path} answers {status}: {body[:200]}")
        return json.loads(body)

    def metric(self, name, port=ADMIN, **labels):
        """The sum of a metric of the sidecar over all of its series that have these labels."""
        total = 0.0
        for line in self.get("/metrics", port)[1].splitlines():
            head, _, value = line.rpartition(" ")
            if head.partition("{")[0] == name and all(f'{key}="{what}"' in head for key, what in labels.items()):
                total += float(value)
        return total

    def close(self):
        """Ends all that is in here."""
        for process in reversed(self.processes):
            process.kill()
        self.keeper.kill()


def owned_by_sidecar(path):
    """Gives a file or folder to the sidecar's user."""
    os.chown(path, SIDECAR_UID, SIDECAR_UID)
    return path
