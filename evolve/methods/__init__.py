"""Evolution and gradient baselines, one file each."""

from evolve.methods.annealing import SimulatedAnnealing
from evolve.methods.ars import ARS
from evolve.methods.clipup import ClipUp
from evolve.methods.cma import CMAES, SepCMAES
from evolve.methods.crfmnes import CRFMNES
from evolve.methods.genetic import GeneticAlgorithm
from evolve.methods.gradient import Gradient
from evolve.methods.openes import OpenES
from evolve.methods.pgpe import PGPE
from evolve.methods.random_search import RandomSearch
from evolve.methods.snes import SNES
from evolve.methods.xnes import XNES

__all__ = [
    "ARS",
    "CMAES",
    "CRFMNES",
    "PGPE",
    "SNES",
    "XNES",
    "ClipUp",
    "GeneticAlgorithm",
    "Gradient",
    "OpenES",
    "RandomSearch",
    "SepCMAES",
    "SimulatedAnnealing",
]
