"""Which method of the CMA-ES family suits so many parameters and so much memory."""

from typing import NamedTuple

from evolve.core.checks import check_count
from evolve.core.memory import device_memory
from evolve.core.optimizer import Optimizer
from evolve.core.trees import float_dtype
from evolve.methods.cma import CMAES
from evolve.methods.cma_parameters import default_population
from evolve.methods.lmmaes import LMMAES
from evolve.methods.sep_cma import SepCMAES

# Decompositions take O(n^3): about a second at this size on one core, and the matrix takes O(n^2) evaluations to learn.
_FULL = 2000
_HALF = 2  # of the memory is left to the problem itself
_UNKNOWN = 8 << 30  # bytes, where the device does not say


class Choice(NamedTuple):
    """A method with its defaults, and a sentence that says why it is this one."""

    optimizer: Optimizer
    why: str


def auto(n: int, memory: int | None = None) -> Choice:
    """Full `CMAES`, limited-memory `LMMAES` or separable `SepCMAES`, the first of them that fits.

    Parameters
    ----------
    n
        The number of parameters, at least 1.
    memory
        Bytes, at least 1; by default what the device or the machine has (8 GiB where neither says). Half is left to the
        problem.

    The full matrix is taken up to 2000 parameters, where its decomposition takes about a second, if 3 n^2 numbers (the
    matrix, its eigenvectors and a copy at work) and the population fit. The limited-memory matrix needs three times the
    population, m = 4 + floor(3 ln n) vectors twice (old and new), and ten vectors. Else it is the diagonal, with three
    times the population: the least that there is.

    Raises
    ------
    TypeError, ValueError
        A number is not whole, or less than 1.
    """
    limit = device_memory() or _UNKNOWN if memory is None else memory
    check_count(auto, 1, n=n, memory=limit)
    room, size, m = limit // _HALF, float_dtype().itemsize, default_population(n)
    members = 3 * m * n
    full, limited = (size * numbers for numbers in (3 * n**2 + members, members + (2 * m + 10) * n))
    if n <= _FULL and full <= room:
        return Choice(CMAES(), f"CMAES: a full matrix for {n} parameters takes {_said(full)} of {_said(room)}.")
    reason = f"a full matrix for {n} parameters takes {_said(full)} of {_said(room)}"
    if full <= room:
        reason = f"decomposing a full matrix for {n} parameters, more than {_FULL}, takes too long"
    if limited <= room:
        return Choice(LMMAES(), f"LMMAES: {reason}; {m} directions take {_said(limited)}.")
    return Choice(SepCMAES(), f"SepCMAES: {reason}, and {m} directions {_said(limited)}; a diagonal is the least.")


def _said(count: float) -> str:
    """Bytes in words."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.3g} {unit}"
