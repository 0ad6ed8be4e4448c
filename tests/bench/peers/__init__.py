"""The proxies measured: Bowline and the controls it is measured beside."""

from .base import Missing, Peer, Running, Target, World
from .bowline import Bowline, BowlineUndisturbed, BowlineUntraced
from .bowline_policies import BowlineBefore, BowlineHedged, BowlinePlain, BowlineUnlimited
from .direct import Direct
from .envoy import Envoy, EnvoyUntraced
from .envoy_policies import EnvoyHedged, EnvoyTries, EnvoyUnlimited
from .haproxy import HAProxy, HAProxyTcp
from .nginx import Nginx

ALL = [Bowline, Envoy, HAProxy, Nginx, HAProxyTcp, Direct, BowlineUntraced, EnvoyUntraced, BowlineUndisturbed,
       BowlinePlain, BowlineBefore, BowlineHedged, BowlineUnlimited, EnvoyTries, EnvoyHedged, EnvoyUnlimited]
BY_NAME = {peer.name: peer for peer in ALL}

__all__ = ["ALL", "BY_NAME", "Missing", "Peer", "Running", "Target", "World"]
