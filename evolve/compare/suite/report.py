"""A suite's profiles and expected running times as one HTML page."""

from html import escape
from string import Template
from typing import TYPE_CHECKING, Any

from evolve.compare.look import looks
from evolve.compare.page import PAGE
from evolve.compare.plots import BESIDE
from evolve.compare.report import INK, definitions, inline, settings, swatch, troubles
from evolve.compare.suite.plots import figure
from evolve.compare.suite.reference import NAME
from evolve.compare.suite.tables import HEADERS, cells, running_times
from evolve.compare.words import duration

if TYPE_CHECKING:
    from evolve.compare.suite.profiles import Profiles

READING = """\
<p>A curve shows which part of all pairs of function and target was reached within so many evaluations, divided by the
dimension. The targets are 51 gaps between loss and minimum, 10<sup>2</sup> to 10<sup>&minus;8</sup>, five a decade.
Where a run failed, runs of the same function are drawn at random and added until one succeeds, as COCO does
(simulated restarts). A cross is the median length of the runs that did not reach 10<sup>&minus;8</sup>: right of it, a
curve rests on restarts that were not made. {}</p>
<p>Expected running times (ERT) are the evaluations of all runs on a function until they reached the target, those of
the others included, over the number that did; here divided by the dimension. The last column counts the runs that
reached 10<sup>&minus;8</sup>.</p>
<p>Evaluations are exact: members of a generation count in the order in which they were drawn. A gradient counts as
three. Every instance of a function has one run, with a start and a seed of its own, the same for all optimizers.</p>"""
_KNOWN = (
    f"The curve “{NAME}” is made of the lowest expected running times that any algorithm of BBOB 2009 had, target by"
    " target (the data that cocopp brings)."
)
_UNKNOWN = f"There is no curve “{NAME}”: its data comes with the package cocopp, for dimensions 2, 3, 5, 10, 20 and 40."


def page(profiles: "Profiles") -> str:
    """The whole page."""
    swatches = {name: swatch(look) for name, look in looks(profiles.entries).items()}
    tables = "".join(
        f"<div class=wide>{running_times(profiles, function, swatches)}</div>" for function in profiles.functions
    )
    drawn = [inline(figure(profiles, [group], INK, BESIDE), f"profile of {group}") for group in profiles.groups]
    parts = {
        "title": escape(profiles.title),
        "heading": escape(profiles.heading().removeprefix(f"{profiles.title}: ")),
        "verdict": _verdict(profiles),
        "table": _table(profiles, swatches),
        "troubles": troubles(profiles),
        "figures": "\n".join(f"<figure>{svg}</figure>" for svg in drawn),
        "tables": f"<h2>Expected running times / dimension</h2><div class=figures>{tables}</div>",
        "settings": settings(profiles),
        "facts": definitions(_facts(profiles)),
        "versions": definitions(profiles.facts["versions"]),
        "reading": READING.format(_UNKNOWN if profiles.reference is None else _KNOWN),
    }
    return Template(PAGE).substitute(parts)


def _verdict(profiles: "Profiles") -> str:
    """The best, in a sentence."""
    best = profiles.ranked()[0]
    if not best.final:
        return "No optimizer has a result."
    note = " The comparison was interrupted." if profiles.interrupted else ""
    return f"Best: <b>{escape(best.name)}</b>, {escape(profiles.words(best))}.{note}"


def _table(profiles: "Profiles", swatches: dict[str, str]) -> str:
    heads = "".join(f"<th>{escape(name)}</th>" for name in (*HEADERS, *list(profiles.groups)[1:]))
    lines: list[str] = []
    for entry in profiles.ranked():
        name, *numbers = map(escape, cells(profiles, entry))
        kind = "" if entry.final else " class=none"
        values = "".join(f"<td>{number}</td>" for number in numbers)
        lines.append(f"<tr{kind}><th>{swatches[entry.name]}{name}</th>{values}</tr>")
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _facts(profiles: "Profiles") -> dict[str, Any]:
    facts = profiles.facts
    return {
        "problems": f"{facts['suite']}, dimension {facts['dimension']}",
        "functions": ", ".join(map(str, profiles.functions)),
        "instances": ", ".join(map(str, facts["instances"])),
        "budget": f"{facts['budget']['evaluations']:,} evaluations a run",
        "seeds": f"{facts['seed']} + 100 × instance + function",
        "device": facts["device"],
        "precision": "float64" if facts["x64"] else "float32",
        "started": facts["started"].replace("T", " ").replace("+00:00", " UTC"),
        "took": duration(facts["elapsed"]),
    }
