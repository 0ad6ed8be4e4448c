"""Images and containers without docker: the last stage of a Dockerfile in a folder, and its program in a namespace of its own.

For machines on which no docker daemon starts. It knows as much of Dockerfiles as ours use, and fails at what it does not know.
What docker alone does is not seen here: the health check's schedule, and the volume's owner, which is the image's.
"""

import json
import os
import re
import shutil
import subprocess

from docker_host import DEADLINE, DEPLOY, owned, until

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
IGNORED = {"EXPOSE", "RUN", "VOLUME", "HEALTHCHECK", "ENTRYPOINT", "CMD", "USER", "ENV"}


def stages(name):
    """The stages of deploy/Dockerfile.NAME: (base, name, instructions)."""
    with open(os.path.join(DEPLOY, f"Dockerfile.{name}"), encoding="utf-8") as file:
        text = re.sub(r"\\\n", "", file.read())
    found = []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, alias = re.sub(r"--platform=\S+ ", "", rest).partition(" AS ")
            found.append((base, alias, []))
        elif found and line and not line.startswith("#"):
            found[-1][2].append((word, rest))
    return found


class ChrootHost:
    """Folders as images."""

    # What this host itself puts into every image.
    ADDED = {"dev", "etc", "proc"}

    def __init__(self, folder):
        self.folder = os.path.join(folder, "chroots")
        self.settings = {}

    def build(self, name, programs, base=None):
        """Builds deploy/Dockerfile.NAME with the programs of a folder; returns the folder that is the image."""
        made = {}
        known = stages(name)
        for at, (origin, alias, instructions) in enumerate(known):
            if alias == "compiled":
                continue
            root = os.path.join(self.folder, name, alias or "image")
            os.makedirs(root)
            if origin == "${BINARIES}":
                shutil.copytree(made["given"], root, dirs_exist_ok=True)
            elif at == len(known) - 1 and base:
                shutil.copytree(base, root, dirs_exist_ok=True, symlinks=True)
            elif origin not in ("scratch", "${BASE_IMAGE}"):
                raise ValueError(f"Dockerfile.{name}: FROM {origin} is not known here")
            for word, rest in instructions:
                if word == "COPY":
                    self.copy(rest.split(), root, made, programs)
                elif word == "WORKDIR":
                    os.makedirs(os.path.join(root, rest.lstrip("/")), exist_ok=True)
                elif word not in IGNORED:
                    raise ValueError(f"Dockerfile.{name}: {word} is not known here")
            made[alias] = root
        self.settings[made[""]] = dict(known[-1][2])
        return made[""]

    def copy(self, words, root, made, programs):
        """One COPY."""
        options = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
        *sources, target = [word for word in words if not word.startswith("--")]
        origin = made[options["from"]] if "from" in options else programs
        for source in sources:
            path = os.path.join(origin, source.lstrip("/"))
            to = os.path.join(root, target.lstrip("/"))
            if target.endswith("/"):
                to = os.path.join(to, os.path.basename(source))
            os.makedirs(os.path.dirname(to), exist_ok=True)
            if os.path.isdir(path):
                shutil.copytree(path, to, dirs_exist_ok=True)
            else:
                shutil.copy2(path, to)
            if "chown" in options:
                os.chown(to, *map(int, options["chown"].split(":")))

    def size(self, image):
        """Bytes of an image."""
        return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(image) for name in names)

    def files(self, image):
        """Paths of an image, with their owners."""
        with subprocess.Popen(["tar", "-C", image, "-c", "."], stdout=subprocess.PIPE) as tar:
            listed = subprocess.run(["tar", "-tv", "--numeric-owner"], stdin=tar.stdout, capture_output=True, text=True)
        return owned(listed.stdout)

    def command(self, image, mounts, enter, program):
        """The command line that runs a program in an image: read-only but for the volume, in a mount namespace.

        enter: the command that goes into the folder and becomes the user.
        """
        # In a chroot / is no mount that could be made private; whoever has made the chroot has done it.
        private = "mount --make-rprivate / 2>/dev/null || true"
        lines = ["set -e", private, "ip link set lo up 2>/dev/null || true", f"mount --bind {image} {image}", f"cd {image}"]
        for path in ("proc", "var/lib/bowline"):
            if path == "proc" or os.path.isdir(os.path.join(image, path)):
                os.makedirs(os.path.join(image, path), exist_ok=True)
                lines.append(f"mount --bind {'/proc' if path == 'proc' else f'{image}/{path}'} {path}")
        for source, target in mounts.items():
            at = os.path.join(image, target.lstrip("/"))
            os.makedirs(os.path.dirname(at), exist_ok=True)
            with open(at, "a", encoding="utf-8"):
                pass
            lines.append(f"mount --bind {source} {target.lstrip('/')}")
        lines.append("mount -o remount,bind,ro .")
        lines.append(f'exec {enter} "$@"')
        return ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", "; ".join(lines), "sh", *program]

    def start(self, image, mounts, environment, hosts=(), dns=None):
        """Starts the image's program in a network of its own."""
        os.makedirs(os.path.join(image, "etc"), exist_ok=True)
        with open(os.path.join(image, "etc/hosts"), "w", encoding="utf-8") as file:
            file.write("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in hosts))
        with open(os.path.join(image, "etc/resolv.conf"), "w", encoding="utf-8") as file:
            file.write(f"nameserver {dns}\n" if dns else "")
        settings = self.settings[image]
        program = json.loads(settings["ENTRYPOINT"]) + json.loads(settings["CMD"])
        variables = dict(pair.split("=", 1) for pair in settings.get("ENV", "").split())
        user, group = settings["USER"].split(":")
        # `chroot` itself needs the right to do it; it gives it up with the rest as it becomes the user.
        enter = f"setpriv --no-new-privs chroot --userspec={user}:{group} --groups= ."
        log = open(os.path.join(self.folder, f"log-{len(os.listdir(self.folder))}"), "w+b")
        process = subprocess.Popen(
            ["unshare", "--net", *self.command(image, mounts, enter, program)],
            stdout=log, stderr=log, env={**variables, **environment, "PATH": PATH},
        )  # fmt: skip
        return Process(process, log, image, settings)

    def once(self, image, command=(), mounts=None, beside=None, net_admin=False):
        """Runs a program of the image to its end. beside: a process whose network it has."""
        settings = self.settings[image]
        program = json.loads(settings["ENTRYPOINT"]) + (list(command) or json.loads(settings.get("CMD", "[]")))
        keep = "+net_admin," if net_admin else ""
        enter = f"setpriv --bounding-set=-all,{keep}+sys_chroot --inh-caps=-all chroot ."
        front = ["nsenter", "-t", str(beside.pid()), "-n"] if beside else ["unshare", "--net"]
        return subprocess.run(
            [*front, *self.command(image, mounts or {}, enter, program)],
            capture_output=True, text=True, timeout=DEADLINE, env={"PATH": PATH},
        )  # fmt: skip


class Process:
    """A program in its folder, from `with` to its end."""

    def __init__(self, process, log, image, settings):
        self.process, self.log, self.image, self.settings = process, log, image, settings

    def __enter__(self):
        # Until it is the image's program, and no longer what leads to it.
        until(lambda: (self.process.poll() is not None or os.readlink(f"/proc/{self.pid()}/root") == self.image, ""))
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()
        return False

    def pid(self):
        """The process."""
        return self.process.pid

    def health(self):
        """What the image's own health check says."""
        if self.process.poll() is not None:
            return False, f"ended with {self.process.returncode}: {self.logs()[-400:]}"
        done = self.run(*json.loads(self.settings["HEALTHCHECK"].split("CMD ", 1)[1]))
        return done.returncode == 0, f"exit {done.returncode}"

    def logs(self):
        """What it has said."""
        self.log.flush()
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            return file.read()

    def run(self, *command):
        """Runs a program of the image beside it."""
        user, group = self.settings["USER"].split(":")
        return subprocess.run(
            ["nsenter", "-t", str(self.pid()), "-n", "-m", "-r", "-w", "-S", user, "-G", group, *command],
            capture_output=True, text=True, timeout=DEADLINE, env={},
        )  # fmt: skip

    def kept(self):
        """Files in the volume."""
        folder = os.path.join(self.image, "var/lib/bowline")
        return [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]

    def stop(self):
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(DEADLINE)


