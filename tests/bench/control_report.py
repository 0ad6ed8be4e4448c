"""The control plane's report: for the terminal, and as the block of the README."""

from control_plane import title
from report import number

P99_MS = (100, 50)
RSS_MB = 250

# (heading, digits, what of a case)
_ROWS = [
    ("all have their first world, s", 2, lambda c: c["connected"]["worldSeconds"]),
    ("one change: p50 ms", 1, lambda c: c["phases"][0]["milliseconds"]["p50"]),
    ("one change: p99 ms", 1, lambda c: c["phases"][0]["milliseconds"]["p99"]),
    ("one change: max ms", 1, lambda c: c["phases"][0]["milliseconds"]["max"]),
    ("– endpoints that come: p50 ms", 1, lambda c: c["phases"][0]["addMilliseconds"]["p50"]),
    ("– endpoints that go: p50 ms", 1, lambda c: c["phases"][0]["removeMilliseconds"]["p50"]),
    ("CPU ms per change", 2, lambda c: c["phases"][0]["controlCpuSeconds"] * 1e3 / c["phases"][0]["changes"]),
    ("bytes per change and subscriber", 0,
     lambda c: c["phases"][0]["bytes"] / max(1, c["phases"][0]["responses"])),
    ("the load's share of its core", -1, lambda c: c["phases"][0]["loadCpuShare"]),
    ("flood: p50 ms", 1, lambda c: c["phases"][1]["milliseconds"]["p50"]),
    ("flood: p99 ms", 1, lambda c: c["phases"][1]["milliseconds"]["p99"]),
    ("flood: max ms", 1, lambda c: c["phases"][1]["milliseconds"]["max"]),
    ("flood: CPU share of its core", -1, lambda c: c["phases"][1]["controlCpuShare"]),
    ("flood: the load's share", -1, lambda c: c["phases"][1]["loadCpuShare"]),
    ("flood: pushes", 0, lambda c: c["phases"][1]["responses"]),
    ("resident MB idle", 1, lambda c: c["controlRssMbIdle"]),
    ("resident MB, all connected", 1, lambda c: c["connected"]["controlRssMb"]),
    ("resident MB at the end", 1, lambda c: c["controlRssMbEnd"]),
    ("resident MB, highest ever", 1, lambda c: c["controlPeakMb"]),
]


def _cell(what, digits, case):
    try:
        return number(what(case), digits)
    except IndexError:
        return number(None, digits)


def gates(results):
    """How each case stands to the targets: lines of text."""
    lines = []
    for name, case in results.items():
        p99, rss = case["phases"][0]["milliseconds"]["p99"], case["controlPeakMb"]
        mark = lambda met: "✓" if met else "✗"
        lines.append(f"{name}: p99 of one change {p99:.1f} ms, gate ≤ {P99_MS[0]} ms {mark(p99 <= P99_MS[0])}, "
                     f"goal ≤ {P99_MS[1]} ms {mark(p99 <= P99_MS[1])}; highest resident {rss:.1f} MB, "
                     f"gate ≤ {RSS_MB} MB {mark(rss <= RSS_MB)}")
    return lines


def warnings(results):
    """What a reader must know before believing the figures."""
    lines = []
    for name, case in results.items():
        if case["waitedShare"] > 0.05:
            lines.append(f"{name}: other work had the control plane's core, or its own threads had: it waited "
                         f"{case['waitedShare'] * 100:.0f} % of the time that it wanted to run")
        lines += [f"{name}: the load used {phase['loadCpuShare'] * 100:.0f} % of its core, and may have measured itself"
                  for phase in case["phases"] if phase["loadCpuShare"] > 0.8]
        if case["refused"]:
            lines.append(f"{name}: {len(case['refused'])} registrations were refused: {case['refused'][0]}")
    return lines


def whole(results, machine):
    """Everything, for the terminal."""
    rows = [["", *results]]
    rows += [[heading, *(_cell(what, digits, case) for case in results.values())] for heading, digits, what in _ROWS]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [f"{machine['date']}  {machine['cpu']}, {machine['cpus']} cores, Linux {machine['kernel']}; bowline-control "
             f"{machine['version']} on core {machine['control_cpu']}, load on core {machine['load_cpu']}",
             f"{machine['services']:,} services of 10 endpoints, {machine['streams']:,} streams", ""]
    lines += ["  " + row[0].ljust(widths[0]) + "".join("  " + c.rjust(w) for c, w in zip(row[1:], widths[1:])) for row in rows]
    lines += [""] + ["  " + line for line in gates(results)] + [f"  ! {line}" for line in warnings(results)]
    return "\n".join(lines)


def markdown(results, machine):
    """The block for the README."""
    heads = [f"{title(name)} each" for name in results]
    lines = ["| | " + " | ".join(heads) + " |", "| --- |" + " ---: |" * len(heads)]
    lines += [f"| {heading} | " + " | ".join(_cell(what, digits, case) for case in results.values()) + " |"
              for heading, digits, what in _ROWS]
    lines += ["", "Beside the targets:", "", *[f"- {line}" for line in gates(results)]]
    loud = warnings(results)
    if loud:
        lines += ["", "Before you believe it:", "", *[f"- {line}" for line in loud]]
    lines += ["", f"{machine['services']:,} services of 10 endpoints, {machine['streams']:,} streams, each on a connection of "
              f"its own; control alone on one core, the load on another. {machine['cpu']}, Linux {machine['kernel']}; "
              f"{machine['date']}. `tests/bench/control` repeats it."]
    return "\n".join(lines) + "\n"
