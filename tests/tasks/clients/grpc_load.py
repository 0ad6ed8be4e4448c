"""A steady load of gRPC calls: `grpc_load.py TARGET METHOD MESSAGE CALLERS PAUSE_MS`; prints and ends as load.py does.

A call is good if it ends with status 0, and with the message, or with so many messages as the message says.
"""

import asyncio
import sys
from collections import Counter

import grpc
from load import run_until_told

WITHIN = 30


class Load:
    """All callers, on one channel."""

    def __init__(self, target, method, message, pause):
        self.target = target
        self.method = method
        self.message = message.encode()
        self.pause = pause
        self.served = Counter()
        self.failures = []
        self.stopping = asyncio.Event()
        self.channel = None

    async def one(self):
        """One call. Returns who has served it."""
        path = f"/test.Echo/{self.method}"
        if self.method == "Unary":
            call = self.channel.unary_unary(path)(self.message, timeout=WITHIN)
            got, wanted = await call, self.message
        else:
            call = self.channel.unary_stream(path)(self.message, timeout=WITHIN)
            got, wanted = [message async for message in call], [b"%d" % number for number in range(int(self.message))]
        if got != wanted:
            raise ValueError(f"{got!r:.100} came")
        return (await call.trailing_metadata())["x-app"]

    async def client(self):
        """Calls until the end."""
        self.channel = self.channel or grpc.aio.insecure_channel(self.target)
        while not self.stopping.is_set():
            try:
                self.served[await self.one()] += 1
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"{error.code()}: {error.details()}")
            except ValueError as error:
                self.failures.append(str(error))
            try:
                await asyncio.wait_for(self.stopping.wait(), self.pause)
            except TimeoutError:
                pass  # the pause is over


def main():
    """Reads the arguments."""
    target, method, message, callers, pause = sys.argv[1:]
    asyncio.run(run_until_told(Load(target, method, message, int(pause) / 1000), int(callers)))


if __name__ == "__main__":
    main()
