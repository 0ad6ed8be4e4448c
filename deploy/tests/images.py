#!/usr/bin/env python3
"""The images: built from the Dockerfiles by a docker daemon of the test's own, started, and looked into.

    images.py --proxy PATH [--control PATH --bowline PATH] [--dynamic]

The programs are given, static as the Dockerfiles would compile them: `deploy/image/compile` says how. With `--dynamic`
others are taken too: their libraries go into a base image, and what only holds for static ones is left out.
Where no docker daemon starts, or with `--chroot`, the last stage of each Dockerfile is laid out in a folder and run from there.
One line a check; exit 1 if one fails. No registry is asked. Needs root, curl, nft, and Debian's docker.io.
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile

import image_checks
from chroot_host import ChrootHost
from docker_daemon import Daemon, NoDocker
from docker_host import DockerHost
from elf import copy_with_libraries, is_static

AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def arguments():
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proxy", required=True, help="bowline-proxy")
    parser.add_argument("--control", help="bowline-control; without it its image is left out")
    parser.add_argument("--bowline", help="bowline, the command line; without it its image is left out")
    parser.add_argument("--dynamic", action="store_true", help="the programs are not static")
    parser.add_argument("--chroot", action="store_true", help="without docker, even if it is there")
    return parser.parse_args()


def build(host, folder, name, programs, dynamic):
    """Builds deploy/Dockerfile.NAME with these programs; returns the image."""
    context = os.path.join(folder, f"context-{name}")
    os.makedirs(context)
    for program, path in programs.items():
        shutil.copy2(path, os.path.join(context, program))
    shutil.copy2(os.path.realpath(AUTHORITIES), os.path.join(context, "ca-certificates.crt"))
    base = os.path.join(folder, f"base-{name}")
    if dynamic:
        copy_with_libraries(programs.values(), base)
        for path in programs.values():
            os.remove(os.path.join(base, path.lstrip("/")))
    if name == "init":
        shell = os.path.realpath("/bin/sh")
        nft = os.path.realpath(shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin"))
        copy_with_libraries([shell, nft], base)
        os.makedirs(os.path.join(base, "bin"), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.symlink(shell, os.path.join(base, "bin/sh"))
    return host.build(name, context, base if os.path.exists(base) else None)


def plan(options):
    """The images that can be built of what was given, with their programs."""
    programs = {"bowline-proxy": options.proxy, "bowline-control": options.control, "bowline": options.bowline}
    wanted = {
        "proxy": ["bowline-proxy"],
        "control": ["bowline-control"],
        "bowline": ["bowline"],
        "init": ["bowline-proxy"],
    }
    return {
        image: {name: os.path.abspath(programs[name]) for name in names}
        for image, names in wanted.items()
        if all(programs[name] for name in names)
    }


def main():
    """Runs all; returns the exit code."""
    options = arguments()
    report = image_checks.Report()
    images = plan(options)
    if not options.dynamic:
        for path in sorted({path for programs in images.values() for path in programs.values()}):
            report.check(f"{os.path.basename(path)} is static", lambda path=path: (is_static(path), path))
    with tempfile.TemporaryDirectory(prefix="bowline-images-") as folder:
        with contextlib.ExitStack() as stack:
            host = None
            try:
                if not options.chroot:
                    host = DockerHost(stack.enter_context(Daemon(folder)), folder)
            except NoDocker as error:
                # Not a failure: the same checks are made without it.
                print(f"  -- no docker here: {error}", flush=True)
            if host is None:
                host = ChrootHost(folder)
            built = {name: build(host, folder, name, of, options.dynamic) for name, of in images.items()}
            for name, image in built.items():
                getattr(image_checks, name)(report, host, image, folder, options.dynamic, built)
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed or not report.passed else 0


if __name__ == "__main__":
    sys.exit(main())
