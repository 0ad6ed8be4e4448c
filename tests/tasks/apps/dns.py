"""As much of DNS as a resolver for tests and a question to it need."""

import struct

A, AAAA, SOA = 1, 28, 6
TYPES = {"A": A, "AAAA": AAAA, "SOA": SOA}
NOERROR, NXDOMAIN = 0, 3


def name_bytes(name):
    """A name as labels."""
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"


def read_name(data, at):
    """(name, where it ends)."""
    labels, end = [], None
    for _ in range(128):
        size = data[at]
        if size >= 0xC0:
            end = end or at + 2
            at = (size & 0x3F) << 8 | data[at + 1]
        elif size:
            labels.append(data[at + 1:at + 1 + size].decode("latin-1"))
            at += 1 + size
        else:
            return ".".join(labels).lower(), end or at + 1
    raise ValueError("a name without an end")


def query(number, name, kind):
    """A question, recursion desired."""
    return struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + name_bytes(name) + struct.pack(">2H", kind, 1)


def question(data):
    """(id, name, type, the bytes of the question) of a message."""
    number = struct.unpack(">H", data[:2])[0]
    name, end = read_name(data, 12)
    return number, name, struct.unpack(">H", data[end:end + 2])[0], data[12:end + 4]


def reply(number, asked, code, addresses, ttl):
    """An answer with A records; without any, it bears an SOA record, which says for how long that may be remembered."""
    soa = b""
    if not addresses:
        data = b"\0\0" + struct.pack(">5I", 1, 60, 60, 60, ttl)
        soa = b"\0" + struct.pack(">2HIH", SOA, 1, ttl, len(data)) + data
    head = struct.pack(">6H", number, 0x8580 | code, 1, len(addresses), 1 if soa else 0, 0)
    records = b"".join(b"\xc0\x0c" + struct.pack(">2HIH", A, 1, ttl, 4) + bytes(map(int, address.split(".")))
                       for address in addresses)
    return head + asked + records + soa


def read_reply(data):
    """(code, [(address, TTL)]) of an answer."""
    _, flags, questions, answers = struct.unpack(">4H", data[:8])
    at, found = 12, []
    for _ in range(questions):
        at = read_name(data, at)[1] + 4
    for _ in range(answers):
        at = read_name(data, at)[1]
        kind, _, ttl, size = struct.unpack(">2HIH", data[at:at + 10])
        if kind == A:
            found.append((".".join(map(str, data[at + 10:at + 10 + size])), ttl))
        at += 10 + size
    return flags & 15, found
