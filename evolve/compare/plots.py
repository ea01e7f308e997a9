"""Curves: the median over seeds as a line, their range as a shade, names at the lines' ends."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evolve.compare.axes import scale_x, scale_y
from evolve.compare.entry import Entry, Spread, spread
from evolve.compare.look import Look, looks
from evolve.compare.table import header

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evolve.compare.comparison import Comparison

INK = "#24292f"
ALONE, BESIDE = (7.4, 4.6), (6.2, 4.2)  # inches, of a panel
_LABEL = 8.5  # points


def panels(comparison: "Comparison") -> list[tuple[str, str]]:
    """What is drawn: (metric, axis) pairs."""
    return [(metric, axis) for metric in comparison.metrics[:4] for axis in ("evaluations", "seconds")]


def save_plots(comparison: "Comparison", path: Path) -> list[Path]:
    """See `Comparison.plot`."""
    pairs = panels(comparison)
    if path.suffix:
        path.parent.mkdir(parents=True, exist_ok=True)
        return [write(figure(comparison, pairs, size=BESIDE), path)]
    path.mkdir(parents=True, exist_ok=True)
    files = [write(figure(comparison, pairs, size=BESIDE), path / "overview.png")]
    for metric, axis in pairs:
        name = "".join(c if c.isalnum() or c in "_-" else "_" for c in metric)
        files.append(write(figure(comparison, [(metric, axis)]), path / f"{name}_{axis}.png"))
    return files


def figure(
    comparison: "Comparison",
    pairs: Sequence[tuple[str, str]],
    ink: str = INK,
    size: tuple[float, float] = ALONE,
) -> "Figure":
    """Panels of a size, two beside each other, with `ink` for text and axes."""
    panels = [partial(_panel, comparison=comparison, metric=metric, axis=axis) for metric, axis in pairs]
    return canvas(panels, ink, size)


def canvas(panels: Sequence[Callable[["Axes"], None]], ink: str = INK, size: tuple[float, float] = ALONE) -> "Figure":
    """A figure of panels, each drawn by a function into axes of its own; lines are named at their ends."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    settings: Any = dict.fromkeys(inked, ink) | {"font.size": 9.5, "axes.titlesize": 11.5}
    settings["text.parse_math"] = False  # a dollar in a name is a dollar
    with rc_context(settings):
        rows, columns = (1, 1) if len(panels) == 1 else ((len(panels) + 1) // 2, 2)
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
        drawn = Figure(figsize=(size[0] * columns, size[1] * rows), layout=layout, dpi=160)
        FigureCanvasAgg(drawn)
        for place, panel in enumerate(panels):
            axes = drawn.add_subplot(rows, columns, place + 1)
            panel(axes)
            _name_lines(axes, 72 * 0.8 * size[1])
    return drawn


def write(drawn: "Figure", path: Path) -> Path:
    """Save a figure in the format that the file's name says."""
    drawn.savefig(path)
    return path


def _panel(axes: "Axes", comparison: "Comparison", metric: str, axis: str) -> None:
    drawn = [entry for entry in comparison.entries if metric in entry.curves]
    shown = [(entry, _across(entry, axis), spread(entry.curves[metric], metric)) for entry in drawn]
    scale_y(axes, metric, [band for _, _, band in shown])
    scale_x(axes, [x for _, x, _ in shown])
    styles = looks(comparison.entries)
    for entry, x, band in shown:
        _curve(axes, styles[entry.name], entry.name, x, band)
    seeds = comparison.facts["seeds"]
    labels = {"evaluations": "forward passes a seed", "seconds": f"seconds, {seeds} seeds at once, without compiling"}
    axes.set_xlabel(labels[axis] if seeds > 1 else labels[axis].replace(", 1 seeds at once", ""))
    title = header(metric).removeprefix("final ")
    dress(axes, f"{title[:1].upper()}{title[1:]} against {axis}")
    if not shown:
        axes.text(0.5, 0.5, "nothing was measured", transform=axes.transAxes, ha="center", va="center")


def dress(axes: "Axes", title: str) -> None:
    """Title, grid and spines, the same in all panels."""
    axes.set_title(title, loc="left", fontweight="bold", pad=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(which="major", color="#888888", alpha=0.22, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=3, width=0.6)


def _across(entry: Entry, axis: str) -> np.ndarray:
    """The axis that the points lie on, one number a point."""
    return np.median(entry.curves[axis], axis=-1) if axis == "evaluations" else entry.curves[axis]


def _curve(axes: "Axes", look: Look, name: str, x: np.ndarray, band: Spread) -> None:
    low, median, high = (np.where(np.isfinite(line), line, np.nan) for line in band)
    # A worst that is not finite is off the picture, and the shade reaches its edge.
    bottom, top = axes.get_ylim()
    low, high = (
        np.where(np.isnan(line) & ~np.isnan(median), edge, line) for line, edge in ((low, bottom), (high, top))
    )
    axes.fill_between(x, low, high, color=look.color, alpha=0.14, linewidth=0)
    style: Any = {"dashes": look.dashes} if look.dashes else {"linestyle": "-"}
    axes.plot(
        x,
        median,
        color=look.color,
        linewidth=1.8,
        marker=look.marker,
        markersize=4.2,
        markeredgewidth=0,
        markevery=max(1, len(x) // 7),
        label=name,
        solid_capstyle="round",
        dash_capstyle="round" if len(look.dashes) else "butt",
        **style,
    )


def _name_lines(axes: "Axes", height: float) -> None:
    """Each name beside the axes, in its line's colour, moved apart from its neighbours, with a thread to the line.

    The height is that of the axes in points, roughly: how close two names may come.
    """
    from matplotlib.lines import Line2D

    ends = [(line, _end(axes, line)) for line in axes.get_lines()]
    ends = sorted(((line, end) for line, end in ends if end is not None), key=lambda item: item[1][1])
    places = apart([end[1] for _, end in ends], 1.25 * _LABEL / height)
    for (line, (x, y)), place in zip(ends, places, strict=True):
        style: Any = {"color": line.get_color(), "transform": axes.transAxes, "clip_on": False}
        axes.add_artist(Line2D([x, 1.03], [y, place], linewidth=0.6, alpha=0.6, **style))
        axes.text(1.04, place, str(line.get_label()), fontsize=_LABEL, va="center", **style)


def _end(axes: "Axes", line: Any) -> tuple[float, float] | None:
    """Where a line ends, in fractions of the axes; one that leaves them ends at their edge."""
    x, y = (np.asarray(values, float) for values in line.get_data())
    places = np.column_stack([x, y])[np.isfinite(x) & np.isfinite(y)]
    if not len(places):
        return None
    with np.errstate(all="ignore"):
        end = axes.transAxes.inverted().transform(axes.transData.transform(places[-1]))
    if not np.isfinite(end).all():
        return None
    return float(np.clip(end[0], 0, 1)), float(np.clip(end[1], 0, 1))


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Sorted places in [0, 1], moved until no two are closer than the gap, or than what there is room for."""
    gap = min(gap, 1 / max(1, len(places) - 1))
    steps = gap * np.arange(len(places))
    # Without the steps, to keep apart is to ascend. The least ascending line above and the greatest below are both
    # apart, and so is their mean, which spreads a crowd to both sides.
    bare = np.asarray(places) - steps
    above, below = np.maximum.accumulate(bare), np.minimum.accumulate(bare[::-1])[::-1]
    return list(np.clip((above + below) / 2, 0.0, 1.0 - gap * (len(places) - 1)) + steps)
