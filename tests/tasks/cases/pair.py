"""An app in one task calls apps in others, through the sidecars of both; the caller is there first."""

from dataclasses import dataclass

import mesh
from cases import ways
from modes import Mode, World
from report import eventually
from stage import CONTROL_ADMIN

NEEDS = ("--inbound",)
NEEDS_REDIRECT = ("--inbound", "setup-redirect")
INBOUND = 8080
REDIRECTED = 15006
CALLER = "10.0.1.1"


@dataclass
class Callee:
    """A task that is called: one app, and a sidecar before it."""

    service: str
    script: str
    address: str
    task: object = None


def callees():
    """One for each protocol."""
    scripts = (("server", "http_app.py"), ("server-h2", "h2_app.js"), ("server-grpc", "grpc_app.py"),
               ("server-ws", "ws_app.py"), ("server-mail", "mail_app.py"))
    return [Callee(service, script, f"10.0.1.{number}") for number, (service, script) in enumerate(scripts, 11)]


def registered():
    """All services, with endpoints that register themselves."""
    return {service: mesh.one(protocol, port, None, vip=mesh.VIP) for service, (protocol, port, _) in mesh.SERVICES.items()}


def play(stage):
    """The inbound listener has a port of its own, and the app is on loopback, where nobody but the sidecar reaches it."""
    def sidecar(callee, port):
        return stage.sidecar(callee.task, *stage.by_control(f"{callee.service}={port}"), "--no-vip-listeners",
                             "--inbound", f"0.0.0.0:{INBOUND}={port}")

    run(stage, sidecar, "127.0.0.1", lambda port: INBOUND)


def play_redirect(stage):
    """The app's port is redirected to the inbound listener, as ECS does for App Mesh."""
    def sidecar(callee, port):
        callee.task.must(stage.proxy, "setup-redirect", "--inbound-ports", port, "--inbound-port", REDIRECTED)
        return stage.sidecar(callee.task, *stage.by_control(f"{callee.service}={port}"), "--no-vip-listeners",
                             "--inbound", f"0.0.0.0:{REDIRECTED}")

    run(stage, sidecar, "0.0.0.0", lambda port: port)


def endpoints(control):
    """What the control plane knows, by service."""
    return {service["service"]: [one["address"] for one in service["endpoints"]]
            for service in control.page("/snapshot", CONTROL_ADMIN)["services"]}


def status(app, url):
    """The status of one call with curl, and what came."""
    code, out, err = app.run("curl", "--disable", "--silent", "--show-error", "--max-time", 20, "--write-out",
                             "\n@@ %{http_code} %header{x-bowline-error} %header{x-seen-forwarded-for}", url)
    return code, out.rpartition("\n@@ ")[2].strip().split(" "), out + err


def run(stage, sidecar, listen, endpoint_port):
    """`sidecar` starts the one of a callee, for an app on this port; `listen`: where the apps do; `endpoint_port`: which
    port is registered."""
    report = stage.report
    control = stage.control_plane(registered())
    app = stage.vpc.make("app", CALLER)
    app.name_by_hand(mesh.VIP, mesh.NAME)
    caller = stage.sidecar(app, *stage.by_control())
    url = f"http://{mesh.NAME}:{mesh.SERVICES['server'][1]}/hello"
    eventually("the mesh to have come", lambda: app.page("/services")["services"])
    code, words, seen = status(app, url)
    report.check("before the server is there, a call is answered with 503 and why", code == 0 and words[0] == "503" and
                 len(words) > 1, seen)

    world = World(stage, app, None, None)
    called = callees()
    for callee in called:
        callee.task = stage.vpc.make(callee.service, callee.address)
        port = mesh.app_ports(False)[callee.service]
        sidecar(callee, port)
        if callee.service == "server":
            # An app container waits for its sidecar to be healthy: it must be so without the app.
            code, out, err = callee.task.run(stage.proxy, "health")
            report.check("the server's sidecar is healthy before its app is there", code == 0, out + err)
            seen = endpoints(control).get("server", [])
            report.check("and not registered", seen == [], seen)
            code, words, seen = status(app, url)
            report.check("a call is still answered with 503", words[0] == "503", seen)
        callee.task.script(f"apps/{callee.script}", listen, port, ways.APP)
    for callee in called:
        wanted = [f"{callee.address}:{endpoint_port(mesh.app_ports(False)[callee.service])}"]
        eventually(f"{callee.service} to be registered as {wanted}",
                   lambda callee=callee, wanted=wanted: endpoints(control).get(callee.service) == wanted)
    eventually("an answer", lambda: status(app, url)[1][0] == "200")
    report.check("the server came later, and the caller was not touched", caller.alive())

    ways.clients(world, Mode())
    _, words, seen = status(app, url)
    report.check("the app is told the caller's address", words[-1] == CALLER, seen)
    for callee in called:
        count = callee.task.metric("bowline_downstream_accepts_total", listener="inbound")
        report.check(f"calls of {callee.service} came through its sidecar", count >= 1, count)
    direct(report, app, called[0], listen, mesh.app_ports(False)["server"])


def direct(report, app, callee, listen, port):
    """Beside the sidecar there is no way to the app, or the one way is through it."""
    if listen == "127.0.0.1":
        try:
            app.connect((callee.address, port), 5).close()
            reached = True
        except OSError:
            reached = False
        report.check("the app itself is not reached from outside", not reached)
    else:
        before = callee.task.metric("bowline_downstream_accepts_total", listener="inbound")
        code, words, seen = status(app, f"http://{callee.address}:{port}/hello")
        after = callee.task.metric("bowline_downstream_accepts_total", listener="inbound")
        report.check("who calls the app's port gets to its sidecar", words[0] == "200" and after > before, seen)
