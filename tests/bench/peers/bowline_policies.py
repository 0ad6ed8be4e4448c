"""More of Bowline, for cases that are about policies."""

from pathlib import Path

from .base import Missing
from .bowline import Bowline

_HEDGED = """\
    hedge: {}
"""


class BowlinePlain(Bowline):
    """The same without policies, beside the one with many."""

    name = "bowline-plain"
    title = "Bowline plain"
    twin = True
    places = ("policies",)

    def start_beside(self, place):
        """As always."""
        return self.start()


class BowlineBefore(Bowline):
    """An older program."""

    name = "bowline-before"
    title = "Bowline before"
    twin = True
    places = ("before",)

    def binary(self):
        """The path given by --before; Bowline's where there is none, which is then not started."""
        path = Path(self.world.before or self.world.bowline)
        if not path.is_file():
            raise Missing(f"no bowline-proxy at {path}")
        return path


class BowlineHedged(Bowline):
    """With hedging, beside the one with the defaults."""

    name = "bowline-hedged"
    title = "Bowline hedged"
    twin = True
    places = ("brownout",)

    def start_open(self, place, servers):
        """The percentile at which a second attempt goes off has a default."""
        return self._start_open(servers, _HEDGED)


class BowlineUnlimited(Bowline):
    """Without a limit, beside the one that learns it."""

    name = "bowline-unlimited"
    title = "Bowline unlimited"
    twin = True
    places = ("overload",)

    def start_open(self, place, servers):
        """As always."""
        return self._start_open(servers, "")
