"""What all proxies under measurement have in common."""

import subprocess
from dataclasses import dataclass, field

from ports import accepts, wait_for
from procs import StartError


class Missing(Exception):
    """A program is not installed; the message says which."""


@dataclass(frozen=True)
class Target:
    """Where the load dials, and the name it asks for."""

    host: str
    port: int
    authority: str


@dataclass
class Running:
    """A started proxy."""

    peer: object
    proc: object
    targets: dict  # protocol -> Target

    @property
    def pid(self):
        """The proxy's process; all its work is in this one process, whatever its threads."""
        return self.proc.pid


@dataclass
class World:
    """What a proxy needs to know to be started."""

    pack: object
    backend: object
    proxy_cpus: set
    tools: dict = field(default_factory=dict)
    bowline: object = None
    repo: object = None


class Peer:
    """A proxy that can be started in front of the backend."""

    name = ""
    title = ""
    control = True  # False for Bowline, the subject
    floor = False  # True for a proxy that does less than the others on purpose
    package = ""  # what --install installs, for messages
    notes = ()  # what a reader of the figures must know about this proxy's configuration

    def __init__(self, world):
        self.world = world

    def binary(self):
        """Path of the program; raises `Missing`."""
        raise NotImplementedError

    def version(self):
        """One word for the report."""
        raise NotImplementedError

    def start(self):
        """Starts it, waits until it is ready, returns `Running`."""
        raise NotImplementedError

    def _output(self, *argv):
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=20, check=False)
        return done.stdout + done.stderr

    def _await(self, proc, targets, ready=lambda: True, seconds=15):
        """Waits until every target accepts and `ready` holds."""

        def up():
            return not proc.alive() or (ready() and all(accepts(t.host, t.port) for t in targets.values()))

        in_time = wait_for(up, seconds)
        if not proc.alive():
            raise StartError(f"{self.title} ended with code {proc.popen.returncode} at start:\n{proc.last_words()}")
        if not in_time:
            raise StartError(f"{self.title} was not ready after {seconds} s:\n{proc.last_words()}")
        return Running(self, proc, targets)
