"""The load generator and the simulated servers for real, and what can be told without load: figures, gates, reports."""

import os
import random
import socket
import tempfile
import time
import unittest
from array import array
from pathlib import Path
from types import SimpleNamespace

import cases
import gates
import markdown
import openload
import openloop
import peers
import procs
import report
from ports import free_port

_NAMES = {peer.name: peer.title for peer in peers.ALL}


def _case(**setup):
    return SimpleNamespace(name="test", setup=cases.Brownout(**setup))


class _Running(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = Path(folder.name) / "out"
        self.pack = procs.Pack(Path(folder.name))
        self.addCleanup(self.pack.stop_all)
        self.cpus = os.sched_getaffinity(0)
        world = SimpleNamespace(pack=self.pack)
        self.bench = openloop.OpenBench(SimpleNamespace(world=world, loader=SimpleNamespace(cpus=self.cpus), say=lambda _: None))

    def _servers(self, case):
        servers = openloop.Servers(self.pack, self.cpus, case)
        self.addCleanup(servers.stop)
        return servers

    def _load(self, port, phases, timeout, servers=None, slow=None):
        start = time.monotonic() + 0.5
        if servers:
            servers.begin(start, slow)
        self.bench._load("load", {"host": "127.0.0.1", "port": port, "authority": "test", "start": start, "phases": phases,
                                  "timeout": timeout, "out": str(self.out)}, 60)
        return openloop.read(self.out, phases)


class Servers(_Running):
    def test_capacity_is_slots_by_time(self):
        case = _case(endpoints=1, slots=10, takes=0.02, sigma=0.0)
        servers = self._servers(case)
        capacity = self.bench._capacity(case, servers)
        # A machine that is busy can be late, but never early. The servers' clock doesn't know that it is late.
        self.assertLess(capacity, 505)
        self.assertGreater(capacity, 350)

    def test_the_named_become_slow_and_well_again(self):
        servers = self._servers(_case(endpoints=2, takes=0.01, sigma=0.0))
        seen = [self._load(port, [[3.0, 20]], 5.0, servers, [1.0, 2.0, 20.0, [0]]) for port in servers.ports]
        slow, fast = ([part.micros(0.0) for part in (one.part(0.0, 0.9), one.part(1.1, 1.9), one.part(2.1, 3.0))] for one in seen)
        for least, expected in zip(slow + fast, [10e3, 200e3, 10e3, 10e3, 10e3, 10e3]):
            self.assertGreaterEqual(least, expected)
            # The least of many: even on a busy machine one comes in time.
            self.assertLess(least, 10 * expected)
        self.assertLess(slow[2], slow[1])

    def test_what_came_is_counted_by_endpoint_and_time(self):
        servers = self._servers(_case(endpoints=2, takes=0.001, sigma=0.0))
        self._load(servers.ports[1], [[2.0, 50]], 5.0, servers)
        counts = servers.counts()
        self.assertEqual(openloop.received(counts, 0.0, 100.0), 100)
        self.assertEqual(openloop.received(counts, 0.0, 100.0, [0]), 0)
        servers.begin(time.monotonic())
        self.assertEqual(openloop.received(servers.counts(), 0.0, 100.0), 0)


class Load(_Running):
    def test_who_waits_in_a_queue_is_not_left_out(self):
        # One at a time and 50 ms each, asked for every 25 ms: the nth waits for n times 25 ms.
        servers = self._servers(_case(endpoints=1, slots=1, takes=0.05, sigma=0.0))
        seen = self._load(servers.ports[0], [[1.0, 40]], 30.0, servers)
        self.assertEqual(seen.count(200.0), 40)
        for number, latency in enumerate(seen.latency):
            # A queue that never empties: whatever the machine does, nobody is answered before that.
            self.assertGreater(latency, 0.05 + number * 0.025 - 0.002, f"request {number}")

    def test_who_is_not_answered_in_time_hangs_up(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            seen = self._load(silent.getsockname()[1], [[0.5, 40]], 0.2)
        self.assertEqual(seen.count(openload.TIMEOUT), 20)
        self.assertEqual(set(seen.latency), {0.2})
        self.assertEqual(seen.good, 0.0)

    def test_nobody_there(self):
        seen = self._load(free_port(), [[0.5, 20]], 1.0)
        self.assertEqual(seen.count(openload.BROKEN), 10)

    def test_answers_in_any_pieces(self):
        plain = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nabcde"
        chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        for data, expected in ((plain, (503.0, True)), (chunked, (200.0, False))):
            for size in range(len(data)):
                self.assertIsNone(openload.whole(data[:size]), data[:size])
            self.assertEqual(openload.whole(data), expected)


def _seen(setup, latency):
    """A round in which all are answered, each after what `latency` says of its moment."""
    meant = openloop.meant_times(setup.phases(100.0))
    return openloop.Seen(meant, array("d", map(latency, meant)), array("d", [200.0] * len(meant)), array("d", [0.0] * len(meant)))


class Figures(unittest.TestCase):
    def test_a_brown_out_is_told_from_the_calm(self):
        setup = cases.Brownout(endpoints=2, slow=1, rate=100.0)
        calm, slow, after = setup.times()
        seen = _seen(setup, lambda at: 0.2 if slow[0] <= at < slow[1] else 0.004)
        # 100 a second; while it is slow a tenth of them are tried again, and a quarter of all go to the slow one.
        parts = [(10, 0)] * round(slow[0] * 10) + [(2, 9)] * round(setup.brown * 10) + [(5, 5)] * round(setup.after * 10)
        counts = {"received": [[one for one, _ in parts], [two for _, two in parts]]}
        figures = openloop.brownout_figures(setup, seen, counts)
        self.assertAlmostEqual(figures["calm_p99_us"], 4e3)
        self.assertAlmostEqual(figures["p50_us"], 200e3)
        self.assertAlmostEqual(figures["after_p99_us"], 4e3)
        self.assertAlmostEqual(figures["retries"], 0.10)
        self.assertAlmostEqual(figures["slow_share"], 2 / 11)
        self.assertAlmostEqual(figures["back_share"], 0.5)
        sent = 100 * (setup.calm + setup.brown)
        self.assertAlmostEqual(figures["budget_used"], 120 / (sent * 0.2 + 3 * (setup.calm + setup.brown)))

    def test_goodput_is_what_came_in_time(self):
        setup = cases.Overload()
        seen = _seen(setup, lambda at: 0.02)
        begins, ends = setup.overload_times()
        # Of three a third is answered, a third turned away, and a third lost.
        for number, at in enumerate(seen.meant):
            if at >= begins:
                seen.status[number] = (200.0, 503.0, openload.TIMEOUT)[number % 3]
        counts = {"received": [[10] * round(ends * 10)], "most_waiting": [7]}
        figures = openloop.overload_figures(setup, seen, counts, 100.0)
        self.assertAlmostEqual(figures["goodput"], 100.0, delta=1.0)
        self.assertAlmostEqual(figures["goodput_share"], 1.0, delta=0.01)
        self.assertAlmostEqual(figures["shed"], 100.0, delta=1.0)
        self.assertAlmostEqual(figures["lost"], 100.0, delta=1.0)
        self.assertAlmostEqual(figures["reached"], 1.0)
        self.assertEqual(figures["calm_success"], 1.0)

    def test_percentiles(self):
        seed = random.SystemRandom().randrange(1 << 32)
        values = list(range(1, 101))
        random.Random(seed).shuffle(values)
        self.assertEqual([openloop.percentile(values, q) for q in (0.0, 0.5, 0.99, 0.999, 1.0)], [1, 50, 99, 100, 100], f"seed {seed}")
        self.assertIsNone(openloop.percentile([], 0.5))


def _result(name, **proxies):
    case = cases.BY_NAME[name]
    result = {"name": case.name, "title": case.title, "unit": case.unit, "metric": case.metric, "skipped": {}, "open": case.place,
              "left_out": None, "late_limit_us": 3000.0, "steady": {"ok": True, "worst_spread": 0.0, "proxy": None}, "proxies": {}}
    for proxy, own in proxies.items():
        figures = {key: 1.0 for _, key, _ in report.OPEN[case.place] if key} | {"waited_share": 0.0, "late_p99_us": 10.0} | own
        result["proxies"][proxy.replace("_", "-")] = {"median": figures, "rounds": [figures] * 2,
                                                      "spread": {key: 0.0 for key in figures}}
    result["gates"] = gates.judge(result)
    return result


class Judging(unittest.TestCase):
    def test_more_success_is_better(self):
        result = _result("brownout-one", bowline={"p99_us": 9e3, "success": 0.99}, envoy={"p99_us": 10e3, "success": 1.0})
        verdicts = {verdict["metric"]: verdict for verdict in result["gates"]}
        self.assertTrue(verdicts["p99_us"]["gate_met"])
        self.assertFalse(verdicts["success"]["gate_met"])
        self.assertIn("0.990 × Envoy      gate ≥ 1 ✗", report.case_table(result, _NAMES))

    def test_goodput_is_judged_beside_capacity_and_envoy(self):
        result = _result("overload", bowline={"goodput": 950.0, "goodput_share": 0.95}, envoy={"goodput": 980.0, "goodput_share": 0.98})
        self.assertEqual([(verdict["against"], verdict["gate_met"]) for verdict in result["gates"]], [(None, True), ("envoy", False)])
        self.assertIn("goodput, of the capacity: 0.950              gate ≥ 0.9 ✓", report.case_table(result, _NAMES))

    def test_late_load_is_told(self):
        result = _result("brownout-all", bowline={}, envoy={"late_p99_us": 5000.0})
        text = report.case_table(result, _NAMES)
        self.assertIn("that of Envoy was sent 5.0 ms late", text)
        self.assertNotIn("that of Bowline was sent", text)

    def test_they_have_tables_of_their_own(self):
        machine = {"date": "2026-01-01", "cpu": "a CPU", "cpus": 2, "kernel": "6", "rounds": 2, "seconds": 1, "versions": {}}
        named = [SimpleNamespace(name=name, title=title) for name, title in _NAMES.items()]
        result = _result("overload", bowline={"goodput": 1234.0}, envoy={})
        text = markdown.block([result], named, machine)
        self.assertIn(" | 1,234 | ", text)
        self.assertNotIn("| work |", text)

    def test_they_are_run_by_name_alone(self):
        self.assertEqual({case.name for case in cases.ALL if case.on_demand},
                         {"brownout-one", "brownout-all", "overload", "policies-unused"})


class Policies(unittest.TestCase):
    def test_the_last_of_twenty_fits(self):
        import peers.bowline as bowline
        routes = [line for line in bowline.POLICIES.splitlines() if line.startswith("      - ")]
        self.assertEqual(len(routes), 21)
        self.assertTrue(all("418" in line for line in routes[:19] + routes[20:]))
        self.assertIn(cases.BY_NAME["policies-h1"].header.split(": ")[0], routes[19])
        self.assertNotIn("418", routes[19])


if __name__ == "__main__":
    unittest.main()
