"""Populations whose size is a number of the program: drawn and evaluated a few at a time."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from evolve.core import draws
from evolve.core.population import KEPT, Directions, Population, Stored
from evolve.core.refresh import at_least, refresh
from evolve.core.trees import Geometry, Params, float_dtype, full
from evolve.methods.mirrored import head, noise


class Growth(eqx.Module):
    """A population that is another one in every restart."""

    parameters: Any  # a named tuple of arrays: the `size`, and what follows from it
    most: int = eqx.field(static=True)  # members at most, a multiple of the block
    block: int = eqx.field(static=True)
    window: int = eqx.field(static=True)
    mirrored: bool = eqx.field(static=True)

    @classmethod
    def of(cls, rates: Callable[[Any, int], Any], size: Any, most: int, block: int, mirrored: bool, n: int) -> "Growth":
        """With `rates(size, most)` as its parameters.

        Up to eight blocks are drawn at once: of loops over few members, most of the time is the loop's. A window is
        kept from `ask` to `tell`, so there are fewer where they would be many numbers.
        """
        most = -(-most // block) * block
        # A number that is known is one of NumPy's: else dozens of small programs would be compiled for it.
        parameters = rates(size if isinstance(size, jax.core.Tracer) else int(size), most)
        count = math.gcd(8, most // block)
        while count > 1 and count * block * n > KEPT:
            count //= 2
        window = block * count
        numbers = type(parameters)(*(jnp.asarray(number, float_dtype()) for number in parameters))
        return cls(numbers._replace(size=jnp.asarray(parameters.size, jnp.int32)), most, block, window, mirrored)

    @property
    def size(self) -> Int[Array, ""]:
        """Members in use."""
        return self.parameters.size

    def population(self, center: Params, scale: Array, shape: Any, key: PRNGKeyArray, geometry: Geometry) -> Population:
        """As many members along white noise that the shape has colored."""
        drawn = Colored.of(shape, key, geometry, self, self.size)
        return Population(center, scale, drawn, key, geometry, self.most, self.size)

    @staticmethod
    def more(growth: "Growth | None") -> Int[Array, ""]:
        """Members beyond the smallest population's; none where it never grows."""
        return full((), 0, jnp.int32) if growth is None else growth.size - growth.block


class White(Stored):
    """Stored directions with the white noise that they were made of, for shapes that would have to solve for it.

    Whoever puts others in their place gives a population other directions, not these another tree.
    """

    white: Float[Array, "size n"]
    paired: bool = eqx.field(static=True, default=False)

    @property
    def group(self) -> int:
        """2 for mirrored pairs."""
        return 2 if self.paired else 1


class Colored(Directions):
    """White noise that a shape has colored; a pure function of (key, member), of which one window is kept."""

    shape: Any
    key: PRNGKeyArray
    geometry: Geometry
    size: int = eqx.field(static=True)  # of a block
    mirrored: bool = eqx.field(static=True)
    head: Float[Array, "window n"]  # the first window's noise, or its first block's where no more is in use

    @classmethod
    def of(
        cls, shape: Any, key: PRNGKeyArray, geometry: Geometry, growth: Growth, used: Int[Array, ""] | int
    ) -> "Colored":
        """With what most generations need drawn: small ones have no more than a window."""

        def drawn(key: PRNGKeyArray, length: int) -> Float[Array, "length n"]:
            return head(key, length, growth.window, geometry.size, growth.mirrored)

        first = _some(used, growth.block, growth.window, drawn, draws.fold_in(key, 0))
        return cls(shape, key, geometry, growth.block, growth.mirrored, first)

    @property
    def group(self) -> int:
        """2 for mirrored pairs."""
        return 2 if self.mirrored else 1

    @property
    def block(self) -> int:
        """Members evaluated at once."""
        return self.size

    @property
    def window(self) -> int:
        """Members drawn at once."""
        return self.head.shape[0]

    def white(self, first: Int[Array, ""] | int) -> Float[Array, "window n"]:
        """The white noise of the window that begins with a member; each window has a key of its own."""
        place = jax.lax.div(jnp.asarray(first, jnp.int32), jnp.int32(self.window))  # none is negative

        def drawn(operand: tuple[PRNGKeyArray, Array]) -> Float[Array, "window n"]:
            return noise(draws.fold_in(*operand), self.window, self.geometry.size, self.mirrored)

        return refresh(place > 0, drawn, (self.key, place), self.head)

    def flat(self, first: Int[Array, ""] | int) -> Float[Array, "window n"]:
        """The same, colored."""
        return self.shape.color(self.white(first))

    def ahead(self, first: Int[Array, ""], used: Int[Array, ""] | int) -> "Held":
        """A window's, or where only its first block is in use, that one's."""

        def colored(operand: tuple[Any, Array], length: int) -> Float[Array, "length n"]:
            shape, z = operand
            return shape.color(z[:length])

        rows = _some(used - first, self.block, self.window, colored, (self.shape, self.white(first)))
        return Held(Stored(jax.vmap(self.geometry.unravel)(rows)), first, self.block, self.group)

    def one(self, i: Int[Array, ""] | int) -> Params:
        """Its window's row."""
        return self.geometry.unravel(self.flat(i)[i % self.window])

    def batch(self, first: Int[Array, ""] | int, count: int) -> Params:
        """Cut from the windows that they lie in, as many as they can reach into."""
        most = -(-count // self.window) if isinstance(first, int) and first == 0 else (count - 2) // self.window + 2
        begins = first // self.window * self.window + self.window * jnp.arange(most)
        rows = jax.vmap(self.flat)(begins).reshape(-1, self.geometry.size)
        return jax.vmap(self.geometry.unravel)(jax.lax.dynamic_slice_in_dim(rows, first % self.window, count))

    def combine(self, weights: Float[Array, " size"]) -> Params:
        """Window by window."""
        count = weights.shape[0]
        total = self.total(jnp.asarray(count), (weights,), lambda shape, y, z, weights: weights @ y)
        return self.geometry.unravel(total)

    def total(self, count: Int[Array, ""] | int, weights: tuple[Array, ...], part: Callable[..., Any]) -> Any:
        """The sum over windows of `part(shape, y, z, *weights)`, as far as `count` members reach.

        z is the white noise for a shape that keeps it, else None. The weights of members not in use are zero.
        """
        length = len(weights[0])
        if length <= self.window:
            return self._part(self.head[:length], weights, part)

        def add(loop: Any) -> Any:
            first, total = loop
            some = tuple(jax.lax.dynamic_slice(each, (first,), (self.window,)) for each in weights)
            return first + self.window, jax.tree.map(jnp.add, total, self._part(self.white(first), some, part))

        zero = jnp.zeros((), jnp.int32)
        empty = jax.eval_shape(lambda: self._part(self.head, tuple(w[: self.window] for w in weights), part))
        start = (zero, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), empty))
        return jax.lax.while_loop(lambda loop: loop[0] < count, add, start)[1]

    def _part(self, z: Float[Array, "some n"], weights: tuple[Array, ...], part: Callable[..., Any]) -> Any:
        return part(self.shape, self.shape.color(z), z if self.shape.keeps_white else None, *weights)


def _some(
    used: Any, block: int, window: int, compute: Callable[[Any, int], Float[Array, "length n"]], operand: Any
) -> Float[Array, "window n"]:
    """`compute(operand, length)`: of a window, or of its first block where no more is in use, and zeros behind it."""

    def of(length: int) -> Callable[[Any], Any]:
        return lambda operand: jnp.pad(compute(operand, length), ((0, window - length), (0, 0)))

    lengths = sorted({block, window})
    return at_least(jnp.asarray(used > lengths[0], jnp.int32), [of(length) for length in lengths], operand)


class Held(Directions):
    """Some successive members' directions, drawn already, by the numbers that the members have among all."""

    rows: Stored
    first: Int[Array, ""]
    size: int = eqx.field(static=True)  # of a block
    pairs: int = eqx.field(static=True)

    @property
    def group(self) -> int:
        """As when they were drawn."""
        return self.pairs

    @property
    def block(self) -> int:
        """As when they were drawn."""
        return self.size

    def one(self, i: Int[Array, ""] | int) -> Params:
        """Its row."""
        return self.rows.one(i - self.first)

    def batch(self, first: Int[Array, ""] | int, count: int) -> Params:
        """Their rows."""
        return self.rows.batch(first - self.first, count)

    def combine(self, weights: Float[Array, " size"]) -> Params:
        """Not of a window alone.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError("Held: only a window's directions are drawn; combine those of the whole population.")
