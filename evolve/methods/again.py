"""Members asked twice: the directions of a population, and those of its first members once more."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evolve.core.perturbation import Direction
from evolve.core.population import Derived, Directions
from evolve.core.trees import Params


class Again(Derived):
    """Those of the members in use, followed by copies of the first of them.

    inner
        The directions of `size` members.
    used
        How many of them are in use; the first copy is the member of this number.
    copies
        How many, at most a block where the members come in blocks.
    """

    inner: Directions
    used: Int[Array, ""] | int
    copies: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    source: Directions | None = None  # what the copies are drawn from, where the inner ones are a window's

    @property
    def base(self) -> Directions:
        """The inner ones."""
        return self.inner

    def ahead(self, first: Int[Array, ""], used: Int[Array, ""] | int) -> "Again":
        """Copies, and of the others a window's, drawn already."""
        return Again(self.inner.ahead(first, used), self.used, self.copies, self.size, self.inner)

    def one(self, i: Int[Array, ""] | int) -> Direction:
        """The member's, or that of the member whose copy it is, which may lie in another window."""
        member, source = self._member(jnp.asarray(i)), self.source
        if source is None:
            return self.inner.one(member)
        return jax.lax.cond(i < self.used, lambda: self.inner.one(member), lambda: source.one(member))

    def batch(self, first: Int[Array, ""] | int, count: int) -> Direction:
        """One by one, which draws the same; of blocks the copies' alone are put together from two."""
        if self.block is None:
            return jax.vmap(self.one)(first + jnp.arange(count))
        places = first + jnp.arange(count)
        rows = self.inner.batch(first, count)

        def mixed() -> Direction:
            head = (self.inner if self.source is None else self.source).batch(0, self.copies)
            copied = jax.tree.map(lambda leaf: leaf[(places - self.used) % self.copies], head)
            choose = jax.vmap(lambda own, row, copy: jnp.where(own, row, copy))
            return jax.tree.map(lambda row, copy: choose(places < self.used, row, copy), rows, copied)

        return jax.lax.cond(first + count > self.used, mixed, lambda: rows)

    def combine(self, weights: Float[Array, " n"]) -> Params:
        """A member weighs what it and its copy do."""
        members = self._member(jnp.arange(weights.shape[0]))
        return self.inner.combine(jnp.zeros(self.size, weights.dtype).at[members].add(weights))

    def _member(self, i: Int[Array, "*any"]) -> Int[Array, "*any"]:
        """Which member i is, itself or a copy."""
        return jnp.where(i < self.used, i, (i - self.used) % self.copies)
