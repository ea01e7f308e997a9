"""The table of optimizers. Adding an optimizer costs one line here; every law of `test_laws.py` then holds it."""

from typing import NamedTuple

import optax

from evolve import (
    ARS,
    CMAES,
    CRFMNES,
    LMMAES,
    MAES,
    PGPE,
    SNES,
    XNES,
    Antithetic,
    Bounded,
    GeneticAlgorithm,
    Gradient,
    Integers,
    LowRank,
    OpenES,
    Rademacher,
    RandomSearch,
    Restarts,
    SepCMAES,
    SimulatedAnnealing,
    Sparse,
    UncertaintyHandling,
)
from evolve.core import Exponential, Optimizer, TopPairs, z_score
from zeroth import SPSA, MeZO


class Row(NamedTuple):
    """An optimizer and what it claims.

    Attributes
    ----------
    optimizer
        With a population of 16, which eight devices divide into whole antithetic pairs.
    sphere, ellipsoid, rosenbrock
        Forward passes in which it reaches the target of `GOALS`, or the reason why it cannot within `PATIENCE`.
        Random methods keep within it with 24 seeds, not with the tested one alone: another CPU's rounding makes
        another run of that.
    claims
        "ranks": only the order of losses counts. "rotation": no axis is special. "places": of tied members one
        is kept, so that ties are decided by place instead of being shared. "scale": sigma, the largest speed and
        tolerances of parameters are its only lengths.
    """

    optimizer: Optimizer
    sphere: int | str
    ellipsoid: int | str
    rosenbrock: int | str
    claims: str = ""


GOALS = {"sphere": 1e-3, "ellipsoid": 1e-3, "rosenbrock": 0.1}
PATIENCE = 60_000  # forward passes after which "cannot" is believed

STEEP = "its pace is set by the steepest axis; the flattest is a million times less steep"
AXES = "it learns a scale for each coordinate, and the axes of the problem lie across all of them"
BLIND = "isotropic steps must shrink until the narrowest axis lets one in a few succeed"
CHANCE = "independent draws hit a ball of six dimensions too rarely"

SHRINK = Exponential(0.3, 0.003, 400)
COOL, CALM = Exponential(0.01, 1e-6, 1000), Exponential(0.1, 2e-3, 1000)
SIGNS = Antithetic(Sparse(0.5, Rademacher()))

ROWS: dict[str, Row] = {
    "OpenES": Row(OpenES(16, 0.01, 0.01), 3500, STEEP, 12_000, "ranks"),
    "OpenES low-rank": Row(OpenES(16, 0.01, 0.01, Antithetic(LowRank(1))), 3500, STEEP, 12_000, "ranks"),
    "OpenES sparse": Row(OpenES(16, 0.01, 0.01, SIGNS), 3500, STEEP, 12_000, "ranks"),
    "PGPE": Row(PGPE(16, 0.03, max_speed=0.02, momentum=0.7), 2500, AXES, 8500, "ranks scale"),
    "PGPE adam": Row(PGPE(16, 0.1, update=optax.adam(0.02), shaping=z_score), 1900, AXES, 75_000),
    "ARS": Row(ARS(16, 0.01, 0.01), 2500, STEEP, 27_000, "rotation"),
    "ARS top low-rank": Row(ARS(16, 0.01, 0.01, Antithetic(LowRank(1)), TopPairs(0.5)), 2000, STEEP, 12_000),
    "CMAES": Row(CMAES(0.5, 16), 800, 2500, 3500, "ranks rotation scale"),
    "CMAES cholesky": Row(CMAES(0.5, 16, root="cholesky"), 800, 2500, 3500, "ranks scale"),
    "CMAES passive mirrored": Row(CMAES(0.5, 16, False, mirrored=True), 800, 3500, 3500, "ranks rotation scale"),
    "CMAES diagonal elitist": Row(CMAES(0.2, 16, elitist=True, diagonal=True), 800, AXES, 18_000, "ranks places scale"),
    "Restarts": Row(Restarts(CMAES(0.5, 16), "bipop", 3), 800, 2500, 3500, "ranks rotation places scale"),
    "Uncertainty": Row(UncertaintyHandling(CMAES(0.5, 14, stopping=None)), 800, 2500, 3500, "ranks rotation scale"),
    "Bounded": Row(Bounded(CMAES(0.5, 16), -99.0, 99.0), 800, 2500, 3500, "ranks rotation"),
    "Integers": Row(Integers(CMAES(0.5, 16), step=1e-5), 800, 3000, 3500, "ranks"),
    "SepCMAES": Row(SepCMAES(0.1, 16), 800, AXES, 18_000, "ranks scale"),
    "SNES": Row(SNES(0.5, 16), 800, AXES, 78_000, "ranks scale"),
    "SNES rates": Row(SNES(0.5, 16, 0.9, 0.2), 1100, AXES, 60_000, "ranks scale"),
    "XNES": Row(XNES(0.5, 16), 1200, 3000, 3000, "ranks rotation scale"),
    "XNES rates": Row(XNES(0.5, 16, 0.9, 0.2, 0.2), 1200, 3000, 4000, "ranks rotation scale"),
    "CRFMNES": Row(CRFMNES(0.5, 16), 450, 400_000, 2400, "ranks scale"),
    "MAES": Row(MAES(0.5, 16), 800, 3500, 3500, "ranks rotation scale"),
    "LMMAES": Row(LMMAES(0.5, 16, stopping=None), 1500, 130_000, 6000, "ranks rotation scale"),
    "Genetic truncation": Row(GeneticAlgorithm(16, 4, 1, SHRINK), 5000, BLIND, 20_000, "ranks places"),
    "Genetic tournament": Row(
        GeneticAlgorithm(16, 8, 2, SHRINK, 0.5, "tournament"), 5000, BLIND, 25_000, "ranks places"
    ),
    "Annealing": Row(SimulatedAnnealing(CALM, COOL, 16), 8000, BLIND, 200_000, "rotation places"),
    "Annealing exchange": Row(SimulatedAnnealing(CALM, COOL, 16, 1.3, True), 8000, BLIND, 200_000, "rotation places"),
    "Annealing reevaluate": Row(
        SimulatedAnnealing(CALM, COOL, 16, reevaluate=True), 16_000, BLIND, 400_000, "rotation places"
    ),
    "RandomSearch": Row(RandomSearch(16), CHANCE, CHANCE, CHANCE, "ranks rotation places"),
    "RandomSearch local": Row(RandomSearch(16, SHRINK, True), 5000, BLIND, 20_000, "ranks rotation places"),
    "SGD": Row(Gradient(optax.sgd(1e-3)), 8000, STEEP, 8000, "rotation"),
    "Adam": Row(Gradient(optax.adam(0.03)), 300, 250_000, 400),
    "L-BFGS": Row(Gradient(optax.lbfgs()), 30, 400, 300, "rotation"),
    "SPSA": Row(SPSA(16, 1e-3, 3e-3), 50_000, STEEP, 50_000),
    "MeZO": Row(MeZO(16, 1e-3, 1e-3), 50_000, STEEP, 50_000, "rotation"),
}
