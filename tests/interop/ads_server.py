"""An ADS server that is not Bowline's: small, delta and state-of-the-world, standard resources only.

It serves the resources of a JSON file as Envoy's own documentation writes them:

    {"resources": [{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "server", ...}, ...]}

On SIGHUP, or on a line `reload` on stdin, it reads the file again and sends what has changed. A line `drop` ends all
streams, as a restart of the server would. The end of stdin means nothing.

On stdout there is a JSON object a line, in the order in which things happen. The key "event" is one of:

    listening   address
    reloaded    resources (how many), or invalid with an error: then the old ones are served on
    opened      stream, protocol (delta or sotw)
    request     stream, type, nonce, error (of a NACK), node (on the first); delta: subscribe, unsubscribe, initial;
                sotw: names, version
    ack, nack   stream, type, nonce; held: the versions that this client has acknowledged, by name
    response    stream, type, nonce, resources (their names); delta: removed; sotw: version
    closed      stream

A client is taken to hold what it has acknowledged and nothing else. After a refusal of several resources at once each is
sent by itself (delta only); one that was refused alone is sent again when it changes, not before. Of each type at most one response waits for its answer. Clusters come first, then
endpoints, listeners and routes; a cluster is removed last. After a cluster its endpoints are sent again.
"""

import argparse
import asyncio
import hashlib
import importlib
import json
import os
import signal
import sys

import betterproto2
import grpc
from betterproto2 import casing
from envoy_data_plane.envoy.service.discovery.v3 import (
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource)
from envoy_data_plane.google.protobuf import Any

PREFIX = "type.googleapis.com/"
# In the order in which they are sent. The second word is what events call them.
TYPES = {
    PREFIX + "envoy.config.cluster.v3.Cluster": "Cluster",
    PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment": "ClusterLoadAssignment",
    PREFIX + "envoy.config.listener.v3.Listener": "Listener",
    PREFIX + "envoy.config.route.v3.RouteConfiguration": "RouteConfiguration",
}
CLUSTER, ENDPOINTS, LISTENER, ROUTES = TYPES
# Of these a client may ask for all that there are.
WILDCARDS = (CLUSTER, LISTENER)


def field_name(key):
    """The attribute for a key of the file, which is as the proto files write it. The package's own function takes such
    a key for camel case and makes `consecutive_5_xx` of `consecutive_5xx`."""
    return casing.sanitize_name(key) if key == key.lower() else casing.safe_snake_case(key)


betterproto2.safe_snake_case = field_name


def say(event, **more):
    """One line on stdout."""
    print(json.dumps({"event": event, **more}), flush=True)


def short(type_url):
    """The type as events name it."""
    return TYPES.get(type_url, type_url)


def load_types(value):
    """Imports what any `@type` in this JSON names: only then can it be encoded."""
    if isinstance(value, dict):
        if "@type" in value:
            package, _, _ = value["@type"].removeprefix(PREFIX).rpartition(".")
            importlib.import_module(f"envoy_data_plane.{package}")
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            load_types(item)


class State:
    """The resources of the file: {type: {name: (version, Any)}}."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            resources = json.load(file)["resources"]
        load_types(resources)
        self.by_type = {type_url: {} for type_url in TYPES}
        for resource in resources:
            of_type = self.by_type.get(resource["@type"])
            if of_type is None:
                raise ValueError(f"not a resource type that is served here: {resource['@type']}")
            name = resource.get("name") or resource.get("cluster_name") or resource["clusterName"]
            if name in of_type:
                raise ValueError(f"twice there: {resource['@type']} {name}")
            packed = Any.from_dict(resource)
            of_type[name] = (hashlib.sha256(packed.value).hexdigest()[:12], packed)

    def count(self):
        """How many resources there are."""
        return sum(map(len, self.by_type.values()))


class Subscription:
    """What one stream wants and has of one type."""

    def __init__(self):
        self.heard = False  # a first request of this type has come
        self.wildcard = False
        self.names = set()
        self.offered = {}  # name -> version last sent; None: said that it doesn't exist
        self.held = {}  # name -> version acknowledged
        self.waiting = None  # (nonce, {name: version or None}) of the response that isn't answered yet
        self.told = None  # state of the world: the version last sent
        self.alone = []  # delta: names that are to be sent one by one

    def wanted(self, of_type):
        """{name: (version, Any)} of what there is of what it wants."""
        if self.wildcard:
            return of_type
        return {name: of_type[name] for name in self.names if name in of_type}

    def answered(self, nonce, error):
        """Books an ACK or NACK. Returns which, or None if that response is not the one waited for."""
        if not nonce or self.waiting is None or self.waiting[0] != nonce:
            return None
        sent = self.waiting[1]
        self.waiting = None
        if error:
            # Envoy refuses all of a response for one bad resource; so each is sent by itself, and what is refused then is
            # the bad one.
            offered = [name for name, version in sent.items() if version is not None]
            if len(offered) > 1:
                self.alone = offered
                for name in offered:
                    self.offered.pop(name, None)
            self.offered.update((name, "unknown") for name, version in sent.items() if version is None)
            return "nack"
        for name, version in sent.items():
            if version is None:
                self.held.pop(name, None)
            else:
                self.held[name] = version
        return "ack"


class Stream:
    """One stream of one client; `protocol` is what differs between the two kinds."""

    def __init__(self, number, server):
        self.number = number
        self.server = server
        self.nonces = 0
        self.subscriptions = {type_url: Subscription() for type_url in TYPES}
        self.changed = asyncio.Event()

    def nonce(self):
        """The next one."""
        self.nonces += 1
        return str(self.nonces)

    def hear(self, request, more):
        """What both kinds of request have in common. Returns the subscription, or None for a type unknown here."""
        node = {}
        if request.node is not None:
            node = {"node": {"id": request.node.id, "cluster": request.node.cluster,
                             "agent": request.node.user_agent_name}}
        error = request.error_detail.message if request.error_detail is not None else None
        say("request", stream=self.number, type=short(request.type_url), nonce=request.response_nonce, error=error,
            **more, **node)
        subscription = self.subscriptions.get(request.type_url)
        if subscription is None:
            return None
        answer = subscription.answered(request.response_nonce, error)
        if answer:
            say(answer, stream=self.number, type=short(request.type_url), nonce=request.response_nonce,
                held=subscription.held)
        return subscription

    def others_are_quiet(self, but):
        """Whether there is nothing to say, and nothing unanswered, of all other types."""
        return all(type_url == but or (subscription.waiting is None and not self.differs(type_url, subscription))
                   for type_url, subscription in self.subscriptions.items())

    def responses(self):
        """What is to be sent now."""
        for type_url, subscription in self.subscriptions.items():
            if subscription.heard and subscription.waiting is None:
                response = self.next(type_url, subscription)
                if response is None:
                    continue
                if type_url == CLUSTER:
                    # Envoy takes a changed cluster into use, and acknowledges it, when its endpoints have come after
                    # it, and waits 15 s for them without asking.
                    self.forget_endpoints(self.subscriptions[ENDPOINTS], subscription.waiting[1])
                yield response


class Delta(Stream):
    """DeltaAggregatedResources."""

    protocol = "delta"
    request_type, response_type = DeltaDiscoveryRequest, DeltaDiscoveryResponse

    def on_request(self, request):
        """Books a request."""
        initial = dict(request.initial_resource_versions)
        subscribe, unsubscribe = list(request.resource_names_subscribe), list(request.resource_names_unsubscribe)
        subscription = self.hear(request, {"subscribe": subscribe, "unsubscribe": unsubscribe, "initial": initial})
        if subscription is None:
            return
        # A first request without names means all, as it does with "*".
        if not subscription.heard and not subscribe and request.type_url in WILDCARDS:
            subscription.wildcard = True
        if not subscription.heard:
            subscription.held.update(initial)
            subscription.offered.update(initial)
        subscription.heard = True
        for name in subscribe:
            if name == "*":
                subscription.wildcard = True
            else:
                subscription.names.add(name)
                # Who subscribes again has forgotten it.
                if name not in initial:
                    subscription.offered.pop(name, None)
        for name in unsubscribe:
            if name == "*":
                subscription.wildcard = False
            subscription.names.discard(name)
        for name in list(subscription.offered):
            if not subscription.wildcard and name not in subscription.names:
                subscription.offered.pop(name)
                subscription.held.pop(name, None)

    def difference(self, type_url, subscription):
        """({name: (version, Any)} to send, [names to remove])."""
        wanted = subscription.wanted(self.server.state.by_type[type_url])
        send = {name: one for name, one in wanted.items() if subscription.offered.get(name) != one[0]}
        gone = [name for name, version in subscription.offered.items() if version is not None and name not in wanted]
        gone += [name for name in subscription.names if name not in wanted and name not in subscription.offered]
        return send, gone

    @staticmethod
    def forget_endpoints(subscription, clusters):
        """Has the endpoints of these clusters sent again."""
        for name in clusters:
            subscription.offered.pop(name, None)

    def differs(self, type_url, subscription):
        """Whether there is something to say."""
        return any(self.difference(type_url, subscription))

    def next(self, type_url, subscription):
        """The next response of this type, or None."""
        send, gone = self.difference(type_url, subscription)
        if type_url == CLUSTER and gone and not self.others_are_quiet(CLUSTER):
            gone = []
        while subscription.alone:
            name = subscription.alone.pop(0)
            if name in send:
                send, gone = {name: send[name]}, []
                break
        if not send and not gone:
            return None
        nonce = self.nonce()
        sent = {**{name: version for name, (version, _) in send.items()}, **dict.fromkeys(gone)}
        subscription.offered.update(sent)
        subscription.waiting = (nonce, sent)
        say("response", stream=self.number, type=short(type_url), nonce=nonce, resources=sorted(send),
            removed=sorted(gone))
        return DeltaDiscoveryResponse(
            type_url=type_url, nonce=nonce, removed_resources=gone, system_version_info=nonce,
            resources=[Resource(name=name, version=version, resource=one) for name, (version, one) in send.items()])


class StateOfTheWorld(Stream):
    """StreamAggregatedResources."""

    protocol = "sotw"
    request_type, response_type = DiscoveryRequest, DiscoveryResponse

    def on_request(self, request):
        """Books a request."""
        names = list(request.resource_names)
        subscription = self.hear(request, {"names": names, "version": request.version_info})
        if subscription is None:
            return
        if request.response_nonce and subscription.waiting is not None:
            return  # an answer to an older response; the one to the newest is still to come
        if not names and request.type_url in WILDCARDS and (not subscription.heard or subscription.wildcard):
            subscription.wildcard = True
        else:
            subscription.wildcard = "*" in names
        new = set(names) - {"*"}
        # Who asks for more is sent it even if nothing has changed.
        if not new <= subscription.names:
            subscription.told = None
        subscription.names = new
        subscription.heard = True

    @staticmethod
    def forget_endpoints(subscription, clusters):
        """Has the endpoints of these clusters sent again; with those of all others, since they are one set."""
        if subscription.names & set(clusters):
            subscription.told = None

    def version(self, wanted):
        """The version of a whole set."""
        text = json.dumps(sorted((name, version) for name, (version, _) in wanted.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def differs(self, type_url, subscription):
        """Whether there is something to say."""
        wanted = subscription.wanted(self.server.state.by_type[type_url])
        if not wanted and subscription.told is None and type_url not in WILDCARDS:
            return False  # such types are never removed by being left out
        return subscription.heard and subscription.told != self.version(wanted)

    def next(self, type_url, subscription):
        """The next response of this type, or None."""
        if not self.differs(type_url, subscription):
            return None
        wanted = subscription.wanted(self.server.state.by_type[type_url])
        gone = [name for name in subscription.held if name not in wanted]
        if type_url == CLUSTER and gone and not self.others_are_quiet(CLUSTER):
            return None
        nonce, version = self.nonce(), self.version(wanted)
        subscription.told = version
        subscription.waiting = (nonce, {**{name: one[0] for name, one in wanted.items()}, **dict.fromkeys(gone)})
        say("response", stream=self.number, type=short(type_url), nonce=nonce, resources=sorted(wanted),
            version=version)
        return DiscoveryResponse(type_url=type_url, nonce=nonce, version_info=version,
                                 resources=[one for _, one in wanted.values()])


class Server:
    """All streams, and what they are served."""

    def __init__(self, path):
        self.path = path
        self.state = State(path)
        self.streams = {}
        self.opened = 0

    def reload(self):
        """Reads the file again. An invalid one changes nothing."""
        try:
            self.state = State(self.path)
        except Exception as error:  # noqa: BLE001: whatever is wrong with the file, it is told
            say("invalid", error=repr(error))
            return
        say("reloaded", resources=self.state.count())
        for stream, _ in self.streams.values():
            stream.changed.set()

    def drop(self):
        """Ends all streams."""
        for _, task in self.streams.values():
            task.cancel()

    def handler(self, kind):
        """The gRPC method for streams of this kind."""

        async def serve(requests, context):
            self.opened += 1
            stream = kind(self.opened, self)
            say("opened", stream=stream.number, protocol=stream.protocol)

            async def hear():
                async for request in requests:
                    stream.on_request(request)
                    stream.changed.set()

            hearing = asyncio.ensure_future(hear())
            hearing.add_done_callback(lambda _: stream.changed.set())
            talking = asyncio.ensure_future(self.talk(stream, hearing, context))
            self.streams[stream.number] = (stream, talking)
            try:
                await talking
            except asyncio.CancelledError:
                if context.cancelled() or asyncio.current_task().cancelling():
                    raise
                await context.abort(grpc.StatusCode.UNAVAILABLE, "dropped")
            finally:
                talking.cancel()
                hearing.cancel()
                del self.streams[stream.number]
                say("closed", stream=stream.number)

        return grpc.stream_stream_rpc_method_handler(serve, kind.request_type.parse, bytes)

    @staticmethod
    async def talk(stream, hearing, context):
        """Sends what there is to send, until the client has ended the stream."""
        while True:
            await stream.changed.wait()
            stream.changed.clear()
            if hearing.done():
                return
            for response in stream.responses():
                await context.write(response)


async def run(arguments):
    """Serves until it is killed."""
    state = Server(arguments.state)
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    methods = {}
    if arguments.only != "sotw":
        methods["DeltaAggregatedResources"] = state.handler(Delta)
    if arguments.only != "delta":
        methods["StreamAggregatedResources"] = state.handler(StateOfTheWorld)
    name = "envoy.service.discovery.v3.AggregatedDiscoveryService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
    port = server.add_insecure_port(f"{arguments.host}:{arguments.port}")
    await server.start()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, state.reload)

    pending = bytearray()

    def on_input():
        # Read unbuffered: of two lines that come at once, none may wait in a buffer.
        data = os.read(sys.stdin.fileno(), 4096)
        if not data:
            loop.remove_reader(sys.stdin)
        pending.extend(data)
        *lines, rest = pending.split(b"\n")
        pending[:] = rest
        for line in lines:
            command = commands.get(line.strip().decode(errors="replace"))
            if command is None:
                say("invalid", error=f"no such command: {bytes(line)!r}")
            else:
                command()

    commands = {"reload": state.reload, "drop": state.drop}
    try:
        loop.add_reader(sys.stdin, on_input)
    except PermissionError:
        pass  # stdin is a file or /dev/null, which can't be waited for
    say("listening", address=f"{arguments.host}:{port}")
    await server.wait_for_termination()


def main():
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", help="the JSON file with the resources")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--only", choices=["delta", "sotw"], help="serve this protocol alone")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
