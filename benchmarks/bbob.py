"""BIPOP-CMA-ES on COCO's bbob suite: what is solved, judged by COCO's own functions, and the time of the whole sweep.

    python -m benchmarks.bbob [--dimensions 5 10] [--keep]

24 functions in instances 1-5, 10^4 n evaluations, up to 9 restarts, every run from a start uniform in [-4, 4]^n with
sigma 2. Three sweeps a dimension. pycma's (`fmin2` with `bipop`), on the functions of `cocoex`, and beside it, in a
process of its own, ours on the same functions: `cocoex` says when a problem is solved to 1e-8, and evaluations are
those up to there. Then ours alone on `problems.BBOB`, as `evolve compare bbob` runs it, compilation included: its time
beside that of pycma's sweep. A problem's seed is one number for all.
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.harness import keep, show

FUNCTIONS, INSTANCES, RESTARTS, BUDGET = range(1, 25), range(1, 6), 9, 10_000


class Outcome(NamedTuple):
    """Evaluations, up to the solution where there is one, and seconds."""

    solved: bool
    evaluations: int
    seconds: float


class Judge:
    """A function of `cocoex` that counts, and knows when it was solved first."""

    def __init__(self, function: int, dimension: int, instance: int) -> None:
        import cocoex

        self.suite = cocoex.Suite("bbob", f"instances: {instance}", f"dimensions: {dimension}")  # it owns the problem
        self.problem = self.suite.get_problem_by_function_dimension_instance(function, dimension, instance)
        self.count, self.solved = 0, 0

    def __call__(self, x: Any) -> float:
        value = float(self.problem(np.asarray(x, float)))
        self.count += 1
        if not self.solved and self.problem.final_target_hit:
            self.solved = self.count
        return value

    def outcome(self, seconds: float) -> Outcome:
        return Outcome(self.solved > 0, self.solved or self.count, seconds)


def cases(dimension: int) -> list[tuple[int, int, int]]:
    return [(function, dimension, instance) for function in FUNCTIONS for instance in INSTANCES]


def seed(function: int, instance: int) -> int:
    return 100 * instance + function


def pycma(function: int, dimension: int, instance: int) -> Outcome:
    import cma

    judge, draw = Judge(function, dimension, instance), np.random.default_rng(seed(function, instance))
    options = {
        "maxfevals": BUDGET * dimension,
        "termination_callback": lambda es: judge.solved > 0,
        "seed": seed(function, instance),
        "verbose": -9,
    }
    start = time.perf_counter()
    cma.fmin2(judge, lambda: draw.uniform(-4, 4, dimension), 2.0, options, restarts=RESTARTS, bipop=True)
    return judge.outcome(time.perf_counter() - start)


_judge: Any = None  # of the case that runs now: one host function, so that one program serves all


def _judged(x: Any) -> float:
    return _judge(x)


def _solved(progress: Any) -> bool:
    del progress
    return _judge.solved > 0


def ours(dimension: int) -> list[Outcome]:
    """Every case in turn, on the functions of `cocoex`."""
    global _judge
    jax.config.update("jax_enable_x64", True)
    import evolve
    import problems

    def start(key: Any) -> Any:
        return jax.random.uniform(key, (dimension,), minval=-4.0, maxval=4.0)

    problem, optimizer = problems.wrap(_judged, start, host=True), _bipop()
    outcomes = []
    for function, _, instance in cases(dimension):
        _judge, since = Judge(function, dimension, instance), time.perf_counter()
        evolve.run(
            problem,
            optimizer,
            seed=seed(function, instance),
            evaluations=BUDGET * dimension,
            watch=[_solved],
            watch_every=1,
        )
        outcomes.append(_judge.outcome(time.perf_counter() - since))
    return outcomes


def _bipop() -> Any:
    import evolve

    return evolve.Restarts(evolve.CMAES(2.0), "bipop", RESTARTS, evolve.Uniform(-4.0, 4.0))


def sweep(dimension: int) -> tuple[float, int]:
    """Seconds of ours on our own functions, compilation included, and problems solved."""
    from evolve.cli.suites import bbob
    from evolve.compare.suite import benchmark

    with jax.enable_x64(True):
        since = time.perf_counter()
        suite = bbob(dimension, tuple(FUNCTIONS), tuple(INSTANCES))
        found = benchmark(suite, {"bipop": _bipop()}, budget=BUDGET, progress=False)
        seconds = time.perf_counter() - since
    return seconds, int(np.sum(np.isfinite(found.entries[0].curves["hits"][-1])))


def running_times(outcomes: list[Outcome]) -> dict[int, float]:
    """Expected running time of each function that was solved at least once: all evaluations over successes."""
    times = {}
    for place, function in enumerate(FUNCTIONS):
        some = outcomes[place * len(INSTANCES) :][: len(INSTANCES)]
        if successes := sum(outcome.solved for outcome in some):
            times[function] = sum(outcome.evaluations for outcome in some) / successes
    return times


def measure(dimension: int) -> dict[str, Any]:
    """One row: solved, running times, seconds."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as beside:
        judged = beside.submit(ours, dimension)
        theirs = [pycma(*case) for case in cases(dimension)]
        our = judged.result()
    seconds, own = sweep(dimension)
    one, two = running_times(our), running_times(theirs)
    ratios = {function: one[function] / two[function] for function in one if function in two}
    total = sum(outcome.seconds for outcome in theirs)
    return {
        "n": dimension,
        "solved, ours": sum(outcome.solved for outcome in our),
        "solved, pycma": sum(outcome.solved for outcome in theirs),
        "ERT, ours / pycma": statistics.geometric_mean(ratios.values()),
        "functions both solve": len(ratios),
        "pycma's sweep, s": total,
        "our sweep, s": seconds,
        "pycma / ours": total / seconds,
        "solved, our functions": own,
        "ERT by function": {function: (one.get(function), two.get(function)) for function in FUNCTIONS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/bbob.json")
    options = parser.parse_args()
    rows = [measure(dimension) for dimension in options.dimensions]
    for row in rows:
        each = [{"function": f, "ours": a, "pycma": b} for f, (a, b) in row["ERT by function"].items()]
        show(f"Expected running times, n = {row['n']}", each)
    show("BIPOP-CMA-ES on bbob", [{k: v for k, v in row.items() if k != "ERT by function"} for row in rows])
    if options.keep:
        keep("bbob", rows)


if __name__ == "__main__":
    sys.exit(main())
