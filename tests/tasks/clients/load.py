"""A steady load: `load.py METHOD URL CONNECTIONS PAUSE_MS`.

Each connection makes one request after the other, with a pause between two, and a new connection where the server closed
the last one. It prints `up`, then every 100 ms how many requests each app has served and what failed, as JSON; a line on
stdin makes it finish what is under way, tell once more with `"done": true`, and end.
"""

import asyncio
import json
import sys
from collections import Counter
from urllib.parse import urlsplit

WITHIN = 30
TELL_EVERY = 0.1


class Load:
    """All connections."""

    def __init__(self, method, url, pause):
        self.url = urlsplit(url)
        body = "x" * 100 if method == "POST" else ""
        self.request = (f"{method} {self.url.path} HTTP/1.1\r\nhost: {self.url.netloc}\r\n"
                        f"content-length: {len(body)}\r\n\r\n{body}").encode()
        self.pause = pause
        self.served = Counter()
        self.failures = []
        self.stopping = asyncio.Event()

    async def one(self, reader, writer):
        """One request. Returns whether the connection can be used again."""
        writer.write(self.request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if ": " in line)
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await reader.readline(), 16):
                body += await reader.readexactly(size)
                await reader.readline()
            await reader.readline()
        else:
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        if first.split()[1] == "200":
            self.served[headers.get("x-app", "nobody")] += 1
        else:
            self.failures.append(f"{first} {headers.get('x-bowline-error')} by {headers.get('x-app')}: {body[:300]!r}")
        return headers.get("connection") != "close"

    async def client(self):
        """Requests until the end."""
        stream = None
        while not self.stopping.is_set():
            try:
                async with asyncio.timeout(WITHIN):
                    stream = stream or await asyncio.open_connection(self.url.hostname, self.url.port)
                    keep = await self.one(*stream)
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                self.failures.append(repr(error))
                keep = False
            if stream and not keep:
                stream[1].close()
                stream = None
            try:
                await asyncio.wait_for(self.stopping.wait(), self.pause)
            except TimeoutError:
                pass  # the pause is over
        if stream:
            stream[1].close()


def tell(load, done=False):
    """Prints what there is to tell."""
    print(json.dumps({"served": load.served, "failed": len(load.failures), "failures": load.failures[:5], "done": done}),
          flush=True)


async def run_until_told(load, clients):
    """Runs so many clients of a load, until a line comes on stdin."""
    tasks = [asyncio.create_task(load.client()) for _ in range(clients)]
    print("up", flush=True)
    told = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    # A client never ends by itself: if one does, it has broken, which is said below.
    while not told.done() and not any(task.done() for task in tasks):
        await asyncio.wait([told], timeout=TELL_EVERY)
        tell(load)
    load.stopping.set()
    await asyncio.gather(*tasks)
    tell(load, done=True)


def main():
    """Reads the arguments."""
    method, url, connections, pause = sys.argv[1:]
    asyncio.run(run_until_told(Load(method, url, int(pause) / 1000), int(connections)))


if __name__ == "__main__":
    main()
