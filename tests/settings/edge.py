"""What belongs where callers come in: limits by address, keys, tokens, and the caller's address."""

import base64
import hashlib
import json
import sys
import time
from pathlib import Path

from backends import Answer, Backend
from bounds import burst_of, limit_of, limited
from world import expect

# Free ports are the bench's.
sys.path.append(str(Path(__file__).resolve().parent.parent / "bench"))

from ports import free_port  # noqa: E402


def start(case, **more):
    """Starts the proxy as the ingress that the first service is; returns where it is reached."""
    name = case.example["services"][0]["discoveryName"]
    port = free_port()
    case.start(flags=["--ingress", f"{name}=127.0.0.1:{port}"], **more)
    return "127.0.0.1", port


def at_ingress(test, case, *arguments, **more):
    """A test of routes, whose callers come to the ingress."""
    to = start(case)
    test(case, *arguments, start=False, to=to, **more)


def limited_by_address(case, path="/"):
    """A limit for each client address, where callers come in."""
    to = start(case)
    limited(case, path, to=to, source=True, start=False)


def limited_in_all(case):
    """A limit for all callers together, where they come in."""
    to = start(case)
    limited(case, to=to, start=False)


def limited_with_keys(case):
    """A limit for each API key, behind the check of the keys."""
    secrets = {name: f"secret-of-{name}" for name in ("one", "two")}
    to = start(case, change=lambda mesh: set_keys(mesh, secrets))
    limit = limit_of(case)
    header = case.service["access"]["apiKey"].get("header", "x-api-key")
    allowed = burst_of(limit)

    def burst(name, count):
        return [case.call(to=to, headers={header: secrets[name]}).status for _ in range(count)]

    expect("who has no key is not even counted", case.call(to=to).status == 401)
    seen = burst("one", allowed + 20)
    expect("a burst passes", seen[:allowed] == [200] * allowed, seen)
    expect("what is beyond it does not", 429 in seen and set(seen) == {200, 429}, seen)
    expect("another key has its own", burst("two", 1) == [200])


def set_keys(mesh, secrets):
    """Puts the hashes of these keys into the mesh."""
    keys = mesh["services"][0]["access"]["apiKey"]
    keys["sha256"] = {name: hashlib.sha256(secret.encode()).hexdigest() for name, secret in secrets.items()}


def api_key(case):
    """Who has a key may call; the key is not passed on."""
    to = start(case, change=lambda mesh: set_keys(mesh, {"one": "secret-1", "two": "secret-2"}))
    header = case.service["access"]["apiKey"].get("header", "x-api-key")
    expect("no key: 401", case.call(to=to).status == 401)
    expect("a wrong one: 401", case.call(to=to, headers={header: "guess"}).status == 401)
    expect("a key in another header: 401", case.call(to=to, headers={"x-other": "secret-1"}).status == 401)
    expect("nobody was asked", not any(server.count() for server in case.servers))
    for secret in ("secret-1", "secret-2"):
        reply = case.call(to=to, headers={header: secret})
        expect("a key: 200", reply.status == 200, reply)
    expect("it is not passed on", not any(request.header(header) for server in case.servers for request in server.seen()))


def b64(data):
    """As in JWTs."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs tokens."""

    def __init__(self, algorithm="ES256", kid="k1"):
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        self.algorithm, self.kid = algorithm, kid
        self.key = ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else rsa.generate_private_key(65537, 2048)

    def jwk(self):
        """Its public key."""
        numbers = self.key.public_key().public_numbers()
        about = {"kid": self.kid, "use": "sig", "alg": self.algorithm}
        if self.algorithm == "ES256":
            return {**about, "kty": "EC", "crv": "P-256", "x": b64(numbers.x.to_bytes(32, "big")),
                    "y": b64(numbers.y.to_bytes(32, "big"))}
        return {**about, "kty": "RSA", "n": b64(numbers.n.to_bytes(256, "big")), "e": b64(b"\1\0\1")}

    def token(self, **claims):
        """A token that says this."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

        head = b64(json.dumps({"alg": self.algorithm, "typ": "JWT", "kid": self.kid}).encode())
        text = f"{head}.{b64(json.dumps(claims).encode())}"
        if self.algorithm == "ES256":
            r, s = utils.decode_dss_signature(self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        else:
            signature = self.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{b64(signature)}"


def jwt(case, algorithm="RS256", by_url=False, path="/", public=None):
    """Who has a good token may call. The keys come from a file, or from a URL."""
    issuer, stranger = Issuer(algorithm), Issuer(algorithm)
    keys = json.dumps({"keys": [issuer.jwk()]}).encode()

    def known(mesh):
        jwks = mesh["services"][0]["access"]["jwt"]["jwks"]
        if by_url:
            server = Backend(case.farm, "jwks")
            server.answer = lambda _: Answer(body=keys, headers=[("content-type", "application/json")])
            case.ends.append(server.down)
            jwks["url"] = f"http://{server.address}/jwks.json"
        else:
            file = case.folder / "jwks.json"
            file.write_bytes(keys)
            jwks["file"] = str(file)

    to = start(case, change=known)
    wanted = case.service["access"]["jwt"]
    now = int(time.time())
    good = {"sub": "alice", "exp": now + 600}
    if "issuer" in wanted:
        good["iss"] = wanted["issuer"]
    if "audiences" in wanted:
        good["aud"] = [wanted["audiences"][0], "other"]
    if "scopes" in wanted:
        good["scope"] = " ".join([*wanted["scopes"], "more"])
    header = wanted.get("header", "authorization")

    def said(token, **more):
        value = f"Bearer {token}" if header == "authorization" else token
        return case.call(path, to=to, headers={header: value, **more})

    def without(name):
        return {key: value for key, value in good.items() if key != name}

    reply = said(issuer.token(**good))
    expect("a good token: 200", reply.status == 200, reply)
    bad = {"no token": case.call(path, to=to), "no JWT": said("nonsense"),
           "one that somebody else has signed": said(stranger.token(**good)),
           "one that is over": said(issuer.token(**{**good, "exp": now - 3600})),
           "one without an end": said(issuer.token(**without("exp"))),
           "one that is not valid yet": said(issuer.token(**good, nbf=now + 3600))}
    for key, name in (("issuer", "iss"), ("audiences", "aud"), ("scopes", "scope")):
        if key in wanted:
            bad[f"one without {name}"] = said(issuer.token(**without(name)))
            bad[f"one with another {name}"] = said(issuer.token(**{**good, name: "else"}))
    for what, reply in bad.items():
        status = 403 if what.endswith(" scope") else 401
        expect(f"{what}: {status}", reply.status == status, reply)
    seen = [request for server in case.servers for request in server.seen()]
    expect("only the good one came", len(seen) == 1, len(seen))
    for claim, name in wanted.get("claimsToHeaders", {}).items():
        expect(f"{claim} is passed on", seen[0].header(name) == good[claim], seen[0].pairs)
        said(issuer.token(**without(claim)), **{name: "forged"})
        latest = max((request for server in case.servers for request in server.seen()), key=lambda one: one.at)
        expect(f"{name} can't be forged", latest.header(name) is None, latest.pairs)
    if public:
        expect("a public route needs none", case.call(public, to=to).status == 200)


def forwarded_for(case):
    """The caller's address is added where callers come in."""
    to = start(case)
    case.call(to=to, source="127.0.3.9", headers={"x-forwarded-for": "203.0.113.7"})
    request = next(one for server in case.servers for one in server.seen())
    seen = ", ".join(request.headers("x-forwarded-for"))
    expect("the list goes on", seen == "203.0.113.7, 127.0.3.9", seen)


def one_entry(case):
    """Services that are exposed can be called by their names, others can't."""
    to = start(case)
    exposed = case.service["ingress"]["expose"]
    for service in case.mesh["services"][1:]:
        name = service["discoveryName"]
        alias = service["clientAliases"][0]
        reply = case.call(to=to, host=alias.get("dnsName", f"{name}.hello-world.com"))
        if name in exposed:
            expect(f"{name} is reached", reply.backend == f"{name}-0", reply)
        else:
            expect(f"{name} is not", not (reply.backend or "").startswith(name), reply)
