"""The report on the terminal."""

from gates import FLOORS, STEADY, TWINS, beside_direct

# (heading, key of the medians, digits)
_LOADED = [("CPU µs/{unit}", "cpu_us", 2), ("± spread", None, 0), ("calls/{unit}", "syscalls", 2), ("req/s", "rate", 0),
           ("p50 µs", "p50_us", 0), ("p99 µs", "p99_us", 0), ("mean µs", "mean_us", 1), ("MB start", "rss_start_mb", 1),
           ("MB busy", "rss_busy_mb", 1), ("MB after", "rss_after_mb", 1), ("core", "core_share", -1)]
OPEN = {
    "brownout": [("calm p50 µs", "calm_p50_us", 0), ("calm p99", "calm_p99_us", 0), ("p50 µs", "p50_us", 0), ("p99 µs", "p99_us", 0),
                 ("± spread", None, 0), ("p99.9 µs", "p999_us", 0), ("success", "success", -3), ("retries", "retries", -2),
                 ("of budget", "budget_used", -1), ("to slow ones", "slow_share", -2), ("p99 after", "after_p99_us", 0),
                 ("back at last", "back_share", -2), ("CPU µs/req", "cpu_us", 1), ("load late µs", "late_p99_us", 0)],
    "overload": [("calm ok", "calm_success", -2), ("goodput/s", "goodput", 0), ("± spread", None, 0), ("of capacity", "goodput_share", -1), ("p50 µs", "p50_us", 0),
                 ("p99 µs", "p99_us", 0), ("503/s", "shed", 0), ("503 p50 µs", "shed_p50_us", 0), ("503 p99", "shed_p99_us", 0),
                 ("hung up/s", "lost", 0), ("other/s", "other", 0), ("reached", "reached", -1), ("most queued", "most_waiting", 0),
                 ("CPU µs/req", "cpu_us", 1), ("load late µs", "late_p99_us", 0)],
}
_IDLE = [("MB idle", "rss_start_mb", 1), ("idle CPU µs/s", "idle_cpu_us_per_second", 0)]


def number(value, digits):
    """`12,345`, `1.68`, `98 %` (digits -1), `98.1 %` (-2) and so on, or a dash."""
    if value is None:
        return "–"
    if digits < 0:
        return f"{value * 100:.{-digits - 1}f} %"
    return f"{value:,.{digits}f}"


def titles(peers):
    """name -> title."""
    return {peer.name: peer.title for peer in peers}


def gate_line(verdict, names):
    """One line on one gate: what we have, what is asked, whether it is met."""
    mark = lambda met: "✓" if met else "✗"
    if verdict["against"]:
        have = f"{verdict['value']:.3f} × {names.get(verdict['against'], verdict['against'])}"
        limit = "≤ {:.2f}"
    elif verdict["unit"] == "MB":
        have = f"{verdict['value']:.1f} MB"
        limit = "≤ {:.0f} MB"
    else:
        have = f"{verdict['value']:.3f}"
        limit = "≤ {:.2f}"
    if verdict["least"]:
        limit = limit.replace("≤", "≥").replace(":.2f", ":g")
    line = f"{verdict['what']}: {have:<18} gate {limit.format(verdict['gate'])} {mark(verdict['gate_met'])}"
    if verdict["goal"] is not None:
        line += f"   goal {limit.format(verdict['goal'])} {mark(verdict['goal_met'])}"
    return line


def direct_line(case_result, names):
    """How the proxies stand beside a direct connection, or None where none was measured."""
    added = beside_direct(case_result)
    if not added:
        return None
    # With many connections latency is only the rate turned over.
    one = case_result["metric"] == "p50_us"
    parts = [f"{names[name]} " + (f"{micros:+,.0f} µs" if one else f"{share:.2f} ×")
             for name, (micros, share) in added.items()]
    return ("median latency " if one else "requests/s ") + ", ".join(parts)


def span_lines(case_result, names):
    """How many of the expected spans came, and which requests failed, in cases about traces."""
    lines = []
    for name, result in case_result["proxies"].items():
        if not (spans := result.get("spans")):
            continue
        parts = [f"{spans['expected']:,} expected"]
        if spans["came"] is not None:
            # Those of requests that were still under way when the time was up come too.
            parts.append(f"{spans['came']:,} came ({spans['came'] / max(1, spans['expected']) * 100:.1f} %)")
        if spans["dropped"] is not None:
            parts.append(f"{spans['dropped']:,} dropped and counted")
        failed = sum(r["errors"] for r in result["rounds"])
        lines.append(f"spans of {names[name]}: {', '.join(parts)}; {failed} failed requests")
    return lines


def warnings(case_result, names):
    """What a reader must know before believing the figures of a case."""
    out = []
    steady = case_result["steady"]
    if steady["ok"] is False:
        out.append(f"this run says nothing: {names[steady['proxy']]} moved by {steady['worst_spread'] * 100:.1f} % "
                   f"between rounds (limit {STEADY * 100:.0f} %)")
    waits = {name: max(r["waited_share"] for r in p["rounds"]) for name, p in case_result["proxies"].items()
             if p.get("rounds")}
    who = max(waits, key=waits.get, default=None)
    if who and waits[who] > 0.05:
        out.append(f"other work had the proxies' core: {names[who]} waited {waits[who] * 100:.0f} % of a round for it")
    for name, proxy in case_result["proxies"].items():
        late = max((r["late_p99_us"] for r in proxy.get("rounds", ()) if "late_p99_us" in r), default=0.0)
        if late > case_result.get("late_limit_us", late):
            out.append(f"other work had the load's core: that of {names[name]} was sent {late / 1e3:.1f} ms late (p99 of a round)")
    if any(len(p.get("rounds", ())) == 1 for p in case_result["proxies"].values()):
        out.append("one round only: whether the controls were steady is unknown")
    return out


def open_line(place, figures):
    """One round under open load, as a line of progress."""
    return "  ".join(f"{heading} {number(figures[key], digits)}" for heading, key, digits in OPEN[place] if key)


def case_table(case_result, names):
    """A case as aligned text."""
    if case_result.get("left_out"):
        return f"{case_result['name']}: {case_result['title']}\n  – left out: {case_result['left_out']}"
    unit = {"request": "req"}.get(case_result["unit"], case_result["unit"])
    if case_result.get("open"):
        columns = OPEN[case_result["open"]]
    else:
        columns = _IDLE if "idle_cpu_us_per_second" in next(iter(case_result["proxies"].values()), {}).get("median", {}) \
            else _LOADED
    rows = [["proxy"] + [heading.format(unit=unit) for heading, _, _ in columns]]
    for name, result in case_result["proxies"].items():
        row = [names[name]]
        for _, key, digits in columns:
            if key is None:
                row.append(number(result["spread"]["cpu_us" if not case_result.get("open") else case_result["metric"]], -1))
            else:
                row.append(number(result["median"].get(key), digits))
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [f"{case_result['name']}: {case_result['title']}"]
    for row in rows:
        lines.append("  " + row[0].ljust(widths[0]) + "".join("  " + cell.rjust(w) for cell, w in zip(row[1:], widths[1:])))
    lines += ["  " + gate_line(verdict, names) for verdict in case_result["gates"]]
    lines += ["  " + line for line in span_lines(case_result, names)]
    direct = direct_line(case_result, names)
    lines += [f"  beside a direct connection: {direct}"] if direct else []
    lines += [f"  ! {warning}" for warning in warnings(case_result, names)]
    lines += [f"  – {names.get(name, name)} not measured: {why.splitlines()[0]}"
              for name, why in case_result["skipped"].items() if name not in FLOORS + TWINS]
    return "\n".join(lines)


def whole(results, peers, machine):
    """Everything, for the terminal."""
    names = titles(peers)
    parts = [machine_line(machine)]
    parts += [case_table(case, names) for case in results]
    notes = [f"  {peer.title}: {note}" for peer in peers for note in peer.notes]
    if notes:
        parts.append("Notes\n" + "\n".join(notes))
    return "\n\n".join(parts)


def machine_line(machine):
    """Where and when, and what ran."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (f"{machine['date']}  {machine['cpu']}, {machine['cpus']} cores, Linux {machine['kernel']}\n"
            f"{versions}\nproxy on core {machine['proxy_cpu']}, load and backends on core {machine['load_cpu']}; "
            f"medians of {machine['rounds']} rounds of {machine['seconds']} s, alternating; "
            f"system calls counted by {machine['syscalls_by'] or 'nothing (neither perf nor strace works here)'}")
