"""Unmodified clients call a server of the mesh by its name, and a host outside of it, in one mode."""

import hashlib
import json
import ssl

import mesh
from modes import LATE, LATE_PORT, MODES, ForwardProxy, World
from net import METADATA, OUTSIDE, OUTSIDE_NAME
from report import Failed, eventually

APP = "app-of-server"
URL = f"http://{mesh.NAME}"


def ports():
    """Of the aliases, by service."""
    return {service: alias for service, (_, alias, _) in mesh.SERVICES.items()}


def server(stage, address, same_ports):
    """The task that is called: apps alone, no sidecar."""
    task = stage.vpc.make("server", address)
    at = mesh.app_ports(same_ports)
    for service, script in (("server", "http_app.py"), ("server-h2", "h2_app.js"), ("server-grpc", "grpc_app.py"),
                            ("server-ws", "ws_app.py"), ("server-mail", "mail_app.py")):
        task.script(f"apps/{script}", "0.0.0.0", at[service], APP)
    return task


def told(world, program, script, *arguments, env):
    """Runs a client; each of its lines is a check."""
    stage = world.stage
    code, out, err = world.app.run(program, stage.here / "clients" / script, *arguments, env=env, deadline=200)
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    for line in lines:
        stage.report.check(line["check"], not line["wrong"], line["wrong"])
    if code != 0 or not lines:
        stage.report.failure(script, f"exit code {code}: {err[-500:]}")


def curl(world, what, *arguments, env, wanted=f"hello from {APP}", version="1.1"):
    """One call with curl. Of one that is not in a tunnel the mesh has marked the request."""
    # No credentials and settings of anybody's, and the app's words on stdout before ours.
    command = ["curl", "--disable", "--silent", "--show-error", "--fail", "--max-time", 20, "--write-out",
               "\n@@ %{http_version} %header{x-app} %header{x-seen-request-id}", *arguments]
    code, out, err = world.app.run(*command, env=env)
    body, _, seen = out.rpartition("\n@@ ")
    words = seen.strip("\n").split(" ")
    marked = words[-1] or "--proxytunnel" in arguments
    good = code == 0 and body == wanted and words[:2] == [version, APP] and marked
    world.stage.report.check(f"curl, {what}", good, f"exit code {code}: {err} {out[-300:]!r}")


def clients(world, mode):
    """All of them."""
    stage, report, env, port = world.stage, world.stage.report, mode.env, ports()
    tunnel = ["--proxytunnel"] if isinstance(mode, ForwardProxy) else []
    # gRPC and WebSocket clients ask the proxy for a tunnel. That they get to the app at all shows by which way they came:
    # the name is nowhere else.
    tunnelled = {**env, "TASKS_TUNNEL": 1} if isinstance(mode, ForwardProxy) else env
    body = world.app.write("body", "some text, " * 10_000)
    curl(world, "GET", f"{URL}:{port['server']}/hello", env=env)
    curl(world, "POST", "--data-binary", f"@{body}", f"{URL}:{port['server']}/echo", env=env, wanted=body.read_text())
    curl(world, "HTTP/2 GET", *tunnel, "--http2-prior-knowledge", f"{URL}:{port['server-h2']}/hello", env=env, version="2")
    curl(world, "HTTP/2 POST", *tunnel, "--http2-prior-knowledge", "--data-binary", f"@{body}",
         f"{URL}:{port['server-h2']}/echo", env=env, version="2", wanted=body.read_text())
    told(world, stage.python, "http_client.py", f"{URL}:{port['server']}", APP, stage.seed, env=env)
    told(world, stage.python, "grpc_client.py", f"{mesh.NAME}:{port['server-grpc']}", APP, env=tunnelled)
    told(world, stage.python, "ws_client.py", f"ws://{mesh.NAME}:{port['server-ws']}/", APP, env=tunnelled)
    if isinstance(mode, ForwardProxy):
        report.tell("Node: not possible; its http, http2 and fetch do not look at HTTP_PROXY unless they are told to")
        report.tell("smtplib: not possible; it knows no proxies. A client that knows CONNECT gets through:")
        mail = world.app.write("mail", "a line of a mail\r\n" * 1000)
        code, out, err = world.app.run("curl", "--disable", "--silent", "--show-error", "--max-time", 20, "--mail-from",
                                       "a@hello-world.com", "--mail-rcpt", "b@hello-world.com", "--upload-file", mail,
                                       f"smtp://{mesh.NAME}:{port['server-mail']}", env=env)
        report.check("curl, a mail by CONNECT", code == 0, f"exit code {code}: {out} {err}")
    else:
        told(world, "node", "http_client.js", f"{URL}:{port['server']}", f"{URL}:{port['server-h2']}", APP, env=env)
        told(world, stage.python, "mail_client.py", mesh.NAME, port["server-mail"], APP, env=env)
    count = world.app.metric("bowline_endpoint_attempts_total", service="server-mail")
    report.check("the mail came through the mesh", count >= 1, count)


def late(world, mode):
    """A service that is declared while all is running."""
    at = mesh.app_ports(mode.same_ports)["server"]
    world.services["late"] = mesh.one("http", LATE_PORT, [f"{world.server.address}:{at}"], name=LATE)
    mode.declare(world)

    def known():
        # By hand where the mode has no other way, as soon as the proxy knows of it.
        mode.late_name(world)
        return True

    def answers():
        code, out, err = world.app.run("curl", "--disable", "--silent", "--show-error", "--fail", "--max-time", 10,
                                       f"http://{LATE}:{LATE_PORT}/hello", env=mode.env)
        if code != 0:
            raise Failed(f"exit code {code}: {err}")
        return out == f"hello from {APP}"

    try:
        eventually("the late name to be known", known)
        eventually("an answer", answers)
        world.stage.report.check("a service that is declared later", True)
    except Failed as failed:
        world.stage.report.failure("a service that is declared later", failed)


def banner(task, address):
    """The first words of a server that speaks first."""
    with task.connect(address, 5) as connection:
        return connection.recv(100)


def egress(world, mode):
    """The outside is left alone."""
    stage, report, app = world.stage, world.stage.report, world.app
    certificate = ssl.PEM_cert_to_DER_cert(stage.certificate[0].read_text())
    fingerprint = hashlib.sha256(certificate).hexdigest()
    for port in (443, 5000):
        told(world, stage.python, "tls_client.py", OUTSIDE_NAME, port, stage.authority, fingerprint, stage.seed,
             env=mode.env)
    code, out, err = app.run("curl", "--disable", "--silent", "--show-error", "--max-time", 20, "--cacert", stage.authority,
                             f"https://{OUTSIDE_NAME}/", env=mode.env)
    report.check("curl, https to the outside", (code, out) == (0, "outside"), f"exit code {code}: {out} {err}")
    for port in (2525, 5003):
        told(world, stage.python, "mail_client.py", OUTSIDE_NAME, port, "outside", env=mode.env)
    for address in METADATA:
        metadata(world, mode, address, "")


def metadata(world, mode, address, when):
    """The metadata addresses are reached."""
    code, out, err = world.app.run("curl", "--disable", "--silent", "--show-error", "--max-time", 20, f"http://{address}/",
                                   env=mode.env)
    world.stage.report.check(f"{address} is reached{when}", (code, out) == (0, "metadata"), f"exit code {code}: {out} {err}")


def without_proxy(world, mode):
    """The proxy dies. What passes through it is cut off, and nothing else: this shows which is which."""
    world.proxy.kill()
    for address in METADATA:
        metadata(world, mode, address, " without the proxy: it is beside it")
    try:
        seen = banner(world.app, (OUTSIDE, 2525))
    except OSError as error:
        seen = error
    reached = isinstance(seen, bytes) and seen.startswith(b"220 outside")
    if mode.through:
        world.stage.report.check("the outside is not reached without the proxy: it is behind it", not reached, seen)
    else:
        world.stage.report.check("the outside is reached without the proxy: it is beside it", reached, seen)


def play(name):
    """The case of a mode."""
    def run(stage):
        mode = MODES[name]()
        called = server(stage, "10.0.1.2", mode.same_ports)
        app = stage.vpc.make("app", "10.0.1.1", resolver=mode.resolver)
        world = World(stage, app, called, mesh.services(called.address, mode.same_ports))
        mode.prepare(world)
        world.proxy = stage.sidecar(app, *mode.flags(world))
        clients(world, mode)
        late(world, mode)
        egress(world, mode)
        mode.checks(world)
        without_proxy(world, mode)
        mode.afterwards(world)

    return run
