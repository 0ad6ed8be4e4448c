"""TLS to a host outside of the mesh: `tls_client.py HOST PORT AUTHORITY FINGERPRINT SEED`.

It sends and gets random bytes, whose sums must be right on both sides, and looks at the certificate.
"""

import hashlib
import random
import socket
import ssl
import struct
import sys

from told import check, differs

SENT, WANTED = 3_000_000, 5_000_000


def main():
    """One connection."""
    host, port, authority, fingerprint, seed = sys.argv[1:]

    def exchange():
        context = ssl.create_default_context(cafile=authority)
        body = random.Random(int(seed)).randbytes(SENT)
        with socket.create_connection((host, int(port)), 20) as plain, \
                context.wrap_socket(plain, server_hostname=host) as tls:
            got = hashlib.sha256(tls.getpeercert(binary_form=True)).hexdigest()
            if wrong := differs(got, fingerprint):
                return f"not the server's own certificate: {wrong}"
            tls.sendall(struct.pack(">QQQ", SENT, WANTED, int(seed) + 1) + body)
            answer = b""
            while len(answer) < 32 + WANTED:
                more = tls.recv(65536)
                if not more:
                    return f"{len(answer)} bytes, and then the end"
                answer += more
            if answer[:32] != hashlib.sha256(body).digest():
                return "other bytes came to the server than were sent"
            if answer[32:] != random.Random(int(seed) + 1).randbytes(WANTED):
                return "other bytes came back than were sent"
            return differs(tls.recv(1), b"")

    check(f"TLS to {host}:{port}, bytes both ways and certificate", exchange)


if __name__ == "__main__":
    main()
