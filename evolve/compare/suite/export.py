"""Logs as the files of COCO's logger (coco-experiment 2.8, format "bbob-new2"), which `cocopp` reads.

As COCO's do from dimension 20 on, lines leave out the coordinates. A `.dat` has a line where one of five targets a
decade is reached first: cocopp reads no more from COCO's own, which have a hundred.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evolve import __version__
from evolve.compare.suite.suite import Log
from evolve.run.checkpoint import write_atomically

if TYPE_CHECKING:
    from evolve.compare.suite.profiles import Profiles

_HEAD = (
    "% f evaluations | g evaluations | best noise-free fitness - Fopt ({:.12e}) + sum g_i+ | measured fitness"
    " | best measured fitness or single-digit g-values | x1 | x2...\n"
)
_PREFIX = "bbobexp"
_ENDINGS = ("dat", "tdat", "rdat", "mdat")  # COCO writes the last two for restarts and recommendations; they are empty


def write(profiles: "Profiles", name: str, folder: Path) -> Path:
    """Write a folder of one optimizer's logs; returns it."""
    log, cases = profiles.logs[name], profiles.facts["cases"]
    target = folder / (re.sub(r"[^\w.-]+", "-", name) or "-")
    for function in profiles.functions:
        places = [place for place, (number, _) in enumerate(cases) if number == function]
        stem = f"{_PREFIX}_f{function}_DIM{profiles.dimension}"
        data = target / f"data_f{function}"
        data.mkdir(parents=True, exist_ok=True)
        texts = [lines(log, place, profiles.minima[place]) for place in places]
        for ending, parts in zip(_ENDINGS, zip(*texts, strict=True), strict=True):
            write_atomically(data / f"{stem}.{ending}", "".join(parts).encode())
        trials = [f"{cases[place][1]}:{log.evaluations[place]}|{log.best[place]:.1e}" for place in places]
        index = [_index(profiles, function, name), f"data_f{function}/{stem}.dat, {', '.join(trials)}"]
        write_atomically(target / f"{_PREFIX}_f{function}.info", "\n".join(index).encode())
    return target


def _index(profiles: "Profiles", function: int, name: str) -> str:
    """The first two lines of an index file."""
    quoted = name.replace("'", "")
    fields = {
        "suite": f"'{profiles.facts['suite']}'",
        "funcId": function,
        "DIM": profiles.dimension,
        "Precision": "1.000e-08",
        "algId": f"'{quoted}'",
        "coco_version": "'2.8.2'",
        "logger": "'bbob'",
        "data_format": "'bbob-new2'",
        "settings": "''",
    }
    settings = next(entry.settings for entry in profiles.entries if entry.name == name).replace("\n", " ")
    return ", ".join(f"{key} = {value}" for key, value in fields.items()) + f"\n% evolve {__version__}: {settings}"


def lines(log: Log, place: int, f_opt: float) -> tuple[str, str, str, str]:
    """What one run adds to each of the four files."""
    head, end = _HEAD.format(f_opt), int(log.evaluations[place])
    hits, gaps = log.hits[place], log.gaps[place]
    by_target = {1: (log.bests[place, 0], log.losses[place, 0])}
    by_target |= {int(hit): (gap, gap + f_opt) for hit, gap in zip(hits, gaps, strict=True) if hit > 0}
    last = {end: (log.best[place], log.best[place] + f_opt)}
    made = log.moments <= end
    by_time = dict(
        zip(log.moments[made].tolist(), zip(log.bests[place, made], log.losses[place, made], strict=True), strict=True)
    )
    return head + _rows(last | by_target, f_opt), head + _rows(last | by_time, f_opt), head, head


def _rows(rows: dict[int, tuple[np.floating, np.floating]], f_opt: float) -> str:
    """Evaluations, evaluations of constraints, lowest gap, loss, lowest loss."""
    return "".join(
        f"{evaluations} 0 {gap:+.9e} {loss:+.9e} {gap + f_opt:+.9e}\n"
        for evaluations, (gap, loss) in sorted(rows.items())
    )
