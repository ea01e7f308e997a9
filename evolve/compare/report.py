"""A comparison as one HTML page: everything inline, light or dark as the reader's system is."""

import io
import re
from html import escape
from string import Template
from typing import TYPE_CHECKING, Any

from evolve.compare.entry import Entry
from evolve.compare.look import Look, looks
from evolve.compare.page import PAGE, READING
from evolve.compare.plots import BESIDE, figure, panels
from evolve.compare.table import HEADERS, cells, header, leaders, trouble
from evolve.compare.words import duration, interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from evolve.compare.comparison import Comparison

INK = "#010203"  # stands for the page's own text colour


def page(comparison: "Comparison") -> str:
    """The whole page."""
    facts = comparison.facts
    parts = {
        "title": escape(comparison.title),
        "heading": escape(comparison.heading().removeprefix(f"{comparison.title}: ")),
        "verdict": _verdict(comparison),
        "table": _table(comparison),
        "troubles": troubles(comparison),
        "figures": "\n".join(f"<figure>{_svg(comparison, pair)}</figure>" for pair in panels(comparison)),
        "settings": settings(comparison),
        "facts": definitions(_facts(facts)),
        "versions": definitions(facts["versions"]),
        "tables": "",
        "reading": READING.format("all seeds at once" if facts["seeds"] > 1 else "the one seed"),
    }
    return Template(PAGE).substitute(parts)


def _verdict(comparison: "Comparison") -> str:
    """The best, in a sentence."""
    best = comparison.ranked()[0]
    if not best.final:
        return "No optimizer has a result."
    words = [
        f"{escape(header(metric))} <b>{interval(best.spread(metric), metric)[0]}</b>" for metric in comparison.metrics
    ]
    note = " The comparison was interrupted." if comparison.interrupted else ""
    return f"Best: <b>{escape(best.name)}</b>, {', '.join(words)}.{note}"


def _table(comparison: "Comparison") -> str:
    entries, metrics, styles = comparison.ranked(), comparison.metrics, looks(comparison.entries)
    best = {metric: leaders(entries, metric) for metric in metrics}
    heads = "".join(f"<th>{escape(name)}</th>" for name in (*HEADERS, *map(header, metrics)))
    lines: list[str] = []
    for entry in entries:
        name, *numbers = map(escape, cells(entry))
        first = f"<th>{swatch(styles[entry.name])}{name}</th>"
        values = "".join(_value(entry, metric, entry.name in best[metric]) for metric in metrics)
        kind = "" if entry.final else " class=none"
        lines.append(f"<tr{kind}>{first}{''.join(f'<td>{number}</td>' for number in numbers)}{values}</tr>")
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _value(entry: Entry, metric: str, best: bool) -> str:
    if not entry.final:
        return f"<td>{escape(entry.status)}</td>"
    median, ends = interval(entry.spread(metric), metric)
    return f"<td{' class=best' if best else ''}><b>{median}</b> <small>{ends}</small></td>"


def swatch(look: Look) -> str:
    """A piece of the optimizer's line."""
    dashes = f' stroke-dasharray="{" ".join(str(2 * dash) for dash in look.dashes)}"' if look.dashes else ""
    line = f'<path d="M1 5H27" stroke="{look.color}" stroke-width="3"{dashes}/>'
    return f'<svg class="swatch" width="28" height="10" aria-hidden="true">{line}</svg>'


def troubles(comparison: "Comparison") -> str:
    """What the reader should know of entries, as a list."""
    found = [(entry.name, trouble(entry)) for entry in comparison.ranked()]
    lines = [f"<li><b>{escape(name)}</b> {escape(words)}</li>" for name, words in found if words]
    return f"<ul class=trouble>{''.join(lines)}</ul>" if lines else ""


def settings(comparison: "Comparison") -> str:
    """Every optimizer's settings in words."""
    styles = looks(comparison.entries)
    return "".join(
        f"<dt>{swatch(styles[entry.name])}{escape(entry.name)} <small>{escape(entry.family)}</small></dt>"
        f"<dd>{_settings(entry)}</dd>"
        for entry in comparison.entries
    )


def _settings(entry: Entry) -> str:
    """In short, and all of them on request."""
    full, short = (f"<code>{escape(words)}</code>" for words in (entry.settings, entry.outline))
    return f"{short}<details><summary>in full</summary>{full}</details>" if entry.outline else full


def _facts(facts: dict[str, Any]) -> dict[str, Any]:
    budget = ", ".join(f"{name} {limit:,}" for name, limit in facts["budget"].items() if limit is not None)
    first = facts["seed"]
    return {
        "problem": facts["problem"],
        "budget": budget,
        "seeds": f"{first} to {first + facts['seeds'] - 1}" if facts["seeds"] > 1 else first,
        "device": facts["device"],
        "precision": "float64" if facts["x64"] else "float32",
        "started": facts["started"].replace("T", " ").replace("+00:00", " UTC"),
        "took": duration(facts["elapsed"]),
    }


def definitions(pairs: dict[str, Any]) -> str:
    """Names and values."""
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in pairs.items())


def _svg(comparison: "Comparison", pair: tuple[str, str]) -> str:
    return inline(figure(comparison, [pair], INK, BESIDE), " against ".join(pair))


def inline(drawn: "Figure", label: str) -> str:
    """A figure as inline SVG, its `INK` in the page's own colour, without references to anywhere."""
    from matplotlib import rc_context

    stream = io.StringIO()
    # A salt of its own: the ids of two figures on one page must not meet.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        drawn.savefig(stream, format="svg", transparent=True)
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)

    def head(found: re.Match[str]) -> str:  # a metric may be named \d, which a template would take for a group
        return f'<svg {found[1]} role="img" aria-label="{escape(label)}">'

    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', head, text)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    return text.replace(INK, "currentColor")
