"""The checker that executes annotations in tests: beartype, with the project's own reading of two types."""

import jax
import numpy as np
from beartype import BeartypeConf, FrozenDict, beartype

_READINGS = FrozenDict(
    {
        # Numbers are leaves: what a user writes as 0.3 or 1, a sweep by vmap makes a traced scalar.
        float: float | int | jax.Array | np.floating,
        # NumPy hands back scalars where arithmetic leaves no axis.
        np.ndarray: np.ndarray | np.generic,
    }
)

check = beartype(conf=BeartypeConf(hint_overrides=_READINGS))
