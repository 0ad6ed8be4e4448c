"""A strict OTLP receiver, over gRPC and HTTP/protobuf, on the messages of the package opentelemetry-proto. Of metrics it
looks at little more than whether they are any.

    receiver.py [--grpc PORT] [--http PORT] [--path PATH] [--mode MODE] [--since NANOS] [--quiet]

It prints one JSON line for its ports ({"grpc", "http"}), for each request ({"request": {protocol, encoding, agent, headers,
spans, rejected}}) or for one with metrics ({"metrics": how many data points}), for each span ({"span"}) and for all that is wrong ({"wrong": [rule, service, text]}). `--quiet`: not for
spans. Ports are free ones unless given.

Modes, changed by a line on stdin:
normal     takes everything
slow N     answers after N seconds
refusing   UNAVAILABLE, or 503
partial    takes everything but the first span of each request, and says so (partial_success)
"""

import argparse
import gzip
import json
import sys
import threading
import time
from concurrent import futures
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service

from strict import Strict, read_metrics

EXPORT = "opentelemetry.proto.collector.trace.v1.TraceService"
EXPORT_METRICS = "opentelemetry.proto.collector.metrics.v1.MetricsService"
METRICS_PATH = "/v1/metrics"
PROTOBUF = "application/x-protobuf"


class Refused(Exception):
    """The mode is `refusing`."""


class Receiver:
    """What both protocols share."""

    def __init__(self, options):
        self.strict = Strict(options.since or time.time_ns())
        self.mode = options.mode.split()
        self.quiet = options.quiet
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.server = None

    def say(self, **line):
        """One line."""
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    def begin(self, body):
        """(mode, now) of a request that comes; raises `Refused`. Where the mode says so, it waits."""
        now = time.time_ns()
        mode = list(self.mode)
        if mode[0] == "refusing":
            with self.lock:
                self.say(refused=len(body))
            raise Refused
        if mode[0] == "slow":
            self.closing.wait(float(mode[1]))
        return mode, now

    def take_metrics(self, body, _):
        """The response to a request with metrics."""
        self.begin(body)
        count, wrongs = read_metrics(metrics.ExportMetricsServiceRequest.FromString(body))
        with self.lock:
            self.say(metrics=count)
            for rule, who, text in wrongs:
                self.say(wrong=[rule, who, text])
        return metrics.ExportMetricsServiceResponse().SerializeToString()

    def take(self, body, about):
        """The response to a request's bytes; raises `Refused`, or DecodeError for what is no protobuf."""
        mode, now = self.begin(body)
        request = service.ExportTraceServiceRequest.FromString(body)
        response = service.ExportTraceServiceResponse()
        with self.lock:
            spans, wrongs = self.strict.read(request, now)
            rejected = 1 if mode[0] == "partial" else 0
            if rejected:
                response.partial_success.rejected_spans = rejected
                response.partial_success.error_message = "the first one is not wanted"
            self.say(request={**about, "spans": len(spans), "rejected": rejected})
            for rule, who, text in wrongs:
                self.say(wrong=[rule, who, text])
            for span in () if self.quiet else spans[rejected:]:
                self.say(span=span)
        return response.SerializeToString()

    def wrong(self, text):
        """A request that could not be read."""
        with self.lock:
            self.say(wrong=["protocol", "", text])

    def follow(self):
        """Modes from stdin, until it ends."""
        for line in sys.stdin:
            self.mode = line.split()
            with self.lock:
                self.say(mode=self.mode)


def serve_grpc(receiver, port):
    """Starts the gRPC server; returns its port."""

    def export(take, body, context):
        headers = dict(context.invocation_metadata())
        about = {"protocol": "grpc", "agent": headers.pop("user-agent", ""),
                 "headers": {name: value for name, value in headers.items() if isinstance(value, str)}}
        try:
            return take(body, about)
        except Refused:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        except DecodeError as error:
            receiver.wrong(f"gRPC: {error}")
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    # Messages stay bytes: what is unknown in them must not be lost before it is looked at.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=(("grpc.so_reuseport", 0),))
    for name, take in ((EXPORT, receiver.take), (EXPORT_METRICS, receiver.take_metrics)):
        method = grpc.unary_unary_rpc_method_handler(partial(export, take))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": method}),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    if not bound:
        sys.exit(f"port {port} is taken")
    server.start()
    # Who drops it ends it.
    receiver.server = server
    return bound


def serve_http(receiver, port, path):
    """Starts the HTTP server; returns its port."""

    class Page(BaseHTTPRequestHandler):
        """One connection."""

        protocol_version = "HTTP/1.1"

        def do_POST(self):
            headers = {name.lower(): value for name, value in self.headers.items()}
            if "content-length" not in headers:
                receiver.wrong("HTTP: a body without a length")
                self.close_connection = True
                return self.answer(411, b"")
            body = self.rfile.read(int(headers["content-length"]))
            encoding = headers.get("content-encoding", "identity")
            if self.path not in (path, METRICS_PATH):
                receiver.wrong(f"HTTP: {self.path} instead of {path}")
                return self.answer(404, b"")
            if headers.get("content-type") != PROTOBUF:
                receiver.wrong(f"HTTP: content-type {headers.get('content-type')}")
                return self.answer(415, b"")
            about = {"protocol": "http/protobuf", "encoding": encoding, "agent": headers.pop("user-agent", ""),
                     "headers": headers, "from": self.client_address[1]}
            try:
                body = gzip.decompress(body) if encoding == "gzip" else body
                take = receiver.take_metrics if self.path == METRICS_PATH else receiver.take
                self.answer(200, take(body, about))
            except Refused:
                self.answer(503, b"")
            except (DecodeError, OSError, EOFError) as error:
                receiver.wrong(f"HTTP: {error!r}")
                self.answer(400, b"")

        def answer(self, status, body):
            """Status and body, which is protobuf."""
            self.send_response(status)
            self.send_header("content-type", PROTOBUF)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        """Connections of an ended receiver don't keep the port."""

        allow_reuse_address = True
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *_):
            """A client that went away."""

    server = Server(("127.0.0.1", port), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def main():
    """Serves until stdin ends or it is killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grpc", type=int, default=0, metavar="PORT")
    parser.add_argument("--http", type=int, default=0, metavar="PORT")
    parser.add_argument("--path", default="/v1/traces")
    parser.add_argument("--mode", default="normal")
    parser.add_argument("--since", type=int, default=0, metavar="NANOS", help="nothing may have begun before")
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    receiver = Receiver(options)
    receiver.say(grpc=serve_grpc(receiver, options.grpc), http=serve_http(receiver, options.http, options.path))
    receiver.follow()
    receiver.closing.set()


if __name__ == "__main__":
    main()
