"""Images and containers by docker: what `image_checks` looks at."""

import json
import os
import subprocess
import time

DEPLOY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Ten times what anything takes on a busy machine.
DEADLINE = 60
# As ECS starts it, and less: nothing may be written but the volume, nothing may be gained.
HARD = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def until(look):
    """Asks until `look` says (True, seen), or the deadline has passed."""
    end = time.monotonic() + DEADLINE
    while True:
        good, seen = look()
        if good or time.monotonic() > end:
            return good, seen
        time.sleep(0.05)


def inside(pid, *command):
    """A program of this machine in the network of a process. Returns what it printed."""
    return subprocess.run(
        ["nsenter", "-t", str(pid), "-n", *command], capture_output=True, text=True, timeout=DEADLINE
    ).stdout


def start_inside(pid, *command):
    """The same, left running."""
    return subprocess.Popen(
        ["nsenter", "-t", str(pid), "-n", *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def owned(listing):
    """path -> "user/group" of what `tar -tv --numeric-owner` has printed."""
    found = {}
    for line in listing.splitlines():
        _, owner, _, _, _, path = line.split(None, 5)
        found[path.split(" -> ")[0].removeprefix("./").rstrip("/")] = owner
    return found


class DockerHost:
    """A docker daemon as the place where images are built and run."""

    # What docker itself puts into every container.
    ADDED = {".dockerenv", "dev", "etc", "proc", "sys"}

    def __init__(self, daemon, folder):
        self.daemon = daemon
        self.folder = folder

    def build(self, name, programs, base=None):
        """Builds deploy/Dockerfile.NAME with the programs of a folder. base: a folder that its last stage begins with."""
        options = []
        if base:
            self.daemon.import_folder(base, f"base-{name}")
            argument = "DEBIAN_IMAGE" if name == "init" else "BASE_IMAGE"
            options = ["--build-arg", f"{argument}=base-{name}"]
        image = f"bowline-test-{name}"
        # Whatever an image needs is given: a build that asks the network fails.
        self.daemon.docker(
            "build", "--network", "none", "-f", os.path.join(DEPLOY, f"Dockerfile.{name}"),
            "--build-arg", "BINARIES=given", *options, "-t", image, programs,
        )  # fmt: skip
        return image

    def size(self, image):
        """Bytes of an image."""
        return json.loads(self.daemon.docker("inspect", image).stdout)[0]["Size"]

    def files(self, image):
        """Paths of an image, with their owners."""
        made = self.daemon.docker("create", image, "x").stdout.strip()
        try:
            with subprocess.Popen(
                [self.daemon.client, "export", made], env=self.daemon.environment(), stdout=subprocess.PIPE
            ) as export:
                listed = subprocess.run(
                    ["tar", "-tv", "--numeric-owner"], stdin=export.stdout, capture_output=True, text=True
                )
        finally:
            self.daemon.docker("rm", "-v", made)
        return owned(listed.stdout)

    def start(self, image, mounts, environment, hosts=(), dns=None):
        """Starts a container with a network of its own in which nobody else is."""
        options = [*HARD, "--network", "none"]
        for source, target in mounts.items():
            options += ["-v", f"{source}:{target}:ro"]
        for name, value in environment.items():
            options += ["-e", f"{name}={value}"]
        for name, address in hosts:
            options += ["--add-host", f"{name}:{address}"]
        options += ["--dns", dns] if dns else []
        return Container(self.daemon, self.daemon.docker("run", "-d", *options, image).stdout.strip())

    def once(self, image, command=(), mounts=None, beside=None, net_admin=False):
        """Runs a container to its end. beside: another one whose network it has."""
        options = ["--network", f"container:{beside.id}" if beside else "none", "--cap-drop", "ALL"]
        options += ["--cap-add", "NET_ADMIN"] if net_admin else []
        for source, target in (mounts or {}).items():
            options += ["-v", f"{source}:{target}:ro"]
        return self.daemon.docker("run", "--rm", *options, image, *command, check=False)


class Container:
    """A container, from `with` to its removal."""

    def __init__(self, daemon, id):
        self.daemon = daemon
        self.id = id

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.daemon.docker("rm", "-f", "-v", self.id, check=False)
        return False

    def state(self):
        """What docker knows of it."""
        return json.loads(self.daemon.docker("inspect", self.id).stdout)[0]["State"]

    def pid(self):
        """Its first process, as this machine counts."""
        return self.state()["Pid"]

    def health(self):
        """(whether the image's own health check says so, what it says)."""
        state = self.state()
        if not state["Running"]:
            return False, f"ended with {state['ExitCode']}: {self.logs()[-400:]}"
        said = state.get("Health", {}).get("Status", "no health check")
        return said == "healthy", said

    def logs(self):
        """What it has said."""
        done = self.daemon.docker("logs", self.id)
        return done.stdout + done.stderr

    def run(self, *command):
        """Runs a program of the image in the container."""
        return self.daemon.docker("exec", self.id, *command, check=False)

    def kept(self):
        """Files in the volume."""
        copied = subprocess.run(
            [self.daemon.client, "cp", f"{self.id}:/var/lib/bowline", "-"],
            env=self.daemon.environment(), capture_output=True,
        )  # fmt: skip
        listed = subprocess.run(["tar", "-t"], input=copied.stdout, capture_output=True).stdout.decode().split()
        return [path for path in listed if not path.endswith("/")]

    def stop(self):
        """`docker stop`, as ECS does it; the exit code."""
        self.daemon.docker("stop", "-t", str(DEADLINE), self.id)
        return self.state()["ExitCode"]


