"""An app with OpenTelemetry's own SDK, set up as its documentation says: `sdk_app.py NAME [URL HOST]`.

It prints {"ports": [port]}: a free one, or the one of the variable PORT. /relay calls the URL, with that Host header, and answers with what came; other paths are answered
with the app's name. Both are spans of the SDK, with the context taken from and put into the headers by the SDK's global
propagator. OTEL_... variables say where the spans go. It ends, and flushes, when stdin does.
"""

import json
import os
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

NAME, CALLS, HOST = (*sys.argv[1:], None, None)[:3]
PROVIDER = TracerProvider()
EXPORTER = HttpExporter if os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") == "http/protobuf" else GrpcExporter
PROVIDER.add_span_processor(BatchSpanProcessor(EXPORTER()))
trace.set_tracer_provider(PROVIDER)
TRACER = trace.get_tracer("sdk_app", "1.0")


def failed(span, status, least):
    """Notes a status as the conventions want it: an error from `least` on."""
    span.set_attribute("http.response.status_code", status)
    if status >= least:
        span.set_attribute("error.type", str(status))
        span.set_status(Status(StatusCode.ERROR))


def call():
    """(status, body) of a call of the next one."""
    url = urlsplit(CALLS)
    attributes = {"http.request.method": "GET", "url.full": CALLS, "server.address": url.hostname, "server.port": url.port}
    with TRACER.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes=attributes) as span:
        headers = {"Host": HOST}
        propagate.inject(headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(CALLS, headers=headers), timeout=20) as response:
                status, body = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read()
        failed(span, status, 400)
        return status, body


class Page(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        context = propagate.extract({name.lower(): value for name, value in self.headers.items()})
        attributes = {"http.request.method": "GET", "url.path": self.path, "url.scheme": "http"}
        with TRACER.start_as_current_span(f"GET {self.path}", context=context, kind=SpanKind.SERVER,
                                          attributes=attributes) as span:
            status, body = call() if self.path == "/relay" and CALLS else (200, NAME.encode())
            failed(span, status, 500)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    """Serves until stdin ends."""
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), Page)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"ports": [server.server_address[1]]}), flush=True)
    sys.stdin.read()
    PROVIDER.shutdown()


if __name__ == "__main__":
    main()
