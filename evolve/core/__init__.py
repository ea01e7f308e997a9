"""Problems, populations, perturbations and optimizers: what every other room builds on."""

from evolve.core.estimator import Estimator, EstimatorState
from evolve.core.evaluation import graded
from evolve.core.lowrank import Factored
from evolve.core.noise import Averaged, CommonRandomNumbers, IndependentNoise
from evolve.core.optimizer import Graded, Growing, Optimizer
from evolve.core.perturbation import Antithetic, Gaussian, Law, LowRank, Perturbation, Rademacher, Sparse
from evolve.core.population import Directions, Drawn, Population, Stored, StoredPairs
from evolve.core.problem import Problem, required, wrap
from evolve.core.schedule import Cosine, Exponential, Linear, Power
from evolve.core.shaping import Elite, TopPairs, by_rank, centered_ranks, difference, recombination, z_score
from evolve.core.trees import Geometry
from evolve.core.wrapper import Wrapper

__all__ = [
    "Antithetic",
    "Averaged",
    "CommonRandomNumbers",
    "Cosine",
    "Directions",
    "Drawn",
    "Elite",
    "Estimator",
    "EstimatorState",
    "Exponential",
    "Factored",
    "Gaussian",
    "Geometry",
    "Graded",
    "Growing",
    "IndependentNoise",
    "Law",
    "Linear",
    "LowRank",
    "Optimizer",
    "Perturbation",
    "Population",
    "Power",
    "Problem",
    "Rademacher",
    "Sparse",
    "Stored",
    "StoredPairs",
    "TopPairs",
    "Wrapper",
    "by_rank",
    "centered_ranks",
    "difference",
    "graded",
    "recombination",
    "required",
    "wrap",
    "z_score",
]
