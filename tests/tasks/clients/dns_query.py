"""Asks a DNS server: `dns_query.py SERVER NAME TYPE udp|tcp`. Prints {code, answers: [[address, TTL]]}."""

import json
import random
import socket
import struct
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "apps"))
import dns  # noqa: E402


def main():
    """One question."""
    server, name, kind, way = sys.argv[1:]
    number = random.SystemRandom().randrange(1 << 16)
    data = dns.query(number, name, dns.TYPES[kind])
    if way == "udp":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(5)
            udp.connect((server, 53))
            udp.send(data)
            got = udp.recv(4096)
    else:
        with socket.create_connection((server, 53), 5) as tcp, tcp.makefile("rwb") as stream:
            stream.write(struct.pack(">H", len(data)) + data)
            stream.flush()
            got = stream.read(struct.unpack(">H", stream.read(2))[0])
    if struct.unpack(">H", got[:2])[0] != number:
        sys.exit("the answer to another question")
    code, answers = dns.read_reply(got)
    print(json.dumps({"code": code, "answers": answers}))


if __name__ == "__main__":
    main()
