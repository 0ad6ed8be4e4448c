"""The targets of DESIGN section 5, and how a run stands to them."""

from dataclasses import dataclass

# If the controls move by more than this between rounds, a run says nothing (ANCHORS, "Measuring").
STEADY = 0.10


@dataclass(frozen=True)
class Gate:
    """One target: a metric of a case, relative to a control or absolute (`against` is None)."""

    case: str
    metric: str
    what: str
    against: str | None
    first: float | None  # the first gate
    goal: float | None  # what comes then
    least: bool = False  # more is better: the gate is the least
    unit: str = "MB"  # of an absolute one


ALL = [
    Gate("h1", "cpu_us", "CPU per request", "envoy", 0.42, None),
    Gate("h1", "cpu_us", "CPU per request", "haproxy", 1.10, 0.98),
    Gate("h2", "cpu_us", "CPU per request", "envoy", 0.62, None),
    Gate("h2", "cpu_us", "CPU per request", "haproxy", 1.00, 0.90),
    Gate("latency", "p50_us", "median latency", "haproxy", 1.05, 1.00),
    Gate("idle", "rss_start_mb", "resident MB idle", None, 8, 5),
    Gate("busy1000", "rss_busy_mb", "resident MB under 1,000 busy connections", None, 45, 28),
    Gate("body1m-h1", "cpu_us", "CPU per MiB", "haproxy", 1.00, 0.80),
    Gate("body1m-h2", "cpu_us", "CPU per MiB", "haproxy", 1.00, 0.80),
    Gate("tcp", "cpu_us", "CPU per MiB", "haproxy", 1.00, 0.80),
    # The same work, led to the proxy in another way.
    Gate("redirect-h1", "cpu_us", "CPU per request", "envoy", 0.42, None),
    Gate("redirect-h1", "cpu_us", "CPU per request", "haproxy", 1.10, 0.98),
    Gate("passthrough", "cpu_us", "CPU per MiB", "haproxy", 1.00, 0.80),
    Gate("passthrough-rr", "p50_us", "median latency", "haproxy", 1.05, 1.00),
    # Every request sampled and exported.
    Gate("traced-h1", "cpu_us", "CPU per request, traced", "bowline-untraced", 1.35, None),
    Gate("traced-h1", "cpu_us", "CPU per request, traced", "envoy", 0.40, None),
    # The same, undisturbed: p99 moves by some percent between two runs of the same.
    Gate("collector-down", "p99_us", "p99 with the collector killed", "bowline-undisturbed", 1.20, 1.05),
    # Of open-loop load. Where Bowline must be better, 1.00; where it must be no worse, some percent for what two runs of the
    # same differ by.
    *(gate for control in ("envoy", "envoy-tries", "envoy-hedged") for gate in (
        Gate("brownout-one", "p99_us", "p99 while one is slow", control, 1.00, None),
        Gate("brownout-one", "p999_us", "p99.9 while one is slow", control, 1.00, None),
        Gate("brownout-one", "success", "success rate", control, 1.00, None, least=True),
        Gate("brownout-all", "p99_us", "p99 while all are slow", control, 1.05, None),
        Gate("brownout-all", "success", "success rate", control, 0.999, None, least=True),
    )),
    Gate("brownout-one", "budget_used", "retries, of what the budget allows", None, 1.00, None, unit="×"),
    Gate("brownout-all", "budget_used", "retries, of what the budget allows", None, 1.00, None, unit="×"),
    Gate("overload", "goodput_share", "goodput, of the capacity", None, 0.90, None, least=True, unit="×"),
    Gate("overload", "goodput", "goodput", "envoy", 0.98, 1.00, least=True),
    # What policies cost, and what they cost who has none.
    Gate("policies-h1", "cpu_us", "CPU per request, with policies", "bowline-plain", 1.10, None),
    Gate("policies-unused", "cpu_us", "CPU per request, without policies", "bowline-before", 1.02, None),
]

# They say what is possible: no gate divides by them.
FLOORS = ("haproxy-tcp", "direct")
# Second ones of a program, for cases that compare it with itself.
TWINS = ("bowline-untraced", "envoy-untraced", "bowline-undisturbed", "bowline-plain", "bowline-before", "bowline-hedged",
         "bowline-unlimited", "envoy-tries", "envoy-hedged", "envoy-unlimited")


def judge(case_result):
    """How Bowline stands to each gate of this case; empty when it or the control was not measured."""
    verdicts = []
    proxies = case_result["proxies"]
    ours = proxies.get("bowline", {}).get("median")
    if not ours:
        return verdicts
    for gate in ALL:
        if gate.case != case_result["name"]:
            continue
        if gate.against is None:
            value = ours[gate.metric]
        else:
            theirs = proxies.get(gate.against, {}).get("median")
            if not theirs or not theirs[gate.metric]:
                continue
            value = ours[gate.metric] / theirs[gate.metric]
        met = lambda limit, value=value, least=gate.least: value >= limit if least else value <= limit
        verdicts.append({
            "what": gate.what, "metric": gate.metric, "against": gate.against, "value": value,
            "gate": gate.first, "gate_met": gate.first is None or met(gate.first),
            "goal": gate.goal, "goal_met": None if gate.goal is None else met(gate.goal),
            "least": gate.least, "unit": gate.unit,
        })
    return verdicts


def beside_direct(case_result):
    """What each proxy adds to a direct connection: {proxy: (µs of median latency, share of its requests/s)}.

    Empty where none was measured.
    """
    proxies = case_result["proxies"]
    direct = proxies.get("direct", {}).get("median")
    if not direct or not direct["rate"]:
        return {}
    return {name: (result["median"]["p50_us"] - direct["p50_us"], result["median"]["rate"] / direct["rate"])
            for name, result in proxies.items() if name != "direct" and result.get("median")}


def steadiness(case_result):
    """(worst spread among the controls, its proxy) of what this case is judged by.

    CPU per unit where that is measured; for latency its median too, since that is what its gate divides.
    """
    worst = (0.0, None)
    for name, result in case_result["proxies"].items():
        # Not by the floors: no gate divides by them, and they wait for the load more than the load for them.
        if name == "bowline" or name in FLOORS or not result.get("spread"):
            continue
        # Under open load what is judged may differ from round to round, and the calm before it may not.
        metrics = ["calm_p50_us"] if case_result.get("open") else \
            ["cpu_us"] if case_result["metric"] != "p50_us" else ["cpu_us", "p50_us"]
        for metric in metrics:
            worst = max(worst, (result["spread"].get(metric, 0.0), name), key=lambda pair: pair[0])
    return worst
