"""nginx as a reverse proxy."""

import shutil

from ports import free_port

from .base import Missing, Peer, Target

_CONF = """
# One process instead of master and worker, so that its pid is the proxy; the worker's code is the same.
daemon off;
master_process off;
pid {dir}/nginx.pid;
error_log {dir}/nginx-error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    default_type text/plain;
    sendfile on;
    keepalive_timeout 300s;
    keepalive_requests 1000000000;
    http2_max_concurrent_streams 128;
    client_body_temp_path {dir}/nginx-body;
    proxy_temp_path {dir}/nginx-proxy;
    fastcgi_temp_path {dir}/nginx-fastcgi;
    uwsgi_temp_path {dir}/nginx-uwsgi;
    scgi_temp_path {dir}/nginx-scgi;

    map $http_x_request_id $rid {{ default $http_x_request_id; "" $request_id; }}

    upstream web {{
{web}
        keepalive 1200;
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
    }}
    upstream web2 {{
{web2}
        keepalive 1200;
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
    }}
    server {{
        listen 127.0.0.1:{h1} backlog=4096;
        location / {{
            proxy_pass http://web;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header x-request-id $rid;
            proxy_pass_header Server;
            proxy_pass_header Date;
            proxy_connect_timeout 1s;
            proxy_read_timeout 15s;
            proxy_next_upstream error timeout http_502 http_503 http_504;
            proxy_next_upstream_tries 3;
            # Large bodies stay in memory: never to a temporary file.
            proxy_max_temp_file_size 0;
            proxy_buffers 16 16k;
            proxy_buffer_size 16k;
        }}
    }}
    server {{
        listen 127.0.0.1:{h2} http2 backlog=4096;
        location / {{
            # nginx speaks HTTP/2 to an upstream in its gRPC module alone, one stream a connection.
            grpc_pass grpc://web2;
            grpc_set_header Host $http_host;
            grpc_set_header x-request-id $rid;
            grpc_pass_header Server;
            grpc_pass_header Date;
            grpc_connect_timeout 1s;
            grpc_read_timeout 15s;
            grpc_next_upstream error timeout http_502 http_503 http_504;
            grpc_next_upstream_tries 3;
            grpc_buffer_size 16k;
        }}
    }}
    server {{
        listen 127.0.0.1:{status};
        location = /status {{ stub_status; }}
    }}
}}
"""


def _servers(ports):
    return "\n".join(f"        server 127.0.0.1:{port} max_fails=5 fail_timeout=30s;" for port in ports)


class Nginx(Peer):
    """nginx with one worker."""

    name = "nginx"
    title = "nginx"
    package = "nginx-light"
    notes = ("HTTP/2 to the upstream goes through grpc_pass, one stream a connection: nginx has no other way.",)

    def binary(self):
        """From the path; Debian keeps it in sbin."""
        path = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if not path:
            raise Missing("nginx is not installed")
        return path

    def version(self):
        """`1.22.1`."""
        return self._output(self.binary(), "-v").strip().split("/")[-1]

    def start(self):
        """Starts it in the foreground."""
        pack, backend = self.world.pack, self.world.backend
        ports = {"h1": free_port(), "h2": free_port()}
        conf = pack.workdir / "nginx.conf"
        conf.write_text(_CONF.format(dir=pack.workdir, web=_servers(backend.h1), web2=_servers(backend.h2),
                                     status=free_port(), **ports))
        proc = pack.start("nginx", [self.binary(), "-p", pack.workdir, "-e", pack.workdir / "nginx-error.log",
                                    "-c", conf], self.world.proxy_cpus)
        return self._await(proc, {p: Target("127.0.0.1", port, f"web.bench.local:{port}")
                                  for p, port in ports.items()})
