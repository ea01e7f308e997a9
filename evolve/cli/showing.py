"""What `evolve compare` was asked for, and what it shows in the end, of one problem or of a suite."""

from pathlib import Path

from evolve.cli.errors import RunError, UsageError
from evolve.cli.summary import wide_console
from evolve.compare import Comparison


def show(found: Comparison, folder: Path) -> None:
    """Print the table, and where the report lies."""
    console = wide_console()
    console.print(found.table(console.width))
    console.print(f"report: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


def judged(found: Comparison, folder: Path) -> int:
    """The exit status, or why it went wrong.

    Raises
    ------
    KeyboardInterrupt, RunError
        Says what happened, and where what there is lies.
    """
    if found.interrupted:
        raise KeyboardInterrupt(f"interrupted; what was finished is in {folder}")
    unsaved: OSError | None = getattr(found, "unsaved", None)
    if unsaved is not None:
        raise RunError(f"{folder} could not be written ({unsaved}): what is there is not complete.")
    broken = [entry.name for entry in found.entries if entry.status == "failed"]
    if broken:
        raise RunError(f"{', '.join(broken)} failed; {folder / 'report.html'} has the details.")
    return 0


def named_ones(text: str) -> list[str]:
    """The names in `--optimizers A,B,C`.

    Raises
    ------
    UsageError
        There is none, or one stands there twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("--optimizers is empty; give names of evolve list, such as openes,cmaes.")
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--optimizers names {name} {names.count(name)} times; once is enough.")
    return names
