"""Search without backpropagation: evolution, zeroth-order methods and gradient baselines, in JAX."""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evolve.backend import Device, Mesh, Workers
    from evolve.compare import Comparison, compare
    from evolve.core import (
        Antithetic,
        Averaged,
        CommonRandomNumbers,
        Cosine,
        Exponential,
        Gaussian,
        IndependentNoise,
        Linear,
        LowRank,
        Power,
        Problem,
        Rademacher,
        Sparse,
        wrap,
    )
    from evolve.methods import (
        ARS,
        CMAES,
        CRFMNES,
        LMMAES,
        MAES,
        PGPE,
        SNES,
        XNES,
        Bounded,
        ClipUp,
        GeneticAlgorithm,
        Gradient,
        Integers,
        OpenES,
        RandomSearch,
        Restarts,
        SepCMAES,
        SimulatedAnnealing,
        Tolerances,
        UncertaintyHandling,
        Uniform,
    )
    from evolve.run import Budget, CheckpointError, Progress, Result, minimize, progress_bar, run

__version__ = "0.1.0"

__all__ = [
    "ARS",
    "CMAES",
    "CRFMNES",
    "LMMAES",
    "MAES",
    "PGPE",
    "SNES",
    "XNES",
    "Antithetic",
    "Averaged",
    "Bounded",
    "Budget",
    "CheckpointError",
    "ClipUp",
    "CommonRandomNumbers",
    "Comparison",
    "Cosine",
    "Device",
    "Exponential",
    "Gaussian",
    "GeneticAlgorithm",
    "Gradient",
    "IndependentNoise",
    "Integers",
    "Linear",
    "LowRank",
    "Mesh",
    "OpenES",
    "Power",
    "Problem",
    "Progress",
    "Rademacher",
    "RandomSearch",
    "Restarts",
    "Result",
    "SepCMAES",
    "SimulatedAnnealing",
    "Sparse",
    "Tolerances",
    "UncertaintyHandling",
    "Uniform",
    "Workers",
    "compare",
    "minimize",
    "progress_bar",
    "run",
    "wrap",
]

# Where each name lives. It is imported when it is first asked for: `evolve --help` needs no JAX.
_HOMES = {
    "evolve.backend": ("Device", "Mesh", "Workers"),
    "evolve.compare": ("Comparison", "compare"),
    "evolve.core": (
        "Antithetic",
        "Averaged",
        "CommonRandomNumbers",
        "Cosine",
        "Exponential",
        "Gaussian",
        "IndependentNoise",
        "Linear",
        "LowRank",
        "Power",
        "Problem",
        "Rademacher",
        "Sparse",
        "wrap",
    ),
    "evolve.methods": (
        "ARS",
        "CMAES",
        "CRFMNES",
        "PGPE",
        "SNES",
        "XNES",
        "LMMAES",
        "MAES",
        "GeneticAlgorithm",
        "Gradient",
        "OpenES",
        "RandomSearch",
        "Restarts",
        "SepCMAES",
        "SimulatedAnnealing",
        "Tolerances",
        "UncertaintyHandling",
        "Uniform",
        "Bounded",
        "Integers",
        "ClipUp",
    ),
    "evolve.run": ("Budget", "CheckpointError", "Progress", "Result", "minimize", "progress_bar", "run"),
}
_ZEROTH = ("MeZO", "SPSA")  # a package of its own, where people who look for all methods here do not find it
_HOME = {name: home for home, names in _HOMES.items() for name in names}


class _Package(ModuleType):
    """The package itself: its names come when they are asked for, and `run` and `compare` are always the functions."""

    def __getattr__(self, name: str) -> object:
        """A public name, or one of the rooms, which needs no import of its own."""
        if name in _HOME:
            value = getattr(importlib.import_module(_HOME[name]), name)
        elif f"evolve.{name}" in _HOMES:
            value = importlib.import_module(f"evolve.{name}")
        elif name in _ZEROTH:
            # No AttributeError: `from evolve import` would say something else in its place.
            raise ImportError(f"{name} is in zeroth: from zeroth import {name}.")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: object) -> None:
        # Python binds a submodule's name here whenever it imports one, and evolve.run and evolve.compare are also
        # packages; their names belong to the functions.
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *__all__})


sys.modules[__name__].__class__ = _Package
