"""The tokens of the ECS example, given to the real programs as ECS would give them: in variables, taken from secrets.

Needs TEST_PROXY and TEST_CONTROL: paths of the two programs. They run on loopback, on free ports.
"""

import http.server
import json
import os
import queue
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

import test_ecs
from docker_host import until

PROXY = os.environ.get("TEST_PROXY", "")
CONTROL = os.environ.get("TEST_CONTROL", "")
REQUIRED = os.environ.get("BOWLINE_REQUIRE_INTEROP") == "1"
# Ten times what anything here takes on a busy machine.
DEADLINE = 60
TASK = "workflow-engine"
SECRETS = {
    test_ecs.BLANKS["TOKEN_ARN"]: "token-of-all-proxies",
    test_ecs.BLANKS["REGISTRATION_ARN"]: json.dumps(
        {
            "api-gateway": "token-of-the-gateway",
            "workflow-agent": "token-of-the-agent",
            "workflow-agent-grpc": "token-of-the-agent",
            "workflow-engine": "token-of-the-engine",
            "workflow-scheduler": "token-of-the-scheduler",
        }
    ),
}


def resolved(origin):
    """What ECS puts into a variable: a secret, or with :KEY:STAGE:VERSION behind its ARN one key of it."""
    parts = origin.split(":")
    text = SECRETS[":".join(parts[:7])]
    return json.loads(text)[parts[7]] if len(parts) > 7 else text


def variables(task, name):
    """All that a container of the example is given."""
    container = test_ecs.named(task["containerDefinitions"], name)
    taken = {variable: resolved(origin) for variable, origin in test_ecs.secrets(container).items()}
    return {**test_ecs.environment(container), **taken}


class App(http.server.BaseHTTPRequestHandler):
    """An app that is well."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Program:
    """A program with its log, from `with` to its end."""

    def __init__(self, path, environment, *arguments):
        environment = {"PATH": os.environ["PATH"], "BOWLINE_LOG_FORMAT": "json", "OTEL_SDK_DISABLED": "true", **environment}
        self.lines = []
        self.news = queue.Queue()
        self.process = subprocess.Popen(
            [path, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        """Takes its log in."""
        for line in self.process.stderr:
            self.lines.append(line)
            self.news.put(line)
        self.news.put(None)

    def said(self, words):
        """The next log line with these words in its message."""
        end = time.monotonic() + DEADLINE
        while True:
            try:
                line = self.news.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"it never said {words!r}:\n{''.join(self.lines)}")
            if words in line:
                return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        self.process.stderr.close()
        return False


@unittest.skipUnless((PROXY and CONTROL) or REQUIRED, "TEST_PROXY and TEST_CONTROL are not set")
class Tokens(unittest.TestCase):
    """The control plane and the sidecar of the example, each started with what its task definition says."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        done = test_ecs.fill(self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.tasks = test_ecs.load(self.folder, "task-definitions")
        app = http.server.ThreadingHTTPServer(("127.0.0.1", 0), App)
        self.addCleanup(app.server_close)
        threading.Thread(target=app.serve_forever, daemon=True).start()
        self.addCleanup(app.shutdown)
        self.port = app.server_address[1]

    def control(self):
        """The control plane. What can't be had here is other: the folders, the ports, the zone."""
        given = variables(self.tasks["bowline-control"], "bowline-control")
        given.update(
            BOWLINE_LISTEN="127.0.0.1:0", BOWLINE_ADMIN="127.0.0.1:0", BOWLINE_MESH=os.path.join(test_ecs.ECS, "mesh.yaml"),
            BOWLINE_STATE_DIR=os.path.join(self.folder, "control"),
        )  # fmt: skip
        os.makedirs(given["BOWLINE_STATE_DIR"], exist_ok=True)
        return Program(CONTROL, given, "serve")

    def sidecar(self, control, **changed):
        """The engine's sidecar, whose app is at a free port."""
        given = variables(self.tasks[TASK], "bowline")
        given.update(
            BOWLINE_CONTROL=f"http://{control['listen']}", BOWLINE_ADMIN="127.0.0.1:0", BOWLINE_OUTBOUND="127.0.0.1:0",
            BOWLINE_NO_VIP_LISTENERS="true", BOWLINE_STATE_DIR=os.path.join(self.folder, "proxy"),
            BOWLINE_REGISTER=given["BOWLINE_REGISTER"].replace("=8002", f"={self.port}"), BOWLINE_DRAIN_SECONDS="1",
        )  # fmt: skip
        given.update(changed)
        os.makedirs(given["BOWLINE_STATE_DIR"], exist_ok=True)
        return Program(PROXY, given, "run")

    def health(self, control):
        """What the container's health check says of a control plane."""
        check = test_ecs.named(self.tasks["bowline-control"]["containerDefinitions"], "bowline-control")["healthCheck"]
        kind, program, *words = check["command"]
        self.assertEqual((kind, program), ("CMD", "/bowline-control"))
        return subprocess.run(
            [CONTROL, *words], env={"BOWLINE_ADMIN": control["admin"]}, capture_output=True, text=True, timeout=DEADLINE
        )

    def endpoints(self, control):
        """Which endpoints the control plane has for the engine."""
        with urllib.request.urlopen(f"http://{control['admin']}/snapshot", timeout=DEADLINE) as answer:
            services = json.load(answer)["services"]
        return [
            endpoint["address"] for service in services if service["service"] == TASK for endpoint in service["endpoints"]
        ]

    def test_a_task_with_its_token_is_registered(self):
        with self.control() as program:
            control = program.said("bowline-control is up")
            done = self.health(control)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(self.endpoints(control), [])
            with self.sidecar(control) as sidecar:
                sidecar.said('"registered"')
                # The registry may be a moment behind its answer.
                _, found = until(lambda: (lambda found: (bool(found), found))(self.endpoints(control)))
                self.assertEqual([address.rsplit(":", 1)[1] for address in found], [str(self.port)])
        self.assertEqual(self.health(control).returncode, 1)

    def test_with_the_token_of_another_service_it_is_not(self):
        with self.control() as program:
            control = program.said("bowline-control is up")
            with self.sidecar(control, BOWLINE_REGISTER_TOKEN="token-of-the-agent") as sidecar:
                self.assertIn("this token may not register", sidecar.said("not registered")["why"])
                self.assertEqual(self.endpoints(control), [])

    def test_without_the_token_of_all_it_is_sent_away(self):
        with self.control() as program:
            control = program.said("bowline-control is up")
            with self.sidecar(control, BOWLINE_CONTROL_TOKEN="token-of-nobody") as sidecar:
                why = sidecar.said("no stream to the control plane")["why"]
                self.assertEqual(why, "this is not the token of this control plane")
                self.assertEqual(self.endpoints(control), [])

    def test_no_token_is_in_a_log(self):
        with self.control() as program:
            control = program.said("bowline-control is up")
            with self.sidecar(control, BOWLINE_LOG_LEVEL="debug") as sidecar:
                sidecar.said('"registered"')
        for line in program.lines + sidecar.lines:
            self.assertNotIn("token-of-", line)


if __name__ == "__main__":
    unittest.main()
