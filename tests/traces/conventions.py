"""What OpenTelemetry's semantic conventions say of attributes: a small table of types, and the names in full.

The names and what has become of them are read from the package opentelemetry-semantic-conventions; it has no types, so the
table here does. An attribute that is in neither is wrong, unless it is Bowline's own.
"""

import ast
import importlib.util
from functools import cache
from pathlib import Path

STR, INT, BOOL, DOUBLE, STRS = "str", "int", "bool", "double", "str[]"

TYPES = {
    "aws.ecs.cluster.arn": STR, "aws.ecs.container.arn": STR, "aws.ecs.launchtype": STR, "aws.ecs.task.arn": STR,
    "aws.ecs.task.family": STR, "aws.ecs.task.id": STR, "aws.ecs.task.revision": STR,
    "aws.log.group.arns": STRS, "aws.log.group.names": STRS, "aws.log.stream.arns": STRS, "aws.log.stream.names": STRS,
    "client.address": STR, "client.port": INT,
    "cloud.account.id": STR, "cloud.availability_zone": STR, "cloud.platform": STR, "cloud.provider": STR,
    "cloud.region": STR, "cloud.resource_id": STR,
    "container.id": STR, "container.image.name": STR, "container.image.tags": STRS, "container.name": STR,
    "deployment.environment.name": STR,
    "error.type": STR,
    "exception.message": STR, "exception.stacktrace": STR, "exception.type": STR,
    "host.arch": STR, "host.name": STR,
    "http.request.body.size": INT, "http.request.method": STR, "http.request.method_original": STR,
    "http.request.resend_count": INT, "http.response.body.size": INT, "http.response.status_code": INT,
    "http.route": STR,
    "network.local.address": STR, "network.local.port": INT, "network.peer.address": STR, "network.peer.port": INT,
    "network.protocol.name": STR, "network.protocol.version": STR, "network.transport": STR, "network.type": STR,
    "os.type": STR,
    "process.pid": INT, "process.runtime.name": STR, "process.runtime.version": STR,
    "rpc.method": STR, "rpc.method_original": STR, "rpc.response.status_code": STR, "rpc.system.name": STR,
    "server.address": STR, "server.port": INT,
    "service.instance.id": STR, "service.name": STR, "service.namespace": STR, "service.version": STR,
    "telemetry.distro.name": STR, "telemetry.distro.version": STR, "telemetry.sdk.language": STR,
    "telemetry.sdk.name": STR, "telemetry.sdk.version": STR,
    "url.full": STR, "url.path": STR, "url.query": STR, "url.scheme": STR,
    "user_agent.original": STR,
}

# Names that end in a name of somebody else's: a header, in lower case, whose values are a list.
TEMPLATES = {"http.request.header.": STRS, "http.response.header.": STRS}

# Bowline's own.
OURS = {
    "bowline.service": STR, "bowline.endpoint": STR, "bowline.zone": STR, "bowline.attempts": INT,
    "bowline.retries": INT, "bowline.reason": STR, "bowline.ejected": BOOL, "bowline.backoff_ms": DOUBLE,
    "bowline.route": STR, "bowline.fault_delay_ms": DOUBLE,
}

# In words, as `rpc.response.status_code` has them.
GRPC = ("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
        "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED")
# The ones that are a server's own failure.
GRPC_SERVER_ERRORS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


@cache
def registry():
    """{name: None, or what the package says of its deprecation} of every attribute that the package knows."""
    folder = Path(importlib.util.find_spec("opentelemetry.semconv").submodule_search_locations[0])
    names = {}
    for file in (*folder.glob("_incubating/attributes/*.py"), *folder.glob("attributes/*.py")):
        body = ast.parse(file.read_text()).body
        for statement, following in zip(body, [*body[1:], None]):
            if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.value, ast.Constant)):
                continue
            # What is said of a constant is the string after it. "Deprecated in favor of" means that it lives on in the
            # other folder, "Deprecated:" that it is gone.
            text = ast.unparse(following.value).strip("'") if isinstance(following, ast.Expr) else ""
            text = " ".join(text.replace("\\n", " ").split())
            if text.startswith("Deprecated:") or statement.value.value not in names:
                names[statement.value.value] = text if text.startswith("Deprecated:") else None
    return names


def objection(name, kind):
    """(rule, text): what is wrong with an attribute of this name and type; None if nothing is."""
    template = next((known for known in TEMPLATES if name.startswith(known)), None)
    if name in OURS or name in TYPES or template:
        wanted = OURS.get(name) or TYPES.get(name) or TEMPLATES[template]
        if template and (name != name.lower() or name == template):
            return "attribute-name", f"{name} is not a header's name in lower case"
        if wanted != kind:
            return "attribute-type", f"{name} is {kind}, not {wanted}"
        return None
    if name not in registry():
        return "attribute-name", f"{name} is in no semantic convention"
    if registry()[name]:
        return "attribute-name", f"{name}: {registry()[name]}"
    return "attribute-name", f"{name} is a name of the conventions that the table of types lacks"

