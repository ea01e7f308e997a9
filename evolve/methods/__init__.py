"""Evolution and gradient baselines, one file each."""

from evolve.methods.annealing import SimulatedAnnealing
from evolve.methods.cma import CMAES, SepCMAES
from evolve.methods.crfmnes import CRFMNES
from evolve.methods.genetic import GeneticAlgorithm
from evolve.methods.gradient import Gradient
from evolve.methods.openes import OpenES
from evolve.methods.random_search import RandomSearch
from evolve.methods.snes import SNES
from evolve.methods.xnes import XNES

__all__ = [
    "CMAES",
    "CRFMNES",
    "SNES",
    "XNES",
    "GeneticAlgorithm",
    "Gradient",
    "OpenES",
    "RandomSearch",
    "SepCMAES",
    "SimulatedAnnealing",
]
