"""Shapes of a normal distribution N(0, C), and what one generation of CMA-ES teaches them."""

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evolve.core.refresh import refresh
from evolve.core.trees import keep
from evolve.methods.cma_parameters import Parameters


class Step(eqx.Module):
    """What one generation teaches a shape."""

    moments: Any  # the sum of what `Shape.moments` makes of the members
    total: Float[Array, ""]  # of all weights, the negative ones included
    white: Float[Array, " n"]  # the mean's step as white noise
    mu_eff: Float[Array, ""]  # by which that is shorter than the members', squared
    path: Float[Array, " n"]  # p_c, of what `Shape.local` makes of each step of the mean
    stalled: Bool[Array, ""]  # h_sigma = 0
    generation: Int[Array, ""]  # 0, 1, ...: the one being learned from
    unit: Float[Array, ""]  # what of the shape's size moves into sigma; see `unit`
    sound: Bool[Array, ""] | bool  # whether there is something to learn, and nothing overflows; True: others ask

    def decays(self, p: Parameters) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The rank-one rate less what a stalled path has not brought (eq. 47), and the factor that C keeps."""
        c_1 = p.c_1 * (1 - jnp.where(self.stalled, p.c_c * (2 - p.c_c), 0.0))
        return c_1, 1 - c_1 - p.c_mu * self.total

    def due(self, gap: Any) -> Bool[Array, ""]:
        """Whether it is time for what is done every `gap` generations."""
        return self.sound & ((self.generation + 1) % gap == 0)


def balanced(weights: Float[Array, " some"], whitened: Float[Array, "some n"]) -> Float[Array, " some"]:
    """Negative weights shrink with the member's length, so that C stays positive definite (eq. 46)."""
    # pycma's guard against a member in the very center, in units of standard deviations
    length = jnp.sqrt(jnp.sum(whitened**2, axis=1)) + 1e-9
    return jnp.where(weights < 0, weights * whitened.shape[1] / length**2, weights)


def products(
    weights: Float[Array, " some"], y: Float[Array, "some n"], z: Float[Array, "some n"]
) -> Float[Array, "n n"]:
    """sum_i w_i y_i z_i^T."""
    rows = y.T * weights
    # Written to memory. Else the transpose becomes part of the product, which on a CPU then takes up to twice as long,
    # but in single precision less where it is large.
    return (jax.lax.optimization_barrier(rows) if y.dtype == jnp.float64 or y.shape[1] <= 100 else rows) @ z


class Shape(eqx.Module):
    """The sampling distribution N(0, C) up to its size: how to draw from it, how to undo it, how to learn it."""

    keeps_white: ClassVar[bool] = False  # whether it learns from the members' white noise, which undoing would cost
    turns: ClassVar[bool] = True  # whether axes may leave the coordinates: where they do, a high condition costs digits

    @classmethod
    @abstractmethod
    def start(cls, deviations: Float[Array, " n"]) -> "Shape":
        """Independent coordinates with these standard deviations."""

    @abstractmethod
    def color(self, z: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """White noise z to a direction y ~ N(0, C)."""

    @abstractmethod
    def whiten(self, y: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """A direction back to white noise."""

    @abstractmethod
    def local(self, y: Float[Array, " n"], white: Float[Array, " n"]) -> Float[Array, " n"]:
        """A step of the mean, also given as white noise, in the coordinates in which the path p_c adds up."""

    def carried(self, path: Float[Array, " n"], unit: Float[Array, ""]) -> Float[Array, " n"]:
        """The path p_c after the shape has become `unit` times smaller."""
        return path / unit

    @abstractmethod
    def moments(
        self, y: Float[Array, "some n"], z: Float[Array, "some n"] | None, weights: Float[Array, " some"]
    ) -> Any:
        """What some members teach: a sum over them, so that the whole population need not be at hand at once.

        `z` is their white noise, for a shape that keeps it.
        """

    @abstractmethod
    def learned(self, step: Step, p: Parameters) -> "Shape":
        """After a generation; as it was where that is not `sound`."""

    @abstractmethod
    def widened(self, least: Float[Array, " n"]) -> "Shape":
        """With no coordinate's standard deviation below the least."""

    @property
    @abstractmethod
    def axes(self) -> Float[Array, " some"]:
        """Standard deviations along the principal axes, in any order, each at least once."""

    @property
    def unit(self) -> Float[Array, ""]:
        """What of the shape's size is to move into sigma."""
        return unit(self.axes)

    @property
    @abstractmethod
    def deviations(self) -> Float[Array, " n"]:
        """Standard deviations of the coordinates."""

    @abstractmethod
    def outward(self, path: Float[Array, " n"], wanted: Bool[Array, ""]) -> Float[Array, " n"]:
        """The path p_c in the parameters' units, the inverse of `local`; of no meaning where it is not wanted."""

    def axis(self, i: Int[Array, ""]) -> Float[Array, " n"] | None:
        """The i-th principal axis as a vector as long as its standard deviation; None where there is none for each."""
        del i
        return None


class WhitePath(Shape):
    """A shape whose path p_c adds up white noise, as that of the step size does."""

    def local(self, y: Float[Array, " n"], white: Float[Array, " n"]) -> Float[Array, " n"]:
        """White noise."""
        del y
        return white

    def carried(self, path: Float[Array, " n"], unit: Float[Array, ""]) -> Float[Array, " n"]:
        """As it is: white noise has no size."""
        del unit
        return path

    def outward(self, path: Float[Array, " n"], wanted: Bool[Array, ""]) -> Float[Array, " n"]:
        """Colored where it is wanted."""
        return refresh(wanted, lambda operand: operand[0].color(operand[1]), (self, path), path)


class Diagonal(Shape):
    """diag(scales^2), learned by adding as the full matrix is (Ros and Hansen 2008)."""

    turns: ClassVar[bool] = False

    scales: Float[Array, " n"]

    @classmethod
    def start(cls, deviations: Float[Array, " n"]) -> "Shape":
        """As given."""
        return cls(deviations)

    def color(self, z: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """D z."""
        return z * self.scales

    def whiten(self, y: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """D^-1 y."""
        return y / self.scales

    def local(self, y: Float[Array, " n"], white: Float[Array, " n"]) -> Float[Array, " n"]:
        """Y as it is."""
        del white
        return y

    def moments(
        self, y: Float[Array, "some n"], z: Float[Array, "some n"] | None, weights: Float[Array, " some"]
    ) -> Float[Array, " n"]:
        """sum_i w_i y_i^2."""
        del z
        return balanced(weights, self.whiten(y)) @ y**2

    def learned(self, step: Step, p: Parameters) -> "Shape":
        """The diagonal of eq. 47."""
        _, left = step.decays(p)
        variance = left * self.scales**2 + p.c_1 * step.path**2 + p.c_mu * step.moments
        # The guarantee of `balanced` is for the whole vector; one coordinate may still be pushed below zero.
        floor = jnp.finfo(self.scales.dtype).eps * self.scales**2
        learned = _apart(jnp.sqrt(jnp.maximum(variance, floor)) / step.unit)
        return type(self)(keep(step.sound, learned, self.scales))

    def widened(self, least: Float[Array, " n"]) -> "Shape":
        """By larger scales."""
        return type(self)(jnp.maximum(self.scales, least))

    @property
    def axes(self) -> Float[Array, " n"]:
        """The coordinates' own."""
        return self.scales

    @property
    def deviations(self) -> Float[Array, " n"]:
        """The coordinates' own."""
        return self.scales

    def outward(self, path: Float[Array, " n"], wanted: Bool[Array, ""]) -> Float[Array, " n"]:
        """As it is."""
        del wanted
        return path


class Factors(WhitePath, Diagonal):
    """diag(scales^2), learned by multiplying, so that no factor can become negative (pycma's CMA_diagonal)."""

    def moments(
        self, y: Float[Array, "some n"], z: Float[Array, "some n"] | None, weights: Float[Array, " some"]
    ) -> Float[Array, " n"]:
        """sum_i w_i z_i^2."""
        del z
        return weights @ self.whiten(y) ** 2

    def learned(self, step: Step, p: Parameters) -> "Shape":
        """The scales times 2^((sum_i w_i z_i^2 - sum_i w_i) / 2), over the members and the path."""
        c_1, left = step.decays(p)
        squares = c_1 * step.path**2 + p.c_mu * step.moments
        learned = _apart(self.scales * jnp.exp2((squares - (1 - left)) / 2) / step.unit)
        return type(self)(keep(step.sound, learned, self.scales))


def _apart(scales: Float[Array, " n"]) -> Float[Array, " n"]:
    """Scales as far apart as their squares can be told: one that is squeezed for ever would vanish."""
    return jnp.maximum(scales, jnp.max(scales) * jnp.finfo(scales.dtype).tiny ** 0.25)


def unit(axes: Float[Array, " some"]) -> Float[Array, ""]:
    """One, or the power of two next to the longest axis where that has drifted far from one.

    The size of C and sigma are one number too many: on plateaus they drift apart until one underflows. A power of two
    moves from one to the other without rounding.
    """
    longest = jnp.log2(jnp.max(axes))
    return jnp.exp2(jnp.where(jnp.abs(longest) > 16, jnp.round(longest), 0.0))
