"""Numbers as people read them: 150k, 12.3 s, 3.2 MiB, 97.2 %."""

import math

from evolve.compare.entry import Spread


def count(number: float) -> str:
    """Three digits and a unit: 512, 1.54k, 150k, 2.1M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 999,600 would round to 1000k.
        if abs(number) >= 0.9995 * unit and abs(number) >= 1000:
            return f"{_digits(number / unit)}{name}"
    return _digits(number)


def duration(seconds: float | None) -> str:
    """Seconds, from two minutes on in minutes."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds >= 119.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    return f"{seconds:.1f} s" if seconds >= 9.95 else f"{seconds:.2f} s"


def size(number: int | None) -> str:
    """Bytes in binary units."""
    if number is None:
        return "–"
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if number >= unit:
            return f"{number / unit:.3g} {name}" if number < 1000 * unit else f"{number / unit:.0f} {name}"
    return f"{number} B"


def value(number: float, metric: str = "") -> str:
    """A metric: accuracies in per cent, all else in three significant digits."""
    if not math.isfinite(number):
        return "diverged"
    if percent(metric):
        return f"{100 * number:.1f} %"
    # 1e-06 and 1e+06 as people write them
    return f"{number:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def percent(metric: str) -> bool:
    """Whether a metric is a part of one, shown in per cent."""
    return metric.endswith("accuracy")


def interval(spread: Spread | None, metric: str) -> tuple[str, str]:
    """The median and the range in brackets; the range is empty where all seeds agree or the metric is missing."""
    if spread is None:
        return "–", ""
    if float(spread.low) == float(spread.high):
        return value(float(spread.median), metric), ""
    ends = [value(float(end), metric).removesuffix(" %") for end in (spread.low, spread.high)]
    return value(float(spread.median), metric), f"[{ends[0]}, {ends[1]}]"


def _digits(number: float) -> str:
    places = 0 if abs(number) >= 99.95 else 1 if abs(number) >= 9.995 else 2
    text = f"{number:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
