"""A task of two is stopped under load: in ECS's order, where the app gets SIGTERM first and the sidecar when the app has
gone, and all at once, as a container runtime or a shell does it."""

import signal

import mesh
from cases.pair import endpoints
from loads import Loads
from report import Failed, eventually

NEEDS = ("--inbound",)
INBOUND = 8080
# ECS gives a container so long between SIGTERM and SIGKILL.
STOP_SECONDS = 30
STORE = f"store.{mesh.NAMESPACE}"
STORE_VIP = "127.255.0.8"
STORE_URL = f"http://{STORE}:5020/hello"
HTTP = ("GET", "slow GET", "POST", "slow POST", "call that makes a call")
# (service, what its app does at SIGTERM, in words, loads of which nothing may be lost). An app that is gone at once takes
# POSTs with it that it has read, and calls under way.
WAYS = (
    ("server", "drain", "drains", HTTP),
    ("server", "close", "closes its port and finishes", ("GET", "slow GET")),
    ("server", "exit", "exits at once", ("GET", "slow GET")),
    ("server-grpc", "drain", "speaks gRPC and drains", ("gRPC call", "gRPC stream")),
)
ORDERS = ("in ECS's order", "all at once")


class Server:
    """One task of a service: an app and its sidecar."""

    numbers = 0

    def __init__(self, stage, service, on_term):
        Server.numbers += 1
        self.stage = stage
        self.service = service
        self.name = f"{service}-{Server.numbers}"
        self.task = stage.vpc.make(self.name, f"10.0.2.{Server.numbers}")
        self.task.name_by_hand(STORE_VIP, STORE)
        port = mesh.app_ports(False)[service]
        self.sidecar = stage.sidecar(self.task, *stage.by_control(f"{service}={port}"), "--inbound",
                                     f"0.0.0.0:{INBOUND}={port}")
        if service == "server-grpc":
            self.app = self.task.script("apps/grpc_app.py", "127.0.0.1", port, self.name)
        else:
            calls = ["--calls", STORE_URL] if on_term == "drain" else []
            self.app = self.task.script("apps/http_app.py", "127.0.0.1", port, self.name, "--on-term", on_term, *calls)

    def stop(self, order):
        """Returns the exit codes of app and sidecar."""
        if order == "all at once":
            self.app.signal(signal.SIGTERM)
            self.sidecar.signal(signal.SIGTERM)
            return self.app.wait("the app's end", STOP_SECONDS), self.sidecar.wait("the sidecar's end", STOP_SECONDS)
        # As the ECS agent does.
        self.stage.vpc.state(self.task, "STOPPED")
        self.app.signal(signal.SIGTERM)
        app = self.app.wait("the app's end", STOP_SECONDS)
        self.sidecar.signal(signal.SIGTERM)
        # There is nobody left to serve: it does not take all of its time.
        return app, self.sidecar.wait("the sidecar's end", STOP_SECONDS / 2)

    def close(self):
        """Ends what is left."""
        self.task.close()
        self.stage.tasks.remove(self.task)


def play(stage):
    """Every way of stopping, each with a new task beside one that stays."""
    Server.numbers = 0
    store = stage.vpc.make("store", "10.0.3.1")
    store.script("apps/http_app.py", "0.0.0.0", 9001, "store")
    services = {service: mesh.one(mesh.SERVICES[service][0], mesh.SERVICES[service][1], None, vip=mesh.VIP)
                for service in ("server", "server-grpc")}
    services["store"] = mesh.one("http", 5020, [f"{store.address}:9001"], name=STORE, vip=STORE_VIP)
    control = stage.control_plane(services)
    caller = stage.vpc.make("app", "10.0.1.1")
    caller.name_by_hand(mesh.VIP, mesh.NAME)
    stage.sidecar(caller, *stage.by_control())
    stays = {service: Server(stage, service, "drain") for service in ("server", "server-grpc")}
    for service, on_term, words, lossless in WAYS:
        for order in ORDERS:
            what = f"an app that {words}, stopped {order}"
            goes = Server(stage, service, on_term)
            try:
                known(control, caller, stays[service], goes)
                stopped_under_load(stage.report, caller, (stays[service], goes), order, lossless, what)
            except Failed as failed:
                stage.report.failure(what, failed)
            goes.close()
    told(stage, control, caller, stays["server"])


def known(control, caller, *servers):
    """Waits until the caller's sidecar knows of exactly these as endpoints of their service."""
    addresses = {server.task.address for server in servers}
    service = servers[0].service

    def look():
        seen = {one["address"].partition(":")[0] for one in caller.page("/endpoints")["endpoints"]
                if one["service"] == service and one["state"] != "draining"}
        if seen != addresses:
            raise Failed(f"the caller knows {seen}, control {endpoints(control)[service]}")
        return True

    # One that was killed is forgotten when its lease has run out, after 15 s.
    eventually(f"the caller to know {addresses}", look, deadline=90)


def stopped_under_load(report, caller, servers, order, lossless, what):
    """Loads, the stop, and the count."""
    stays, goes = servers
    loads = Loads(caller, lossless)
    try:
        loads.each_served_by(goes.name)
        app, sidecar = goes.stop(order)
        report.check(f"{what}: the sidecar ends well", sidecar == 0, f"exit code {sidecar}: {goes.sidecar.last_words()}")
        loads.each_served_by(stays.name)
        ends = loads.end()
    finally:
        loads.close()
    for name, last in ends.items():
        total = sum(last["served"].values()) + last["failed"]
        report.check(f"{what}: no {name} is lost", not last["failed"], f"{last['failed']} of {total}: {last['failures']}")
    if "call that makes a call" in lossless:
        words = [line for line in goes.app.lines if isinstance(line, dict)]
        good = app == 0 and words and words[0]["calls"] and not words[0]["failed"]
        report.check(f"{what}: its last calls, after SIGTERM, are answered", good,
                     f"exit code {app}: {words} {goes.app.last_words()}")


def told(stage, control, caller, stays):
    """ECS says in the task's metadata that it is to stop, and whoever likes may post to /drain: both withdraw the
    registration while the app and the sidecar go on."""
    def by_metadata(server):
        stage.vpc.state(server.task, "STOPPED")

    def by_page(server):
        status, body = server.task.get("/drain", method="POST")
        if status != 200:
            raise Failed(f"POST /drain answers {status}: {body}")

    for words, tell in (("the metadata's DesiredStatus STOPPED", by_metadata), ("POST /drain", by_page)):
        what = f"{words} withdraws the task, and its own calls go on"
        goes = Server(stage, "server", "exit")
        try:
            known(control, caller, stays, goes)
            before = endpoints(control)["server"]
            tell(goes)
            eventually("the task to be withdrawn", lambda before=before: len(endpoints(control)["server"]) < len(before))
            code, out, err = goes.task.run("curl", "--disable", "--silent", "--show-error", "--fail", "--max-time", 20,
                                           STORE_URL)
            stage.report.check(what, code == 0, out + err)
        except Failed as failed:
            stage.report.failure(what, failed)
        goes.close()
