"""The cases, by name, in the order in which they run."""

from cases import calls, chains, collector, export, others, propagation

ALL = {
    "success": calls.success, "retry": calls.retry, "timeout": calls.timeout, "ejection": calls.ejection,
    "nothing-live": calls.nothing, "headers": calls.headers,
    "odd": calls.odd, "forward-proxy": calls.forward,
    "grpc": others.grpc_calls, "cancel": others.cancel, "websocket": others.websocket,
    "two-sidecars": chains.two, "sdk": chains.sdk,
    "propagators": propagation.propagators, "no-propagators": propagation.none, "samplers": propagation.samplers,
    "off": propagation.off,
    "protocols": export.protocols, "batches": export.batches, "ecs": export.ecs,
    "slow": collector.slow, "refusing": collector.refusing, "partial": collector.partial, "killed": collector.killed,
}
