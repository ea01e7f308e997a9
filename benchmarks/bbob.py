"""BIPOP-CMA-ES on COCO's bbob suite: what is solved, judged by COCO's own functions, and the time of the whole sweep.

    python -m benchmarks.bbob [--dimensions 5 10] [--seeds 3] [--root symmetric] [--keep]

24 functions in instances 1-5, 10^4 n evaluations, up to 9 restarts, every run from a start uniform in [-4, 4]^n with
sigma 2: a sweep of 120 problems. First pycma's (`fmin2` with `bipop`), on the functions of `cocoex`, alone on the
machine; then ours on `problems.BBOB`, as `evolve compare bbob` runs it, compilation included: their times are compared.
pycma is one process that takes a problem after the other, ours takes problems side by side, in threads on all cores.
Then pycma's sweeps with other seeds, and beside them, in a process of its own, ours with all seeds on the functions of
`cocoex`: it says when a problem is solved to 1e-8, and evaluations are those up to there. One sweep's number of solved
problems is a matter of luck by two or three, so means over the seeds are compared. A problem's seed is one number for
all.
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

import evolve
from benchmarks.harness import keep, show

FUNCTIONS, INSTANCES, RESTARTS, BUDGET = range(1, 25), range(1, 6), 9, 10_000
ROOTS = ("symmetric", "cholesky")  # of our CMA-ES; pycma's is the first


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


def cases(dimension: int, seeds: Iterable[int]) -> list[tuple[int, int, int, int]]:
    """Function, dimension, instance and the sweep's seed, sweep by sweep."""
    return [(function, dimension, instance, seed) for seed in seeds for function in FUNCTIONS for instance in INSTANCES]


def own(function: int, instance: int, seed: int) -> int:
    """A problem's seed."""
    return 10_000 * seed + 100 * instance + function


def pycma(function: int, dimension: int, instance: int, seed: int) -> Outcome:
    import cma

    judge, draw = Judge(function, dimension, instance), np.random.default_rng(own(function, instance, seed))
    options = {
        "maxfevals": BUDGET * dimension,
        "termination_callback": lambda es: judge.solved > 0,
        "seed": own(function, instance, seed),
        "verbose": -9,
    }
    start = time.perf_counter()
    cma.fmin2(judge, lambda: draw.uniform(-4, 4, dimension), 2.0, options, restarts=RESTARTS, bipop=True)
    return judge.outcome(time.perf_counter() - start)


_JUDGES: list[Any] = []  # COCO's problems; which one is a number of our problem, so that one program serves all


def _judged(x: Any, number: Any) -> np.ndarray:
    judge = _JUDGES[int(np.asarray(number).flat[0])]
    members = np.asarray(x)
    return np.reshape([judge(member) for member in members.reshape(-1, members.shape[-1])], members.shape[:-1])


class Judged(evolve.Problem):
    """A function of `cocoex`, called from inside the compiled loop, a few members at once."""

    number: Any
    dimension: int = eqx.field(static=True)
    noisy = False

    def init(self, key: Any) -> Any:
        return jax.random.uniform(key, (self.dimension,), minval=-4.0, maxval=4.0)

    def loss(self, params: Any, key: Any) -> Any:
        scalar = jax.ShapeDtypeStruct((), np.float64)
        return jax.pure_callback(_judged, scalar, params, self.number, vmap_method="broadcast_all")


def ours(dimension: int, seeds: int, root: str) -> list[Outcome]:
    """Every case on the functions of `cocoex`, as `evolve compare bbob` runs them.

    Our record says at which evaluation a problem was solved, for the last block of a generation has members that do
    not count; that it was solved is what COCO says. What only COCO has seen solved, by such a member, counts as
    unsolved, and is printed.
    """
    import cocoex
    from cocoex.bare_problem import BareProblem

    from evolve.compare.suite import Case, Suite, benchmark

    jax.config.update("jax_enable_x64", True)
    minima = {
        (function, instance): BareProblem("bbob", function, dimension, instance).best_value()
        for function in FUNCTIONS
        for instance in INSTANCES
    }
    outcomes = []
    for seed in range(seeds):
        coco = cocoex.Suite("bbob", f"instances: 1-{len(INSTANCES)}", f"dimensions: {dimension}")
        _JUDGES[:] = [coco.get_problem_by_function_dimension_instance(f, dimension, i) for f, i in minima]
        places = enumerate(minima.items())
        suite = Suite(
            "bbob",
            dimension,
            {function: "" for function in FUNCTIONS},
            {},
            tuple(Case(*case, Judged(np.int32(place), dimension), f_opt) for place, (case, f_opt) in places),
        )
        found = benchmark(suite, {"bipop": _bipop(root)}, budget=BUDGET, seed=own(0, 0, seed), progress=False)
        (entry,) = found.entries
        if entry.status != "finished":
            raise RuntimeError(f"the sweep {entry.status}: {entry.error}")
        for judge, hit, spent in zip(_JUDGES, entry.curves["hits"][-1], entry.forwards, strict=True):
            reached = bool(np.isfinite(hit))
            if reached and not judge.final_target_hit:
                raise RuntimeError(f"{judge.name}: our record says it was solved, COCO says it was not.")
            if judge.final_target_hit and not reached:
                print(f"{judge.name}: solved by a member that does not count", flush=True)
            outcomes.append(Outcome(reached, int(hit) if reached else spent, 0.0))
    return outcomes


def _bipop(root: str) -> Any:
    return evolve.Restarts(evolve.CMAES(2.0, root=root), "bipop", RESTARTS, evolve.Uniform(-4.0, 4.0))


def sweep(dimension: int, seeds: int, root: str) -> tuple[float, list[int]]:
    """Seconds of our first sweep on our own functions, compilation included, and what each sweep solves."""
    from evolve.cli.suites import bbob
    from evolve.compare.suite import benchmark

    counts, seconds = [], []
    with jax.enable_x64(True):
        for seed in range(seeds):
            since = time.perf_counter()
            suite = bbob(dimension, tuple(FUNCTIONS), tuple(INSTANCES))
            found = benchmark(suite, {"bipop": _bipop(root)}, budget=BUDGET, seed=10_000 * seed, progress=False)
            seconds.append(time.perf_counter() - since)
            counts.append(int(np.sum(np.isfinite(found.entries[0].curves["hits"][-1]))))
    return seconds[0], counts


def running_times(outcomes: list[Outcome]) -> dict[int, float]:
    """Expected running time of each function that was solved at least once: all evaluations over successes."""
    times, table = {}, np.array([outcome[:2] for outcome in outcomes]).reshape(-1, len(FUNCTIONS), len(INSTANCES), 2)
    for place, function in enumerate(FUNCTIONS):
        if successes := table[:, place, :, 0].sum():
            times[function] = float(table[:, place, :, 1].sum() / successes)
    return times


def solved(outcomes: list[Outcome]) -> list[int]:
    """Of each sweep."""
    return (
        np.array([outcome.solved for outcome in outcomes]).reshape(-1, len(FUNCTIONS) * len(INSTANCES)).sum(1).tolist()
    )


def measure(dimension: int, seeds: int, root: str) -> dict[str, Any]:
    """One row: solved, running times, seconds, and the root where it is not pycma's."""
    theirs = [pycma(*case) for case in cases(dimension, [0])]
    total = sum(outcome.seconds for outcome in theirs)
    seconds, on_ours = sweep(dimension, seeds, root)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as beside:
        judged = beside.submit(ours, dimension, seeds, root)
        theirs += [pycma(*case) for case in cases(dimension, range(1, seeds))]
        our = judged.result()
    one, two = running_times(our), running_times(theirs)
    ratios = {function: one[function] / two[function] for function in one if function in two}
    return {
        "n": dimension,
        **({} if root == ROOTS[0] else {"root": root}),
        "solved, ours": statistics.mean(solved(our)),
        "solved, pycma": statistics.mean(solved(theirs)),
        "ERT, ours / pycma": statistics.geometric_mean(ratios.values()),
        "functions both solve": len(ratios),
        "pycma's sweep, s": total,
        "our sweep, s": seconds,
        "pycma / ours": total / seconds,
        "solved by sweep": {"ours": solved(our), "pycma": solved(theirs), "ours on our functions": on_ours},
        "ERT by function": {function: (one.get(function), two.get(function)) for function in FUNCTIONS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--seeds", type=int, default=3, help="sweeps of each")
    parser.add_argument("--root", choices=ROOTS, default=ROOTS[0], help="of our CMA-ES")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/bbob*.json")
    options = parser.parse_args()
    rows = [measure(dimension, options.seeds, options.root) for dimension in options.dimensions]
    title, name = "BIPOP-CMA-ES", "bbob"
    if options.root != ROOTS[0]:
        title, name = f"{title} with the {options.root} root", f"{name}_{options.root}"
    for row in rows:
        each = [{"function": f, "ours": a, "pycma": b} for f, (a, b) in row["ERT by function"].items()]
        show(f"{title}: expected running times, n = {row['n']}", each)
    show(f"{title} on bbob", [{k: v for k, v in row.items() if not isinstance(v, dict)} for row in rows])
    if options.keep:
        keep(name, rows)


if __name__ == "__main__":
    sys.exit(main())
