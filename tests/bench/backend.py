"""The servers behind the proxies: one nginx worker, three endpoints for HTTP/1.1, three for HTTP/2, one for nobody."""

from dataclasses import dataclass, field

from netns import call
from ports import accepts, free_port, wait_for
from procs import StartError

ENDPOINTS = 3
SMALL = "0123456789abcdef" * 4
LARGE_BYTES = 1 << 20

_CONF = """
# One process: the backend is not what is measured, and its pid is easier to end.
daemon off;
master_process off;
pid {dir}/{name}.pid;
error_log {dir}/{name}-error.log warn;
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
    client_body_temp_path {dir}/{name}-body;
    proxy_temp_path {dir}/{name}-proxy;
    fastcgi_temp_path {dir}/{name}-fastcgi;
    uwsgi_temp_path {dir}/{name}-uwsgi;
    scgi_temp_path {dir}/{name}-scgi;
    # 1 MiB that comes is kept in memory.
    client_max_body_size 2m;
    client_body_buffer_size 1m;
    server {{
{listens}
        location = / {{ return 200 "{small}"; }}
        # For the check before measuring: which endpoint answered, over which protocol, with which request id.
        location = /whoami {{ return 200 "$server_port $server_protocol $http_x_request_id"; }}
        # And from where: whoever calls directly sees a port of its own here.
        location = /from {{ return 200 "$remote_port"; }}
        location = /1m {{ root {files}; }}
        # 1 MiB each way. To mirror a request nginx reads its whole body first; then it finds that a file can't be POSTed
        # to, and the page for that error is the answer.
        location = /both {{ root {files}; mirror /mirrored; error_page 405 =200 /answer; }}
        location = /mirrored {{ internal; return 204; }}
        location = /answer {{ internal; alias {files}/1m; add_header x-received $request_length; }}
    }}
}}
"""


@dataclass
class Backend:
    """Ports of the running backend, by protocol."""

    proc: object
    h1: list = field(default_factory=list)
    h2: list = field(default_factory=list)
    outside: int = 0  # HTTP/1.1 as well, but no proxy has been told of it
    host: str = "127.0.0.1"


def start(pack, nginx, files_dir, cpus, name="backend", host="127.0.0.1", net=None):
    """Starts the backend on an address of the machine or of the network `net`, and waits until all its ports accept."""
    ports = call(net, lambda: [free_port(host) for _ in range(2 * ENDPOINTS + 1)])
    h1, h2, outside = ports[:ENDPOINTS], ports[ENDPOINTS:-1], ports[-1]
    listens = "\n".join(
        [f"        listen {host}:{p} backlog=4096;" for p in [*h1, outside]]
        + [f"        listen {host}:{p} http2 backlog=4096;" for p in h2]
    )
    (files_dir / "1m").write_bytes(bytes(range(256)) * (LARGE_BYTES // 256))
    (files_dir / "both").touch()
    conf = pack.workdir / f"{name}.conf"
    conf.write_text(_CONF.format(dir=pack.workdir, name=name, listens=listens, small=SMALL, files=files_dir))
    log = pack.workdir / f"{name}-error.log"
    proc = pack.start(name, [nginx, "-p", pack.workdir, "-e", log, "-c", conf], cpus, net=net)

    def up():
        return not proc.alive() or call(net, lambda: all(accepts(host, port) for port in ports))

    if not wait_for(up, 5) or not proc.alive():
        raise StartError(f"the backend (nginx) did not start:\n{proc.last_words()}")
    return Backend(proc, h1, h2, outside, host)
