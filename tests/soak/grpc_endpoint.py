"""A gRPC endpoint of the soak, on grpcio: it does what each call's plan says, and checks every message it gets.

Prints its address and serves until it is killed. Arguments: none.
"""

import asyncio
import sys

import grpc
from grpc_plan import DOWN, UP, Plan, sum_of


class _Wrong(Exception):
    """A message is not what the plan says."""


class _Call:
    """One call as the endpoint sees it."""

    def __init__(self, context):
        self.context = context
        self.plan = Plan.from_text(dict(context.invocation_metadata())["x-plan"])
        self.read = 0
        self.checksum = 0

    def check(self, message):
        """The next message of the client."""
        if message != self.plan.message(UP, self.read):
            raise _Wrong(f"message {self.read} of the client came with {len(message)} bytes, and is not what was sent")
        self.checksum = sum_of(self.checksum, message)
        self.read += 1

    async def check_rest(self, requests):
        """All messages that are still to come, and that there are no more of them."""
        async for message in requests:
            self.check(message)
        if self.read != self.plan.up:
            raise _Wrong(f"{self.read} messages of the client came, not {self.plan.up}")

    async def end(self):
        """Trailing metadata, and the status the plan names."""
        plan = self.plan
        self.context.set_trailing_metadata(plan.trailing(self.checksum))
        if plan.aborts:
            await self.context.abort(grpc.StatusCode[plan.status], plan.details)


def _checked(handler):
    """What is wrong with the client's messages becomes the call's status, which the client does not expect."""

    async def handle(requests, context):
        call = _Call(context)
        try:
            await handler(call, requests)
        except _Wrong as wrong:
            await context.abort(grpc.StatusCode.DATA_LOSS, f"endpoint: {wrong}")

    return handle


async def _server_stream(call, request):
    call.check(request)
    plan = call.plan
    for number in range(plan.abort_after if plan.aborts else plan.down):
        await call.context.write(plan.message(DOWN, number))
    await call.end()


async def _client_stream(request_iterator, context):
    # Its answer is a return value, unlike the others'.
    call = _Call(context)
    plan = call.plan
    try:
        if plan.aborts:
            while call.read < plan.abort_after:
                call.check(await context.read())
        else:
            await call.check_rest(request_iterator)
    except _Wrong as wrong:
        await context.abort(grpc.StatusCode.DATA_LOSS, f"endpoint: {wrong}")
    await call.end()
    return plan.message(DOWN, 0)


async def _bidi(call, requests):
    plan = call.plan
    if plan.lockstep:
        for number in range(plan.abort_after if plan.aborts else plan.down):
            call.check(await call.context.read())
            await call.context.write(plan.message(DOWN, number))
    else:
        async def answer():
            for number in range(plan.abort_after if plan.aborts else plan.down):
                await call.context.write(plan.message(DOWN, number))

        answering = asyncio.ensure_future(answer())
        try:
            while call.read < (plan.abort_after if plan.aborts else plan.up):
                call.check(await call.context.read())
        finally:
            await answering
    if not plan.aborts and await call.context.read() is not grpc.aio.EOF:
        raise _Wrong(f"more than {plan.up} messages of the client came")
    await call.end()


async def main():
    """Serves."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("soak.Load", {
        "ServerStream": grpc.unary_stream_rpc_method_handler(_checked(_server_stream)),
        "ClientStream": grpc.stream_unary_rpc_method_handler(_client_stream),
        "Bidi": grpc.stream_stream_rpc_method_handler(_checked(_bidi)),
    }),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
