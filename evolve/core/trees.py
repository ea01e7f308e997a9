"""Pytrees of parameters: checks, conversions and the little arithmetic that every method needs."""

import dataclasses
import itertools
import math
import textwrap
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype
from jaxtyping import Array, Bool, Float

Params: TypeAlias = Any  # any pytree of floating-point arrays

_FEW = 1024  # numbers that are read again in no time


def as_arrays(params: Params) -> Params:
    """Python and NumPy numbers become arrays; everything else stays."""
    return jax.tree.map(lambda leaf: as_array(leaf) if eqx.is_array_like(leaf) else leaf, params)


def as_array(value: Any) -> Array:
    """`jnp.asarray`, which compiles a program for each shape of NumPy's arrays: those are copied without one.

    The copy is NumPy's: a CPU's device would take an array whose memory is aligned as it is, and see it change.
    """
    return jax.device_put(np.array(value)) if isinstance(value, (np.ndarray, np.generic)) else jnp.asarray(value)


def full(shape: tuple[int, ...], value: Any, dtype: Any) -> Array:
    """`jnp.full` for small arrays, made by NumPy: where nothing is traced, no program is compiled for it."""
    return as_array(np.full(shape, value, dtype))


def check_params(params: Params, where: str) -> None:
    """Refuse parameters that cannot be searched, naming the leaf, what is wrong with it and the cure.

    Raises
    ------
    ValueError
        There is no leaf, or a leaf is not finite.
    TypeError
        A leaf is not a real floating-point array.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if sum(np.size(leaf) for _, leaf in leaves) == 0:
        raise ValueError(f"{where}: the parameters are empty ({params!r}); give at least one number to search.")
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path) or "the parameter"
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            kind = dtype if dtype is not None else type(leaf).__name__
            cure = "close over it instead" if dtype is None else "write it as a float, or close over it instead"
            raise TypeError(f"{where}: {name} is {kind}; only floating-point leaves can be searched: {cure}.")
        if isinstance(leaf, jax.core.Tracer):
            continue
        bad = int(np.sum(~np.isfinite(np.asarray(leaf, dtype=np.float64))))
        if bad:
            raise ValueError(f"{where}: {name} holds {bad} non-finite value(s); start from finite parameters.")


def altered(record: Any, **fields: Any) -> Any:
    """A record with other fields, also where a class makes its own from other arguments."""
    copy: Any = object.__new__(type(record))
    for field in dataclasses.fields(record):
        object.__setattr__(copy, field.name, fields.get(field.name, getattr(record, field.name)))
    return copy


def select(condition: Bool[Array, ""] | bool, yes: Params, no: Params) -> Params:
    """One tree or the other, leaf by leaf, by a single condition. No leaf is promoted."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b).astype(jnp.asarray(b).dtype), yes, no)


def keep(condition: Bool[Array, ""] | bool, new: Params, old: Params) -> Params:
    """`select` for a condition that nearly always holds, or always (True).

    In a loop, unless under `vmap`, what is computed anew is then not copied, but what `new` has of `old` is. Of few
    numbers one is selected where they are computed: a copy costs more.
    """
    if condition is True:
        return new
    olds, structure = jax.tree.flatten(jax.tree.map(jnp.asarray, old))
    news = [jnp.asarray(a).astype(b.dtype) for a, b in zip(structure.flatten_up_to(new), olds, strict=True)]
    # In `shard_map` branches must vary over the same axes of a mesh.
    pairs = list(zip(news, olds, strict=True))
    many = [i for i, (a, b) in enumerate(pairs) if b.size > _FEW and _type(a) == _type(b)]
    kept = [a if i in many else select(condition, a, b) for i, (a, b) in enumerate(pairs)]
    if many:
        large = jax.lax.cond(condition, lambda: [news[i] for i in many], lambda: [olds[i] for i in many])
        for i, leaf in zip(many, large, strict=True):
            kept[i] = leaf
    return structure.unflatten(kept)


def all_finite(tree: Params) -> Bool[Array, ""]:
    """Whether no leaf holds a NaN or an infinity."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def _type(leaf: Array) -> Any:
    """What branches of a program must agree in."""
    return jax.typeof(leaf).update(weak_type=False)


def take(tree: Params, index: Any) -> Params:
    """Index the leading axis of every leaf."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def scaled(tree: Params, factor: Any) -> Params:
    """Every leaf times one number, in the leaf's own dtype."""
    return jax.tree.map(lambda leaf: leaf * jnp.asarray(factor).astype(leaf.dtype), tree)


def float_dtype() -> Any:
    """float64 where x64 is on, else float32: what methods that need geometry (CMA-ES) compute in."""
    return canonicalize_dtype(float)


def begin(owner: Any, params: Params) -> "tuple[Geometry, Params]":
    """What every `init` starts with: the parameters' geometry, and themselves in working precision.

    Raises
    ------
    ValueError, TypeError
        They cannot be searched; see `check_params`.
    """
    params = as_arrays(params)
    check_params(params, f"{type(owner).__name__}.init")
    geometry = Geometry.of(params)
    return geometry, geometry.working(params)


def fitted(owner: str, option: str, given: Any, like: Params, more: str = "") -> Params:
    """A number, or a tree of numbers that broadcast against the parameters, as a tree of arrays of their shapes.

    Raises
    ------
    ValueError
        It does not fit; names the option, the shapes and the cure, with `more` after it.
    """

    def full(value: Any, leaf: Any) -> Array:
        return jnp.broadcast_to(jnp.asarray(value, leaf.dtype), leaf.shape)

    try:
        return jax.tree.map(full, jax.tree.broadcast(given, like), like)
    except ValueError as error:
        shapes = jax.tree.map(lambda leaf: leaf.shape, like)
        shown = textwrap.shorten(eqx.tree_pformat(given, width=10**6), 80, placeholder=" ...")
        cure = "give a number, an array such as jnp.array([1.0, 2.0]), or a tree like the parameters"
        cures = "; ".join(filter(None, (cure, more)))
        raise ValueError(
            f"{owner}: {option} does not fit the parameters, whose shapes are {shapes}: it is {shown}; {cures}."
        ) from error


class Geometry(eqx.Module):
    """What one member looks like - structure, shapes and dtypes - without its numbers. Hashable, no leaves."""

    structure: Any = eqx.field(static=True)
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    dtypes: tuple[Any, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, params: Params) -> "Geometry":
        """The geometry of a tree of arrays."""
        leaves, structure = jax.tree.flatten(params)
        return cls(structure, tuple(leaf.shape for leaf in leaves), tuple(leaf.dtype for leaf in leaves))

    @property
    def size(self) -> int:
        """How many numbers a member has."""
        return sum(map(math.prod, self.shapes))

    @property
    def like(self) -> Params:
        """The tree of `jax.ShapeDtypeStruct`s in working precision: what a direction looks like."""
        each = zip(self.shapes, self.dtypes, strict=True)
        return self.structure.unflatten([jax.ShapeDtypeStruct(s, jnp.promote_types(d, jnp.float32)) for s, d in each])

    def working(self, params: Params) -> Params:
        """Half-precision leaves become float32: updates add up there, never in 8 or 11 bits."""
        return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), params, self.like)

    def cast(self, params: Params) -> Params:
        """Each leaf in the user's own dtype; works with leading axes too."""
        leaves = self.structure.flatten_up_to(params)
        return self.structure.unflatten([x.astype(d) for x, d in zip(leaves, self.dtypes, strict=True)])

    def ravel(self, params: Params) -> Float[Array, " n"]:
        """A tree as one vector in `float_dtype()`."""
        leaves = self.structure.flatten_up_to(params)
        return jnp.concatenate([jnp.ravel(leaf).astype(float_dtype()) for leaf in leaves])

    def unravel(self, vector: Float[Array, " n"]) -> Params:
        """One vector as a tree; the leaves keep the vector's dtype, `cast` gives the user's."""
        ends = list(itertools.accumulate(map(math.prod, self.shapes)))
        parts = jnp.split(vector, ends[:-1])
        return self.structure.unflatten([part.reshape(s) for part, s in zip(parts, self.shapes, strict=True)])
