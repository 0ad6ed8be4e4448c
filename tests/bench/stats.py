"""Medians and spreads."""

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
