"""Bowline itself, run alone on a mesh file, with everything on that a user gets by default."""

import urllib.request
from pathlib import Path

from ports import free_port

from .base import Missing, Peer, Target

_VIP_RANGE = "127.255.77.0/24"
_VIP_H1 = "127.255.77.7"
_VIP_H2 = "127.255.77.8"
_VIP_TCP = "127.255.77.9"

# Nothing but names, addresses and protocols: retries, timeouts, balancing, limits and metrics stay at their defaults.
_MESH = """\
namespace: bench.local
services:
  - discoveryName: web
    appProtocol: http
    clientAliases: [{{ dnsName: web.bench.local, port: {h1_port} }}]
    vip: {h1_vip}
    endpoints:
      static:
{h1_endpoints}
  - discoveryName: web2
    appProtocol: http2
    clientAliases: [{{ dnsName: web2.bench.local, port: {h2_port} }}]
    vip: {h2_vip}
    endpoints:
      static:
{h2_endpoints}
  - discoveryName: web3
    appProtocol: tcp
    clientAliases: [{{ dnsName: web3.bench.local, port: {tcp_port} }}]
    vip: {tcp_vip}
    endpoints:
      static:
{h1_endpoints}
"""


def _endpoints(ports):
    return "\n".join(f'        - {{ address: "127.0.0.1:{port}" }}' for port in ports)


class Bowline(Peer):
    """bowline-proxy with one worker (its default)."""

    name = "bowline"
    title = "Bowline"
    control = False

    def binary(self):
        """The path given by --bowline, or the one the release build made."""
        path = Path(self.world.bowline)
        if not path.is_file():
            raise Missing(f"no bowline-proxy at {path}")
        return path

    def version(self):
        """As `--version` says."""
        lines = self._output(self.binary(), "--version").split("\n")
        return lines[0].split()[-1] if lines and lines[0].split() else "?"

    def start(self):
        """Starts it on the bench's mesh file; the load dials the VIP listeners as an app would."""
        pack, backend = self.world.pack, self.world.backend
        h1, h2, tcp = free_port(_VIP_H1), free_port(_VIP_H2), free_port(_VIP_TCP)
        outbound, admin = free_port(), free_port()
        mesh = pack.workdir / "bowline.yaml"
        mesh.write_text(_MESH.format(
            h1_port=h1, h2_port=h2, tcp_port=tcp, h1_vip=_VIP_H1, h2_vip=_VIP_H2, tcp_vip=_VIP_TCP,
            h1_endpoints=_endpoints(backend.h1), h2_endpoints=_endpoints(backend.h2),
        ))
        proc = pack.start("bowline", [
            self.binary(), "run", "--mesh", mesh, "--outbound", f"127.0.0.1:{outbound}",
            "--admin", f"127.0.0.1:{admin}", "--vip-range", _VIP_RANGE,
        ], self.world.proxy_cpus)

        def ready():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{admin}/health/ready", timeout=1) as answer:
                    return answer.status == 200
            except OSError:
                return False

        return self._await(proc, {
            "h1": Target(_VIP_H1, h1, f"web.bench.local:{h1}"),
            "h2": Target(_VIP_H2, h2, f"web2.bench.local:{h2}"),
            "tcp": Target(_VIP_TCP, tcp, f"web3.bench.local:{tcp}"),
        }, ready)
