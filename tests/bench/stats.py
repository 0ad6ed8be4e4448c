"""Medians and spreads."""

import math
from statistics import median


def med(values):
    """The median, or None of nothing."""
    values = [v for v in values if v is not None]
    return median(values) if values else None


def spread(values):
    """How far the values lie apart: (highest - lowest) / median, or None of nothing."""
    values = [v for v in values if v is not None]
    if not values:
        return None
    if len(values) < 2 or not median(values):
        return 0.0
    return (max(values) - min(values)) / median(values)


def percentile(values, quantile):
    """The value that so large a share (0 to 1) of the values is not above, or None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(quantile * len(ordered)) - 1))]
