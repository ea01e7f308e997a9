"""Names for the command line: every optimizer and every problem, with its source."""

import inspect
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import optax

import evolve
import zeroth
from evolve.cli import data, own
from evolve.cli.errors import unknown
from evolve.core import Problem
from evolve.core.checks import check_count, check_positive
from evolve.core.schedule import Number
from problems import BBOB, FUNCTIONS, Digits, Function


@dataclass(frozen=True)
class Entry:
    """What a name stands for: a factory whose signature gives the settings, what it is, and who published it."""

    factory: Callable[..., Any]
    description: str
    source: str

    @classmethod
    def of(cls, factory: Callable[..., Any]) -> "Entry":
        """From the first line of its docstring, or of its file's, whichever cites: `What it is (Author year)`."""
        lines = [_first_line(factory), _first_line(sys.modules[factory.__module__])]
        cited = next((line for line in lines if _SOURCE.search(line)), lines[0])
        found = _SOURCE.search(cited)
        description = _SOURCE.sub("", cited).rstrip(".").strip()
        return cls(factory, description, found.group(1) if found else "")


# A parenthesis that holds a year, and perhaps further parentheses: 21(5).
_PART = r"(?:[^()]|\([^()]*\))*"
_SOURCE = re.compile(rf" ?\(({_PART}\b(?:1[89]|20)\d\d\b{_PART})\)")


def sgd(learning_rate: Number = 0.1, momentum: float = 0.9) -> evolve.Gradient:
    """Stochastic gradient descent with momentum (Robbins and Monro 1951; Polyak 1964)."""
    check_positive(sgd, learning_rate=learning_rate)
    _check_decay(sgd, momentum=momentum)
    return evolve.Gradient(optax.sgd(learning_rate, momentum=momentum or None))


def adam(learning_rate: Number = 1e-2, b1: float = 0.9, b2: float = 0.999) -> evolve.Gradient:
    """Adaptive moments (Kingma and Ba 2015, arXiv:1412.6980)."""
    check_positive(adam, learning_rate=learning_rate)
    _check_decay(adam, b1=b1, b2=b2)
    return evolve.Gradient(optax.adam(learning_rate, b1, b2))


def bipop(
    sigma: float = 0.3,
    population: int | None = None,
    regime: Literal["bipop", "ipop", "same"] = "bipop",
    restarts: int = 9,
    low: float | None = None,
    high: float | None = None,
) -> evolve.Restarts:
    """CMA-ES with restarts, small and large ones in turn (Hansen 2009).

    With `low` and `high` every run but the first starts uniformly between them, otherwise where the first did.
    """
    if (low is None) != (high is None):
        raise ValueError(f"bipop: low is {low} and high is {high}; give both, or none.")
    start = None if low is None else evolve.Uniform(low, high)
    return evolve.Restarts(evolve.CMAES(sigma, population), regime, restarts, start)


def bounded(
    sigma: float = 0.3, population: int | None = None, low: float = -math.inf, high: float = math.inf
) -> evolve.Bounded:
    """CMA-ES within bounds, by a smooth map of the parameters (pycma; Hansen, Akimoto and Baudis 2019)."""
    return evolve.Bounded(evolve.CMAES(sigma, population), low, high)


def integers(
    sigma: float = 1.0,
    population: int | None = None,
    low: float = -math.inf,
    high: float = math.inf,
    step: float = 1.0,
    margin: float | None = None,
) -> evolve.Integers:
    """CMA-ES on whole numbers, with a margin that keeps them moving (Hamano, Saito, Nomura, Shirakawa 2022)."""
    return evolve.Integers(evolve.CMAES(sigma, population), low, high, step, margin)


def uhcmaes(
    sigma: float = 0.3,
    population: int | None = None,
    most: int = 30,
    reevaluated: int | None = None,
    widening: float = 2.0,
) -> evolve.UncertaintyHandling:
    """CMA-ES that evaluates as often as noise makes necessary (Hansen, Niederberger, Guzzella, Koumoutsakos 2009).

    It does not stop by itself: what looks like a plateau may be noise.
    """
    method = evolve.CMAES(sigma, population, stopping=None)
    return evolve.UncertaintyHandling(method, most, reevaluated, widening=widening)


def lbfgs(memory: int = 10, line_search: int = 20) -> evolve.Gradient:
    """Limited-memory quasi-Newton steps with a line search (Liu and Nocedal 1989).

    A line search takes at most `line_search` steps, each of which costs an evaluation with its gradient.
    """
    check_count(lbfgs, 1, memory=memory, line_search=line_search)
    search = optax.scale_by_zoom_linesearch(line_search, initial_guess_strategy="one")
    return evolve.Gradient(optax.lbfgs(memory_size=memory, linesearch=search))


def _check_decay(owner: Callable[..., Any], **decays: float) -> None:
    """Refuse what an average over steps cannot forget by: with 1 it would forget nothing."""
    for option, value in decays.items():
        if not 0 <= value < 1:
            raise ValueError(f"{owner.__name__}: {option} is {value}; it must lie in [0, 1).")


def _analytic(name: str) -> Entry:
    formula = FUNCTIONS[name]

    def factory(
        dimension: int = 10, shift: int | None = None, rotation: int | None = None, start: float | None = None
    ) -> Problem:
        return Function(name, dimension, shift, rotation, start)

    factory.__doc__ = f"""{formula.value.__doc__}

    f(z) = {formula.equation} in [{formula.domain[0]:g}, {formula.domain[1]:g}]^dimension.

    Parameters
    ----------
    dimension
        The number of coordinates, at least {formula.least}.
    shift, rotation
        Seeds of a shift of the minimum and of a rotation about it; none: as it stands.
    start
        One number for all coordinates; none: drawn from the domain.
    """
    return Entry(factory, _first_line(formula.value).rstrip("."), formula.source)


def bbob(function: int = 1, dimension: int = 10, instance: int = 1, f_opt: float | None = None) -> Problem:
    """The 24 noiseless functions of COCO's suite bbob (Hansen, Finck, Ros and Auger 2009, INRIA RR-6829).

    Parameters
    ----------
    function
        1 to 24.
    dimension
        The number of coordinates, at least 2.
    instance
        COCO's number of the variant, at least 1.
    f_opt
        The minimum; none: COCO's. With 0, float32 reaches small targets.
    """
    return BBOB(function, dimension, instance, f_opt)


def _first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


OPTIMIZERS: dict[str, Entry] = {
    name: Entry.of(factory)
    for name, factory in {
        "openes": evolve.OpenES,
        "cmaes": evolve.CMAES,
        "bipop": bipop,
        "bounded": bounded,
        "integers": integers,
        "uhcmaes": uhcmaes,
        "sepcmaes": evolve.SepCMAES,
        "snes": evolve.SNES,
        "xnes": evolve.XNES,
        "crfmnes": evolve.CRFMNES,
        "pgpe": evolve.PGPE,
        "ars": evolve.ARS,
        "maes": evolve.MAES,
        "lmmaes": evolve.LMMAES,
        "genetic": evolve.GeneticAlgorithm,
        "annealing": evolve.SimulatedAnnealing,
        "random": evolve.RandomSearch,
        "spsa": zeroth.SPSA,
        "mezo": zeroth.MeZO,
        "sgd": sgd,
        "adam": adam,
        "lbfgs": lbfgs,
    }.items()
}

PROBLEMS: dict[str, Entry] = {
    "digits": Entry.of(Digits),
    **{name: _analytic(name) for name in FUNCTIONS},
    "bbob": Entry.of(bbob),
    "csv": Entry.of(data.csv),
    "npz": Entry.of(data.npz),
    "idx": Entry.of(data.idx),
    "python": Entry.of(own.python),
}


def find(table: dict[str, Entry], what: str, name: str) -> Entry:
    """The entry of a name.

    Raises
    ------
    UsageError
        There is none; says the nearest.
    """
    if name not in table:
        raise unknown(f"there is no {what}", name, table)
    return table[name]
