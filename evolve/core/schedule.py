"""Numbers that change with the generation: learning rates, radii, temperatures.

Wherever a method takes a `Number`, it takes a plain number or any function of the generation (0, 1, 2, ...). Of the
schedules below `ends` are known, the numbers that they stay between: methods refuse one that ends out of range.
"""

from typing import Any, TypeAlias

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evolve.core.checks import check_positive

Scalar: TypeAlias = Any  # float | Float[Array, ""], for what does not change
Number: TypeAlias = Any  # float | Float[Array, ""] | Callable[[Int[Array, ""]], Float[Array, ""]]


class Power(eqx.Module):
    """initial / (1 + t / offset) ** exponent: Spall's gain sequences, scaled so that they start at `initial`."""

    initial: Number
    offset: Number = 1.0
    exponent: Number = 0.602

    def __check_init__(self) -> None:
        check_positive(self, schedules=False, offset=self.offset)

    @property
    def ends(self) -> tuple[Number, Number]:
        """The first value, and what the others tend to."""
        return self.initial, 0.0

    def __call__(self, generation: Int[Array, ""]) -> Float[Array, ""]:
        """The value at a generation."""
        return self.initial / (1.0 + generation / self.offset) ** self.exponent


class _Between(eqx.Module):
    """From `initial` to `final` in `steps` generations, then `final`."""

    initial: Number
    final: Number
    steps: Number

    def __check_init__(self) -> None:
        check_positive(self, schedules=False, steps=self.steps)

    @property
    def ends(self) -> tuple[Number, Number]:
        """The first value and the last."""
        return self.initial, self.final

    def part(self, generation: Int[Array, ""]) -> Float[Array, ""]:
        """How much of the way is done at a generation, in [0, 1]."""
        return jnp.minimum(generation / self.steps, 1.0)


class Exponential(_Between):
    """From `initial` to `final`, both > 0, in `steps` generations by a constant factor, then `final` (cooling)."""

    def __check_init__(self) -> None:
        check_positive(self, schedules=False, initial=self.initial, final=self.final)

    def __call__(self, generation: Int[Array, ""]) -> Float[Array, ""]:
        """The value at a generation."""
        return self.initial * (self.final / self.initial) ** self.part(generation)


class Linear(_Between):
    """From `initial` to `final` in `steps` generations along a line, then `final`."""

    def __call__(self, generation: Int[Array, ""]) -> Float[Array, ""]:
        """The value at a generation."""
        return self.initial + (self.final - self.initial) * self.part(generation)


class Cosine(_Between):
    """From `initial` to `final` in `steps` generations along half a cosine, then `final`."""

    def __call__(self, generation: Int[Array, ""]) -> Float[Array, ""]:
        """The value at a generation."""
        return self.final + (self.initial - self.final) * 0.5 * (1.0 + jnp.cos(jnp.pi * self.part(generation)))


def at(number: Number, generation: Int[Array, ""]) -> Float[Array, ""]:
    """The number at a generation, whether it is constant or a schedule."""
    value = jnp.asarray(number(generation) if callable(number) else number)
    return value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(float)
