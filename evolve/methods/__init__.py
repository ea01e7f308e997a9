"""Evolution and gradient baselines, one file each."""

from evolve.methods.annealing import SimulatedAnnealing
from evolve.methods.ars import ARS
from evolve.methods.auto import Choice, auto
from evolve.methods.bounded import Bounded
from evolve.methods.clipup import ClipUp
from evolve.methods.cma import CMAES
from evolve.methods.crfmnes import CRFMNES
from evolve.methods.genetic import GeneticAlgorithm
from evolve.methods.gradient import Gradient
from evolve.methods.integers import Integers
from evolve.methods.lmmaes import LMMAES
from evolve.methods.maes import MAES
from evolve.methods.openes import OpenES
from evolve.methods.pgpe import PGPE
from evolve.methods.random_search import RandomSearch
from evolve.methods.restarts import Restarts, Uniform
from evolve.methods.sep_cma import SepCMAES
from evolve.methods.snes import SNES
from evolve.methods.stopping import Tolerances
from evolve.methods.uncertainty import UncertaintyHandling
from evolve.methods.xnes import XNES

__all__ = [
    "ARS",
    "CMAES",
    "CRFMNES",
    "LMMAES",
    "MAES",
    "PGPE",
    "SNES",
    "XNES",
    "Bounded",
    "Choice",
    "ClipUp",
    "GeneticAlgorithm",
    "Gradient",
    "Integers",
    "OpenES",
    "RandomSearch",
    "Restarts",
    "SepCMAES",
    "SimulatedAnnealing",
    "Tolerances",
    "UncertaintyHandling",
    "Uniform",
    "auto",
]
