"""What can be told without load: how spans are counted, and how cases about traces are judged and reported."""

import http.client
import os
import random
import socket
import tempfile
import unittest
from pathlib import Path

import cases
import gates
import peers
import procs
import report
from ports import wait_for
from sink import Sink, count_spans

_NAMES = {peer.name: peer.title for peer in peers.ALL}


def _field(number, body):
    """A field of bytes, as protobuf has it."""
    size, out = len(body), bytearray([number << 3 | 2])
    while size > 0x7f:
        out.append(size & 0x7f | 0x80)
        size >>= 7
    return bytes(out) + bytes([size]) + body


def _request(rng, *sizes):
    """(bytes, spans) of an export request: of each number a resource with so many spans, of random bytes, in two scopes."""
    resources = b""
    for size in sizes:
        spans = [_field(2, rng.randbytes(rng.randrange(400))) for _ in range(size)]
        half = size // 2
        # Scope, schema_url and resource are not spans. Varints, fixed64 and fixed32 are skipped too.
        scopes = [_field(1, b"scope") + b"".join(part) + _field(3, b"schema") + b"\x50\x85\x01" + b"\x59" + bytes(8) +
                  b"\x65" + bytes(4) for part in (spans[:half], spans[half:])]
        resources += _field(1, _field(1, b"resource") + b"".join(_field(2, scope) for scope in scopes))
    return resources, sum(sizes)


class Counting(unittest.TestCase):
    def test_spans_and_nothing_else_are_counted(self):
        seed = random.SystemRandom().randrange(1 << 32)
        rng = random.Random(seed)
        for _ in range(50):
            body, spans = _request(rng, *(rng.randrange(40) for _ in range(rng.randrange(4))))
            self.assertEqual(count_spans(body), spans, f"seed {seed}")


class Sinking(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.pack = procs.Pack(Path(folder.name))
        self.addCleanup(self.pack.stop_all)
        self.sink = Sink(self.pack, os.sched_getaffinity(0))
        self.sink.start()

    def _post(self, path, body, **more):
        connection = http.client.HTTPConnection("127.0.0.1", self.sink.port, timeout=10)
        connection.request("POST", path, body, **more)
        status = connection.getresponse().status
        connection.close()
        return status

    def test_each_path_has_its_own_count(self):
        body, spans = _request(random.Random(1), 7, 3)
        self.assertEqual(self._post("/one", body), 200)
        self.assertEqual(self._post("/one", body), 200)
        self.assertEqual(self._post("/other", body), 200)
        self.assertEqual((self.sink.spans("one"), self.sink.spans("other"), self.sink.spans("none")), (2 * spans, spans, 0))

    def test_chunks_of_any_size_and_cuts_anywhere_are_put_together(self):
        body, spans = _request(random.Random(2), 20)
        pieces = (body[at:at + 100] for at in range(0, len(body), 100))
        self.assertEqual(self._post("/one", pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"}), 200)
        self.assertEqual(self.sink.spans("one"), spans)
        head = b"POST /two HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        sent = 2 * (head + body)
        with socket.create_connection(("127.0.0.1", self.sink.port), 10) as one:
            for at in range(0, len(sent), 333):
                one.sendall(sent[at:at + 333])
            self.assertTrue(wait_for(lambda: self.sink.spans("two") == 2 * spans, 10))

    def test_it_comes_back_on_the_same_port(self):
        port = self.sink.port
        self.sink.kill()
        with self.assertRaises(OSError):
            self._post("/one", b"")
        self.sink.start()
        self.assertEqual(self._post("/one", b""), 200)
        self.assertEqual(self.sink.port, port)


def _result(name, **proxies):
    case = cases.BY_NAME[name]
    result = {"name": case.name, "title": case.title, "unit": case.unit, "metric": case.metric, "skipped": {},
              "left_out": None, "steady": {"ok": True, "worst_spread": 0.0, "proxy": None}, "proxies": {
                  proxy.replace("_", "-"): {"median": figures, "rounds": [{**figures, "errors": 0, "waited_share": 0.0}] * 2,
                                            "spread": {"cpu_us": 0.0}, "spans": spans}
                  for proxy, (figures, spans) in proxies.items()}}
    result["gates"] = gates.judge(result)
    return result


class Judging(unittest.TestCase):
    def test_traced_is_judged_beside_untraced_and_envoy(self):
        spans = {"expected": 100, "came": 104, "dropped": 0}
        result = _result("traced-h1", bowline=({"cpu_us": 20.0}, spans), bowline_untraced=({"cpu_us": 16.0}, None),
                         envoy=({"cpu_us": 80.0}, {"expected": 50, "came": 25, "dropped": None}))
        verdicts = {verdict["against"]: verdict for verdict in result["gates"]}
        self.assertEqual({name: verdict["value"] for name, verdict in verdicts.items()},
                         {"bowline-untraced": 1.25, "envoy": 0.25})
        self.assertTrue(all(verdict["gate_met"] for verdict in verdicts.values()))
        text = report.case_table(result, _NAMES)
        self.assertIn("1.250 × Bowline untraced", text)
        self.assertIn("spans of Bowline: 100 expected, 104 came (104.0 %), 0 dropped and counted; 0 failed requests", text)
        self.assertIn("spans of Envoy: 50 expected, 25 came (50.0 %); 0 failed requests", text)
        self.assertNotIn("spans of Bowline untraced", text)

    def test_a_killed_collector_is_judged_by_p99(self):
        spans = {"expected": 100, "came": None, "dropped": 40}
        result = _result("collector-down", bowline=({"p99_us": 1300.0}, spans), bowline_undisturbed=({"p99_us": 1000.0}, spans))
        self.assertEqual([(verdict["value"], verdict["gate_met"]) for verdict in result["gates"]], [(1.3, False)])
        self.assertIn("40 dropped and counted", report.case_table(result, _NAMES))

    def test_second_ones_take_part_in_their_cases_alone(self):
        places = {peer.name: peer.places for peer in peers.ALL if peer.twin and {"traced", "outage"} & set(peer.places)}
        self.assertEqual(places, {"bowline-untraced": ("traced",), "envoy-untraced": ("traced",),
                                  "bowline-undisturbed": ("outage",)})
        self.assertEqual({peer.name for peer in peers.ALL if peer.twin}, set(gates.TWINS))


if __name__ == "__main__":
    unittest.main()
