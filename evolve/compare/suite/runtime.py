"""Running times over the runs on one function: expected ones, and simulated restarts (Hansen et al. 2009, 2021)."""

import numpy as np
from jaxtyping import Float

Runs = Float[np.ndarray, "targets runs"]

SAMPLES = 100  # of simulated running times for each pair of function and target, at least; as many as cocopp takes


def expected(hits: Runs, lengths: Float[np.ndarray, " runs"]) -> Float[np.ndarray, " targets"]:
    """The expected running time (ERT): evaluations of all runs, over the number of runs that reached the target.

    Parameters
    ----------
    hits
        Evaluations until a target was reached first, NaN where it never was.
    lengths
        Evaluations of each run.

    Returns
    -------
    array
        Evaluations; infinite where no run reached the target.
    """
    good = np.isfinite(hits)
    spent = np.where(good, hits, lengths).sum(axis=1)
    with np.errstate(divide="ignore"):
        return np.where(good.any(axis=1), spent / good.sum(axis=1), np.inf)


def simulated(
    hits: Runs, lengths: Float[np.ndarray, " runs"], generator: np.random.Generator
) -> Float[np.ndarray, "targets samples"]:
    """Running times of simulated restarts, as COCO draws its profiles of them (cocopp 2.9, `toolsstats.drawSP`).

    A sample is a run, and where that did not reach the target, runs drawn anew with replacement until one did; their
    evaluations add up. Every run is the first of as many samples as every other.

    Returns
    -------
    array
        Evaluations; infinite where no run reached the target.
    """
    runs = len(lengths)
    first = np.tile(np.arange(runs), max(2, SAMPLES // runs))
    found = np.full((len(hits), len(first)), np.inf)
    for row, times in zip(found, hits, strict=True):
        failed = ~np.isfinite(times)
        if failed.all():
            continue
        chosen, row[:] = first.copy(), 0.0
        while (open_ := failed[chosen]).any():
            row[open_] += lengths[chosen[open_]]
            chosen[open_] = generator.integers(runs, size=open_.sum())
        row += times[chosen]
    return found


def distribution(times: Float[np.ndarray, "*pairs"]) -> tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"]]:
    """The empirical distribution of running times: where it steps, and the fraction of pairs from there on.

    Infinite times count among the pairs, and have no step.
    """
    x, counts = np.unique(times[np.isfinite(times)], return_counts=True)
    return x, np.cumsum(counts) / max(1, np.size(times))
