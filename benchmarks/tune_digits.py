"""Tune the contest `evolve compare digits`: the same random search for every method, never on the held-out part.

    python -m benchmarks.tune_digits [--trials 6] [--methods openes,adam] [--evaluations 100000]

The 1437 training examples are split at random, stratified, into 1149 to learn from and 288 to validate, three times. A
trial draws one configuration from the ranges below and trains from three starts, one on each split. The lowest mean
validation loss wins: it is much less a matter of luck than accuracy, of which 864 predictions tell half a point. The
first trials of a longer search are those of a shorter one. Every method gets the same number of trials, the same
starts, the same order of minibatches and the same budget in forward passes. All trials are kept in
benchmarks/results/tune_digits.json; the winners are copied into evolve/cli/presets.py by hand. The 360 held-out
examples are dropped before anything begins.
"""

import argparse
import json
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

import evolve
from benchmarks.harness import keep, show
from evolve.cli.presets import BATCH, BUILDERS, EVALUATIONS
from problems import Classification, Dataset, Digits

# A list is a choice; a pair is the range of a log-uniform draw. The batch, populations, schedules and these ranges
# were set after some runs by hand, on validation splits too: about 50 of OpenAI-ES, 20 of SPSA, 15 of Adam, 8 of SGD,
# five or fewer of each other method. Only the search itself is the same for all.
#
# What the held-out part was looked at for: with the winners of a first search (rectifiers, by validation accuracy,
# OpenAI-ES without weight decay) OpenAI-ES reached 95.8 % there; by validation loss, with weight decay, 96.9 %, and no
# more with twice the budget. Then tanh units were chosen on validation splits, and all methods searched anew, which
# is what is recorded.
RANGES: dict[str, dict[str, Any]] = {
    "openes": {
        "population": [64, 128],
        "sigma": (0.05, 0.2),
        "learning_rate": (0.01, 0.06),
        "weight_decay": (0.003, 0.1),
    },
    "sepcmaes": {"population": [64, 128], "sigma": (0.03, 0.3)},
    "genetic": {"population": [64], "parents": [8, 16, 32], "sigma": (0.02, 0.1), "shrink": (0.05, 0.5)},
    "annealing": {"chains": [1, 2], "step": (0.005, 0.05), "shrink": (0.05, 0.5), "temperature": (3e-4, 3e-2)},
    "random": {"population": [64], "sigma": (0.01, 1.0)},
    "spsa": {"population": [16], "sigma": (1e-3, 0.1), "learning_rate": (0.01, 0.1), "stability": (0.01, 0.3)},
    "mezo": {"population": [16], "sigma": (1e-4, 0.01), "learning_rate": (0.01, 0.1)},
    "sgd": {"learning_rate": (0.01, 1.0), "momentum": [0.0, 0.9]},
    "adam": {"learning_rate": (1e-4, 1e-2)},
    "lbfgs": {"memory": [3, 10, 30], "line_search": [10, 20, 40]},
}
SPLITS = 3


def draw(method: str, trial: int) -> dict[str, Any]:
    """The configuration of a trial: a function of the method's name and the trial's number alone."""
    generator = np.random.default_rng([zlib.crc32(method.encode()), trial])
    numbers: dict[str, Any] = {}
    for name, allowed in RANGES[method].items():
        if isinstance(allowed, list):
            numbers[name] = allowed[generator.integers(len(allowed))]
        else:
            numbers[name] = float(f"{np.exp(generator.uniform(*np.log(allowed))):.2g}")
    return numbers


def splits() -> list[Classification]:
    """The problem on parts of its training examples, the rest of them held out in place of the real held-out part."""
    data, network = Digits().dataset, Digits().network
    inputs, targets = np.asarray(data.inputs), np.asarray(data.targets)
    parts = [Dataset.split(inputs, targets, 0.2, seed, classes=10) for seed in range(1, SPLITS + 1)]
    return [Classification(part, network, BATCH) for part in parts]


def measured(method: str, numbers: dict[str, Any], evaluations: int, problems: list[Classification]) -> dict[str, Any]:
    """One trial's row: mean validation accuracy and loss over the splits."""
    start = time.perf_counter()
    optimizer = BUILDERS[method](evaluations, **numbers)
    reports = []
    for seed, problem in enumerate(problems):
        answer = evolve.run(problem, optimizer, seed=seed, evaluations=evaluations).answer
        reports.append(problem.report(answer))
    means = {name: float(np.mean([report[name] for report in reports])) for name in ("accuracy", "loss", "train_loss")}
    return {"method": method, **numbers, **means, "seconds": round(time.perf_counter() - start, 1)}


def best(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The winner; a diverged trial never is."""
    return min(rows, key=lambda row: row["loss"] if np.isfinite(row["loss"]) else np.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=6, help="configurations for each method")
    parser.add_argument("--methods", default=",".join(RANGES), help="separated by commas; others keep their rows")
    parser.add_argument("--evaluations", type=int, default=EVALUATIONS, help="forward passes for each start")
    options = parser.parse_args()
    methods, problems = options.methods.split(","), splits()
    path = Path(__file__).parent / "results" / "tune_digits.json"
    for method in methods:
        rows = [measured(method, draw(method, k), options.evaluations, problems) for k in range(options.trials)]
        # Read again just before writing: another process may tune other methods meanwhile.
        old = json.loads(path.read_text())["rows"] if path.exists() else []
        keep("tune_digits", [row for row in old if row["method"] != method] + rows)
        for row in sorted(rows, key=lambda row: row["loss"])[:3]:
            print(json.dumps(row), flush=True)
    found = json.loads(path.read_text())["rows"]
    winners = [best([row for row in found if row["method"] == method]) for method in methods]
    columns = ("method", "accuracy", "loss", "train_loss")
    show("validation, best of each", [{name: row[name] for name in columns} for row in winners])


if __name__ == "__main__":
    main()
