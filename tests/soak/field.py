"""Where a soak takes place: its processes, its work directory, its seed, and the way to say how it goes."""

import os
import random
from dataclasses import dataclass


class SoakError(Exception):
    """A soak could not be carried out; the message says why and what to do."""


@dataclass
class Field:
    """What every soak is given."""

    pack: object  # bench's procs.Pack: every process is started by it, and ended by it
    repo: object
    bowline: object  # the binary
    tools: dict
    seed: int
    options: object
    say: object

    @property
    def cpus(self):
        """Soaks compare phases with one another, not processes: nothing is pinned."""
        return os.sched_getaffinity(0)

    def rng(self, name):
        """A random generator of its own for each part, so that the parts do not shift each other's numbers."""
        return random.Random(f"{self.seed} {name}")
