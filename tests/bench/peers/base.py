"""What all proxies under measurement have in common."""

import subprocess
import urllib.request
from dataclasses import dataclass, field

from netns import call
from ports import accepts, wait_for
from procs import StartError
from task import ALIAS, ALIAS_PORT, SERVER, VIP


class Missing(Exception):
    """A program is not installed; the message says which."""


@dataclass(frozen=True)
class Target:
    """Where the load dials, from which network (None: the machine's), and the name it asks for."""

    host: str
    port: int
    authority: str
    net: object = None


@dataclass
class Running:
    """A started proxy; without a process it is a direct connection."""

    peer: object
    proc: object | None
    targets: dict  # protocol -> Target
    spans: int = 0  # how many each request makes, for the sink
    outage: bool = False  # its collector is killed in mid-load
    dropped: object = None  # how many spans it says it has dropped so far; None if it doesn't say

    @property
    def pid(self):
        """The proxy's process; all its work is in this one process, whatever its threads. None if there is none."""
        return self.proc.pid if self.proc else None


@dataclass
class World:
    """What a proxy needs to know to be started."""

    pack: object
    backend: object
    proxy_cpus: set
    tools: dict = field(default_factory=dict)
    bowline: object = None
    before: object = None  # an older bowline-proxy, if there is one
    files: object = None  # the folder the backend serves
    repo: object = None


class Peer:
    """A proxy that can be started in front of the backend."""

    name = ""
    title = ""
    control = True  # False for Bowline, the subject
    floor = False  # True for a proxy that does less than the others on purpose
    twin = False  # True for a second one beside another of the same program, which only some cases have
    places = ("host",)  # of the cases it takes part in: host, task, traced, outage, brownout, overload, policies, before
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

    def start_traced(self, sink, place):
        """The same for a case about traces: all its spans go to the sink, unless it is there as the one without any."""
        raise NotImplementedError

    def start_in(self, task, protocol):
        """The same as the sidecar of a task, whose connections are redirected to it. `protocol` is the case's."""
        raise NotImplementedError

    def start_open(self, place, servers):
        """The same in front of simulated servers, for a case under open load."""
        raise NotImplementedError

    def start_beside(self, place):
        """The same for a case in which two of a program stand beside each other."""
        raise NotImplementedError

    def _output(self, *argv):
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=20, check=False)
        return done.stdout + done.stderr

    def _await(self, proc, targets, ready=lambda: True, seconds=15):
        """Waits until every target accepts and `ready` holds."""

        def up():
            return not proc.alive() or (
                ready() and all(call(t.net, lambda t=t: accepts(t.host, t.port)) for t in targets.values()))

        in_time = wait_for(up, seconds)
        if not proc.alive():
            raise StartError(f"{self.title} ended with code {proc.popen.returncode} at start:\n{proc.last_words()}")
        if not in_time:
            raise StartError(f"{self.title} was not ready after {seconds} s:\n{proc.last_words()}")
        return Running(self, proc, targets)

    @staticmethod
    def _task_targets(task):
        """What an app in a task dials: a VIP of the mesh, and a server outside of it."""
        outside = task.backend.outside
        return {"h1": Target(VIP, ALIAS_PORT, f"{ALIAS}:{ALIAS_PORT}", task.net),
                "tcp": Target(SERVER, outside, f"{SERVER}:{outside}", task.net)}


def answers(url, net=None):
    """True if a GET from that network is answered with 200."""

    def ask():
        with urllib.request.urlopen(url, timeout=1) as answer:
            return answer.status == 200

    try:
        return call(net, ask)
    except OSError:
        return False
