"""How long is waited, and what is tried again."""

import socket
import threading
import time

from backends import Answer, BlackHole, Grpc, Tcp
from world import between, eventually, expect


def connect_timeout(case):
    """A host that does not answer is given up after connectSeconds."""
    case.start(endpoints=1, kinds={"server": BlackHole})
    limit = case.service["timeout"]["connectSeconds"]
    reply = case.call()
    expect("503, and why", (reply.status, reply.error) == (503, "connect_timeout"), reply)
    # Three attempts, as there is no other endpoint.
    between("seconds", reply.seconds, limit * 3 * 0.9, limit * 10)


def connect_timeout_next(case):
    """A host that does not answer is given up, and another one tried."""
    case.start(endpoints=2, kinds={("server", 0): BlackHole})
    limit = case.service["timeout"]["connectSeconds"]
    waited = eventually("a caller to wait for the first one", lambda: next(
        (reply for reply in [case.call()] if reply.seconds > 0.5), None))
    expect("the other one answers", (waited.status, waited.backend) == (200, "server-1"), waited)
    between("seconds", waited.seconds, limit * 0.9, limit * 10)


def headers_timeout(case, key="responseHeadersSeconds", error="response_timeout", path="/"):
    """An endpoint that does not answer is given up."""
    case.start(endpoints=1)
    case.servers[0].answer = lambda _: Answer(then="hang")
    limit = seconds_of(case, key)
    reply = case.call(path)
    expect("504, and why", (reply.status, reply.error) == (504, error), reply)
    between("seconds", reply.seconds, limit * 0.9, limit * 10 + 5)


def seconds_of(case, key):
    """A timeout of the service, or of the first route that has it."""
    if key in case.service.get("timeout", {}):
        return case.service["timeout"][key]
    return next(route["timeout"][key] for route in case.service["routes"] if key in route.get("timeout", {}))


def stream_lives(case):
    """A response that takes longer than responseHeadersSeconds in its body is not cut off."""
    case.start(endpoints=1)
    limit = seconds_of(case, "responseHeadersSeconds")
    expect("the example's limit is short", limit <= 3, limit)
    slow(case.servers[0], chunks=int(limit * 2 / 0.25) + 1, every=0.25)
    reply = case.call("/stream")
    expect("it comes whole", reply.status == 200 and reply.whole and reply.seconds > limit, reply)
    case.servers[0].answer = lambda _: Answer(then="hang")
    expect("one without a head is given up", case.call("/hang").error == "response_timeout")


def slow(server, chunks, every):
    """Makes a backend answer with a body that trickles: it takes the connection over at the socket's level."""
    import asyncio

    plain = type(server)._answer

    async def trickle(reader, writer, request):
        if request.path != "/stream":
            return await plain(server, reader, writer, request)
        writer.write(f"HTTP/1.1 200 so\r\nx-backend: {server.name}\r\ncontent-length: {chunks}\r\n\r\n".encode())
        for _ in range(chunks):
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(every)
        return True

    server._answer = trickle


def whole_timeout(case):
    """perRequestTimeoutSeconds bounds the whole response."""
    case.start(endpoints=1)
    limit = seconds_of(case, "perRequestTimeoutSeconds")
    case.servers[0].answer = lambda _: Answer(then="hang")
    reply = case.call()
    expect("504, and why", (reply.status, reply.error) == (504, "request_timeout"), reply)
    between("seconds", reply.seconds, limit * 0.9, limit * 10 + 5)
    slow(case.servers[0], chunks=4000, every=0.1)
    reply = case.call("/stream")
    expect("a body that takes longer is cut off", reply.status == 200 and not reply.whole, reply)
    between("seconds", reply.seconds, limit * 0.9, limit * 10 + 5)


def idle_timeout(case):
    """A connection on which nothing happens is closed."""
    case.start(endpoints=1)
    limit = seconds_of(case, "idleTimeoutSeconds")
    connection = case.connection()
    expect("it serves", case.call(over=connection).status == 200)
    began = time.monotonic()
    connection.sock.settimeout(limit * 10 + 5)
    expect("it is closed", connection.sock.recv(1) == b"")
    between("seconds", time.monotonic() - began, limit * 0.9, limit * 10 + 5)


def idle_tunnel(case):
    """A TCP connection on which nothing happens is closed."""
    case.start(endpoints=1, kinds={"server": Tcp})
    limit = seconds_of(case, "idleTimeoutSeconds")
    with socket.create_connection(case.vip()[:2], timeout=limit * 10 + 5) as caller:
        expect("it speaks", caller.recv(100) == b"server-0\n")
        began = time.monotonic()
        try:
            end = caller.recv(1)
        except ConnectionResetError:
            end = b""
        expect("it is closed", end == b"", end)
        between("seconds", time.monotonic() - began, limit * 0.9, limit * 10 + 5)


def keeps_alive(case):
    """Connections to endpoints are kept: many requests, one connection."""
    case.start(endpoints=1)
    replies = case.calls(20)
    expect("all go well", {reply.status for reply in replies} == {200})
    expect("over one connection", case.servers[0].connections == 1, case.servers[0].connections)


def upload_timeout(case):
    """An endpoint that takes nothing more of a request is given up."""
    case.start(endpoints=1)
    case.servers[0].reads = False
    limit = seconds_of(case, "idleTimeoutSeconds")
    began = time.monotonic()
    with socket.create_connection(case.vip()[:2], timeout=limit * 10 + 15) as caller:
        size = 64 << 20
        caller.sendall(f"POST / HTTP/1.1\r\nhost: {case.vip()[2]}:5000\r\ncontent-length: {size}\r\n\r\n".encode())
        stop = threading.Event()

        def pour():
            try:
                while not stop.is_set():
                    caller.sendall(bytes(65536))
            except OSError:
                pass

        writer = threading.Thread(target=pour, daemon=True)
        writer.start()
        head = caller.recv(4096).decode("latin-1")
        stop.set()
    took = time.monotonic() - began
    expect("504 upload_timeout", head.startswith("HTTP/1.1 504") and "x-bowline-error: upload_timeout" in head.lower(), head)
    between("seconds", took, limit * 0.9, limit * 10 + 10)


def attempt_timeout(case, path="/"):
    """An attempt that takes too long is given up for another one."""
    case.start(endpoints=2)
    limit = seconds_of(case, "perAttemptSeconds")
    first = []

    def once(request):
        if not first:
            first.append(request)
            return Answer(then="hang")
        return Answer()

    for server in case.servers:
        server.answer = once
    reply = case.call(path)
    expect("another one answers", reply.status == 200, reply)
    between("seconds", reply.seconds, limit * 0.9, limit * 10)
    expect("two attempts, at two endpoints", [one.count() for one in case.servers] == [1, 1],
           [one.count() for one in case.servers])


def attempts(case, answer, method="GET", path="/", body=None, expected=None, status=None, endpoints=2, headers=None):
    """How many attempts a request makes while every endpoint gives this answer, and what the caller gets."""
    case.start(endpoints=endpoints)
    for server in case.servers:
        server.answer = lambda _: answer
    reply = case.call(path, method=method, body=body, headers=headers)
    seen = sum(server.count() for server in case.servers)
    expect(f"{expected} attempts for {method}", seen == expected, f"{seen}, {reply}")
    if status:
        expect(f"the caller gets {status}", reply.status == status, reply)


def tried_again(case, statuses=(), reset=False, methods=("GET",), never=(), not_statuses=(), refuse=False, path="/"):
    """What fails once is tried again at another endpoint; what is not in the list is not."""
    case.start(endpoints=2)
    if refuse:
        # Before there are connections that could be lost on the way.
        case.servers[0].down()
        for method in methods:
            replies = [case.call(path, method=method, body=b"x" if method == "POST" else None) for _ in range(8)]
            expect(f"{method}: who is refused tries the other", {reply.backend for reply in replies} == {"server-1"}, replies)
        case.servers[0].up()


    def one(method, answer):
        before = sum(server.count() for server in case.servers)
        used = []

        def failing(_):
            used.append(1)
            return answer if len(used) == 1 else Answer()

        for server in case.servers:
            server.answer = failing
        reply = case.call(path, method=method, body=b"x" if method in ("POST", "PATCH", "PUT") else None)
        return reply, sum(server.count() for server in case.servers) - before

    for method in methods:
        for status in statuses:
            reply, made = one(method, Answer(status=status))
            expect(f"{method}: {status} is tried again", (reply.status, made) == (200, 2), (reply, made))
        if reset:
            reply, made = one(method, Answer(then="reset"))
            expect(f"{method}: a reset is tried again", (reply.status, made) == (200, 2), (reply, made))
        for status in not_statuses:
            reply, made = one(method, Answer(status=status))
            expect(f"{method}: {status} is not tried again", (reply.status, made) == (status, 1), (reply, made))
    for method in never:
        for status in statuses:
            reply, made = one(method, Answer(status=status))
            expect(f"{method}: {status} is not tried again", (reply.status, made) == (status, 1), (reply, made))


def budget(case):
    """Retries are a share of the requests, however many fail."""
    case.start(endpoints=2)
    limit = case.service["retry"]["budget"]
    for server in case.servers:
        server.answer = lambda _: Answer(status=503)
    count = 200
    began = time.monotonic()
    case.calls(count)
    took = time.monotonic() - began
    retries = sum(server.count() for server in case.servers) - count
    window = max(took, limit.get("windowSeconds", 10))
    most = count * limit["percent"] / 100 + limit.get("minPerSecond", 3) * (window + 1)
    between("retries of 200 failing requests", retries, 1, most + 2)
    refused = case.metric("bowline_retries_refused_total", reason="budget_exhausted")
    expect("what the budget refused is counted", refused and refused > 0, refused)


def backoff(case):
    """There is a wait before a retry, at random up to the base, and then up to its double."""
    case.start(endpoints=2)
    limit = case.service["retry"]["backoff"]
    retries = case.service["retry"].get("retries", 2)
    for server in case.servers:
        server.answer = lambda _: Answer(status=503)
    replies = case.together(10 if retries == 1 else 8)
    longest = max(reply.seconds for reply in replies)
    # That all of them draw less than a quarter of the most that they could has a chance of one in a million.
    least = limit["baseMilliseconds"] / 1000 * (2**retries - 1) / 4
    between("the longest wait", longest, least, retries * limit["maxMilliseconds"] / 100 + 5)


def kept_body(case):
    """A request whose body is too long to be kept is sent once."""
    case.start(endpoints=2)
    limit = case.service["retry"]["maxBodyBytes"]
    for size, made in ((limit, 2), (limit + 1, 1)):
        before = sum(server.count() for server in case.servers)
        used = []

        def failing(_, used=used):
            used.append(1)
            return Answer(status=503 if len(used) == 1 else 200)

        for server in case.servers:
            server.answer = failing
        case.call(method="PUT", body=bytes(size))
        seen = sum(server.count() for server in case.servers) - before
        expect(f"{size} bytes: {made} attempts", seen == made, seen)


def hedged(case):
    """A second attempt goes off beside a slow first one, and the first answer wins."""
    # No attempt times out, so that nothing but the second one can help.
    case.start(endpoints=2, change=lambda mesh: mesh["services"][0].update(timeout={"perAttemptSeconds": 0}))
    case.calls(200)
    before = sum(server.count() for server in case.servers)
    hung = []

    def once(request):
        if request.path == "/slow" and not hung:
            hung.append(request)
            return Answer(then="hang")
        return Answer()

    for server in case.servers:
        server.answer = once
    reply = case.call("/slow")
    expect("the second one's answer", reply.status == 200, reply)
    expect("long before any timeout", reply.seconds < 5, reply)
    expect("two attempts", sum(server.count("/slow") for server in case.servers) == 2 and before)
    eventually("the loser to be cancelled", lambda: all(server.in_flight == 0 for server in case.servers))
    expect("it is counted", case.metric("bowline_hedges_total", result="won") >= 1, case.metric("bowline_hedges_total"))


def hedged_posts(case):
    """Nothing that is not idempotent is sent twice."""
    hedged(case)
    for server in case.servers:
        server.answer = lambda _: Answer(delay=0.5)
    before = sum(server.count() for server in case.servers)
    expect("a POST is answered", case.call(method="POST", body=b"x").status == 200)
    expect("once", sum(server.count() for server in case.servers) == before + 1)


def request_id(case):
    """Every request has an id; a caller's own is kept, and retries carry the same."""
    case.start(endpoints=2)
    used = []

    def failing(_):
        used.append(1)
        return Answer(status=503 if len(used) == 1 else 200)

    for server in case.servers:
        server.answer = failing
    case.call()
    ids = [request.header("x-request-id") for server in case.servers for request in server.seen()]
    expect("both attempts have the same id", len(ids) == 2 and ids[0] and ids[0] == ids[1], ids)
    case.call("/own", headers={"X-Request-ID": "mine-1"})
    own = [request.header("x-request-id") for server in case.servers for request in server.seen("/own")]
    expect("a caller's own is kept", own == ["mine-1"], own)


def grpc_unavailable(case):
    """A gRPC call that gets UNAVAILABLE is tried again elsewhere."""
    import grpc

    case.start(endpoints=2, kinds={"server": Grpc}, protocol="grpc")
    used = []

    def failing(context):
        used.append(1)
        if len(used) == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

    for server in case.servers:
        server.answer = failing
    status, who = case.grpc()
    expect("it ends well", status == "OK", (status, who))
    expect("at the second endpoint", sorted(len(server.calls) for server in case.servers) == [1, 1])


def grpc_deadline(case):
    """A gRPC call's own deadline holds, and nothing else does."""
    case.start(endpoints=1, kinds={"server": Grpc}, protocol="grpc")
    hold = threading.Event()
    case.ends.append(hold.set)
    case.servers[0].answer = lambda _: hold.wait(60)
    began = time.monotonic()
    status, _ = case.grpc(timeout=1)
    expect("the deadline holds", status == "DEADLINE_EXCEEDED" and time.monotonic() - began < 10, status)
