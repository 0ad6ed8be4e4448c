"""A docker daemon of the test's own: its data, its socket and its networks are in a folder that goes with it.

No daemon of the machine's is asked, and none of its images or networks are touched.
"""

import os
import shutil
import signal
import subprocess
import time

# Starting it takes a second or two. A busy machine takes longer.
START_SECONDS = 60


class NoDocker(Exception):
    """There is no docker daemon to be had here, with the reason."""


def tail(path, lines=8):
    """The end of a log."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return "".join(file.readlines()[-lines:])


def client():
    """A docker client that builds with BuildKit: an old one has it inside, a new one as a plugin."""
    found = []
    for path in [shutil.which("docker"), "/usr/bin/docker"]:
        if not path or not os.path.exists(path) or path in found:
            continue
        found.append(path)
        version = subprocess.run([path, "version", "--format", "{{.Client.Version}}"], capture_output=True, text=True)
        number = version.stdout.split(".")[0].strip()
        plugin = subprocess.run([path, "buildx", "version"], capture_output=True)
        if plugin.returncode == 0 or (number.isdigit() and int(number) < 23):
            return path
    raise NoDocker(f"no docker client with BuildKit; found: {', '.join(found) or 'none'}")


class Daemon:
    """The daemon, from `with` to its end. `networks`: whether containers may have a network of their own."""

    def __init__(self, folder):
        self.folder = folder
        self.socket = os.path.join(folder, "docker.sock")
        self.process = None
        self.client = None

    def __enter__(self):
        if os.geteuid() != 0:
            raise NoDocker("a docker daemon needs root")
        daemon = shutil.which("dockerd") or shutil.which("dockerd", path="/usr/sbin:/usr/local/sbin")
        if not daemon:
            raise NoDocker("there is no dockerd: install Debian's docker.io")
        self.client = client()
        log = os.path.join(self.folder, "dockerd.log")
        command = [
            daemon,
            "--data-root", os.path.join(self.folder, "data"),
            "--exec-root", os.path.join(self.folder, "exec"),
            "--pidfile", os.path.join(self.folder, "pid"),
            "--host", f"unix://{self.socket}",
            # Containers reach each other over their own bridge. The machine's firewall is left alone.
            "--iptables=false", "--ip6tables=false", "--bridge=none",
        ]  # fmt: skip
        with open(log, "wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            self.wait_until_up(log)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def wait_until_up(self, log):
        """Returns once it answers."""
        end = time.monotonic() + START_SECONDS
        while self.docker("info", check=False).returncode != 0:
            if self.process.poll() is not None:
                raise NoDocker(f"dockerd ended with {self.process.returncode}:\n{tail(log)}")
            if time.monotonic() > end:
                raise NoDocker(f"dockerd did not answer within {START_SECONDS} s:\n{tail(log)}")
            time.sleep(0.1)

    def __exit__(self, *_):
        if self.process.poll() is None:
            running = self.docker("ps", "-aq", check=False).stdout.split()
            if running:
                self.docker("rm", "-f", "-v", *running, check=False)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return False

    def environment(self):
        """The environment in which a client finds this daemon."""
        return {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "1"}

    def docker(self, *arguments, check=True, **options):
        """Runs the client, its output kept as text."""
        done = subprocess.run(
            [self.client, *arguments], env=self.environment(), capture_output=True, text=True, **options
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done

    def import_folder(self, folder, name):
        """Makes an image of a folder: no registry is asked."""
        with subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE) as tar:
            self.docker("import", "-", name, stdin=tar.stdout)
        if tar.returncode != 0:
            raise RuntimeError(f"tar of {folder} failed")
