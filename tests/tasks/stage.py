"""What a case is made with, and the end of it all."""

import json
import subprocess
from pathlib import Path

import mesh
from features import Features
from net import AWS, CONTROL, Vpc
from report import Over, Report, eventually
from task import ADMIN, SIDECAR_UID, owned_by_sidecar

CONTROL_ADMIN = 18001
TOKEN = "let-me-in"
REGISTER_TOKEN = "i-am-server"


class Stage:
    """All that is there in a run; tasks are those of the case under way."""

    def __init__(self, folder, propagation, seed, python):
        self.folder = Path(folder)
        self.propagation = propagation
        self.seed = seed
        self.python = python
        self.here = Path(__file__).resolve().parent
        self.report = Report()
        self.proxy = self.folder / "bowline-proxy"
        self.control = self.folder / "bowline-control"
        self.features = Features(self.proxy, self.control)
        self.tasks = []
        self.vpc = None
        self.certificate = self._certificate()

    def _certificate(self):
        """An authority and a certificate by it for the outside's name. Returns their files: certificate, key."""
        folder = self.folder / "tls"
        folder.mkdir()
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-days", "30"]
        for command in (
                [*new, "-subj", "/CN=authority of the test", "-keyout", "ca.key", "-out", "ca.pem"],
                [*new, "-subj", "/CN=outside.test", "-addext", "subjectAltName=DNS:outside.test", "-CA", "ca.pem",
                 "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out",
                 "cert.pem"]):
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
        self.authority = folder / "ca.pem"
        return folder / "cert.pem", folder / "key.pem"

    def begin(self, case):
        """A new network for a case."""
        self.report.case = case
        self.vpc = Vpc(self)

    def end(self):
        """Ends all that the case has made."""
        for task in reversed(self.tasks):
            task.close()
        self.tasks.clear()
        self.vpc = None

    def mesh_file(self, task, services):
        """Writes a mesh file for a task; it is renamed into its place, so that nobody reads half of it."""
        part = task.write("mesh.part", json.dumps(mesh.document(services), indent=1))
        part.chmod(0o644)
        return part.rename(task.folder / "mesh.json")

    def sidecar(self, task, *flags, env=None, uid=SIDECAR_UID):
        """Starts a proxy beside the task's apps, and waits until it is ready."""
        process = self.sidecar_process(task, *flags, env=env, uid=uid)
        self.ready(task, process)
        return process

    def sidecar_process(self, task, *flags, env=None, uid=SIDECAR_UID):
        """The same without waiting."""
        state = task.folder / "state"
        if not state.exists():
            state.mkdir()
            owned_by_sidecar(state)
        # As a task definition's systemControls do: the sidecar is not root, and binds port 53 or 80.
        task.sysctl("net.ipv4.ip_unprivileged_port_start", 0)
        more = {"OTEL_SDK_DISABLED": "true", **self.vpc.metadata_variable(task), **(env or {})}
        return task.start("bowline-proxy", self.proxy, "run", "--state-dir", state, "--log-level", "debug", *flags, env=more,
                          uid=uid)

    def ready(self, task, process):
        """Waits until the sidecar of a task is ready."""
        def look():
            if not process.alive():
                raise Over(process.last_words())
            return task.get("/health/ready", ADMIN)[0] == 200

        eventually(f"the sidecar of {task.name} to be ready", look)

    def control_plane(self, services, *flags):
        """Starts the control plane, in a task of its own. Returns the task."""
        task = self.vpc.make("control", CONTROL)
        mesh_file = self.mesh_file(task, services)
        self.tokens()
        process = task.start("bowline-control", self.control, "serve", "--mesh", mesh_file, "--listen", "0.0.0.0:18000",
                             "--admin", f"127.0.0.1:{CONTROL_ADMIN}", "--token-file", self.folder / "token",
                             "--registration-tokens", self.folder / "tokens.json", *flags, env=AWS)

        def look():
            if not process.alive():
                raise Over(process.last_words())
            return task.get("/health/ready", CONTROL_ADMIN)[0] == 200

        eventually("the control plane to be ready", look)
        task.control = process
        return task

    def tokens(self):
        """The files with tokens, for all tasks."""
        services = [*mesh.SERVICES, "store"]
        for name, text in (("token", TOKEN), ("register-token", REGISTER_TOKEN),
                           ("tokens.json", json.dumps(dict.fromkeys(services, REGISTER_TOKEN)))):
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o644)

    def by_control(self, register=None):
        """The flags of a proxy that is on the control plane's pushes, and registers its task as `register` says."""
        flags = ["--control", f"http://{CONTROL}:18000", "--namespace", mesh.NAMESPACE, "--control-token-file",
                 self.folder / "token"]
        if register:
            flags += ["--register", register, "--register-token-file", self.folder / "register-token"]
        return flags
