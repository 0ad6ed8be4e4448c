"""An HTTP/1.1 server on several ports that answers as it is told to: `http_endpoint.py COUNT`.

It prints {"ports": [...]}, then {"request": {port, method, path, headers: [[name, value]]}} for each request, and
{"closed": path} when the caller of a request that gets no answer has gone.

A line on stdin is what the next requests get, on whatever port they come, one word each: a status, `reset`, or `silent` (no
answer). After that, and without it, they get 200. A request for a path that begins with /silent gets no answer either.
"""

import asyncio
import json
import socket
import struct
import sys


class Endpoint:
    """All ports, and the plan they share."""

    def __init__(self):
        self.plan = []

    @staticmethod
    def say(**line):
        """One line."""
        print(json.dumps(line), flush=True)

    async def on_connection(self, reader, writer):
        """Serves one connection."""
        port = writer.get_extra_info("sockname")[1]
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.rstrip("\r\n").split("\r\n")
                method, path, _ = first.split(" ")
                headers = [[name.strip(), value.strip()] for name, _, value in (line.partition(":") for line in lines)]
                await reader.readexactly(int({name.lower(): value for name, value in headers}.get("content-length", 0)))
                self.say(request={"port": port, "method": method, "path": path, "headers": headers})
                word = "silent" if path.startswith("/silent") else self.plan.pop(0) if self.plan else "200"
                if word == "reset":
                    # No lingering: what closes the connection is a RST.
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                if word == "silent":
                    await reader.read()
                    self.say(closed=path)
                    return
                body = f"from {port}".encode()
                writer.write(f"HTTP/1.1 {word} so\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            del error
        finally:
            writer.close()

    async def run(self, count):
        """Until stdin ends."""
        servers = [await asyncio.start_server(self.on_connection, "127.0.0.1", 0, backlog=1024) for _ in range(count)]
        self.say(ports=[server.sockets[0].getsockname()[1] for server in servers])
        loop = asyncio.get_running_loop()
        lines = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := await lines.readline():
            self.plan = line.decode().split()
            self.say(plan=self.plan)


if __name__ == "__main__":
    asyncio.run(Endpoint().run(int(sys.argv[1])))
