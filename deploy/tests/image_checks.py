"""What is expected of each image, asked of real containers."""

import os
import sys

from docker_host import inside, start_inside, until

HERE = os.path.dirname(os.path.abspath(__file__))
MAX_PROXY_BYTES = 15_000_000
USER = 20001

MESH = """namespace: hello-world.com
services:
  - discoveryName: server
    clientAliases: [{ dnsName: server.hello-world.com, port: 5000 }]
    vip: 127.255.0.7
    endpoints: { static: [{ address: "127.0.0.2:9001" }] }
"""


class Report:
    """Counts checks, and prints a line for each."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, what, look):
        """`look` returns (whether it is so, what was seen)."""
        try:
            good, seen = look()
        except Exception as error:  # whatever went wrong, the other checks are still of interest
            good, seen = False, f"{type(error).__name__}: {error}"
        self.passed += bool(good)
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {what}: {seen}", flush=True)

    def left_out(self, what, why):
        """Says that something was not looked at. Where everything must be looked at, that is a failure."""
        if os.environ.get("BOWLINE_REQUIRE_INTEROP") == "1":
            self.check(what, lambda: (False, why))
        else:
            print(f"  -- {what}: left out, {why}", flush=True)


def only(host, image, expected):
    """Whether an image has only these files and the folders they are in."""
    found = host.files(image)
    allowed = set(expected)
    for path in expected:
        while "/" in path:
            path = path.rsplit("/", 1)[0]
            allowed.add(path)
    strange = sorted(
        path
        for path in found
        if path and path != "." and path not in allowed and (path.split("/")[0] not in host.ADDED)
    )
    missing = sorted(set(expected) - set(found))
    return not strange and not missing, f"strange {strange}, missing {missing}" if strange or missing else "so it is"


def mesh_file(folder):
    """A mesh file that everybody can read."""
    path = os.path.join(folder, "mesh.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(MESH)
    os.chmod(path, 0o644)
    return path


def proxy(report, host, image, folder, dynamic, _):
    """The sidecar's image."""
    if not dynamic:
        size = host.size(image)
        report.check("proxy: at most 15 MB", lambda: (size <= MAX_PROXY_BYTES, f"{size / 1e6:.1f} MB"))
        report.check(
            "proxy: one program and its state folder, nothing else",
            lambda: only(host, image, ["bowline-proxy", "var/lib/bowline"]),
        )
    report.check(
        "proxy: the state folder is the user's",
        lambda: (lambda seen: (seen == f"{USER}/{USER}", seen))(host.files(image)["var/lib/bowline"]),
    )
    with host.start(
        image, {mesh_file(folder): "/mesh.yaml"}, {"BOWLINE_MESH": "/mesh.yaml"},
        hosts=[("in-hosts.test", "127.0.0.2")], dns="127.0.0.1",
    ) as container:  # fmt: skip
        report.check("proxy: healthy, read-only and without any capability", lambda: until(container.health))
        report.check("proxy: `health` in the container", lambda: said(container, "/bowline-proxy", "health"))
        report.check("proxy: not root, no capability", lambda: rights(container))
        report.check("proxy: no shell", lambda: no_shell(container))
        report.check("proxy: its state is kept in the volume", lambda: until(lambda: kept(container)))
        report.check("proxy: nothing else can be written", lambda: read_only(container))
        resolving(report, container)
        report.check("proxy: SIGTERM drains, exit 0", lambda: drained(container))


def said(container, *command):
    """What one of the program's commands exits with."""
    done = container.run(*command)
    return done.returncode == 0, f"exit {done.returncode} {(done.stdout + done.stderr).strip()}"


def kept(container):
    """Whether something has been written."""
    return bool(container.kept()), ", ".join(container.kept()) or "nothing"


def read_only(container):
    """How the kernel has mounted the program's root."""
    with open(f"/proc/{container.pid()}/mounts", encoding="utf-8") as file:
        mounts = {line.split()[1]: line.split()[3].split(",") for line in file}
    return "ro" in mounts["/"] and "rw" in mounts["/var/lib/bowline"], ",".join(mounts["/"][:1])


def rights(container):
    """User and capabilities of the first process, as the kernel has them."""
    with open(f"/proc/{container.pid()}/status", encoding="utf-8") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    seen = (status["Uid"].split()[1], status["Gid"].split()[1], int(status["CapEff"], 16), int(status["CapPrm"], 16))
    return seen == (str(USER), str(USER), 0, 0), f"uid {seen[0]}, gid {seen[1]}, capabilities {seen[2]:#x}"


def no_shell(container):
    """Nothing that reads commands."""
    for shell in ("/bin/sh", "/bin/bash", "/busybox/sh", "/usr/bin/sh"):
        # 126 and 127 are "there is no such program"; anything else says something else.
        code = container.run(shell, "-c", "exit 0").returncode
        if code not in (126, 127):
            return False, f"{shell}: exit {code}"
    return True, "sh, bash and busybox are not there"


def resolving(report, container):
    """Names are resolved by the C library of the static program: from /etc/hosts, and by DNS."""
    pid = container.pid()
    page = ("http.server", "--directory", os.path.join(HERE, "names"), "--bind", "127.0.0.2", "9000")
    started = [
        start_inside(pid, sys.executable, os.path.join(HERE, "tiny_dns.py"), "127.0.0.1", "in-dns.test=127.0.0.2"),
        start_inside(pid, sys.executable, "-u", "-m", *page),
    ]
    try:
        for program in started:
            program.stdout.readline()
        for name in ("in-hosts.test", "in-dns.test"):
            report.check(
                f"proxy: resolves {name}", lambda name=name: fetched(container, f"http://{name}:9000/hello.txt")
            )
        code = inside(pid, *CURL, "-o", "/dev/null", "-w", "%{http_code}", "http://nowhere.test:9000/").strip()
        report.check("proxy: a name that is none is an answer", lambda: (code == "502", f"HTTP {code}"))
    finally:
        for program in started:
            program.terminate()
            program.wait()
            program.stdout.close()


CURL = ("curl", "-s", "--max-time", "20", "-x", "http://127.0.0.1:15001")


def fetched(container, url):
    """Whether the forward proxy brings that page."""
    seen = inside(container.pid(), *CURL, url).strip()
    return seen == "hello", seen


def drained(container):
    """How it ends when it is asked to."""
    code = container.stop()
    return code == 0 and "drain" in container.logs(), f"exit {code}, {container.logs().strip().splitlines()[-1]}"


def control(report, host, image, folder, dynamic, _):
    """The control plane's image."""
    if not dynamic:
        expected = ["bowline-control", "etc/bowline", "etc/ssl/certs/ca-certificates.crt", "var/lib/bowline"]
        report.check(
            "control: one program, its folders and the authorities, nothing else", lambda: only(host, image, expected)
        )
    with host.start(image, {mesh_file(folder): "/etc/bowline/mesh.yaml"}, {}) as container:
        report.check("control: healthy, read-only and without any capability", lambda: until(container.health))
        report.check("control: `health` in the container", lambda: said(container, "/bowline-control", "health"))
        report.check("control: not root, no capability", lambda: rights(container))
        report.check("control: no shell", lambda: no_shell(container))
        report.check("control: knows the mesh", lambda: knows(container))
        report.check("control: its state is kept in the volume", lambda: until(lambda: kept(container)))
        report.check("control: SIGTERM ends it, exit 0", lambda: (lambda code: (code == 0, code))(container.stop()))


def knows(container):
    """Its admin page, asked in its network."""
    page = inside(container.pid(), "curl", "-s", "--max-time", "20", "http://127.0.0.1:18001/snapshot")
    return '"server"' in page, f"{len(page)} bytes"


def bowline(report, host, image, folder, dynamic, _):
    """The command line's image."""
    if not dynamic:
        report.check("bowline: one program, nothing else", lambda: only(host, image, ["bowline"]))
    mesh = mesh_file(folder)
    wrong = os.path.join(folder, "wrong.yaml")
    with open(wrong, "w", encoding="utf-8") as file:
        file.write(MESH.replace("discoveryName", "discoveryNome"))
    os.chmod(wrong, 0o644)
    for path, code in ((mesh, 0), (wrong, 2)):
        done = host.once(image, ["check", "/mesh.yaml"], {path: "/mesh.yaml"})
        report.check(
            f"bowline: check says {code}", lambda done=done, code=code: (done.returncode == code, done.returncode)
        )


def init(report, host, image, folder, dynamic, built):
    """The init container's image: rules in the network of the container whose app calls."""
    if "setup-redirect" not in host.once(image, ["--help"]).stdout:
        report.left_out("init: setup-redirect", "this bowline-proxy has none")
        return
    variables = {"BOWLINE_MESH": "/mesh.yaml", "BOWLINE_NO_VIP_LISTENERS": "true"}
    with host.start(built["proxy"], {mesh_file(folder): "/mesh.yaml"}, variables) as container:
        report.check("init: the proxy beside it is healthy", lambda: until(container.health))
        refused = host.once(image, beside=container)
        report.check(
            "init: without NET_ADMIN it fails and says so",
            lambda: (refused.returncode == 1 and "NET_ADMIN" in refused.stderr, refused.stderr.strip()[-200:]),
        )
        call = ("curl", "-s", "-o", "/dev/null", "--max-time", "20", "-w", "%{http_code}", "http://127.255.0.7:5000/")
        before = inside(container.pid(), *call)
        report.check("init: before, nobody is at the VIP", lambda: (before == "000", before))
        for count in ("once", "twice"):
            done = host.once(image, beside=container, net_admin=True)
            report.check(
                f"init: with NET_ADMIN it is done, {count}", lambda done=done: (done.returncode == 0, done.stderr.strip())
            )
        # Nobody listens at the endpoint: the answer is the proxy's own.
        after = inside(container.pid(), *call)
        report.check("init: after, the proxy answers at the VIP", lambda: (after == "503", after))
