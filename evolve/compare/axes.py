"""Scales of a figure: logarithmic where numbers span decades, and ticks without powers to decipher."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evolve.compare.entry import Spread
from evolve.compare.words import count, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_DECADES = 16  # at most on one axis: below lies rounding
_ACCURACIES = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 1.0)


def scale_x(axes: "Axes", lines: Sequence[np.ndarray]) -> None:
    """Logarithmic over what is positive."""
    points = _finite(lines)
    points = points[points > 0]
    if not points.size:
        return
    low, high = points.min(), points.max()
    axes.set_xscale("log")
    axes.set_xlim(low * 0.95, high * 1.02 if high > low else high * 1.1)
    _log_ticks(axes.xaxis, low, high)


def scale_y(axes: "Axes", metric: str, bands: Sequence[Spread]) -> None:
    """Logarithmic for errors, by the distance to 100 % for accuracies, linear where numbers are negative.

    What diverges leaves the picture instead of flattening all others.
    """
    if percent(metric):
        _accuracy(axes, bands)
        return
    points = _finite([band.median for band in bands])
    if not points.size:
        return
    starts = _finite([band.median[:1] for band in bands])
    low, high = points.min(), min(points.max(), _ceiling(starts, points))
    if low >= 0 and high > 0:
        low = max(points[points > 0].min(), high * 10.0**-_DECADES)
        axes.set_yscale("log")
        room = (high / low) ** 0.05 if high > low else 1.5
        axes.set_ylim(low / room, high * room)
        _log_ticks(axes.yaxis, low / room, high * room)
    else:
        room = 0.05 * (high - low) or 0.5
        axes.set_ylim(low - room, high + room)


def _ceiling(starts: np.ndarray, points: np.ndarray) -> float:
    """The highest loss worth showing: well above where the methods began."""
    if not starts.size:
        return float(points.max())
    begin = float(np.median(starts))
    return begin + 4 * (begin - float(points.min())) if begin > points.min() else float(points.max())


def _accuracy(axes: "Axes", bands: Sequence[Spread]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    # Half a point beyond: 100 % has a place, and 99 % is as far from 98 % as 98 % is from 96 %.
    axes.set_yscale("function", functions=(lambda y: -np.log10(1.005 - np.minimum(y, 1.0)), lambda v: 1.005 - 10.0**-v))
    points = _finite([band.median for band in bands])
    low, high = (points.min(), points.max()) if points.size else (0.0, 1.0)
    axes.set_ylim(max(-0.02, low - 0.02), min(1.0, high + 0.3 * (1.005 - high)))
    axes.yaxis.set_major_locator(FixedLocator(list(_ACCURACIES)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f} %"))


def _log_ticks(axis: "Axis", low: float, high: float) -> None:
    """Ticks at 1, 2 and 5 where few decades are in sight, else at powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    decades = np.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.2 else (1.0,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda number, _: tick(number)))
    axis.set_minor_formatter(NullFormatter())


def tick(number: float) -> str:
    """A tick's number: 0.01, 5, 200, 10k, 1e-8."""
    if number >= 1e12 or 0 < number < 0.99e-3:
        return f"{number:.0e}".replace("e-0", "e-").replace("e+", "e")
    return count(number) if number >= 1 else f"{number:g}"


def _finite(lines: Sequence[np.ndarray]) -> np.ndarray:
    points = np.concatenate([np.ravel(line) for line in lines]) if lines else np.zeros(0)
    return points[np.isfinite(points)]
