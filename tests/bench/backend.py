"""The servers behind the proxies: one nginx worker, three endpoints for HTTP/1.1 and three for HTTP/2."""

from dataclasses import dataclass, field

from ports import accepts, free_port, wait_for
from procs import StartError

ENDPOINTS = 3
SMALL = "0123456789abcdef" * 4
LARGE_BYTES = 1 << 20

_CONF = """
# One process: the backend is not what is measured, and its pid is easier to end.
daemon off;
master_process off;
pid {dir}/backend.pid;
error_log {dir}/backend-error.log warn;
events {{ worker_connections 12000; }}
http {{
    access_log off;
    default_type text/plain;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 600s;
    # The default of 1,000 requests a connection would put connection churn into every figure.
    keepalive_requests 1000000000;
    http2_max_concurrent_streams 256;
    client_body_temp_path {dir}/backend-body;
    proxy_temp_path {dir}/backend-proxy;
    fastcgi_temp_path {dir}/backend-fastcgi;
    uwsgi_temp_path {dir}/backend-uwsgi;
    scgi_temp_path {dir}/backend-scgi;
    server {{
{listens}
        location = / {{ return 200 "{small}"; }}
        # For the check before measuring: which endpoint answered, over which protocol, with which request id.
        location = /whoami {{ return 200 "$server_port $server_protocol $http_x_request_id"; }}
        location = /1m {{ root {files}; }}
    }}
}}
"""


@dataclass
class Backend:
    """Ports of the running backend, by protocol."""

    proc: object
    h1: list = field(default_factory=list)
    h2: list = field(default_factory=list)


def start(pack, nginx, files_dir, cpus):
    """Starts the backend and waits until all six ports accept."""
    h1 = [free_port() for _ in range(ENDPOINTS)]
    h2 = [free_port() for _ in range(ENDPOINTS)]
    listens = "\n".join(
        [f"        listen 127.0.0.1:{p} backlog=4096;" for p in h1]
        + [f"        listen 127.0.0.1:{p} http2 backlog=4096;" for p in h2]
    )
    (files_dir / "1m").write_bytes(bytes(range(256)) * (LARGE_BYTES // 256))
    conf = pack.workdir / "backend.conf"
    conf.write_text(_CONF.format(dir=pack.workdir, listens=listens, small=SMALL, files=files_dir))
    proc = pack.start("backend", [nginx, "-p", pack.workdir, "-e", pack.workdir / "backend-error.log", "-c", conf], cpus)
    if not wait_for(lambda: not proc.alive() or all(accepts("127.0.0.1", p) for p in h1 + h2), 5) or not proc.alive():
        raise StartError(f"the backend (nginx) did not start:\n{proc.last_words()}")
    return Backend(proc, h1, h2)
