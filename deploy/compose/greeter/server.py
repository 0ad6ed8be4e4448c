"""A gRPC server that asks another app, in another language, by its name in the mesh."""

import os
import signal
import urllib.parse
import urllib.request
from concurrent import futures

import grpc

# Made of greeter.proto when the program starts.
messages, services = grpc.protos_and_services("greeter.proto")


class Greeter(services.GreeterServicer):
    """Greets people with their titles."""

    def Greet(self, request, context):
        """One call, for which web is asked once."""
        name = urllib.parse.quote(request.name)
        with urllib.request.urlopen(f"{os.environ['TITLES']}/titles/{name}", timeout=10) as response:
            title = response.read().decode()
        return messages.Greeting(text=" ".join(filter(None, ["Hello,", title, request.name])))


def main():
    """Serves until SIGTERM, then finishes what is under way."""
    server = grpc.server(futures.ThreadPoolExecutor(8))
    services.add_GreeterServicer_to_server(Greeter(), server)
    server.add_insecure_port(f"0.0.0.0:{os.environ['PORT']}")
    server.start()
    print(f"greeter listens on {os.environ['PORT']}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: server.stop(10))
    server.wait_for_termination()


if __name__ == "__main__":
    main()
