"""`evolve list`: what there is."""

import inspect

from rich.markup import escape
from rich.table import Table

from evolve.cli.arguments import List
from evolve.cli.errors import unknown
from evolve.cli.registry import OPTIMIZERS, PROBLEMS, Entry
from evolve.cli.summary import wide_console
from evolve.cli.values import kind, parameters


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
    factory = known[command.name].factory
    console.print((inspect.getdoc(factory) or "") + "\n", markup=False, highlight=False)
    table = Table("setting", "default", "allowed", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name, parameter in parameters(factory).items():
        default = "" if parameter.default is parameter.empty else _word(parameter.default)
        table.add_row(name, escape(default), escape(kind(parameter.annotation).allowed))
    console.print(table)
    return 0


def _overview(entries: dict[str, Entry], width: int) -> list[str]:
    """One line each; what a narrow terminal has no room for is cut, but never the name."""
    name_width = max(map(len, entries))
    room = width - name_width - 4
    sources = min(max(len(entry.source) for entry in entries.values()), room * 2 // 5)
    whats = min(max(len(entry.description) for entry in entries.values()), room - sources)
    return [
        f"{name:<{name_width}}  {_cut(entry.description, whats):<{whats}}  {_cut(entry.source, sources)}".rstrip()
        for name, entry in entries.items()
    ]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def _word(default: object) -> str:
    """As it is written in Python, less the addresses of functions."""
    if default is None or isinstance(default, bool):
        return str(default).lower()
    return getattr(default, "__name__", str(default))
