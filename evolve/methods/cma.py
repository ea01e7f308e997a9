"""CMA-ES (Hansen and Ostermeier 2001; Hansen 2016, arXiv:1604.00772), with the defaults of pycma 4.5."""

from typing import Literal

import equinox as eqx

from evolve.core.checks import check_flags
from evolve.methods.cma_parameters import Rates
from evolve.methods.covariance import Factors, Shape
from evolve.methods.distribution import CMA
from evolve.methods.full import Full, Triangular


class CMAES(CMA):
    """CMA-ES with active covariance update and lazy eigendecomposition (Hansen 2016, arXiv:1604.00772, eqs. 38-58).

    The method of choice for up to about a thousand parameters, any conditioning, any rotation, some
    ruggedness. For more parameters take `LMMAES`, or `SepCMAES` where they are separable; `methods.auto` chooses.

    Constants and defaults are those of pycma 4.5, but: populations below six are not mirrored by default, no scale
    moves from an ill-conditioned C into the coordinates (`conditioncov_alleviate`), nor half of a very large sigma into
    C, which starts as the identity itself; a power of two moves from C, or from the scales of `diagonal`, to sigma once
    the longest axis has left 2^-16 to 2^16, and `tolupsigma` sees it; `tolfacupx` counts from deviations that `min_std`
    has widened; tied members share their weight; and sigma follows its path in any dimension, where pycma compares two
    points along the mean's last step from n = 300 on.

    Parameters
    ----------
    sigma
        The first standard deviation, > 0; about a third of the distance to where the optimum may lie.
    population
        Members a generation, at least 2; by default 4 + floor(3 ln n). More for ruggedness or noise.
    active
        Whether bad members make the variance smaller where they lie.
    stds
        Factors of sigma for the coordinates, each > 0: a tree of numbers or arrays that broadcast against the
        parameters. They stay outside the matrix, so that its condition does not suffer.
    min_std
        The least standard deviation of a coordinate, in the same form, from the first generation on; none by default.
    stopping
        When to stop before the budget is spent; None to go on for ever.
    mirrored
        Whether members come in opposite pairs, of which only the better one attracts: quicker on smooth functions with
        small populations (Auger, Brockhoff and Hansen 2011). The population is then even.
    elitist
        Whether the best member so far takes the worst one's place in every generation that finds none better. More
        greedy, and wrong under noise.
    diagonal
        Whether only a scale for each coordinate is learned, by pycma's multiplicative rule: O(n) memory, no rotation.
        As in pycma these are units of the coordinates, which lose no digits however far apart they are: there is no
        `tolconditioncov` to ask, and no `noeffectaxis`, and `tolupsigma` is asked of sigma alone.
    root
        Of C, which makes members of white noise and white noise of the mean's steps. "symmetric" is C^(1/2), as in
        pycma. "cholesky" is the triangular L with C = L L^T (Krause, Arbonès and Igel 2016, NIPS 29, without their
        updates of L), a tenth of the work: from n = 40 on generations take two to five times less. C is learned as it
        is otherwise, and members have its law. The path of sigma adds up L^-1 times the steps, so that a turned
        problem is another run, and the principal axes, by which `status` and `stopping` judge, are decomposed once in n
        generations.

    Computes in float64 where x64 is on; in float32 the condition of C is limited to about 1e7. Time a generation:
    O(population n^2), plus O(n^3) for the root every 1 / (10 n (c_1 + c_mu)) generations; memory O(n^2 + population n).
    On a CPU the decomposition is OpenBLAS's, whose threads stay awake and keep cores from what comes after it: with
    OPENBLAS_NUM_THREADS=1 in the environment two cores take half of the time at n = 100, and a quarter more at 1000.
    """

    diagonal: bool = eqx.field(static=True, default=False)
    root: Literal["symmetric", "cholesky"] = eqx.field(static=True, default="symmetric")

    def __check_init__(self) -> None:
        check_flags(self, diagonal=self.diagonal)
        if self.root not in ("symmetric", "cholesky"):
            raise ValueError(f"CMAES: root is {self.root!r}; it must be 'symmetric' or 'cholesky'.")
        if self.diagonal and self.root != "symmetric":
            raise ValueError(f"CMAES: root is {self.root!r}, but with diagonal=True no matrix is kept; leave root out.")

    def _kind(self) -> tuple[type[Shape], Rates]:
        if self.diagonal:
            return Factors, "diagonal"
        return Full if self.root == "symmetric" else Triangular, "full"
