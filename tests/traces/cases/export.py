"""How spans go out: both protocols, compressed, with headers; and whose they say they are."""

from apps.metadata import RESOURCE
from expect import differs
from tap import Tap
from world import Service, path_of


def protocols(world):
    """gRPC and HTTP/protobuf, each also with gzip and headers."""
    report, endpoint = world.report, world.endpoint()
    cases = [("grpc", {}), ("grpc", {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}), ("http/protobuf", {}),
             ("http/protobuf", {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}), ("", {}),
             ("http/protobuf", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "/own/path"})]
    for protocol, env in cases:
        own = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        receiver = world.receiver(*(["--path", own] if own else []))
        zipped = bool(env.get("OTEL_EXPORTER_OTLP_COMPRESSION"))
        name = f"{protocol or 'no protocol'}{', gzip' if zipped else ''}{', an endpoint of its own' if own else ''}"
        with Tap(receiver.grpc if protocol == "grpc" else receiver.http) as tap:
            base = f"http://127.0.0.1:{tap.port}"
            env = {**env, "OTEL_EXPORTER_OTLP_ENDPOINT": base, "OTEL_EXPORTER_OTLP_HEADERS": "x-key=two%20words,x-other=1"}
            if own:
                env.update({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": base + own})
            if protocol:
                env["OTEL_EXPORTER_OTLP_PROTOCOL"] = protocol
            else:
                env["OTEL_EXPORTER_OTLP_PROTOCOL"] = ""
            service = Service("server", endpoint.ports)
            sidecar = world.sidecar("bowline-a", [service], receiver, **env)
            for _ in range(3):
                path = world.path()
                world.curl(service, path)
                world.of_path(receiver, path, 2)
            requests = receiver.values("request")
            seen = {request["protocol"] for request in requests}
            report.check(f"{name}: it is what is spoken", seen == {protocol or "http/protobuf"}, seen)
            headers = {(request["headers"].get("x-key"), request["headers"].get("x-other")) for request in requests}
            report.check(f"{name}: with the headers", headers == {("two words", "1")}, headers)
            report.check(f"{name}: and a name", all("owline" in request["agent"] for request in requests),
                         [request["agent"] for request in requests][:1])
            if protocol == "grpc":
                flags = tap.compressed()
                report.check(f"{name}: compressed or not, as asked", flags and set(flags) == {zipped}, flags)
            else:
                seen = {request["encoding"] for request in requests}
                report.check(f"{name}: compressed or not, as asked", seen == {"gzip" if zipped else "identity"}, seen)
            report.check(f"{name}: over one connection", tap.connections == 1, tap.connections)
            sidecar.stop()
    world.strict()


def batches(world):
    """OTEL_BSP_...: how many spans a request has, and that the last ones come when the proxy ends."""
    report, receiver, endpoint = world.report, world.receiver(), world.endpoint()
    service = Service("server", endpoint.ports)
    sidecar = world.sidecar("bowline-a", [service], receiver, OTEL_BSP_MAX_EXPORT_BATCH_SIZE=10, OTEL_BSP_SCHEDULE_DELAY=600000)
    paths = [world.path() for _ in range(24)]
    for path in paths:
        world.get(service, path)
    receiver.wait("full batches", 40, lambda _: True)
    sizes = {request["spans"] for request in receiver.values("request")}
    report.check("batches of ten", sizes == {10}, sizes)
    code = sidecar.stop()
    report.check("it ends well", code == 0, code)
    spans = receiver.wait("the rest", 48, lambda _: True)
    report.check("the rest comes when it ends", len(spans) == 48 and {path_of(span) for span in spans} == set(paths),
                 len(spans))
    world.strict()


def ecs(world):
    """The resource: from ECS's task metadata, and from the variables, which win."""
    report, receiver, endpoint = world.report, world.receiver(), world.endpoint()
    metadata = world.program("metadata", "metadata.py")
    service = Service("server", endpoint.ports)
    uri = f"http://127.0.0.1:{metadata.port}/v4/ID"

    def resource(what, wanted, **env):
        sidecar = world.sidecar("bowline-a", [service], receiver, ECS_CONTAINER_METADATA_URI_V4=uri, **env)
        path = world.path()
        world.curl(service, path)
        span = world.of_path(receiver, path, 2)[0]
        wrong = differs({**span, "attributes": span["resource"]}, wanted)
        report.check(what, wrong is None, wrong)
        sidecar.stop()

    resource("what ECS says of the task is in the resource", {**RESOURCE, "service.name": "bowline-a"})
    resource("OTEL_RESOURCE_ATTRIBUTES adds and wins",
             {**RESOURCE, "aws.ecs.task.family": "mine", "deployment.environment.name": "a b", "service.name": "bowline-a"},
             OTEL_RESOURCE_ATTRIBUTES="aws.ecs.task.family=mine,deployment.environment.name=a%20b,service.name=other")
    world.strict()
