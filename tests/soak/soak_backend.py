"""The endpoint behind slow readers and idle connections: one nginx worker, one port for each protocol.

One endpoint and not three, so that all requests share what a proxy shares: its connections to that endpoint.
"""

from backend import SMALL, Backend
from ports import accepts, free_port, wait_for
from procs import StartError

LARGE_PATH = "/20m"
LARGE_BYTES = 20 << 20

_CONF = """
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
    keepalive_requests 1000000000;
    # A slow reader makes an endpoint wait; it must not be the endpoint that loses patience.
    send_timeout 600s;
    http2_max_concurrent_streams 256;
    client_body_temp_path {dir}/backend-body;
    proxy_temp_path {dir}/backend-proxy;
    fastcgi_temp_path {dir}/backend-fastcgi;
    uwsgi_temp_path {dir}/backend-uwsgi;
    scgi_temp_path {dir}/backend-scgi;
    server {{
        listen 127.0.0.1:{h1} backlog=4096;
        listen 127.0.0.1:{h2} http2 backlog=4096;
        location = / {{ return 200 "{small}"; }}
        location = {large} {{ root {dir}; }}
    }}
}}
"""


def start_backend(field):
    """Starts it; its ports are in `h1` and `h2`."""
    h1, h2 = free_port(), free_port()
    pack = field.pack
    (pack.workdir / LARGE_PATH[1:]).write_bytes(bytes(range(256)) * (LARGE_BYTES // 256))
    conf = pack.workdir / "backend.conf"
    conf.write_text(_CONF.format(dir=pack.workdir, h1=h1, h2=h2, small=SMALL, large=LARGE_PATH))
    argv = [field.tools["nginx"], "-p", pack.workdir, "-e", pack.workdir / "backend-error.log", "-c", conf]
    proc = pack.start("backend", argv, field.cpus)
    if not wait_for(lambda: not proc.alive() or accepts("127.0.0.1", h1) and accepts("127.0.0.1", h2), 15) or not proc.alive():
        raise StartError(f"the backend (nginx) did not start:\n{proc.last_words()}")
    return Backend(proc, [h1], [h2])
