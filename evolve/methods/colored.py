"""Populations whose size is a number of the program: drawn, evaluated and weighed block by block."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from evolve.core.population import Directions, Stored
from evolve.core.refresh import at_least
from evolve.core.shaping import recombination, sort
from evolve.core.trees import Geometry, Params
from evolve.methods.cma_parameters import Parameters
from evolve.methods.mirrored import noise, winners_first
from evolve.methods.stopping import quantiles


class Growth(eqx.Module):
    """A population that is another one in every restart."""

    parameters: Parameters  # arrays
    most: int = eqx.field(static=True)  # members at most, a multiple of the block
    block: int = eqx.field(static=True)
    mirrored: bool = eqx.field(static=True)


class White(Stored):
    """Stored directions with the white noise that they were made of, for shapes that would have to solve for it."""

    white: Float[Array, "size n"]
    paired: bool = eqx.field(static=True, default=False)

    @property
    def group(self) -> int:
        """2 for mirrored pairs."""
        return 2 if self.paired else 1


class Colored(Directions):
    """White noise that a shape has colored; a pure function of (key, member), never kept."""

    shape: Any
    key: PRNGKeyArray
    geometry: Geometry
    size: int = eqx.field(static=True)  # of a block
    mirrored: bool = eqx.field(static=True, default=False)

    @property
    def group(self) -> int:
        """2 for mirrored pairs."""
        return 2 if self.mirrored else 1

    @property
    def block(self) -> int:
        """Members drawn at once."""
        return self.size

    def white(self, number: Int[Array, ""] | int) -> Float[Array, "block n"]:
        """A block of white noise, as rows."""
        return noise(jax.random.fold_in(self.key, number), self.size, self.geometry.size, self.mirrored)

    def flat(self, number: Int[Array, ""] | int) -> Float[Array, "block n"]:
        """The same, colored."""
        return self.shape.color(self.white(number))

    def one(self, i: Int[Array, ""] | int) -> Params:
        """Its block's row."""
        return self.geometry.unravel(self.flat(i // self.size)[i % self.size])

    def batch(self, first: Int[Array, ""] | int, count: int) -> Params:
        """A block, or as many as hold `count` members; `first` begins one."""
        blocks = first // self.size + jnp.arange(-(-count // self.size))
        rows = jax.vmap(self.flat)(blocks).reshape(-1, self.geometry.size)[:count]
        return jax.vmap(self.geometry.unravel)(rows)

    def combine(self, weights: Float[Array, " size"]) -> Params:
        """Block by block."""
        count = weights.shape[0]
        total = self.total(jnp.asarray(count), (weights,), lambda y, z, weights: weights @ y)
        return self.geometry.unravel(total)

    def total(self, count: Int[Array, ""], weights: tuple[Array, ...], part: Callable[..., Any]) -> Any:
        """The sum over blocks of `part(y, z, *weights)`, as far as `count` members reach.

        z is the white noise for a shape that keeps it, else None.
        """

        def sums(number: Any, some: list[Array]) -> Any:
            z = self.white(number)
            return part(self.shape.color(z), z if self.shape.keeps_white else None, *some)

        def add(loop: Any) -> Any:
            number, total = loop
            some = [jax.lax.dynamic_slice(each, (number * self.size,), (self.size,)) for each in weights]
            return number + 1, jax.tree.map(jnp.add, total, sums(number, some))

        empty = jax.eval_shape(lambda: sums(0, [each[: self.size] for each in weights]))
        start = (jnp.zeros((), jnp.int32), jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), empty))
        return jax.lax.while_loop(lambda loop: loop[0] * self.size < count, add, start)[1]


def weigh(
    losses: Float[Array, " size"], p: Parameters, mirrored: bool, count: Any = None
) -> tuple[Array, Array, Float[Array, " four"]]:
    """The members' weights, for the mean and for the shape, and what `quantiles` says of the losses.

    With `count`, only so many members are in use, the first ones.
    """
    tables = jnp.stack([jnp.asarray(table, losses.dtype) for table in p.tables(len(losses))])
    ranked = winners_first(losses, count) if mirrored else losses
    one, two = jax.vmap(recombination, (None, 0, None))(ranked, tables, count)
    return one, two, quantiles(sort(losses)[1], p.size)


def weigh_some(losses: Float[Array, " most"], growth: Growth) -> tuple[Array, Array, Float[Array, " four"]]:
    """`weigh` for a population that may grow.

    Sorted is a power of four of blocks, the smallest that holds the members in use: a small population costs little,
    and there are few sorts to compile.
    """
    p, most = growth.parameters, growth.most

    def tier(length: int) -> Callable[[Any], Any]:
        def rank(operand: tuple[Array, Parameters]) -> tuple[Array, Array, Array]:
            losses, p = operand
            *both, seen = weigh(losses[:length], p, growth.mirrored, p.size)
            one, two = (jnp.pad(weights, (0, most - length)) for weights in both)
            return one, two, seen

        return rank

    blocks = -(-p.size // growth.block)
    lengths = [growth.block]
    while lengths[-1] < most:
        lengths.append(min(4 * lengths[-1], most))
    index = jnp.sum(jnp.asarray([length // growth.block for length in lengths]) < blocks)
    return at_least(index, [tier(length) for length in lengths], (losses, p))
