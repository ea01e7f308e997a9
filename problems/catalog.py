"""The analytic test functions as a table: equation, source, domain and known minimum of each."""

from collections.abc import Callable
from dataclasses import dataclass

import problems.formulas as formulas
from problems.formulas import Scalar, Vector


@dataclass(frozen=True)
class Formula:
    """One row of the table.

    Attributes
    ----------
    value
        The function itself, vector of shape (n,) to scalar.
    equation
        What it computes; i runs over 1..n.
    source
        Where it was published.
    domain
        Standard search interval of every coordinate, (low, high).
    optimum
        Every coordinate of the minimizer.
    minimum
        The minimal value, per dimension.
    least
        The smallest dimension for which it is defined.
    excess
        The value above the minimum where that is not 0, and so a sum with it rounds the digits away.
    """

    value: Callable[[Vector], Scalar]
    equation: str
    source: str
    domain: tuple[float, float]
    optimum: float = 0.0
    minimum: float = 0.0
    least: int = 1
    excess: Callable[[Vector], Scalar] | None = None

    def gap(self, z: Vector) -> Scalar:
        """The value above the minimum, at least 0, with all its digits."""
        return (self.excess or self.value)(z)


_BBOB = "Hansen, Finck, Ros & Auger (2009), Real-parameter black-box optimization benchmarking"

FUNCTIONS: dict[str, Formula] = {
    "sphere": Formula(formulas.sphere, "sum z_i^2", "De Jong (1975), F1", (-5.12, 5.12)),
    "ellipsoid": Formula(formulas.ellipsoid, "sum 10^(6 (i-1)/(n-1)) z_i^2", f"{_BBOB}, f2 and f10", (-5.0, 5.0)),
    "discus": Formula(formulas.discus, "10^6 z_1^2 + sum_(i>1) z_i^2", f"{_BBOB}, f11", (-5.0, 5.0)),
    "cigar": Formula(formulas.cigar, "z_1^2 + 10^6 sum_(i>1) z_i^2", f"{_BBOB}, f12, unbent", (-5.0, 5.0)),
    "different_powers": Formula(
        formulas.different_powers, "sqrt(sum |z_i|^(2 + 4 (i-1)/(n-1)))", f"{_BBOB}, f14", (-5.0, 5.0)
    ),
    "rosenbrock": Formula(
        formulas.rosenbrock,
        "sum_(i<n) 100 (z_(i+1) - z_i^2)^2 + (1 - z_i)^2",
        "Rosenbrock (1960), The Computer Journal 3; chained form, Dixon & Mills (1994)",
        (-5.0, 10.0),
        optimum=1.0,
        least=2,
    ),
    "rastrigin": Formula(
        formulas.rastrigin,
        "sum z_i^2 + 10 (1 - cos(2 pi z_i))",
        "Rastrigin (1974); n-dimensional form, Mühlenbein, Schomisch & Born (1991)",
        (-5.12, 5.12),
    ),
    "ackley": Formula(
        formulas.ackley,
        "20 + e - 20 exp(-0.2 sqrt(mean z_i^2)) - exp(mean cos(2 pi z_i))",
        "Ackley (1987); n-dimensional form, Bäck (1996)",
        (-32.768, 32.768),
    ),
    "griewank": Formula(
        formulas.griewank,
        "1 + sum z_i^2 / 4000 - prod cos(z_i / sqrt(i))",
        "Griewank (1981), Journal of Optimization Theory and Applications 34",
        (-600.0, 600.0),
    ),
    "schwefel": Formula(
        formulas.schwefel,
        "sum 418.9828... - z_i sin(sqrt |z_i|), penalized beyond +-500",
        "Schwefel (1981), problem 2.26",
        (-500.0, 500.0),
        optimum=formulas.SCHWEFEL_OPTIMUM,
    ),
    "levy": Formula(
        formulas.levy,
        "sin^2(pi w_1) + sum_(i<n) (w_i - 1)^2 (1 + 10 sin^2(pi w_i + 1))"
        " + (w_n - 1)^2 (1 + sin^2(2 pi w_n)), w = 1 + (z - 1) / 4",
        "Levy & Montalvo (1985); this form, Laguna & Martí (2005)",
        (-10.0, 10.0),
        optimum=1.0,
    ),
    "zakharov": Formula(
        formulas.zakharov,
        "sum z_i^2 + (sum i z_i / 2)^2 + (sum i z_i / 2)^4",
        "Zakharov; Chelouah & Siarry (2000), Journal of Heuristics 6",
        (-5.0, 10.0),
    ),
    "styblinski_tang": Formula(
        formulas.styblinski_tang,
        "sum (z_i^4 - 16 z_i^2 + 5 z_i) / 2",
        "Styblinski & Tang (1990), Neural Networks 3",
        (-5.0, 5.0),
        optimum=formulas.STYBLINSKI_OPTIMUM,
        minimum=formulas.STYBLINSKI_MINIMUM,
        excess=formulas.styblinski_tang_excess,
    ),
    "schaffer": Formula(
        formulas.schaffer,
        "(mean_(i<n) s^(1/2) (1 + sin^2(50 s^(1/5))))^2, s = sqrt(z_i^2 + z_(i+1)^2)",
        f"Schaffer, Caruana, Eshelman & Das (1989), F7; n-dimensional form, {_BBOB}, f17 without its asymmetries",
        (-100.0, 100.0),
        least=2,
    ),
    "step": Formula(formulas.step, "sum floor(z_i + 1/2)^2", "Yao, Liu & Lin (1999), IEEE TEC 3, f6", (-100.0, 100.0)),
}
