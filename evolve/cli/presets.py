"""Contests that were tuned: a problem, and every optimizer with the settings that suit it and the budget.

`evolve compare digits` runs the one below. Its numbers come from `python -m benchmarks.tune_digits`: the same random
search for every method, on the training examples alone, which are split again and again to validate. All trials lie
in benchmarks/results/tune_digits.json.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evolve.core import Optimizer, Problem

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
        Makes the problem.
    optimizers
        By their names in `evolve list`; their schedules end with the budget.
    evaluations
        Forward passes for each seed.
    seeds
        How many.
    smallest
        The least budget at which the contest still says something.
    """

    problem: "Callable[[], Problem]"
    optimizers: "dict[str, Optimizer]"
    evaluations: int
    seeds: int
    smallest: int


def contest(problem_name: str, evaluations: int | None = None) -> Contest | None:
    """The tuned contest of a problem, or None if nothing was tuned for it.

    Parameters
    ----------
    problem_name
        As in `evolve list`.
    evaluations
        The budget that schedules are stretched to; None: the one that they were tuned for.
    """
    if problem_name != "digits":
        return None
    budget = EVALUATIONS if evaluations is None else evaluations
    optimizers = {name: BUILDERS[name](budget, **numbers) for name, numbers in TUNED.items()}
    return Contest(_digits, optimizers, budget, SEEDS, SMALLEST)


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


def _digits() -> "Problem":
    from problems import Digits

    return Digits(batch=BATCH)


def _openes(budget: int, population: int, sigma: float, learning_rate: float, weight_decay: float = 0.0) -> "Optimizer":
    from evolve import Antithetic, LowRank, OpenES
    from evolve.core import Cosine

    rate = Cosine(learning_rate, 0.0, budget / population)
    return OpenES(population, sigma, rate, Antithetic(LowRank(1)), weight_decay=weight_decay)


def _sepcmaes(budget: int, population: int, sigma: float) -> "Optimizer":
    from evolve import SepCMAES

    del budget  # it adapts its own step size
    return SepCMAES(sigma=sigma, population=population)


def _genetic(budget: int, population: int, parents: int, sigma: float, shrink: float) -> "Optimizer":
    from evolve import GeneticAlgorithm
    from evolve.core import Exponential

    mutation = Exponential(sigma, sigma * shrink, budget / population)
    return GeneticAlgorithm(population, parents=parents, sigma=mutation, crossover=1.0)


def _annealing(budget: int, chains: int, step: float, shrink: float, temperature: float) -> "Optimizer":
    from evolve import SimulatedAnnealing
    from evolve.core import Exponential

    generations = budget / (2 * chains)  # the standing points are evaluated again: the loss is noisy
    cooling = Exponential(temperature, temperature / 100, generations)
    return SimulatedAnnealing(Exponential(step, step * shrink, generations), cooling, chains, reevaluate=True)


def _random(budget: int, population: int, sigma: float) -> "Optimizer":
    from evolve import RandomSearch

    del budget
    return RandomSearch(population, sigma)


def _spsa(budget: int, population: int, sigma: float, learning_rate: float, stability: float) -> "Optimizer":
    from zeroth import SPSA

    # Spall's own gains; A as a part of the number of steps, of which he recommends a tenth.
    return SPSA(population, sigma, learning_rate, stability=stability * budget / population)


def _mezo(budget: int, population: int, sigma: float, learning_rate: float) -> "Optimizer":
    from evolve.core import Cosine
    from zeroth import MeZO

    return MeZO(population, sigma, Cosine(learning_rate, 0.0, budget / population))


def _sgd(budget: int, learning_rate: float, momentum: float) -> "Optimizer":
    import optax

    from evolve import Gradient

    return Gradient(optax.sgd(_cosine(budget, learning_rate), momentum=momentum))


def _adam(budget: int, learning_rate: float) -> "Optimizer":
    import optax

    from evolve import Gradient

    return Gradient(optax.adam(_cosine(budget, learning_rate)))


def _lbfgs(budget: int, memory: int, line_search: int) -> "Optimizer":
    import optax

    from evolve import Gradient

    del budget  # the line search finds the step
    search = optax.scale_by_zoom_linesearch(line_search, initial_guess_strategy="one")
    return Gradient(optax.lbfgs(memory_size=memory, linesearch=search))


def _cosine(budget: int, learning_rate: float) -> Any:
    """To zero in as many steps as the budget pays for."""
    import optax

    return optax.cosine_decay_schedule(learning_rate, max(1, budget // 3))


BUILDERS: "dict[str, Callable[..., Optimizer]]" = {
    "openes": _openes,
    "sepcmaes": _sepcmaes,
    "genetic": _genetic,
    "annealing": _annealing,
    "random": _random,
    "spsa": _spsa,
    "mezo": _mezo,
    "sgd": _sgd,
    "adam": _adam,
    "lbfgs": _lbfgs,
}
