"""Search without backpropagation: evolution, zeroth-order methods and gradient baselines, in JAX."""

from evolve.backend import Device, Mesh, Workers
from evolve.compare import Comparison, compare
from evolve.core.perturbation import Antithetic, Gaussian, LowRank, Rademacher, Sparse
from evolve.core.problem import Problem
from evolve.core.schedule import Cosine, Exponential, Linear, Power
from evolve.methods import (
    CMAES,
    GeneticAlgorithm,
    Gradient,
    OpenES,
    RandomSearch,
    SepCMAES,
    SimulatedAnnealing,
)
from evolve.run import Result, minimize, run

__version__ = "0.1.0"

__all__ = [
    "CMAES",
    "Antithetic",
    "Comparison",
    "Cosine",
    "Device",
    "Exponential",
    "Gaussian",
    "GeneticAlgorithm",
    "Gradient",
    "Linear",
    "LowRank",
    "Mesh",
    "OpenES",
    "Power",
    "Problem",
    "Rademacher",
    "RandomSearch",
    "Result",
    "SepCMAES",
    "SimulatedAnnealing",
    "Sparse",
    "Workers",
    "compare",
    "minimize",
    "run",
]
