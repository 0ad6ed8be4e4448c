"""A DNS server for tests: `tiny_dns.py ADDRESS NAME=IPV4...` answers A questions for these names over UDP.

Other types of these names get an empty answer, other names NXDOMAIN. Prints "ready" once it listens, then each question.
"""

import ipaddress
import socket
import struct
import sys


def answer(question, records):
    """The response to one packet, and what was asked."""
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode())
        at += 1 + question[at]
    end = at + 5
    kind = struct.unpack_from(">H", question, at + 1)[0]
    name = ".".join(labels).lower()
    address = records.get(name)
    found = address is not None and kind == 1
    head = question[:2] + struct.pack(">HHHHH", 0x8580 if address else 0x8583, 1, 1 if found else 0, 0, 0)
    body = question[12:end]
    if found:
        body += struct.pack(">HHHIH", 0xC00C, 1, 1, 5, 4) + ipaddress.IPv4Address(address).packed
    return head + body, f"{name} {kind}"


def main():
    """Answers until it is stopped."""
    records = dict(pair.lower().split("=") for pair in sys.argv[2:])
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind((sys.argv[1], 53))
    print("ready", flush=True)
    while True:
        question, peer = listener.recvfrom(2048)
        response, asked = answer(question, records)
        listener.sendto(response, peer)
        print(asked, flush=True)


if __name__ == "__main__":
    main()
