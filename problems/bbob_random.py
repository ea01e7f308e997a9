"""The random numbers of BBOB's instances: COCO's generator of 2009, now or inside a trace.

Minimal standard generator (Park & Miller 1988) behind a shuffling table (Bays & Durham 1976); normal numbers by Box &
Muller (1958), whose two uniforms come from the two halves of the sequence.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Namespace: TypeAlias = Any  # `numpy` for numbers that are known, `jax.numpy` inside a trace

_FACTOR, _MODULUS = 16807, 2**31 - 1
_PLACES = 32
_SHARE = 67108865  # the modulus over the places, rounded up


def uniforms(seeds: Any, count: int, xp: Namespace) -> Any:
    """One row for each seed: its first `count` numbers in (0, 1). Traced seeds have 64 bits."""
    if xp is np:
        return np.stack([_known(int(seed), count) for seed in seeds])
    return jax.vmap(lambda seed: _traced(seed, count))(seeds)


def _known(seed: int, count: int) -> np.ndarray:
    table = [0] * _PLACES
    for place in reversed(range(40)):
        seed = _FACTOR * seed % _MODULUS
        if place < _PLACES:
            table[place] = seed
    drawn, last = np.empty(count), table[0]
    for index in range(count):
        seed, place = _FACTOR * seed % _MODULUS, last // _SHARE
        last, table[place] = table[place], seed
        drawn[index] = last
    return drawn / _MODULUS


def _traced(seed: Any, count: int) -> Any:
    def chain(length: int, seed: Any) -> tuple[Any, Any]:
        return jax.lax.scan(lambda state, _: (_FACTOR * state % _MODULUS,) * 2, seed, length=length)

    def shuffle(carry: Any, seed: Any) -> Any:
        table, last = carry
        place = last // _SHARE
        return (table.at[place].set(seed), table[place]), table[place]

    seed, warm = chain(40, seed)
    table = warm[::-1][:_PLACES]
    _, drawn = jax.lax.scan(shuffle, (table, table[0]), chain(count, seed)[1])
    return quotient(drawn, _MODULUS, jnp)


def normals(drawn: Any, count: int, xp: Namespace) -> Any:
    """`count` normal numbers in each row, of the first twice as many uniform ones."""
    lengths, angles = drawn[..., :count], 2.0 * np.pi * drawn[..., count : 2 * count]
    if xp is np:
        # The C library's functions, as COCO: NumPy's own differ in the last digit, which a rotation makes 1e-12.
        logs, cosines = (_each(math.log, lengths), _each(math.cos, angles))
    else:
        logs, cosines = xp.log(lengths), xp.cos(angles)
    return xp.sqrt(-2.0 * logs) * cosines


def _each(function: Callable[[float], float], values: np.ndarray) -> np.ndarray:
    return np.fromiter(map(function, values.flat), float).reshape(values.shape)


def rotations(drawn: Any, n: int, xp: Namespace) -> Any:
    """An orthogonal matrix of each row: a normal one, made orthonormal by the modified Gram-Schmidt process.

    Any QR decomposition finds the same matrix, but up to 1e-12 off, of which f16, f19 and f23 make 1e-9. So the
    operations, their order and their roundings are COCO's, compiled or not: sums run along the rows, one by one.
    """
    place = np.arange(n)
    # Compiled, x y + z is rounded only once. Of x y 1 + z, where the 1 is not known before, x y is rounded too.
    one = xp.ceil(drawn[:, :1, None])

    def sweep(done: Any, columns: Any) -> Any:
        lengths = xp.sqrt(_total(columns * columns * one, xp))
        unit = xp.where(place == done, quotient(columns, lengths, xp), 0.0).sum(-1, keepdims=True)
        products = xp.where(place > done, _total(columns * unit * one, xp), 0.0)
        return xp.where(place == done, unit, columns - products * unit * one)

    columns = xp.swapaxes(normals(drawn, n * n, xp).reshape(-1, n, n), 1, 2)
    if xp is np:
        return functools.reduce(lambda made, done: sweep(done, made), range(n), np.ascontiguousarray(columns))
    return jax.lax.fori_loop(0, n, sweep, columns)


def _total(rows: Any, xp: Namespace) -> Any:
    """The sum of the rows, one by one: a compiler cuts a long sum into parts."""
    if xp is np:
        return rows.sum(-2, keepdims=True)
    rows = jnp.moveaxis(rows, -2, 0)
    total, _ = jax.lax.scan(lambda so_far, row: (so_far + row, None), jnp.zeros_like(rows[0]), rows, unroll=8)
    return total[..., None, :]


def quotient(a: Any, b: Any, xp: Namespace) -> Any:
    """The quotient, correctly rounded: a compiler multiplies by the reciprocal of what divides several numbers."""
    return a / b if xp is np else a / xp.where(a == 0, 1.0, b)


def order(values: Any, xp: Namespace) -> Any:
    """Which of them is the smallest, the second, ... along the last axis; all differ.

    Traced, by counting: `argsort` in 64 bits cannot be compiled where x64 is off.
    """
    if xp is np:
        return np.argsort(values)
    place = np.arange(values.shape[-1])
    ranks = (values[..., :, None] > values[..., None, :]).sum(-1)
    return xp.where(ranks[..., None, :] == place[:, None], place, 0).sum(-1)
