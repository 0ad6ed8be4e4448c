"""All cases: name -> (what they need of the programs and the machine, how they are played)."""

from cases import beside, pair, stop, ways
from modes import MODES

CASES = {
    **{name: (mode.needs, ways.play(name)) for name, mode in MODES.items()},
    "pair": (pair.NEEDS, pair.play),
    "pair-redirect": (pair.NEEDS_REDIRECT, pair.play_redirect),
    "stop": (stop.NEEDS, stop.play),
    "beside": (beside.NEEDS, beside.play),
}
