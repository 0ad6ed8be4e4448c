"""A task that has Service Connect, too: its rules take 127.255.0.0/16, and `--vip-range` moves ours out of their way."""

import mesh
import rules
from cases import ways
from modes import Mode, World

NEEDS = ("iptables",)
RANGE = "127.254.0.0/16"
VIP = "127.254.0.7"
# What Service Connect serves, which has its own name and VIP.
OLD = f"old.{mesh.NAMESPACE}"
OLD_VIP = "127.255.0.1"
EGRESS, LISTENER, INTERCEPTED = 15101, 15102, 8080


def play(stage):
    """Both side by side, in one task."""
    called = ways.server(stage, "10.0.1.2", same_ports=False)
    app = stage.vpc.make("app", "10.0.1.1")
    app.name_by_hand(OLD_VIP, OLD)
    app.name_by_hand(VIP, mesh.NAME)
    rules.service_connect(app, egress=EGRESS, intercept=INTERCEPTED, listener=LISTENER)
    for port in (EGRESS, LISTENER):
        app.script("apps/service_connect.py", port)
    services = mesh.services(called.address, vip=VIP)
    world = World(stage, app, called, services)
    flags = ["--mesh", stage.mesh_file(app, services), "--vip-range", RANGE]
    world.proxy = stage.sidecar(app, *flags)
    both(world)
    if "setup-redirect" in world.stage.features.page("proxy", ()):
        world.stage.report.tell("and with the range redirected by setup-redirect, too")
        theirs = rules.listed(app)
        app.must(stage.proxy, "setup-redirect", "--vip-range", RANGE)
        world.proxy.stop()
        world.proxy = stage.sidecar(app, *flags, "--no-vip-listeners")
        both(world)
        app.must(stage.proxy, "setup-redirect", "--vip-range", RANGE, "--remove")
        left = rules.listed(app)
        stage.report.check("setup-redirect --remove leaves the others' rules as they were", left == theirs, left)


def answers(task, what, url, wanted, report):
    """One call with curl."""
    code, out, err = task.run("curl", "--disable", "--silent", "--show-error", "--max-time", 20, url)
    report.check(what, (code, out) == (0, wanted), f"exit code {code}: {out} {err}")


def both(world):
    """Each gets what is its own."""
    report = world.stage.report
    ways.clients(world, Mode())
    answers(world.app, "Service Connect's name goes to Service Connect", f"http://{OLD}:5000/",
            f"service connect, for {OLD_VIP}:5000", report)
    # Were ours there, this is what would become of it.
    answers(world.app, "and so does all of its range", f"http://{mesh.VIP}:5000/", f"service connect, for {mesh.VIP}:5000",
            report)
    answers(world.server, "what comes in for Service Connect goes to it", f"http://{world.app.address}:{INTERCEPTED}/",
            f"service connect, for {world.app.address}:{INTERCEPTED}", report)
