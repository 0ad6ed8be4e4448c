"""An HTTP/1.1 server that knows nothing of a mesh. It says `up` when it listens.

    http_app.py ADDRESS PORT NAME [--on-term drain|close|exit] [--calls URL]

/hello        `hello from NAME`
/echo         sends the body back
/wait/50      answers after 50 ms
/relay        calls the URL of `--calls`, and answers with what came; 500 if nothing good did

Each response says what came: `x-seen-request-id`, `x-seen-host`, `x-seen-forwarded-for`, and by whom: `x-app`.

After SIGTERM:
drain   it goes on for two seconds, with `connection: close`; then it takes nothing new, finishes what it has begun, makes
        ten calls to the URL, prints how they fared, and ends
close   it takes nothing new from this moment, finishes what it has begun, and ends
exit    it is gone at once, whatever it was at
"""

import argparse
import asyncio
import json
import os
import signal
import urllib.error
import urllib.request

DRAIN_SECONDS = 2
LAST_CALLS = 10


class App:
    """The server."""

    def __init__(self, options):
        self.options = options
        self.draining = False
        self.idle = set()  # connections on which no request is under way
        self.tasks = set()

    async def body(self, reader, headers):
        """Of a request."""
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await reader.readexactly(int(headers.get("content-length", 0)))
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readline()
        while (await reader.readline()).strip():
            pass  # trailers
        return body

    async def answer(self, path, body):
        """(status, body) for a request."""
        if path.startswith("/wait/"):
            await asyncio.sleep(int(path.removeprefix("/wait/")) / 1000)
        if path == "/echo":
            return 200, body
        if path == "/relay":
            return await asyncio.to_thread(call, self.options.calls)
        return 200, f"hello from {self.options.name}".encode()

    async def on_connection(self, reader, writer):
        """Serves one connection."""
        task = asyncio.current_task()
        self.tasks.add(task)
        try:
            last = False
            while not last:
                self.idle.add(writer)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.idle.discard(writer)
                first, *lines = head.split("\r\n")
                headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
                if headers.get("expect", "").lower() == "100-continue":
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await self.body(reader, headers)
                status, body = await self.answer(first.split()[1], body)
                last = self.draining or headers.get("connection", "").lower() == "close"
                seen = {f"x-seen-{name}": headers.get(key, "") for name, key in (
                    ("request-id", "x-request-id"), ("host", "host"), ("forwarded-for", "x-forwarded-for"))}
                out = {"content-length": len(body), "x-app": self.options.name, **seen}
                if last:
                    out["connection"] = "close"
                text = "".join(f"{key}: {value}\r\n" for key, value in out.items())
                writer.write(f"HTTP/1.1 {status} so\r\n{text}\r\n".encode("latin-1") + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.idle.discard(writer)
            self.tasks.discard(task)
            writer.close()

    async def run(self):
        """Until SIGTERM, and what comes then."""
        term = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, term.set if self.options.on_term != "exit" else lambda: os._exit(143))
        server = await asyncio.start_server(self.on_connection, self.options.address, self.options.port, limit=1 << 20,
                                            backlog=1024)
        print("up", flush=True)
        await term.wait()
        self.draining = True
        if self.options.on_term == "drain":
            await asyncio.sleep(DRAIN_SECONDS)
        server.close()
        for writer in list(self.idle):
            writer.close()
        if self.tasks:
            await asyncio.wait(self.tasks)
        if self.options.calls:
            results = [await asyncio.to_thread(call, self.options.calls) for _ in range(LAST_CALLS)]
            failed = [body.decode() for status, body in results if status != 200]
            print(json.dumps({"calls": len(results), "failed": failed}), flush=True)


def call(url):
    """(status, body) of a call by name, on a new connection: 500 if it failed, which nobody tries again."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=20) as response:
            return 200, response.read()
    except urllib.error.HTTPError as error:
        return 500, f"{error} {error.headers.get('x-bowline-error')}: {error.read()[:200]}".encode()
    except OSError as error:
        return 500, f"{url}: {error!r}".encode()


def main():
    """Reads the arguments and serves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("name")
    parser.add_argument("--on-term", choices=["drain", "close", "exit"], default="exit")
    parser.add_argument("--calls", default="")
    asyncio.run(App(parser.parse_args()).run())


if __name__ == "__main__":
    main()
