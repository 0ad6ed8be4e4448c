"""The report as the block of the README."""

from report import OPEN, direct_line, gate_line, number, span_lines, titles, warnings

_METRICS = {
    "cpu_us": ("CPU µs per {unit}", 2),
    "p50_us": ("median latency µs", 0),
    "p99_us": ("p99 latency µs", 0),
    "rss_start_mb": ("resident MB", 1),
    "rss_busy_mb": ("resident MB", 1),
}


def _row(label, case, key, digits, order):
    cells = [number(case["proxies"].get(name, {}).get("median", {}).get(key), digits) for name in order]
    return f"| {label} | " + " | ".join(cells) + " |"


def _open_table(case, names):
    """A case under open load, a row a proxy."""
    columns = [(heading, key, digits) for heading, key, digits in OPEN[case["open"]] if key]
    lines = ["| | " + " | ".join(heading for heading, _, _ in columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for name, result in case["proxies"].items():
        cells = [number(result["median"][key], digits) for _, key, digits in columns]
        lines.append(f"| {names[name]} | " + " | ".join(cells) + " |")
    return lines


def block(results, peers, machine):
    """A table of all cases, then how Bowline stands to its targets, then what to know."""
    names = titles(peers)
    # A column for whoever took part in anything.
    order = [peer.name for peer in peers
             if any(peer.name in case["proxies"] for case in results if not case.get("open"))]
    measured = [case for case in results if not case.get("left_out") and not case.get("open")]
    lines = []
    if measured:
        lines = ["| work | " + " | ".join(names[n] for n in order) + " |", "| --- |" + " ---: |" * len(order)]
    for case in measured:
        what, digits = _METRICS[case["metric"]]
        title = case["title"].replace(" x ", " × ")
        lines.append(_row(f"{title}: **{what.format(unit=case['unit'])}**", case, case["metric"], digits, order))
        if case["metric"] == "rss_start_mb":
            continue
        if case["metric"] != "cpu_us":
            lines.append(_row(f"– CPU µs per {case['unit']}", case, "cpu_us", 2, order))
        if any("syscalls" in proxy.get("median", {}) for proxy in case["proxies"].values()):
            lines.append(_row(f"– system calls per {case['unit']}", case, "syscalls", 2, order))
        lines.append(_row("– requests/s", case, "rate", 0, order))
        if case["metric"] != "p99_us":
            lines.append(_row("– p99 latency µs", case, "p99_us", 0, order))
    for case in results:
        if case.get("open") and not case.get("left_out"):
            lines += ["", case["title"] + ":", "", *_open_table(case, names)]
    verdicts = [f"- {case['name']}: {gate_line(v, names)}" for case in results for v in case["gates"]]
    if verdicts:
        lines += ["", "Beside the targets:", "", *[" ".join(line.split()) for line in verdicts]]
    spans = [f"- {case['name']}: {line}" for case in measured for line in span_lines(case, names)]
    if spans:
        lines += ["", "Spans:", "", *spans]
    direct = [(case["name"], direct_line(case, names)) for case in measured]
    direct = [f"- {name}: {line}" for name, line in direct if line]
    if direct:
        lines += ["", "Beside a direct connection:", "", *direct]
    loud = [f"- {case['name']}: left out: {case['left_out'].splitlines()[0]}" for case in results if case.get("left_out")]
    loud += [f"- {case['name']}: {w}" for case in results for w in warnings(case, names)]
    if loud:
        lines += ["", "Before you believe it:", "", *loud]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    spreads = [case["steady"]["worst_spread"] for case in results if case["steady"]["worst_spread"] is not None]
    moved = f"the controls moved by at most {max(spreads) * 100:.0f} % between rounds" if spreads \
        else "whether the controls were steady is unknown"
    lines += ["", f"Medians of {machine['rounds']} rounds of {machine['seconds']} s, proxies alternating; proxy alone on one "
              f"core, load and backends on another; {moved}. "
              f"{machine['cpu']}, Linux {machine['kernel']}; {versions}; {machine['date']}. `tests/bench/run` repeats it."]
    return "\n".join(lines) + "\n"
