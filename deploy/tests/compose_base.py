"""A base image for the compose example's apps, made of Debian packages and of this machine's node: no registry is asked."""

import os
import shutil
import subprocess

from elf import copy_with_libraries

PACKAGES = "ca-certificates,libstdc++6,python3,python3-pip"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def make(daemon, folder, cache=None):
    """Makes the image `test-base`, which has python3, pip, node and npm. `cache` keeps the Debian in it for the next time."""
    root = cache or os.path.join(folder, "debian")
    if not os.path.exists(os.path.join(root, "usr/bin/pip")):
        # None: debootstrap knows one itself.
        mirror = [os.environ["DEBIAN_MIRROR"]] if os.environ.get("DEBIAN_MIRROR") else []
        done = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root, *mirror],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"debootstrap: {done.stdout[-800:]}{done.stderr[-400:]}")
    node = shutil.which("node")
    npm = os.path.realpath(shutil.which("npm") or "")
    if not node or not npm.endswith("npm-cli.js"):
        raise RuntimeError("node and npm are needed")
    copy_with_libraries([node], root)
    modules = os.path.dirname(os.path.dirname(npm))
    target = os.path.join(root, "usr/lib/node_modules/npm")
    if not os.path.exists(target):
        shutil.copytree(modules, target, symlinks=True)
        os.symlink("../lib/node_modules/npm/bin/npm-cli.js", os.path.join(root, "usr/bin/npm"))
    # Packages come from where this machine gets them, whose authorities may be its own.
    shutil.copy2(os.path.realpath(AUTHORITIES), os.path.join(root, AUTHORITIES.lstrip("/")))
    write(root, "root/.npmrc", f"cafile={AUTHORITIES}\n")
    write(root, "etc/pip.conf", f"[global]\ncert = {AUTHORITIES}\nbreak-system-packages = true\n")
    daemon.import_folder(root, "test-base")


def write(root, path, text):
    """Writes a file of the image."""
    with open(os.path.join(root, path), "w", encoding="utf-8") as file:
        file.write(text)


def build_apps(daemon, compose):
    """Builds the example's apps by their own Dockerfiles."""
    for name, variable in (("web", "NODE_IMAGE"), ("greeter", "PYTHON_IMAGE")):
        daemon.docker(
            "build", "--network", "host", "--build-arg", f"{variable}=test-base",
            "-t", f"bowline-example-{name}", os.path.join(compose, name),
        )  # fmt: skip
