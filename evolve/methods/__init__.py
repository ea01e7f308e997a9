"""Evolution and gradient baselines, one file each."""

from evolve.methods.annealing import SimulatedAnnealing
from evolve.methods.cma import CMAES
from evolve.methods.genetic import GeneticAlgorithm
from evolve.methods.gradient import Gradient
from evolve.methods.openes import OpenES
from evolve.methods.random_search import RandomSearch
from evolve.methods.restarts import Restarts, Uniform
from evolve.methods.sep_cma import SepCMAES
from evolve.methods.stopping import Tolerances

__all__ = [
    "CMAES",
    "GeneticAlgorithm",
    "Gradient",
    "OpenES",
    "RandomSearch",
    "Restarts",
    "SepCMAES",
    "SimulatedAnnealing",
    "Tolerances",
    "Uniform",
]
