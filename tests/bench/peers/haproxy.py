"""HAProxy, as a layer 7 proxy and, as the floor under all, as a layer 4 one."""

import shutil

from ports import free_port
from task import ALIAS_PORT, OUTBOUND_PORT, VIP

from .base import Missing, Peer, Target

_GLOBAL = """
global
    nbthread 1
    maxconn {max_connections}
    # Statistics are always counted; this is where they can be read.
    stats socket {dir}/{name}.sock mode 600 level admin
    # The default of 20 purges pooled connections whenever files run short of a fraction of the limit.
    tune.pool-high-fd-ratio 90
    tune.pool-low-fd-ratio 80

defaults
    timeout connect 1s
    timeout client 300s
    timeout server 15s
    timeout http-request 30s
    timeout http-keep-alive 300s
    timeout queue 1s
    retries 2
    option redispatch 1
    balance roundrobin
"""

_HTTP_MODE = """
    mode http
    # Reuse whatever connection is free: the cheapest of its modes, and what Envoy, nginx and Bowline do.
    http-reuse always
    retry-on conn-failure empty-response response-timeout 502 503 504
    default-server pool-purge-delay 600s inter 30s fall 5 observe layer7 error-limit 5 on-error mark-down check
"""

_HTTP = _HTTP_MODE + """
frontend h1
    bind 127.0.0.1:{h1} backlog 4096
    http-request set-header x-request-id %[uuid()] unless {{ req.hdr(x-request-id) -m found }}
    default_backend web

backend web
{web}

frontend h2
    bind 127.0.0.1:{h2} proto h2 backlog 4096
    http-request set-header x-request-id %[uuid()] unless {{ req.hdr(x-request-id) -m found }}
    default_backend web2

backend web2
{web2}

listen tcp
    mode tcp
    bind 127.0.0.1:{tcp} backlog 4096
    default-server inter 30s fall 5 check
{web}
"""

_TCP = """
listen tcp
    mode tcp
    bind 127.0.0.1:{tcp} backlog 4096
    default-server inter 30s fall 5 check
{web}
"""

_TASK_HTTP = _HTTP_MODE + """
frontend outbound
    bind 127.0.0.1:{outbound} backlog 4096
    http-request set-header x-request-id %[uuid()] unless {{ req.hdr(x-request-id) -m found }}
    use_backend web if {{ dst {vip} }} {{ dst_port {alias_port} }}

backend web
{web}
"""

_TASK_TCP = """
listen outbound
    mode tcp
    bind 127.0.0.1:{outbound} backlog 4096
    # No address of its own: the one that the connection was going to.
    server original 0.0.0.0
"""


def _servers(ports, options="", host="127.0.0.1"):
    return "\n".join(f"    server s{i} {host}:{port}{options}" for i, port in enumerate(ports))


class HAProxy(Peer):
    """HAProxy in HTTP mode with one thread."""

    name = "haproxy"
    title = "HAProxy"
    package = "haproxy"
    places = ("host", "task")
    max_connections = 4096
    notes = ("Active TCP checks every 30 s stand in for Bowline's outlier detection, together with `observe layer7`.",)

    def binary(self):
        """From the path; Debian keeps it in sbin."""
        path = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
        if not path:
            raise Missing("haproxy is not installed")
        return path

    def version(self):
        """`2.6.12`, without Debian's suffix."""
        return self._output(self.binary(), "-v").split()[2].split("-")[0]

    def _conf(self, ports):
        backend = self.world.backend
        return _HTTP.format(web=_servers(backend.h1), web2=_servers(backend.h2, " proto h2"), **ports)

    def _ports(self):
        return {"h1": free_port(), "h2": free_port(), "tcp": free_port()}

    def _targets(self, ports):
        return {protocol: Target("127.0.0.1", port, f"web.bench.local:{port}") for protocol, port in ports.items()}

    def start(self):
        """Starts it in the foreground, without a master process."""
        pack = self.world.pack
        ports = self._ports()
        conf = pack.workdir / f"{self.name}.cfg"
        proc = pack.start(self.name, self._argv(conf, self._conf(ports)), self.world.proxy_cpus)
        return self._await(proc, self._targets(ports))

    def _argv(self, path, conf):
        head = _GLOBAL.format(dir=path.parent, name=self.name, max_connections=self.max_connections)
        path.write_text(head + conf)
        return [self.binary(), "-db", "-q", "-f", path]

    def start_in(self, task, protocol):
        """Starts it in the mode that the case needs, since the rules lead to one port."""
        conf = _TASK_HTTP if protocol == "h1" else _TASK_TCP
        text = conf.format(outbound=OUTBOUND_PORT, vip=VIP, alias_port=ALIAS_PORT,
                           web=_servers(task.backend.h1, host=task.backend.host))
        proc = task.start(self.name, self._argv(task.folder / "haproxy.cfg", text), self.world.proxy_cpus)
        return self._await(proc, {protocol: self._task_targets(task)[protocol]})


class HAProxyTcp(HAProxy):
    """HAProxy in TCP mode under the HTTP/1.1 load: it copies bytes and reads nothing. The floor."""

    name = "haproxy-tcp"
    title = "HAProxy TCP"
    floor = True
    places = ("host",)
    notes = ("The floor: copies bytes, knows no requests, balances connections instead of requests.",)

    def _conf(self, ports):
        return _TCP.format(web=_servers(self.world.backend.h1), tcp=ports["tcp"])

    def _ports(self):
        return {"tcp": free_port()}

    def _targets(self, ports):
        return {"h1": Target("127.0.0.1", ports["tcp"], f"web.bench.local:{ports['tcp']}")}
