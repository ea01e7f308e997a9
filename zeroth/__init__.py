"""Zeroth-order methods: points of the one estimator in `evolve.core.estimator`."""

from zeroth.mezo import MeZO
from zeroth.spsa import SPSA

__all__ = ["SPSA", "MeZO"]
