"""Sums over the members of a generation by their weights, a few at a time where the population may grow."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evolve.core.population import Directions, stored
from evolve.core.refresh import at_least
from evolve.core.shaping import attracting, places
from evolve.core.trees import Geometry
from evolve.methods.cma_parameters import Parameters
from evolve.methods.colored import Colored, Growth, White
from evolve.methods.injection import Injected
from evolve.methods.mirrored import winners_first
from evolve.methods.stopping import quantiles


class Selection(eqx.Module):
    """What a generation's losses say, beside the members' weights."""

    mu_eff: Float[Array, ""]  # of the weights that move the mean: ties share theirs, a failed member's go to the others
    total: Float[Array, ""]  # the sum of those that teach the shape
    seen: Float[Array, " four"]  # `quantiles` of the losses


def weigh(
    directions: Directions | None, losses: Float[Array, " size"], p: Parameters, mirrored: bool, count: Any = None
) -> tuple[tuple[Float[Array, " size"], Float[Array, " size"]], Selection]:
    """The members' weights that move the mean, and those that teach the shape, the negative ones among them.

    With `count`, only so many members are in use, the first ones.
    """
    own = places(losses, count)
    foreign = directions.foreign(jnp.arange(len(losses))) if isinstance(directions, Injected) else None
    found = p.weights(*(places(winners_first(losses, count, foreign), count) if mirrored else own))
    one, two = attracting(losses, found)
    if foreign is not None:  # none of them makes the variance smaller, as pycma has it
        two = jnp.where(foreign, jnp.maximum(two, 0), two)
    return (one, two), Selection(1 / jnp.sum(one**2), jnp.sum(two), quantiles(losses, own[0], p.size))


def summed(
    directions: Directions,
    shape: Any,
    geometry: Geometry,
    count: Any,
    weights: tuple[Float[Array, " size"], ...],
    part: Callable[..., Any],
) -> Any:
    """The sum over `count` members of `part(shape, y, z, *weights)`, with y what the shape makes of white noise z.

    z is None where the shape does not keep it. The weights of members not in use are zero.
    """
    if isinstance(directions, Injected):
        own, theirs = zip(*map(directions.divided, weights), strict=True)
        drawn = summed(directions.inner, shape, geometry, count, own, part)
        return jax.tree.map(jnp.add, drawn, summed(directions.rows, shape, geometry, count, theirs, part))
    if isinstance(directions, Colored):
        return directions.total(count, weights, part)
    y = jax.vmap(geometry.ravel)(stored(directions))
    if not shape.keeps_white:
        return part(shape, y, None, *weights)
    # Members from elsewhere bring no noise.
    return part(shape, y, directions.white if isinstance(directions, White) else shape.whiten(y), *weights)


def drawn_from(directions: Directions) -> Directions:
    """Those into which members from elsewhere were put, or the same where there are none."""
    return drawn_from(directions.inner) if isinstance(directions, Injected) else directions


def gather_some(
    directions: Directions, losses: Float[Array, " most"], growth: Growth, part: Callable[..., Any]
) -> tuple[Any, Selection]:
    """`summed` for a population that may grow, by the weights of `weigh`.

    Ranked are a block, a window, a window times a power of eight, or all, the fewest that hold the members in use: a
    small population costs little, and there are few lengths to compile. `part` closes over no traced number.
    """
    p, lengths = growth.parameters, [growth.window]
    while lengths[-1] < growth.most:
        lengths.append(min(8 * lengths[-1], growth.most))

    def total(directions: Directions, p: Parameters, weights: tuple[Array, ...]) -> Any:
        colored: Any = drawn_from(directions)
        return summed(directions, colored.shape, colored.geometry, p.size, weights, part)

    def weighed(length: int) -> Callable[[Any], Any]:
        def selected(operand: tuple[Injected | None, Array, Parameters]) -> Any:
            known, losses, p = operand
            weights, selection = weigh(known, losses[:length], p, growth.mirrored, p.size)
            return tuple(jnp.pad(each, (0, growth.most - length)) for each in weights), selection

        return selected

    def few(length: int) -> Callable[[Any], Any]:
        # Not padded: those of a small population would be read by masked loads from among those of the largest, which
        # are slow wherever nobody has touched the memory before.
        def gathered(operand: tuple[Directions, Array, Parameters]) -> tuple[Any, Selection]:
            directions, losses, p = operand
            weights, selection = weigh(directions, losses[:length], p, growth.mirrored, p.size)
            return total(directions, p, weights), selection

        return gathered

    def many(operand: tuple[Directions, Array, Parameters]) -> tuple[Any, Selection]:
        directions, losses, p = operand
        index = jnp.sum(jnp.asarray(lengths[1:]) < p.size)
        known = directions if isinstance(directions, Injected) else None  # noise says nothing here
        weights, selection = at_least(index, [weighed(length) for length in lengths[1:]], (known, losses, p))
        return total(directions, p, weights), selection

    small = sorted({growth.block, growth.window})
    index = jnp.sum(jnp.asarray(small) < p.size)
    branches = [few(length) for length in small] + [many] * (growth.most > growth.window)
    return at_least(index, branches, (directions, losses, p))
