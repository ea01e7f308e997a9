"""Which line is whose: a hue and a dash for each family, legible on white and on black, and without colour."""

from collections.abc import Sequence
from dataclasses import dataclass

from evolve.compare.entry import Entry

# After Okabe and Ito (2008) and Tol (2021): told apart with any common colour blindness. Cool is evolution, violet
# is zeroth-order, warm is gradient.
_COLORS = {
    "evolution": ("#0072b2", "#4db3e6", "#009e73", "#8a9a2b", "#7f8c9b"),
    "zeroth-order": ("#a33ea1", "#dd7fb8", "#7b68c8"),
    "gradient": ("#d55e00", "#e69f00", "#b03060"),
}
_DASHES = {"evolution": (), "zeroth-order": (5.0, 2.0), "gradient": (1.2, 1.6)}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Look:
    """Of one optimizer's line. `dashes` are on and off in points, empty for a solid line."""

    color: str
    dashes: tuple[float, ...]
    marker: str


def looks(entries: Sequence[Entry]) -> dict[str, Look]:
    """By name; decided by family and order, so that every figure of a comparison agrees."""
    found: dict[str, Look] = {}
    seen = dict.fromkeys(_COLORS, 0)
    for entry in entries:
        place = seen[entry.family]
        seen[entry.family] += 1
        colors = _COLORS[entry.family]
        look = Look(colors[place % len(colors)], _DASHES[entry.family], _MARKERS[place % len(_MARKERS)])
        found[entry.name] = look
    return found
