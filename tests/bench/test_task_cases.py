"""What can be told without load: how figures of redirected cases are counted, judged and reported."""

import os
import socket
import tempfile
import unittest
from pathlib import Path

import cases
import gates
import markdown
import netns
import procs
import report
from stats import spread

_MACHINE = {"date": "2026-01-01", "cpu": "a CPU", "cpus": 2, "kernel": "6", "rounds": 2, "seconds": 1, "proxy_cpu": 0,
            "load_cpu": 1, "syscalls_by": None, "versions": {}}


class _Peer:
    notes = ()

    def __init__(self, name):
        self.name = self.title = name


_PEERS = [_Peer(name) for name in ("bowline", "envoy", "haproxy", "nginx", "direct")]
_NAMES = report.titles(_PEERS)


def _proxy(cpu_us, p50_us, rate):
    """What one proxy's rounds came to; two of them, 50 % apart in what is measured of it."""
    figures = {"cpu_us": cpu_us, "p50_us": p50_us, "rate": rate, "waited_share": 0.0}
    return {"median": dict(figures), "rounds": [figures, figures],
            "spread": {"cpu_us": 0.5 if cpu_us else None, "p50_us": 0.5, "rate": 0.5}}


def _result(name, **proxies):
    case = cases.BY_NAME[name]
    result = {"name": case.name, "title": case.title, "unit": case.unit, "metric": case.metric, "proxies": proxies,
              "skipped": {"nginx": "it can't", "haproxy-tcp": "no part"}, "left_out": None}
    result["gates"] = gates.judge(result)
    worst, who = gates.steadiness(result)
    result["steady"] = {"worst_spread": worst, "proxy": who, "ok": worst <= gates.STEADY}
    return result


def _left_out(name):
    return {**_result(name), "left_out": "not permitted", "skipped": {},
            "steady": {"worst_spread": None, "proxy": None, "ok": None}}


class Units(unittest.TestCase):
    def test_bytes_count_both_ways(self):
        self.assertEqual(cases.BY_NAME["passthrough"].units(3), 6)
        self.assertEqual(cases.BY_NAME["tcp"].units(3), 3)
        self.assertEqual(cases.BY_NAME["passthrough-rr"].units(3), 3)

    def test_no_figures_have_no_spread(self):
        self.assertIsNone(spread([None, None]))
        self.assertEqual(spread([7]), 0.0)
        self.assertEqual(spread([8, 12, None]), 0.4)


class Direct(unittest.TestCase):
    def test_what_a_proxy_adds(self):
        result = _result("passthrough-rr", bowline=_proxy(50, 70, 9000), envoy=_proxy(60, 90, 8000),
                         direct=_proxy(None, 30, 20000))
        self.assertEqual(gates.beside_direct(result), {"bowline": (40, 0.45), "envoy": (60, 0.4)})
        self.assertEqual(report.direct_line(result, _NAMES), "median latency bowline +40 µs, envoy +60 µs")

    def test_with_many_connections_it_is_the_rate(self):
        result = _result("redirect-h1", bowline=_proxy(15, 900, 45000), direct=_proxy(None, 300, 90000))
        self.assertEqual(report.direct_line(result, _NAMES), "requests/s bowline 0.50 ×")

    def test_without_a_direct_connection_nothing_is_said(self):
        result = _result("redirect-h1", bowline=_proxy(15, 900, 45000))
        self.assertEqual(gates.beside_direct(result), {})
        self.assertIsNone(report.direct_line(result, _NAMES))

    def test_it_says_nothing_of_steadiness(self):
        result = _result("passthrough-rr", bowline=_proxy(1, 1, 1), direct=_proxy(None, 1, 1))
        self.assertEqual(gates.steadiness(result), (0.0, None))
        result = _result("passthrough-rr", bowline=_proxy(1, 1, 1), haproxy=_proxy(1, 1, 1), direct=_proxy(None, 1, 1))
        self.assertEqual(gates.steadiness(result), (0.5, "haproxy"))


class Reports(unittest.TestCase):
    def test_a_table_without_a_proxy_in_a_row(self):
        text = report.case_table(_result("passthrough", bowline=_proxy(300, 9, 900), haproxy=_proxy(400, 9, 800),
                                         direct=_proxy(None, 9, 3600)), _NAMES)
        direct = next(line for line in text.splitlines() if line.startswith("  direct"))
        self.assertIn("3,600", direct)
        self.assertIn("–", direct)
        self.assertIn("CPU per MiB: 0.750 × haproxy", text)
        self.assertIn("beside a direct connection: requests/s bowline 0.25 ×, haproxy 0.22 ×", text)
        self.assertIn("nginx not measured: it can't", text)
        self.assertNotIn("haproxy-tcp", text)

    def test_a_case_that_is_left_out_says_so(self):
        text = report.case_table(_left_out("redirect-h1"), _NAMES)
        self.assertTrue(text.startswith("redirect-h1: "), text)
        self.assertIn("left out: not permitted", text)
        block = markdown.block([_left_out("redirect-h1")], _PEERS, _MACHINE)
        self.assertIn("- redirect-h1: left out: not permitted", block)
        self.assertNotIn("CPU µs", block)

    def test_the_block_has_columns_for_those_who_took_part(self):
        result = _result("redirect-h1", bowline=_proxy(15, 900, 45000), direct=_proxy(None, 300, 90000))
        block = markdown.block([result, _left_out("passthrough")], _PEERS, _MACHINE)
        self.assertEqual(block.splitlines()[0], "| work | bowline | direct |")
        self.assertIn("**CPU µs per request** | 15.00 | – |", block)
        self.assertIn("- redirect-h1: requests/s bowline 0.50 ×", block)


class Networks(unittest.TestCase):
    """The real ones, where the machine allows."""

    def setUp(self):
        try:
            self.net = netns.Netns()
        except netns.Absent as absent:
            self.skipTest(str(absent))

    def test_a_network_of_its_own(self):
        interfaces = netns.call(self.net, socket.if_nameindex)
        self.assertEqual([name for _, name in interfaces if not name.endswith("0")], ["lo"], interfaces)
        inside, outside = (netns.call(net, lambda: os.readlink("/proc/thread-self/ns/net")) for net in (self.net, None))
        self.assertNotEqual(inside, outside)
        self.assertEqual(os.readlink(self.net.path), inside)
        with self.assertRaises(ZeroDivisionError):
            netns.call(self.net, lambda: 1 // 0)

    def test_a_program_runs_in_it_as_another_user_who_could_not_reach_it(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            home = Path(folder) / "home"
            home.mkdir(mode=0o700)
            program = home / "sh"
            program.write_bytes(Path("/bin/sh").read_bytes())
            program.chmod(0o755)
            pack = procs.Pack(folder)
            script = 'id -u; id -g; id -G; readlink /proc/self/ns/net; cat "$0"'
            try:
                proc = pack.start("who", [program, "-c", script, program], os.sched_getaffinity(0), net=self.net, uid=20001)
                proc.popen.wait(10)
            finally:
                pack.stop_all()
            said = proc.log.read_text()
        lines = said.splitlines()
        self.assertEqual(lines[:4], ["20001", "20001", "20001", os.readlink(self.net.path)], said)
        self.assertIn("Permission denied", said, "the folder was to be closed to it")


if __name__ == "__main__":
    unittest.main()
