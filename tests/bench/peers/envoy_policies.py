"""More of Envoy, for cases that are about policies."""

from .envoy import Envoy

# Envoy learns no timeout of an attempt, so it must be chosen beforehand: the least that Bowline chooses, some thirty times what
# an answer usually takes.
_TRIES = {"per_try_timeout": "0.25s"}


class EnvoyTries(Envoy):
    """With a timeout of each attempt, beside the one without."""

    name = "envoy-tries"
    title = "Envoy per-try"
    twin = True
    places = ("brownout",)

    def start_open(self, place, servers):
        """What is too slow is given up and tried again."""
        return self._start_open(servers, retry=_TRIES)


class EnvoyHedged(Envoy):
    """With its hedging: when an attempt's time is up, a second one is sent beside it."""

    name = "envoy-hedged"
    title = "Envoy hedged"
    twin = True
    places = ("brownout",)

    def start_open(self, place, servers):
        """What is too slow is waited for, and tried again."""
        return self._start_open(servers, retry=_TRIES, route={"hedge_policy": {"hedge_on_per_try_timeout": True}})


class EnvoyUnlimited(Envoy):
    """Without its adaptive concurrency filter, beside the one with it."""

    name = "envoy-unlimited"
    title = "Envoy unlimited"
    twin = True
    places = ("overload",)

    def start_open(self, place, servers):
        """As always."""
        return self._start_open(servers)
