"""Standard xDS resources as JSON, the way real Envoy and gRPC clients have been seen to accept them."""

_TYPE = "type.googleapis.com/envoy"
_HCM = f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ADS = {"resource_api_version": "V3", "ads": {}}


def address(text):
    """`1.2.3.4:80` as an Address."""
    host, _, port = text.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def cluster(name, http2=False, lb_policy="LEAST_REQUEST", **more):
    """A cluster whose endpoints come over the same stream."""
    made = {
        "@type": f"{_TYPE}.config.cluster.v3.Cluster", "name": name, "type": "EDS",
        "eds_cluster_config": {"eds_config": _ADS, "service_name": name},
        "connect_timeout": "1s", "lb_policy": lb_policy, "circuit_breakers": no_limits(),
    }
    if http2:
        options = f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions"
        made["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": options, "explicit_http_config": {"http2_protocol_options": {}}},
        }
    return {**made, **more}


def no_limits():
    """What limits Envoy has by default: among them 3 retries at a time, too few when an endpoint dies with 5 requests."""
    most = 1_000_000
    return {"thresholds": [{"max_connections": most, "max_pending_requests": most, "max_requests": most,
                            "max_retries": most}]}


def outlier_detection():
    """What ejects an endpoint that fails; 0 turns off what Envoy does by default and Bowline doesn't."""
    return {"consecutive_5xx": 5, "interval": "1s", "base_ejection_time": "30s", "max_ejection_time": "300s",
            "max_ejection_percent": 50, "enforcing_consecutive_5xx": 100, "enforcing_success_rate": 0}


def endpoints(name, addresses, zone="a", locality_weight=1):
    """Endpoints of a cluster: addresses, or (address, weight, health) each."""
    listed = []
    for one in addresses:
        where, weight, health = (one, 1, "HEALTHY") if isinstance(one, str) else one
        listed.append({"endpoint": {"address": address(where)}, "health_status": health,
                       "load_balancing_weight": weight})
    localities = [{"locality": {"zone": zone}, "load_balancing_weight": locality_weight, "priority": 0,
                   "lb_endpoints": listed}]
    return {"@type": f"{_TYPE}.config.endpoint.v3.ClusterLoadAssignment", "cluster_name": name,
            "endpoints": localities if listed else []}


def retry_policy():
    """Nearest to Bowline's default table: what is safe to try again for every method.

    Envoy draws lots again until it hits an endpoint not tried before, and least-request likes the dead one best, which has
    nothing to do: with 3 draws requests failed while another endpoint was there.
    """
    return {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 2,
            "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.250s"},
            "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {
                "@type": f"{_TYPE}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}],
            "host_selection_retry_max_attempts": 20}


def virtual_host(name, domains, to, **action):
    """All requests for these domains go to one cluster."""
    return {"name": name, "domains": domains,
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": to, **action}}]}


def routes(name, virtual_hosts):
    """A route configuration of its own."""
    return {"@type": f"{_TYPE}.config.route.v3.RouteConfiguration", "name": name, "virtual_hosts": virtual_hosts,
            "validate_clusters": False}


def manager(name, virtual_hosts=None, rds=None):
    """An HTTP connection manager with its routes inside, or with the name of a route configuration."""
    made = {"@type": _HCM, "stat_prefix": name, "codec_type": "AUTO",
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                "@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"}}]}
    if rds is None:
        return {**made, "route_config": {"name": name, "virtual_hosts": virtual_hosts}}
    return {**made, "rds": {"config_source": _ADS, "route_config_name": rds}}


def listener(name, where, filter_config, filter_name="envoy.filters.network.http_connection_manager"):
    """A real listener with one filter."""
    return {"@type": f"{_TYPE}.config.listener.v3.Listener", "name": name, "address": address(where),
            "filter_chains": [{"filters": [{"name": filter_name, "typed_config": filter_config}]}]}


def tcp_listener(name, where, to):
    """A real listener that passes bytes on."""
    return listener(name, where, {"@type": f"{_TYPE}.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                                  "stat_prefix": name, "cluster": to}, "envoy.filters.network.tcp_proxy")


def api_listener(name, connection_manager):
    """A listener for a proxyless gRPC client, which asks for it by the target it dials."""
    return {"@type": f"{_TYPE}.config.listener.v3.Listener", "name": name,
            "api_listener": {"api_listener": connection_manager}}
