"""Stands for Service Connect's proxy: `service_connect.py PORT`. It answers every request with the address that the
connection had been for before it was redirected."""

import socket
import socketserver
import struct
import sys

SO_ORIGINAL_DST = 80


class Session(socketserver.BaseRequestHandler):
    """One connection, one request."""

    def handle(self):
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.request.recv(4096)
            if not more:
                return
            data += more
        _, port, address = struct.unpack("!HH4s8x", self.request.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16))
        body = f"service connect, for {socket.inet_ntoa(address)}:{port}".encode()
        self.request.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


class Server(socketserver.ThreadingTCPServer):
    """One thread a connection."""

    allow_reuse_address = True
    daemon_threads = True


def main():
    """Serves until killed."""
    with Server(("0.0.0.0", int(sys.argv[1])), Session) as server:
        print("up", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
