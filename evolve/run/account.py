"""How many evaluations a run has made: a whole number beyond what 32 bits hold, which is all that JAX may have."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from evolve.core.trees import full

_BITS = 30  # of the lower word: the sum of two is below 2^31


class Account(eqx.Module):
    """`high` 2^30 + `low`, up to 2^61; `low` is below 2^30."""

    high: Int[Array, "*seeds"]
    low: Int[Array, "*seeds"]

    @classmethod
    def of(cls, number: int) -> "Account":
        """A number that is known, or the largest there is."""
        number = min(number, 2 ** (31 + _BITS) - 1)
        return cls(full((), number >> _BITS, jnp.int32), full((), number & (2**_BITS - 1), jnp.int32))

    def plus(self, number: Any) -> "Account":
        """With as many more, from 0 to 2^31 - 1."""
        number = jnp.asarray(number, jnp.int32)
        low = self.low + (number & (2**_BITS - 1))
        return Account(self.high + (number >> _BITS) + (low >> _BITS), low & (2**_BITS - 1))

    def within(self, limit: "Account") -> Bool[Array, "*seeds"]:
        """Whether it is no more than another."""
        return (self.high < limit.high) | ((self.high == limit.high) & (self.low <= limit.low))


def total(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """The numbers that accounts stand for, as int64."""
    return (np.asarray(high, np.int64) << _BITS) + np.asarray(low, np.int64)
