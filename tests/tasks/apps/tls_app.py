"""A TLS server that has nothing to do with the mesh: `tls_app.py ADDRESS PORT CERTIFICATE KEY`.

A request that begins with GET is answered as HTTP. Else: the client sends how many bytes it will send, how many it wants,
and a seed, eight bytes each, then its bytes; the server answers with the SHA-256 of what came, and so many bytes of the
generator with that seed.
"""

import hashlib
import random
import socketserver
import ssl
import struct
import sys

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


class Session(socketserver.BaseRequestHandler):
    """One connection."""

    def read(self, size):
        """So many bytes."""
        data = b""
        while len(data) < size:
            more = self.tls.recv(min(size - len(data), 65536))
            if not more:
                raise ConnectionError("too few bytes")
            data += more
        return data

    def handle(self):
        try:
            with CONTEXT.wrap_socket(self.request, server_side=True) as self.tls:
                first = self.read(4)
                if first == b"GET ":
                    self.tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\noutside")
                else:
                    comes, wanted, seed = struct.unpack(">QQQ", first + self.read(20))
                    digest = hashlib.sha256(self.read(comes)).digest()
                    self.tls.sendall(digest + random.Random(seed).randbytes(wanted))
                self.tls.unwrap()
        except (ssl.SSLError, OSError):
            pass  # the client says what was wrong


class Server(socketserver.ThreadingTCPServer):
    """One thread a connection."""

    allow_reuse_address = True
    daemon_threads = True


def main():
    """Serves until killed."""
    CONTEXT.load_cert_chain(sys.argv[3], sys.argv[4])
    with Server((sys.argv[1], int(sys.argv[2])), Session) as server:
        print("up", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
