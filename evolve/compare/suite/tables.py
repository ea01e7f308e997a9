"""Tables of a suite: one line an optimizer, and expected running times for each function and target."""

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from evolve.compare.suite.reference import NAME
from evolve.compare.table import total, trouble
from evolve.compare.words import count, duration

if TYPE_CHECKING:
    import rich.table

    from evolve.compare.entry import Entry
    from evolve.compare.suite.profiles import Profiles

HEADERS = ("optimizer", "solved", "targets", "seconds", "compiling")
SHOWN = (1, 0, -1, -2, -3, -5, -7)  # powers of ten: the targets of COCO's tables


def cells(profiles: "Profiles", entry: "Entry") -> list[str]:
    """Of `HEADERS`, and the fraction of targets for each group."""
    if not entry.final:
        return [entry.name, entry.status, "–", "–", "–", *["–" for _ in list(profiles.groups)[1:]]]
    runs, (solved, pairs) = len(profiles.facts["cases"]), profiles.solved(entry)
    groups = [percent(profiles.solved(entry, numbers)[1]) for numbers in list(profiles.groups.values())[1:]]
    first = [entry.name, f"{round(solved * runs)} of {runs}", percent(pairs)]
    return [*first, duration(total(entry)), duration(entry.compile_seconds), *groups]


def overview(profiles: "Profiles", wide: bool) -> "rich.table.Table":
    """For a terminal; a narrow one has no room for the groups."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape as plain
    from rich.table import Table

    ranked = profiles.ranked()
    notes = [f"{entry.name} {words}" for entry in ranked if (words := trouble(entry))]
    table = Table(
        title=plain(profiles.heading()),
        caption=plain("\n".join(notes)) or None,
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    heads = [*HEADERS, *[name.replace(" ", "\n") for name in profiles.groups][1:]] if wide else HEADERS
    for place, name in enumerate(heads):
        table.add_column(plain(name), justify="right" if place else "left", no_wrap=bool(place), overflow="fold")
    for entry in ranked:
        table.add_row(*map(plain, cells(profiles, entry)[: len(heads)]), style=None if entry.final else "dim")
    return table


def running_times(profiles: "Profiles", function: int, swatches: dict[str, str]) -> str:
    """HTML: expected running times over the dimension to a function's targets, and runs that reached the last one."""
    heads = "".join(f"<th>1e{power}</th>" for power in SHOWN)
    ranked, rows = [entry for entry in profiles.ranked() if entry.final], list[str]()
    place, reference = list(profiles.functions).index(function), profiles.reference
    times = {entry.name: profiles.erts[entry.name][place][_places()] for entry in ranked}
    best = np.min(list(times.values()), axis=0) if times else np.full(len(SHOWN), np.inf)
    if reference is not None:
        numbers = "".join(f"<td>{_ert(ert / profiles.dimension)}</td>" for ert in reference[place][_places()])
        rows.append(f"<tr class=none><th>{NAME}</th>{numbers}<td></td></tr>")
    for entry in ranked:
        numbers = "".join(
            f"<td{' class=best' if ert == low < np.inf else ''}>{_ert(ert / profiles.dimension)}</td>"
            for ert, low in zip(times[entry.name], best, strict=True)
        )
        last = np.isfinite(profiles.runs(entry, function)[0][-1])
        name = swatches[entry.name] + escape(entry.name)
        rows.append(f"<tr><th>{name}</th>{numbers}<td>{last.sum()} of {len(last)}</td></tr>")
    title = f"<h3>f{function} {escape(profiles.functions[function])}</h3>"
    return f"{title}<table><thead><tr><th></th>{heads}<th>1e-8</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"


def percent(part: float) -> str:
    """Of targets."""
    return f"{100 * part:.0f} %"


def _places() -> list[int]:
    """Where the shown targets are among the 51."""
    return [5 * (2 - power) for power in SHOWN]


def _ert(number: float) -> str:
    return count(number) if np.isfinite(number) else "∞"
