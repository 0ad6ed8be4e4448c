"""A light load through several proxies' forward listeners, and the endpoint behind them: on a thread of its own."""

import asyncio
import threading
import time

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_LOST_AFTER = 10.0


class LightLoad:
    """An endpoint, and `rate` requests a second to it, the proxies in turn, each on a few keep-alive connections."""

    def __init__(self, rate, authority):
        self.rate, self.authority = rate, authority
        self.sent, self.failures, self.times = 0, [], []
        self._loop = asyncio.new_event_loop()
        self._stop = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(asyncio.start_server(_serve, "127.0.0.1", 0), self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]

    def start(self, outbounds):
        """Begins to send, through these (host, port) in turn."""
        self._stop = asyncio.Event()
        self._free = {outbound: [] for outbound in outbounds}
        self._running = asyncio.run_coroutine_threadsafe(self._run(outbounds), self._loop)

    def stop(self):
        """Ends it; from then on the figures stand."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._running.result(_LOST_AFTER * 3)
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _close(self):
        for free in self._free.values():
            for _, writer in free:
                writer.close()
        self._server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _run(self, outbounds):
        began, under_way = time.perf_counter(), set()
        while not self._stop.is_set():
            wait = began + self.sent / self.rate - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            task = asyncio.ensure_future(self._one(outbounds[self.sent % len(outbounds)]))
            self.sent += 1
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        if under_way:
            await asyncio.wait(under_way, timeout=_LOST_AFTER * 2)

    async def _one(self, outbound):
        began = time.perf_counter()
        try:
            status = await asyncio.wait_for(self._request(outbound), _LOST_AFTER)
            if status != 200:
                self.failures.append(f"{status}")
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            self.failures.append(f"{type(error).__name__} {error}")
        self.times.append(time.perf_counter() - began)

    async def _request(self, outbound):
        free = self._free[outbound]
        reader, writer = free.pop() if free else await asyncio.open_connection(*outbound)
        writer.write(f"GET http://{self.authority}/ HTTP/1.1\r\nHost: {self.authority}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        free.append((reader, writer))
        return int(head.split()[1])


async def _serve(reader, writer):
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(_ANSWER)
    except (OSError, EOFError, asyncio.CancelledError):
        # The client has gone, or the soak is over: a stream's callback shows a cancelled task as an error.
        pass
    finally:
        writer.close()
