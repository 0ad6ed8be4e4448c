"""The mesh of the tests."""

NAMESPACE = "hello-world.com"
NAME = f"server.{NAMESPACE}"
# Pinned, so that names can be written by hand.
VIP = "127.255.0.7"

# discoveryName -> (appProtocol, port of the alias, the app's port where it is another one). All have one dnsName.
SERVICES = {
    "server": ("http", 5000, 9001),
    "server-h2": ("http2", 5001, 9002),
    "server-grpc": ("grpc", 5002, 9003),
    "server-ws": ("http", 5003, 9004),
    "server-mail": ("tcp", 5025, 9005),
}


def app_ports(same):
    """Where the apps of the server's task listen. `same`: on the aliases' ports, for whoever dials real addresses."""
    return {service: alias if same else own for service, (_, alias, own) in SERVICES.items()}


def services(address, same=False, vip=VIP):
    """All services, with one endpoint each at this address."""
    ports = app_ports(same)
    return {service: one(protocol, alias, [f"{address}:{ports[service]}"], vip=vip)
            for service, (protocol, alias, _) in SERVICES.items()}


def one(protocol, port, endpoints, name=NAME, vip=None):
    """One service. `endpoints`: addresses, or None: its tasks register themselves."""
    source = {"registered": {}} if endpoints is None else {"static": [{"address": address} for address in endpoints]}
    service = {"appProtocol": protocol, "clientAliases": [{"dnsName": name, "port": port}], "endpoints": source}
    if vip:
        service["vip"] = vip
    return service


def document(named):
    """The mesh file's content."""
    return {"namespace": NAMESPACE, "services": [{"discoveryName": name, **service} for name, service in named.items()]}
