"""Before anything is measured: does the proxy answer rightly, over the protocols the case names?"""

import http.client
from pathlib import Path

from backend import ENDPOINTS, LARGE_BYTES, SMALL
from netns import call
from ports import wait_for

_TRIES = 24


class WrongAnswer(Exception):
    """The proxy answered, but not as it must; measuring it would mislead."""


def _talk_h1(target, path, headers, count=1, sent=None):
    """(answers, bodies, the client's port) of `count` requests over one connection; with `sent` they are POSTs of that."""
    method = "GET" if sent is None else "POST"
    connection = http.client.HTTPConnection(target.host, target.port, timeout=5)
    try:
        # In a task's network only the socket need be made: wherever it is used, it stays there.
        call(target.net, connection.connect)
        port = connection.sock.getsockname()[1]
        answers, bodies = [], []
        for _ in range(count):
            connection.request(method, path, body=sent, headers={"Host": target.authority, **headers})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise WrongAnswer(f"{method} {path}: status {answer.status}: {body[:200]!r}")
            answers.append(answer)
            bodies.append(body)
        return answers, bodies, port
    except (OSError, http.client.HTTPException) as error:
        raise WrongAnswer(f"{method} {path}: {error}") from error
    finally:
        connection.close()


def _get_h1(target, path, headers, count):
    """Bodies of `count` requests over one connection."""
    return _talk_h1(target, path, headers, count)[1]


def _get_h2(pack, tools, cpus, target, path, headers, count):
    """Bodies of `count` requests, by nghttp, which prints bodies and nothing else."""
    extra = [f"-H:authority: {target.authority}"] + [f"-H{k}: {v}" for k, v in headers.items()]
    bodies = []
    for _ in range(count):
        out = pack.run("nghttp", [tools["nghttp"], "--timeout=5", *extra, f"http://{target.host}:{target.port}{path}"],
                       cpus, 10, every=0.02)
        bodies.append(out.encode())
    return bodies


def check(pack, tools, cpus, case, running):
    """Raises `WrongAnswer` unless the proxy does the whole work of the case; returns what the endpoints saw."""
    target = running.targets[case.protocol]

    own = dict([case.header.split(": ", 1)]) if case.header else {}

    def get(path, headers=None, count=1):
        headers = {**own, **(headers or {})}
        if case.protocol == "h2":
            return _get_h2(pack, tools, cpus, target, path, headers, count)
        return _get_h1(target, path, headers, count)

    if get("/")[0] != SMALL.encode():
        raise WrongAnswer("the 64-byte body did not arrive as sent")
    # nghttp prints bodies as text; length alone is asked of the large one over HTTP/1.1, over HTTP/2 h2load counts it.
    if case.path == "/1m" and case.protocol != "h2" and len(get("/1m")[0]) != LARGE_BYTES:
        raise WrongAnswer("the 1 MiB body did not arrive whole")
    if case.path == "/both":
        _check_both(target)
    if case.place == "task":
        _check_way(target, running)
    layer4 = case.protocol == "tcp" or running.peer.floor
    if layer4:
        return "bytes copied" if running.pid else "direct"
    seen, protocols, ids = set(), set(), set()
    for body in get("/whoami", count=_TRIES):
        parts = body.decode().split(" ")
        seen.add(parts[0])
        protocols.add(parts[1])
        ids.add(parts[2] if len(parts) > 2 else "")
    want = "HTTP/2.0" if case.protocol == "h2" else "HTTP/1.1"
    if protocols != {want}:
        raise WrongAnswer(f"the endpoints were called over {', '.join(sorted(protocols))}, not {want}")
    if "" in ids or len(ids) != _TRIES:
        raise WrongAnswer("x-request-id was not set, or not anew, on every request")
    if get("/whoami", {"x-request-id": "kept"})[0].decode().split(" ")[2] != "kept":
        raise WrongAnswer("the caller's x-request-id was not kept")
    return f"{want} to the endpoints, x-request-id set and kept, {len(seen)} of {ENDPOINTS} endpoints seen at rest"


def check_spans(sink, running):
    """Raises `WrongAnswer` unless the requests made so far have come to the sink as spans; returns a word on it."""
    if not wait_for(lambda: sink.spans(running.peer.name) >= running.spans, 10, step=0.1):
        raise WrongAnswer("its requests were not traced: no span has come")
    return ", spans came"


def _check_both(target):
    """Raises `WrongAnswer` unless 1 MiB arrives whole each way."""
    sent = bytes(range(256)) * (LARGE_BYTES // 256)
    answers, bodies, _ = _talk_h1(target, "/both", {}, sent=sent)
    # The server counts the request's head too, which is a few hundred bytes.
    if not LARGE_BYTES < int(answers[0].headers.get("x-received", 0)) < LARGE_BYTES + 4096:
        raise WrongAnswer(f"1 MiB was sent, and the server saw {answers[0].headers.get('x-received')} bytes")
    if bodies[0] != sent:
        raise WrongAnswer("the 1 MiB body did not arrive as it was sent")


def _check_way(target, running):
    """Raises `WrongAnswer` unless the connection goes through the proxy, or is direct where it must be.

    A proxy calls the server from a port of its own. It can't be the app's by chance: that one is taken, since proxy and
    app have the same address.
    """
    _, bodies, port = _talk_h1(target, "/from", {})
    direct = int(bodies[0]) == port
    if direct and running.pid:
        raise WrongAnswer("the app's connection passed the proxy by")
    if not direct and not running.pid:
        raise WrongAnswer("the connection is not direct")


def check_balance(running, ports):
    """Raises `WrongAnswer` unless the proxy, under load, holds connections to every endpoint.

    Asked after the warm-up and not of single requests: a balancer that goes by latency may rightly send a lone client
    to the one endpoint it knows to be fast.
    """
    inodes = set()
    for fd in Path(f"/proc/{running.pid}/fd").iterdir():
        try:
            link = fd.readlink().name
        except FileNotFoundError:
            continue
        if link.startswith("socket:["):
            inodes.add(link[8:-1])
    connected = set()
    # Its network's.
    for line in Path(f"/proc/{running.pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes:
            connected.add(int(fields[2].split(":")[1], 16))
    missed = set(ports) - connected
    if missed:
        raise WrongAnswer(f"under load it called {len(ports) - len(missed)} of {len(ports)} endpoints")
