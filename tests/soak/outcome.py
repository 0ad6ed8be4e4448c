"""What a soak found: its conditions, its figures, and what a reader should look at."""

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """The result of one soak; it is met if every condition is."""

    name: str
    title: str
    conditions: list = field(default_factory=list)
    lines: list = field(default_factory=list)  # the report's text, in order
    figures: dict = field(default_factory=dict)  # for --json

    def require(self, what, met, have):
        """A condition: `what` is asked for, `have` is what there was."""
        self.conditions.append({"what": what, "have": have, "met": bool(met)})

    def line(self, text=""):
        """One more line of the report."""
        self.lines.append(text)

    @property
    def met(self):
        """True if every condition was met; a soak without one has shown nothing."""
        return bool(self.conditions) and all(condition["met"] for condition in self.conditions)

    def text(self):
        """The report of this soak."""
        out = [f"{self.name}: {self.title}"]
        out += ["  " + line if line else "" for line in self.lines]
        out += [f"  {'✓' if c['met'] else '✗'} {c['what']}: {c['have']}" for c in self.conditions]
        return "\n".join(out)

    def json(self):
        """The same as plain data."""
        return {"name": self.name, "met": self.met, "conditions": self.conditions, "figures": self.figures}


def table(rows):
    """Rows of text as aligned columns, the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [row[0].ljust(widths[0]) + "".join("  " + cell.rjust(w) for cell, w in zip(row[1:], widths[1:]))
            for row in rows]
