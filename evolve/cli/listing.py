"""`evolve list`: what there is."""

import inspect
import re
from itertools import zip_longest
from textwrap import wrap

from rich.markup import escape
from rich.table import Table

from evolve.cli.arguments import List
from evolve.cli.errors import unknown
from evolve.cli.registry import OPTIMIZERS, PROBLEMS, Entry
from evolve.cli.summary import wide_console
from evolve.cli.values import kind, parameters

_AUTHORS = re.compile(r"(.*?\b(?:1[89]|20)\d\d\b\)?).*")  # up to the first year


def show(command: List) -> int:
    """Carry out `evolve list`; returns the exit status."""
    console = wide_console()
    if command.name is None:
        for title, entries in (("Optimizers", OPTIMIZERS), ("Problems", PROBLEMS)):
            lines = [title, "", *_overview(entries, console.width), ""]
            console.print("\n".join(lines), markup=False, highlight=False, no_wrap=True, crop=False)
        return 0
    known = OPTIMIZERS | PROBLEMS
    if command.name not in known:
        raise unknown("there is no optimizer or problem", command.name, known)
    factory, source = known[command.name].factory, known[command.name].source
    text = inspect.getdoc(factory) or ""
    cited = "" if source in text else f"\nSource: {source}.\n"
    console.print(f"{text}\n{cited}", markup=False, highlight=False)
    table = Table("setting", "default", "allowed", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name, parameter in parameters(factory).items():
        default = "" if parameter.default is parameter.empty else _word(parameter.default)
        table.add_row(name, escape(default), escape(kind(parameter.annotation).allowed))
    console.print(table)
    return 0


def _overview(entries: dict[str, Entry], width: int) -> list[str]:
    """One line each; what a narrow terminal has no room for goes on below, of a source only authors and year."""
    name_width = max(map(len, entries))
    room = max(20, width - name_width - 4)
    sources = min(max(len(entry.source) for entry in entries.values()), room * 2 // 5)
    whats = min(max(len(entry.description) for entry in entries.values()), room - sources)
    lines: list[str] = []
    for name, entry in entries.items():
        source = entry.source if len(entry.source) <= sources else _AUTHORS.sub(r"\1", entry.source)
        cells = [name], wrap(entry.description, whats), wrap(source, sources)
        for parts in zip_longest(*cells, fillvalue=""):
            lines.append(f"{parts[0]:<{name_width}}  {parts[1]:<{whats}}  {parts[2]}".rstrip())
    return lines


def _word(default: object) -> str:
    """As it is written in Python, less the addresses of functions."""
    if default is None or isinstance(default, bool):
        return str(default).lower()
    return getattr(default, "__name__", str(default))
