"""The 24 functions of BBOB as a table: name, group, formula, and the transformations that make an instance of it."""

from dataclasses import dataclass

import problems.bbob_functions as formulas
from problems.bbob_functions import Formula

# Left, power, right stand for the matrix left @ diag(10^(power (i-1)/(n-1))) @ right, where I is the identity and
# R and Q are the rotations of the instance.
Matrix = tuple[str, float, str]

_NONE: Matrix = ("I", 0.0, "I")


@dataclass(frozen=True)
class BBOBFunction:
    """One row of the table.

    Attributes
    ----------
    name, group
        As in the definitions; the groups are the suite's five.
    formula
        The value above the minimum.
    first, second
        The linear maps before the formula and between its nonlinear steps.
    weights
        Powers of ten from the first coordinate's weight to the last's.
    penalty
        Factor of the squared distance to [-5, 5]^n.
    """

    name: str
    group: str
    formula: Formula
    first: Matrix = _NONE
    second: Matrix = _NONE
    weights: float = 0.0
    penalty: float = 0.0


_SEPARABLE = "separable"
_MODERATE = "low or moderate conditioning"
_HIGH = "high conditioning, unimodal"
_ADEQUATE = "multi-modal, adequate global structure"
_WEAK = "multi-modal, weak global structure"
_Q, _R, _RQ = ("I", 0.0, "Q"), ("R", 0.0, "I"), ("R", 0.5, "Q")
_RQ10 = ("R", 1.0, "Q")
_Row = BBOBFunction

BBOB_FUNCTIONS: tuple[BBOBFunction, ...] = (
    _Row("sphere", _SEPARABLE, formulas.sphere),
    _Row("ellipsoid", _SEPARABLE, formulas.ellipsoid, weights=6.0),
    _Row("Rastrigin", _SEPARABLE, formulas.rastrigin, second=("I", 0.5, "I")),
    _Row("Büche-Rastrigin", _SEPARABLE, formulas.bueche_rastrigin, weights=0.5, penalty=100.0),
    _Row("linear slope", _SEPARABLE, formulas.linear_slope, weights=1.0),
    _Row("attractive sector", _MODERATE, formulas.attractive_sector, _RQ),
    _Row("step ellipsoid", _MODERATE, formulas.step_ellipsoid, ("I", 0.5, "Q"), _R, weights=2.0, penalty=1.0),
    _Row("Rosenbrock", _MODERATE, formulas.rosenbrock),
    _Row("rotated Rosenbrock", _MODERATE, formulas.rosenbrock, _Q),
    _Row("rotated ellipsoid", _HIGH, formulas.ellipsoid, _R, weights=6.0),
    _Row("discus", _HIGH, formulas.ellipsoid, _R),
    _Row("bent cigar", _HIGH, formulas.bent_cigar, _R, _R),
    _Row("sharp ridge", _HIGH, formulas.sharp_ridge, _RQ),
    _Row("different powers", _HIGH, formulas.different_powers, _R),
    _Row("rotated Rastrigin", _ADEQUATE, formulas.rastrigin, _R, _RQ),
    _Row("Weierstrass", _ADEQUATE, formulas.weierstrass, _R, ("R", -1.0, "Q"), penalty=10.0),
    _Row("Schaffer F7", _ADEQUATE, formulas.schaffer, _R, ("I", 0.5, "Q"), penalty=10.0),
    _Row("ill-conditioned Schaffer F7", _ADEQUATE, formulas.schaffer, _R, ("I", 1.5, "Q"), penalty=10.0),
    _Row("Griewank-Rosenbrock", _ADEQUATE, formulas.griewank_rosenbrock, _Q),
    _Row("Schwefel", _WEAK, formulas.schwefel, ("I", 0.5, "I")),
    _Row("Gallagher, 101 peaks", _WEAK, formulas.gallagher, _Q, penalty=1.0),
    _Row("Gallagher, 21 peaks", _WEAK, formulas.gallagher, _Q, penalty=1.0),
    _Row("Katsuura", _WEAK, formulas.katsuura, _RQ10, penalty=1.0),
    _Row("Lunacek bi-Rastrigin", _WEAK, formulas.lunacek, _RQ10, penalty=1e4),
)

FORMULAS: tuple[Formula, ...] = tuple(dict.fromkeys(row.formula for row in BBOB_FUNCTIONS))
