"""Contests that were tuned: a problem, and every optimizer with the settings that suit it and the budget.

`evolve compare digits` runs the one below. Its numbers come from `python -m benchmarks.tune_digits`: the same random
search for every method, on the training examples alone, which are split again and again to validate. All trials lie
in benchmarks/results/tune_digits.json.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import optax

from evolve.cli.registry import OPTIMIZERS
from evolve.core import Antithetic, Cosine, Exponential, LowRank, Optimizer

# Forward passes for each seed; a gradient counts as three. Twice as much does not fit
# into three minutes on two cores.
EVALUATIONS = 100_000
SMALLEST = 10_000
SEEDS = 3
# Examples that one loss averages. With 64 a pass is cheaper, but random numbers cost most methods more than
# the network does, and OpenAI-ES then needs twice the passes for the same validation accuracy.
BATCH = 256


@dataclass(frozen=True)
class Contest:
    """What `evolve compare` runs where nothing else is said.

    problem
        The settings of the problem that was tuned for; the others are its defaults.
    optimizers
        By their names in `evolve list`: what the tuning found.
    evaluations
        Forward passes for each seed.
    seeds
        How many.
    smallest
        The least budget at which the contest still says something.
    """

    problem: dict[str, Any]
    optimizers: dict[str, dict[str, Any]]
    evaluations: int
    seeds: int
    smallest: int


@dataclass(frozen=True)
class Horizon:
    """The budget that schedules are stretched to: that with which a run began.

    Neither is known of a budget in seconds or of a target: rates then stay at what schedules begin with.
    """

    evaluations: int | None = None
    generations: int | None = None

    def steps(self, cost: int) -> float | None:
        """Generations that the budget pays for if each costs so many evaluations; None where it does not say."""
        limits = [] if self.evaluations is None else [self.evaluations / cost]
        limits += [] if self.generations is None else [float(self.generations)]
        return min(limits, default=None)


# The winners of benchmarks/tune_digits.py.
TUNED: dict[str, dict[str, Any]] = {
    "openes": {"population": 64, "sigma": 0.07, "learning_rate": 0.056, "weight_decay": 0.047},
    "sepcmaes": {"population": 128, "sigma": 0.17},
    "genetic": {"population": 64, "parents": 32, "sigma": 0.031, "shrink": 0.055},
    "annealing": {"chains": 1, "step": 0.011, "shrink": 0.33, "temperature": 0.00031},
    "random": {"population": 64, "sigma": 0.25},
    "spsa": {"population": 16, "sigma": 0.0044, "learning_rate": 0.093, "stability": 0.039},
    "mezo": {"population": 16, "sigma": 0.0018, "learning_rate": 0.086},
    "sgd": {"learning_rate": 0.048, "momentum": 0.9},
    "adam": {"learning_rate": 0.00015},
    "lbfgs": {"memory": 3, "line_search": 40},
}
CONTESTS = {"digits": Contest({"batch": BATCH}, TUNED, EVALUATIONS, SEEDS, SMALLEST)}


def preset(name: str, numbers: dict[str, Any], horizon: Horizon, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of an optimizer, as its factory takes them.

    Parameters
    ----------
    name
        As in `evolve list`.
    numbers
        What the tuning found for it.
    horizon
        What its schedules are stretched to.
    given
        Settings of the user's own. They replace tuned ones as they are; a population decides how many generations
        the horizon pays for.
    """
    make, fixed = _MAKERS[name]
    settings = make(horizon.steps(_cost(fixed | numbers | given)), **numbers) | fixed
    if given.get("update") is not None:  # it has a learning rate and a decay of its own
        settings = {key: value for key, value in settings.items() if key not in ("learning_rate", "weight_decay")}
    return settings | given


def _cost(settings: dict[str, Any]) -> int:
    """Evaluations a generation."""
    if "population" in settings:
        return settings["population"] or 1
    return settings["chains"] * (2 if settings["reevaluate"] else 1) if "chains" in settings else 3


def _built(name: str, budget: int, **numbers: Any) -> Optimizer:
    return OPTIMIZERS[name].factory(**preset(name, numbers, Horizon(budget), {}))


# Each makes an optimizer, `BUILDERS[name](evaluations, **numbers)`, its schedules stretched to the evaluations.
BUILDERS: dict[str, Callable[..., Optimizer]] = {name: partial(_built, name) for name in TUNED}


def _plain(steps: float | None, **numbers: Any) -> dict[str, Any]:
    """For methods that find their own step size, or have none."""
    del steps
    return numbers


def _cooled(steps: float | None, learning_rate: float, **numbers: Any) -> dict[str, Any]:
    return numbers | {"learning_rate": learning_rate if steps is None else Cosine(learning_rate, 0.0, steps)}


def _genetic(steps: float | None, sigma: float, shrink: float, **numbers: Any) -> dict[str, Any]:
    return numbers | {"sigma": _between(sigma, sigma * shrink, steps)}


def _annealing(steps: float | None, step: float, shrink: float, temperature: float, **numbers: Any) -> dict[str, Any]:
    cooling = _between(temperature, temperature / 100, steps)
    return numbers | {"step": _between(step, step * shrink, steps), "temperature": cooling}


def _spsa(steps: float | None, stability: float, population: int, **numbers: Any) -> dict[str, Any]:
    # Spall's own gains; A as a part of the number of steps, of which he recommends a tenth. They never reach zero,
    # so where the number is not known, that of the tuning serves.
    steps = EVALUATIONS / population if steps is None else steps
    return numbers | {"population": population, "stability": stability * steps}


def _gradient(steps: float | None, learning_rate: float, **numbers: Any) -> dict[str, Any]:
    if steps is None:
        return numbers | {"learning_rate": learning_rate}
    return numbers | {"learning_rate": optax.cosine_decay_schedule(learning_rate, max(1, int(steps)))}


def _between(first: float, last: float, steps: float | None) -> Any:
    return first if steps is None else Exponential(first, last, steps)


# How numbers become settings, and the settings that were not searched. Losses are noisy, so annealing evaluates the
# standing points again.
_MAKERS: dict[str, tuple[Callable[..., dict[str, Any]], dict[str, Any]]] = {
    "openes": (_cooled, {"perturbation": Antithetic(LowRank(1))}),
    "sepcmaes": (_plain, {}),
    "genetic": (_genetic, {"crossover": 1.0}),
    "annealing": (_annealing, {"reevaluate": True}),
    "random": (_plain, {}),
    "spsa": (_spsa, {}),
    "mezo": (_cooled, {}),
    "sgd": (_gradient, {}),
    "adam": (_gradient, {}),
    "lbfgs": (_plain, {}),
}
