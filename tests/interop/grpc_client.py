"""Every kind of call with grpcio. Arguments: the address to dial, and one of: all, unavailable."""

import queue
import sys

import grpc


def path(method):
    return f"/test.Echo/{method}"


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call succeeded")


def all_kinds(channel):
    unary = channel.unary_unary(path("Unary"))
    for size in (0, 1, 100_000, 3_000_000):
        assert unary(b"x" * size, timeout=30) == b"x" * size, size

    error = code_of(lambda: channel.unary_unary(path("Fail"))(b"", timeout=30))
    assert error.code() == grpc.StatusCode.NOT_FOUND, error
    assert error.details() == "no such thing: ü", error.details()
    trailing = dict(error.trailing_metadata())
    assert trailing["x-detail"] == "some" and trailing["x-raw-bin"] == b"\x00\x01\x02", trailing

    error = code_of(lambda: channel.unary_unary(path("Nothing"))(b"", timeout=30))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

    error = code_of(lambda: channel.unary_unary(path("Slow"))(b"", timeout=0.5))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error

    messages = list(channel.unary_stream(path("ServerStream"))(b"", timeout=30))
    assert messages == [b"%d" % n for n in range(100)], messages

    counted = channel.stream_unary(path("ClientStream"))((b"x" * n for n in range(200)), timeout=30)
    assert counted == b"200", counted

    # Each message is answered before the next one is sent.
    sending = queue.SimpleQueue()
    echo = channel.stream_stream(path("Bidi"))(iter(sending.get, None), timeout=30)
    for n in range(50):
        sending.put(b"%d" % n)
        assert next(echo) == b"%d" % n, n
    sending.put(None)
    assert list(echo) == []

    answer, call = channel.unary_unary(path("Metadata")).with_call(b"", timeout=30, metadata=(("x-sent", "yes"),))
    assert answer == b"yes", answer
    assert dict(call.initial_metadata())["x-initial"] == "1"
    assert dict(call.trailing_metadata())["x-trailing"] == "2"

    calls = [unary.future(b"%d" % n, timeout=30) for n in range(300)]
    assert [call.result() for call in calls] == [b"%d" % n for n in range(300)]


def unavailable(channel):
    error = code_of(lambda: channel.unary_unary(path("Unary"))(b"", timeout=30))
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    assert "service server" in error.details(), error.details()


def main():
    address, what = sys.argv[1:]
    options = (("grpc.default_authority", "server.mesh.test:21500"), ("grpc.enable_http_proxy", 0))
    with grpc.insecure_channel(address, options=options) as channel:
        {"all": all_kinds, "unavailable": unavailable}[what](channel)
    print("ok")


if __name__ == "__main__":
    sys.exit(main())
