"""Runtime profiles: the fraction of pairs of function and target reached within so many evaluations."""

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evolve.compare.axes import tick
from evolve.compare.look import Look, looks
from evolve.compare.plots import ALONE, BESIDE, INK, canvas, dress, write
from evolve.compare.suite.profiles import ALL
from evolve.compare.suite.reference import NAME
from evolve.compare.suite.runtime import distribution

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evolve.compare.suite.profiles import Profiles

_REFERENCE = Look("#c8a951", (), "d")


def save_profiles(profiles: "Profiles", path: Path) -> list[Path]:
    """See `Profiles.plot`."""
    names = list(profiles.groups)
    if path.suffix:
        path.parent.mkdir(parents=True, exist_ok=True)
        return [write(figure(profiles, names, size=BESIDE), path)]
    path.mkdir(parents=True, exist_ok=True)
    files = [write(figure(profiles, names, size=BESIDE), path / "overview.png")]
    for name in names:
        stem = "all" if name == ALL else re.sub(r"\W+", "_", name)
        files.append(write(figure(profiles, [name]), path / f"profile_{stem}.png"))
    return files


def figure(profiles: "Profiles", groups: list[str], ink: str = INK, size: tuple[float, float] = ALONE) -> "Figure":
    """A panel for each group."""
    return canvas([partial(_panel, profiles=profiles, group=group) for group in groups], ink, size)


def _panel(axes: "Axes", profiles: "Profiles", group: str) -> None:
    functions, styles = profiles.groups[group], looks(profiles.entries)
    drawn = [entry for entry in profiles.entries if entry.final]
    curves = {entry.name: profiles.times(entry, functions) for entry in drawn}
    right = _right(profiles)
    _axes(axes, right)
    if profiles.reference is not None:
        rows = [list(profiles.functions).index(function) for function in functions]
        _line(axes, (NAME, _REFERENCE), profiles.reference[rows] / profiles.dimension, right)
    for entry in drawn:
        _line(axes, (entry.name, styles[entry.name]), curves[entry.name], right)
        lost = np.concatenate([_lost(profiles, entry, function) for function in functions])
        if lost.size:
            x, y = distribution(curves[entry.name])
            end = float(np.median(lost)) / profiles.dimension
            height = y[x <= end][-1] if np.any(x <= end) else 0.0
            # Not a line of its own: lines are named at their ends.
            axes.scatter([end], [height], marker="x", s=60, color=styles[entry.name].color, linewidths=1.6, zorder=4)
    numbers = f"f{functions[0]}" if len(functions) == 1 else f"f{functions[0]} to f{functions[-1]}"
    dress(axes, f"{group[:1].upper()}{group[1:]} ({numbers})" if group != ALL else "All functions")


def _right(profiles: "Profiles") -> float:
    """Where all panels end: a decade beyond the budget, where simulated restarts have shown what they can."""
    return float(10 ** np.ceil(np.log10(10 * profiles.facts["budget"]["evaluations"] / profiles.dimension)))


def _lost(profiles: "Profiles", entry: Any, function: int) -> np.ndarray:
    """Evaluations of the runs that did not reach the last target."""
    hits, lengths = profiles.runs(entry, function)
    return lengths[~np.isfinite(hits[-1])]


def _axes(axes: "Axes", right: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(0.5, right)
    axes.set_ylim(0.0, 1.0)
    axes.xaxis.set_major_locator(LogLocator(numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: tick(number)))
    axes.set_xlabel("evaluations / dimension")
    axes.set_ylabel("fraction of function, target pairs")


def _line(axes: "Axes", named: tuple[str, Look], times: np.ndarray, right: float) -> None:
    name, look = named
    x, y = distribution(times)
    shown = x <= right
    x, y = np.concatenate([[0.5], x[shown], [right]]), np.concatenate([[0.0], y[shown]])
    style: Any = {"dashes": look.dashes} if look.dashes else {}
    style |= {"linewidth": 3.2, "alpha": 0.7, "zorder": 1.5} if look is _REFERENCE else {"linewidth": 1.8}
    axes.step(x, np.concatenate([y, y[-1:]]), where="post", color=look.color, label=name, **style)
