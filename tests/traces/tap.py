"""A relay before a port, which counts connections and looks whether gRPC messages that pass are compressed."""

import socket
import threading

_PREFACE = 24  # bytes of HTTP/2's connection preface
_DATA = 0


class Tap:
    """It listens on a free port of 127.0.0.1, `port`, and passes everything on to another."""

    def __init__(self, onward):
        self.onward = onward
        self.connections = 0
        self.pairs = []
        self.sent = []  # of each connection, what the client has sent
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in (self.listener, *self.pairs):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
            finally:
                one.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.onward))
            except OSError:
                return
            self.connections += 1
            self.pairs += [client, server]
            self.sent.append(bytearray())
            threading.Thread(target=self._pass, args=(client, server, self.sent[-1]), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, None), daemon=True).start()

    @staticmethod
    def _pass(source, sink, kept):
        try:
            while data := source.recv(65536):
                if kept is not None:
                    kept += data
                sink.sendall(data)
        except OSError:
            pass
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def compressed(self):
        """Of each gRPC message: whether it is marked as compressed. One message a stream."""
        found = []
        for sent in self.sent:
            data, at, seen = bytes(sent), _PREFACE, set()
            while at + 9 <= len(data):
                size = int.from_bytes(data[at:at + 3], "big")
                kind, stream = data[at + 3], int.from_bytes(data[at + 5:at + 9], "big")
                body = data[at + 9:at + 9 + size]
                if kind == _DATA and body and stream not in seen:
                    seen.add(stream)
                    found.append(bool(body[0]))
                at += 9 + size
        return found
