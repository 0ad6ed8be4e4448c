"""What the spans of one trace must be to each other."""

import json


def by_trace(spans):
    """{trace id: its spans, in the order of their start}."""
    traces = {}
    for span in sorted(spans, key=lambda span: span["start"]):
        traces.setdefault(span["trace"], []).append(span)
    return traces


def same_process(one, other):
    """Whether both are of one process, as far as their resources tell."""
    return json.dumps(one["resource"], sort_keys=True) == json.dumps(other["resource"], sort_keys=True)


def objections(spans, outside=()):
    """[(rule, text)]: what is wrong with the spans of one trace. `outside`: ids of parents whose spans do not come here."""
    wrong = []
    known = {span["id"]: span for span in spans}
    roots = [span for span in spans if not span["parent"] or span["parent"] in outside]
    if len(roots) != 1:
        wrong.append(("root", f"{len(roots)} roots: {[span['name'] for span in roots]}"))
    for span in spans:
        remote = bool(span["flags"] & 0x200)
        parent = known.get(span["parent"])
        who = f"{span['kind']} {span['name']!r}"
        if not span["parent"]:
            continue
        if parent is None:
            if span["parent"] not in outside:
                wrong.append(("parent", f"{who}: its parent {span['parent']} never came"))
            elif not remote:
                wrong.append(("remote", f"{who}: its parent is somebody else's, and not marked as remote"))
            continue
        if same_process(span, parent):
            if remote:
                wrong.append(("remote", f"{who}: its parent is of the same process, and marked as remote"))
            # One clock: what is inside is inside.
            if span["start"] < parent["start"] or span["end"] > parent["end"]:
                wrong.append(("inside", f"{who} is not within {parent['kind']} {parent['name']!r}"))
        else:
            if not remote:
                wrong.append(("remote", f"{who}: its parent is of another process, and not marked as remote"))
            if span["kind"] == parent["kind"] == "CLIENT":
                wrong.append(("kinds", f"{who} is below another CLIENT span"))
            # An app's own SERVER span is below the one of the sidecar in front of it.
            if span["kind"] == "SERVER" and parent["kind"] not in ("CLIENT", "SERVER"):
                wrong.append(("kinds", f"{who} is below {parent['kind']} {parent['name']!r}"))
            # Times of two processes of one machine come from one clock too.
            if span["start"] < parent["start"]:
                wrong.append(("inside", f"{who} began before {parent['kind']} {parent['name']!r}"))
        if span["kind"] == parent["kind"] == "CLIENT" and same_process(span, parent):
            wrong.append(("kinds", f"{who} is below another CLIENT span"))
    for span in spans:
        seen, at = set(), span
        while at and at["parent"]:
            if at["id"] in seen:
                wrong.append(("loop", f"{span['name']!r} is its own ancestor"))
                break
            seen.add(at["id"])
            at = known.get(at["parent"])
    return wrong


def chain(spans):
    """The spans from the root down, if each has one child at most; else None."""
    roots = [span for span in spans if span["parent"] not in {other["id"] for other in spans}]
    if len(roots) != 1:
        return None
    line = roots
    while below := [span for span in spans if span["parent"] == line[-1]["id"]]:
        if len(below) > 1:
            return None
        line.append(below[0])
    return line if len(line) == len(spans) else None
