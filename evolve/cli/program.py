"""From words to work to an exit status.

Nothing is imported here before `main` is at work: Ctrl-C ends it quietly from the first moment on, and `--help` and a
slip of the pen are answered before JAX is imported.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from evolve.cli.arguments import Command

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130


def main(words: Sequence[str] | None = None) -> int:
    """The `evolve` command.

    Parameters
    ----------
    words
        The command line without the program's name; that of the process by default.

    Returns
    -------
    int
        0 if all went well, 1 for a run that failed, 2 for misuse, 130 after Ctrl-C.
    """
    try:
        return _carried_out(list(sys.argv[1:] if words is None else words))
    except KeyboardInterrupt as error:
        return _complain(str(error) or "interrupted", INTERRUPTED)
    except SystemExit as exit:  # how the parser ends after --help or a slip that it explained
        return exit.code if isinstance(exit.code, int) else MISUSED


def _carried_out(words: list[str]) -> int:
    import warnings

    from evolve.cli.errors import RunError, UsageError, exhausted

    with warnings.catch_warnings():
        warnings.showwarning = _warn
        try:
            return _dispatch(_parse(words))
        except UsageError as error:
            return _complain(error, MISUSED)
        except RunError as error:
            return _complain(error, FAILED)
        except Exception as error:
            if (lacking := exhausted(error)) is None:
                raise  # nobody's mistake but ours
            return _complain(f"{lacking}; take a smaller problem.", FAILED)


def _warn(message: Warning | str, *where: Any, **more: Any) -> None:
    """A warning as a sentence: where in the library it arose says nothing to a user."""
    del where, more
    _complain(" ".join(str(message).split()), OK)


def _parse(words: list[str]) -> Command:
    import tyro

    import evolve
    from evolve.cli.arguments import COMMANDS
    from evolve.cli.errors import unknown

    name = words[0] if words else "--help"
    if name in ("-h", "--help"):
        print(_overview())
        raise SystemExit(OK if words else MISUSED)
    if name == "--version":
        print(evolve.__version__)
        raise SystemExit(OK)
    if name not in COMMANDS:
        raise unknown("there is no subcommand", name, COMMANDS)
    return tyro.cli(COMMANDS[name], prog=f"evolve {name}", args=words[1:])


def _overview() -> str:
    """The subcommands, by the first lines of their docstrings, and where to begin."""
    import evolve
    from evolve.cli.arguments import COMMANDS

    lines = [f"  {name:<10}{(command.__doc__ or '').partition(chr(10))[0]}" for name, command in COMMANDS.items()]
    return "\n".join([f"{evolve.__doc__}\n\nusage: evolve COMMAND ...\n", *lines, "", *_HINTS])


_HINTS = (
    "evolve COMMAND --help says more, with examples. To begin with:",
    "",
    "  evolve compare digits                              ten optimizers train a network",
    "  evolve run rastrigin --optimizer cmaes --set sigma=2",
)


_WORK = {
    "List": ("evolve.cli.listing", "show"),
    "Run": ("evolve.cli.running", "run"),
    "Compare": ("evolve.cli.comparing", "compare"),
    "Report": ("evolve.cli.reporting", "report"),
}


def _dispatch(command: Command) -> int:
    """Import what the command needs, and no more, then carry it out."""
    module, name = _WORK[type(command).__name__]
    return getattr(_imported(module), name)(command)


def _imported(module: str) -> ModuleType:
    """Import a module. Ctrl-C waits until it is there: compiled ones that it reaches half way report other errors."""
    import importlib
    import signal
    import threading

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        return importlib.import_module(module)
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        return importlib.import_module(module)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if pressed:
            raise KeyboardInterrupt


def _complain(message: object, status: int) -> int:
    print(f"evolve: {message}", file=sys.stderr)
    return status
