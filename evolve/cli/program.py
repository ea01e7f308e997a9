"""From words to work to an exit status."""

import sys
from collections.abc import Sequence

import evolve
from evolve.cli.arguments import COMMANDS, Command, Compare, List, Run
from evolve.cli.errors import RunError, UsageError, unknown

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
        return _dispatch(_parse(list(sys.argv[1:] if words is None else words)))
    except UsageError as error:
        return _complain(error, MISUSED)
    except RunError as error:
        return _complain(error, FAILED)
    except KeyboardInterrupt as error:
        return _complain(str(error) or "interrupted", INTERRUPTED)
    except SystemExit as exit:  # how the parser ends after --help or a slip that it explained
        return exit.code if isinstance(exit.code, int) else MISUSED


def _parse(words: list[str]) -> Command:
    import tyro

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
    lines = [f"  {name:<10}{(command.__doc__ or '').partition(chr(10))[0]}" for name, command in COMMANDS.items()]
    return "\n".join([f"{evolve.__doc__}\n\nusage: evolve COMMAND ...\n", *lines, "", *_HINTS])


_HINTS = (
    "evolve COMMAND --help says more, with examples. To begin with:",
    "",
    "  evolve compare digits                              ten optimizers train a network",
    "  evolve run rastrigin --optimizer cmaes --set sigma=2",
)


def _dispatch(command: Command) -> int:
    """Import what the command needs, and no more, then carry it out."""
    if isinstance(command, List):
        from evolve.cli.listing import show

        return show(command)
    if isinstance(command, Run):
        from evolve.cli.running import run

        return run(command)
    if isinstance(command, Compare):
        from evolve.cli.comparing import compare

        return compare(command)
    from evolve.cli.comparing import report

    return report(command)


def _complain(message: object, status: int) -> int:
    print(f"evolve: {message}", file=sys.stderr)
    return status
