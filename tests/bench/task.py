"""Tasks: an app's network with a proxy in it, and rules that lead the app's connections to the proxy.

One network a task, as ECS's awsvpc mode gives each task one, and one for the servers, which is the router too:

    task 1   app and proxy, 10.77.1.2 --- 10.77.1.1 \\
    task 2   app and proxy, 10.77.2.2 --- 10.77.2.1  servers, all on 203.0.113.10
    ...

The rules leave loopback alone, as App Mesh's do, so only a server in another network can be passed through to. Every proxy
has a task of its own, since the rules lead to one port; the servers, their address and the rules are the same for all.
"""

import os

import backend
from install import which
from netns import Absent, Netns
from procs import StartError

# The proxy's user, whom the rules leave alone.
UID = 20001
SERVER = "203.0.113.10"
VIP_RANGE = "127.255.77.0/24"
VIP = "127.255.77.7"
ALIAS = "web.bench.local"
ALIAS_PORT = 5000
# Where the rules lead, and where the proxies' admin pages are: free in every task.
OUTBOUND_PORT = 15001
ADMIN_PORT = 15000


class Task:
    """One app's network, with or without rules."""

    def __init__(self, network, name, number):
        self.network = network
        self.name = name
        self.net = Netns()
        self.backend = network.backend
        # The proxy's configuration, and what it writes.
        self.folder = network.pack.workdir / f"task-{name}"
        self.folder.mkdir()
        os.chown(self.folder, UID, UID)
        router, own = f"10.77.{number}.1", f"10.77.{number}.2"
        network.ip(network.net, f"link add to{number} type veth peer name eth0 netns {self.net.path}",
                   f"addr add {router}/24 dev to{number}", f"link set to{number} up")
        network.ip(self.net, "link set lo up", f"addr add {own}/24 dev eth0", "link set eth0 up",
                   f"route add default via {router}")

    def redirect(self, bowline):
        """Installs the rules: what App Mesh redirected (all that leaves the task), and the VIPs."""
        argv = [bowline, "setup-redirect", "--all-outbound", "--uid", UID, "--vip-range", VIP_RANGE,
                "--outbound", f"127.0.0.1:{OUTBOUND_PORT}"]
        self.network.run("setup-redirect", argv, self.net)

    def start(self, name, argv, cpus):
        """Starts the proxy in here, as the user whom the rules leave alone."""
        return self.network.pack.start(f"{name}-task", argv, cpus, cwd=self.folder, net=self.net, uid=UID)


class Network:
    """The servers and all tasks."""

    def __init__(self, world, cpus):
        """Raises `Absent` if it can't be had on this machine."""
        self.pack = world.pack
        self.cpus = cpus
        self.bowline = world.bowline
        self.tasks = {}
        if os.geteuid() != 0:
            raise Absent("network namespaces need root")
        if not which("ip"):
            raise Absent("ip is not installed (Debian: iproute2)")
        if not (which("nft") or which("iptables")):
            raise Absent("neither nft nor iptables is installed")
        if not os.path.isfile(self.bowline):
            raise Absent(f"the rules are made by bowline-proxy, for every proxy, and there is none at {self.bowline}")
        self.net = Netns()
        self.ip(self.net, "link set lo up", f"addr add {SERVER}/32 dev lo")
        self.backend = backend.start(self.pack, world.tools["nginx"], world.files, cpus, "backend-task", SERVER, self.net)

    def task(self, name, redirected):
        """The task of this name; made at the first call, and then the same one in all cases."""
        if name not in self.tasks:
            task = Task(self, name, len(self.tasks) + 1)
            if redirected:
                task.redirect(self.bowline)
            self.tasks[name] = task
        return self.tasks[name]

    def ip(self, net, *lines):
        """Lines for `ip -batch`."""
        batch = self.pack.workdir / "ip.batch"
        batch.write_text("".join(f"{line}\n" for line in lines))
        self.run("ip", [which("ip"), "-batch", batch], net)

    def run(self, name, argv, net):
        """Runs what must succeed if there are to be tasks."""
        try:
            self.pack.run(name, argv, self.cpus, 20, every=0.02, net=net)
        except StartError as error:
            # One line, since reports have one for it.
            raise Absent(" ".join(str(error).split())) from error
