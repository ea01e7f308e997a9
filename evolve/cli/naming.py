"""Problems in words: NAME:KEY=VALUE,KEY=VALUE, and where the files that they name lie."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolve.cli import values
from evolve.cli.errors import UsageError
from evolve.cli.own import look_in
from evolve.cli.registry import PROBLEMS, find

_FORMS = {
    "csv": "csv:FILE",
    "npz": "npz:FILE",
    "idx": "idx:IMAGES,LABELS",
    "python": "python:FILE.py:NAME",
}


@dataclass(frozen=True)
class Named:
    """A name of the registry and its settings, in words or as plain values."""

    name: str
    settings: dict[str, Any]


def parse_problem(text: str) -> Named:
    """`NAME:KEY=VALUE,KEY=VALUE`, `csv:FILE`, `npz:FILE`, `idx:IMAGES,LABELS`, `python:FILE.py:NAME`, `MODULE:NAME`.

    Raises
    ------
    UsageError
        The name is unknown, or what follows it cannot be understood.
    """
    name, *parts = text.split(":")
    settings = pairs(parts.pop().split(","), name) if parts and "=" in parts[-1] else {}
    middle = ":".join(parts)
    if name not in PROBLEMS and middle and _importable(name):
        found = {"path": name, "object": middle}
        name = "python"
    elif name == "python" and len(parts) > 1:
        found = {"path": ":".join(parts[:-1]), "object": parts[-1]}
    elif name == "idx" and middle.count(",") == 1:
        found = dict(zip(("images", "labels"), middle.split(","), strict=True))
    elif name in ("csv", "npz") and middle:
        found = {"path": middle}
    else:
        _known(name)
        found: dict[str, str] = {}
        if middle:
            form = _FORMS.get(name, name) + ":KEY=VALUE,KEY=VALUE"
            raise UsageError(f"{text!r} is not of the form {form}; leave out what you do not need.")
    for key in found.keys() & settings.keys():
        raise UsageError(f"{name}: {key} is given twice; leave one out.")
    return Named(name, absolute(Named(name, found | settings), Path.cwd()))


def pairs(words: list[str], where: str) -> dict[str, str]:
    """KEY=VALUE words.

    Raises
    ------
    UsageError
        One has no `=`, or a key stands there twice.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"{where}: {word!r} is not of the form KEY=VALUE.")
        if name.strip() in found:
            raise UsageError(f"{where}: {name.strip()} is given twice; leave one out.")
        found[name.strip()] = value.strip()
    return found


def absolute(problem: Named, folder: Path) -> dict[str, Any]:
    """Its settings; files and modules are looked for in a folder, and stay found from elsewhere."""
    known = values.parameters(find(PROBLEMS, "problem", problem.name).factory)
    files = [name for name in problem.settings if name in known and known[name].annotation is Path]
    return problem.settings | {name: str((folder / problem.settings[name]).absolute()) for name in files}


def _importable(name: str) -> bool:
    """Whether it may be a module or a Python file; modules in the working directory are found too."""
    if "." in name:
        return Path(name).suffix not in (".csv", ".npz")
    look_in(Path.cwd())
    try:
        return importlib.util.find_spec(name) is not None
    except (ValueError, ImportError):  # `__main__`, say, has no spec
        return False


def _known(name: str) -> None:
    """Refuse a name that is no problem's, and say what was perhaps meant."""
    files = {".csv": f"csv:{name}", ".npz": f"npz:{name}", ".py": f"{name}:NAME"}
    form = files.get(Path(name).suffix)
    if name not in PROBLEMS and form:
        raise UsageError(f"there is no problem {name!r}; a file of your own is given as {form}.")
    if name not in PROBLEMS and name and Path(name).is_dir():
        raise UsageError(f"there is no problem {name!r}, it is a folder; see evolve list, or name a JOB.toml in it.")
    find(PROBLEMS, "problem", name)
