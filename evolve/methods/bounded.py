"""Bounds on coordinates, by pycma's transformation (`BoundTransform`), for any method."""

import dataclasses
from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from evolve.core.checks import check_edges
from evolve.core.optimizer import Guarding, State
from evolve.core.population import Population, Stored
from evolve.core.trees import Geometry, Params, as_arrays, begin, fitted
from evolve.core.wrapper import Wrapper, within
from evolve.methods.injection import fitting
from evolve.methods.mapped import Mapped, mapped


class Image(eqx.Module):
    """A map of whole members, in working precision, to where they are evaluated."""

    @abstractmethod
    def __call__(self, tree: Params) -> Params:
        """To where it is evaluated."""

    @abstractmethod
    def inverse(self, tree: Params) -> Params:
        """One that is mapped there."""


class Box(Image):
    """The map of all numbers into [low, high]: the identity but near the edges, smooth, periodic beyond them."""

    low: Params
    high: Params

    def __call__(self, tree: Params) -> Params:
        """Into the box."""
        return jax.tree.map(_into, as_arrays(tree), self.low, self.high)

    def inverse(self, tree: Params) -> Params:
        """The number next to the box that is mapped there; from outside, that of the nearest edge."""
        return jax.tree.map(_back, as_arrays(tree), self.low, self.high)


class BoundedState(eqx.Module):
    """The method's own, of a run that knows no bounds, and how wide it began."""

    inner: Any
    first: Float[Array, " n"] | None  # standard deviations of the coordinates, where the method adapts any


class Bounded(Guarding, Wrapper):
    """Keep every coordinate within bounds, for any method that learns from losses.

    The method searches without bounds; what it asks for is mapped into the box before it is evaluated, as pycma 4.5
    does (`BoundTransform`). The map is the identity except near an edge, within a twentieth of the edge's size or half
    the width, where it is quadratic, so that the edge itself is reached in finite distance and without a kink. So
    optima in the inside, and methods far from the edges, see no difference, and radii keep their unit.

    pycma keeps each standard deviation below a third of the box besides (`maxstd_boundrange`); here nothing does. Far
    beyond the edges losses say nothing, for the map is periodic there. So put `UncertaintyHandling` around it, not
    inside: then it widens all deviations until one is a third of the box, or as wide as it began where that is more
    (of `Restarts` within, as the first run began; around it, as each does; of `LMMAES`, as deviations were looked at
    last). Where widths differ, let the method begin with deviations in proportion to them, by `stds` or by parameters
    of one scale where it has none, lest a narrow coordinate limit the others.

    Members are formed whole: time and memory a generation are the method's and O(population n), and directions of low
    rank gain nothing. Not for constraints on several coordinates together, nor around `Integers`, which takes edges
    itself.

    Parameters
    ----------
    optimizer
        The method.
    low, high
        Edges: numbers, or trees that broadcast against the parameters; infinite where there are none. `low` is below
        `high` everywhere, and a start lies between them. A start that `Restarts` draws outside is moved to the edge.
    """

    any_oracle: ClassVar[bool] = False
    rounds: ClassVar[bool] = False  # whether values come from a grid

    low: Params = -jnp.inf
    high: Params = jnp.inf

    def __check_init__(self) -> None:
        self._check_within()
        check_edges(self, self.low, self.high, apart=True)

    def around(self, inner: State) -> Any:
        """And the standard deviations that it begins with."""
        return BoundedState(inner, self.optimizer.deviations(inner))

    def init(self, params: Params, key: PRNGKeyArray) -> Any:
        """The method's, from where the start is the image of."""
        return super().init(self._outside(params), key)

    def start(self, params: Params, key: PRNGKeyArray, size: Int[Array, ""], most: int, spread: Any) -> Any:
        """`init` for a restart."""
        return super().start(self._outside(params), key, size, most, spread)

    def ask(self, state: Any, key: PRNGKeyArray) -> Population:
        """The images of the method's members."""
        inner = self.optimizer.ask(state.inner, key)
        return mapped(inner, self._image(state, inner.geometry))

    def inject(self, state: Any, population: Population, members: Params) -> Population:
        """Where the members are the images of; from outside, of the nearest edge."""
        geometry, inner = population.geometry, self._own(state, population)
        image = self._image(state, geometry)
        members = fitting(self, members, geometry, inner.least)
        outside = jax.vmap(image.inverse)(geometry.working(members))
        return mapped(self.optimizer.inject(state.inner, inner, outside), image)

    def told(
        self, state: Any, population: Population, losses: Float[Array, " size"], some: Bool[Array, ""] | bool
    ) -> Any:
        """What the method learns of the members that it asked for."""
        inner = self._own(state, population)
        return dataclasses.replace(state, inner=self.optimizer.learn_if(state.inner, inner, losses, some))

    def widened(self, state: Any, factor: Float[Array, ""]) -> Any:
        """The method's, until a coordinate is a third of the box wide, or as wide as it began where that is more."""
        deviations = self.optimizer.deviations(state.inner)
        if deviations is not None:
            geometry = Geometry.of(self.optimizer.answer(state.inner))
            widths = jax.tree.map(lambda low, high: high - low, *self._edges(geometry))
            most = jnp.maximum(geometry.ravel(widths) / 3, state.first)
            # Two infinities are no limit.
            room = jnp.min(jnp.where(jnp.isfinite(most), most / deviations, jnp.inf))
            factor = jnp.minimum(factor, jnp.maximum(1.0, room))
        return super().widened(state, factor)

    def answer(self, state: Any) -> Params:
        """The image of the method's."""
        answer = self.optimizer.answer(state.inner)
        geometry = Geometry.of(answer)
        return geometry.cast(self._image(state, geometry)(geometry.working(answer)))

    def _own(self, state: Any, population: Population) -> Population:
        """The members that the method asked for."""
        if isinstance(population.directions, Mapped):
            return population.directions.inner
        # Members were put in the place of those that were drawn.
        asked = self.optimizer.ask(state.inner, population.key)
        return _drawn(asked, population, self._image(state, asked.geometry))

    def _image(self, state: Any, geometry: Geometry) -> Image:
        """What maps members to where they are evaluated."""
        del state
        return self._box(geometry)

    def _edges(self, geometry: Geometry) -> tuple[Params, Params]:
        name, none = type(self).__name__, "-jnp.inf and jnp.inf are no edge"
        low, high = (fitted(name, edge, getattr(self, edge), geometry.like, none) for edge in ("low", "high"))
        return low, high

    def _box(self, geometry: Geometry) -> Box:
        return Box(*self._edges(geometry))

    def _outside(self, params: Params) -> Params:
        """Where the start is the image of."""
        geometry, start = begin(self, params)
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((start, self._edges(geometry)))):
            self._check(start, geometry)
        return geometry.cast(self._box(geometry).inverse(start))

    def _check_within(self) -> None:
        """Refuse a box around a grid and a grid around a box: what the one maps, the other moves."""
        maps = [one for one in within(self) if isinstance(one, Bounded)]
        if {one.rounds for one in maps} == {True, False}:
            own, inner = (type(one).__name__ for one in maps[:2])
            raise ValueError(
                f"{own}: it is put around {inner}, and values would leave the grid or the box; give the edges to "
                "Integers itself: Integers(..., low=..., high=...)."
            )

    def _check(self, start: Params, geometry: Geometry) -> None:
        """Refuse edges that cross, and a start outside of them."""
        edges = self._edges(geometry)
        check_edges(self, *edges, apart=True)  # in the parameters' precision
        low, high, values = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]) for tree in (*edges, start))
        outside = int(np.sum((values < low) | (values > high)))
        if outside:
            given = f"{type(self).__name__}: {outside} value(s) of the start"
            raise ValueError(f"{given} lie outside of low and high; start between them.")


def _drawn(inner: Population, population: Population, image: Image) -> Population:
    """A population of the method's that has these images."""
    whole = jax.vmap(image.inverse)(inner.geometry.working(population.members()))
    if inner.center is not None:
        whole = jax.tree.map(lambda x, c: (x - c) / inner.scale.astype(c.dtype), whole, inner.center)
    return dataclasses.replace(inner, directions=Stored(whole))


def _margins(low: Array, high: Array) -> tuple[Array, Array, Array, Array]:
    """The edges, finite where they are not, and the widths of the quadratic parts (`margin_width2`)."""
    bounded = [jnp.isfinite(edge) for edge in (low, high)]
    half = jnp.where(bounded[0] & bounded[1], (high - low) / 2, jnp.inf)
    edges = [jnp.where(finite, edge, 0.0) for finite, edge in zip(bounded, (low, high), strict=True)]
    widths = [jnp.minimum(half, jnp.maximum(1.0, jnp.abs(edge)) / 20) for edge in edges]
    return edges[0], edges[1], widths[0], widths[1]


def _into(x: Array, low: Array, high: Array) -> Array:
    """The map that pycma calls `BoxConstraintsLinQuadTransformation`."""
    a, b, below, above = _margins(low, high)
    has_low, has_high = jnp.isfinite(low), jnp.isfinite(high)
    both = has_low & has_high
    period, first = 2 * (b - a + below + above), a - 2 * below - (b - a) / 2
    far = both & ((x < first) | (x > b + 2 * above + (b - a) / 2))
    x = jnp.where(far, x - period * jnp.floor((x - first) / jnp.where(both, period, 1.0)), x)
    # Mirrored without doubling, which would overflow far outside.
    x = jnp.where(has_high & (x > b + above), (b + above) - (x - (b + above)), x)
    x = jnp.where(has_low & (x < a - below), (a - below) + ((a - below) - x), x)
    x = jnp.where(has_low & (x < a + below), a + (x - (a - below)) ** 2 / 4 / below, x)
    x = jnp.where(has_high & (x > b - above), b - (x - (b + above)) ** 2 / 4 / above, x)
    return jnp.clip(x, low, high)


@jax.jit  # where nothing is traced, one program instead of twenty
def _back(x: Array, low: Array, high: Array) -> Array:
    """Its inverse next to the box."""
    a, b, below, above = _margins(low, high)
    x = jnp.clip(x, low, high)
    x = jnp.where(jnp.isfinite(low) & (x < a + below), a - below + 2 * jnp.sqrt(below * jnp.maximum(0, x - a)), x)
    return jnp.where(jnp.isfinite(high) & (x > b - above), b + above - 2 * jnp.sqrt(above * jnp.maximum(0, b - x)), x)
