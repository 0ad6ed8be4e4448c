"""As much of HTTP/2 as a test client needs, written out by hand: frames, and header blocks that no table is needed for."""

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
CANCEL = 8
DEFAULT_WINDOW = 65_535
_INITIAL_WINDOW_SIZE, _HEADER_TABLE_SIZE = 4, 1


def frame(kind, flags=0, stream=0, payload=b""):
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def opening(stream_window, connection_window):
    """What a client says first. Without a header table the first byte of a response's header block is its status."""
    settings = struct.pack(">HIHI", _INITIAL_WINDOW_SIZE, stream_window, _HEADER_TABLE_SIZE, 0)
    more = connection_window - DEFAULT_WINDOW
    return PREFACE + frame(SETTINGS, payload=settings) + (window_update(0, more) if more > 0 else b"")


def get(stream, authority, path):
    """A GET request: indexed names where the static table has them, values as they are."""
    block = b"\x82\x86" + b"\x01" + _text(authority) + b"\x04" + _text(path)
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, block)


def _text(value):
    raw = value.encode()
    assert len(raw) < 127
    return bytes((len(raw),)) + raw


def window_update(stream, more):
    """So much more may be sent on a stream, or on the connection (stream 0)."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", more))


def reset(stream):
    """The stream is not wanted any more."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))


def is_ok(block):
    """True for a header block that begins with `:status: 200`, number 8 of the static table."""
    at = 0
    while at < len(block) and block[at] & 0xE0 == 0x20:  # a change of the table's size comes first
        while block[at] & 0x1F == 0x1F and at + 1 < len(block) and block[at + 1] & 0x80:
            at += 1
        at += 2 if block[at] & 0x1F == 0x1F else 1
    return block[at:at + 1] == b"\x88"


class Frames:
    """Cuts received bytes into frames."""

    def __init__(self):
        self.buffer = bytearray()

    def feed(self, data):
        """Yields (kind, flags, stream, payload) of every frame that is whole now."""
        self.buffer += data
        while len(self.buffer) >= 9:
            length = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + length:
                return
            kind, flags = self.buffer[3], self.buffer[4]
            stream = int.from_bytes(self.buffer[5:9], "big") & 0x7FFF_FFFF
            payload = bytes(self.buffer[9:9 + length])
            del self.buffer[:9 + length]
            yield kind, flags, stream, payload
