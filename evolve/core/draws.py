"""Random numbers as `jax.random` draws them, in a half to a quarter of the time on a CPU.

There JAX runs Threefry as a loop over arrays, which goes through memory five times and takes the compiler up to a
second for each place in a program that draws. Written out, its rounds are one pass.
Elsewhere, and for keys of another kind, `jax.random` itself draws.
"""

import math
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.dtypes import canonicalize_dtype
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, UInt

# Traced once for each shape, and one call each where nothing compiles the whole.
_drawing = partial(jax.jit, static_argnames=("shape", "dtype"))

# Salmon, Moraes, Dror and Shaw (2011), Parallel random numbers: as easy as 1, 2, 3, SC '11: Threefry-2x32, 20 rounds.
_ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)
_PARITY = 0x1BD11BDA

_MANY = 1 << 14  # numbers that are worth a branch of their own

# Wichura (1988), Algorithm AS 241, Applied Statistics 37, 477-484: PPND16's numerators and denominators, from the
# constant term on, near the median and in both parts of a tail.
# fmt: off
_NEAR = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)
_TAIL = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)
_FAR = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)
# fmt: on


def key(seed: int) -> PRNGKeyArray:
    """`jax.random.key` for a seed in [0, 2^32): the same key, for which, of Threefry, no program is compiled."""
    settings, words = cast(Any, jax.config), cast(Any, np.array([0, seed], np.uint32))
    if settings.jax_default_prng_impl != "threefry2x32" or settings.jax_random_seed_offset:
        return jax.random.key(seed)
    return jax.random.wrap_key_data(words, impl="threefry2x32")


@jax.jit
def fold_in(key: PRNGKeyArray, number: Int[Array, ""] | int) -> PRNGKeyArray:
    """`jax.random.fold_in`: the same key."""
    if not _one(key) or jnp.ndim(number):
        return jax.random.fold_in(key, number)
    return _wrapped(key, jnp.asarray(number).astype(jnp.uint32))


@partial(jax.jit, static_argnames="count")
def split(key: PRNGKeyArray, count: int = 2) -> Array:
    """`jax.random.split`: the same keys."""
    if not _one(key):
        return jax.random.split(key, count)
    return _wrapped(key, _count(count))


@_drawing
def bits(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any = jnp.uint32) -> UInt[Array, "*shape"]:
    """Random bits: those of `jax.random.bits`."""
    dtype = canonicalize_dtype(dtype)
    width = dtype.itemsize * 8
    if width not in (32, 64) or not _numbered(key, shape):
        return jax.random.bits(key, shape, dtype)
    # Without the barrier XLA would draw them once for each of their uses.
    return lax.optimization_barrier(_bits(key, _count(math.prod(shape)).reshape(shape), dtype))


@_drawing
def uniform(
    key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any, low: Any = 0.0, high: Any = 1.0
) -> Float[Array, "*shape"]:
    """Uniform in [low, high): the numbers of `jax.random.uniform`."""
    dtype = canonicalize_dtype(dtype)
    info = jnp.finfo(dtype)
    if info.bits not in (32, 64):
        return jax.random.uniform(key, shape, dtype, low, high)
    return _between(bits(key, shape, f"uint{info.bits}"), dtype, low, high)


def integers(key: PRNGKeyArray, shape: tuple[int, ...], low: Any, high: Any) -> Int[Array, "*shape"]:
    """Uniform among low, low + 1, ..., high - 1: the numbers of `jax.random.randint` in int32, for low < high."""
    low, high = jnp.asarray(low, jnp.int32), jnp.asarray(high, jnp.int32)
    span = (high - low).astype(jnp.uint32)
    above, below = (bits(each, shape) for each in split(key))
    carry = (2**16 % span) ** 2 % span  # 2^32 modulo the span, or 0 where the square overflows, as it does in JAX
    return low + ((above % span * carry + below % span) % span).astype(jnp.int32)


@_drawing
def normal(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Float[Array, "*shape"]:
    """Standard normal: the numbers of `jax.random.normal`, bit for bit and whatever the shape around them."""
    dtype = canonicalize_dtype(dtype)
    if dtype not in (jnp.float32, jnp.float64):
        return jax.random.normal(key, shape, dtype)
    return _normal(bits(key, shape, f"uint{8 * dtype.itemsize}"), dtype)


@_drawing
def materialized(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Float[Array, "*shape"]:
    """`normal`, on a CPU drawn into memory before anything uses it.

    XLA would else draw the noise of a network's bias anew for every example, and that of its weights number by number,
    in the order in which a matrix product wants them.
    """
    dtype = canonicalize_dtype(dtype)
    if dtype not in (jnp.float32, jnp.float64) or not _numbered(key, shape):
        return jax.random.normal(key, shape, dtype)
    size = math.prod(shape)
    half = -(-size // 2)

    # A loop is not fused with what comes after it. Its last result is drawn by all cores; one written to its place
    # in an array would not be.
    def draw(i: Array, halves: tuple[Array, Array]) -> tuple[Array, Array]:
        return halves[1], _normal(_bits(key, i * jnp.uint32(half) + _count(half), f"uint{8 * dtype.itemsize}"), dtype)

    zeros = _zeros(key, (half,), dtype)
    halves = lax.fori_loop(jnp.uint32(0), jnp.uint32(2), draw, (zeros, zeros))
    return jnp.concatenate(halves)[:size].reshape(shape)


@_drawing
def white(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Float[Array, "*shape"]:
    """`normal` to 1e-10, in float64 in a third to a half of the time, by a more exact quantile.

    Its last digit may change with the shape that is drawn, so it serves where that is only rounding. On a CPU many
    numbers are in memory before anything uses them, as those of `materialized`.
    """
    dtype = canonicalize_dtype(dtype)

    def drawn() -> Array:
        if dtype != jnp.float64:
            return normal(key, shape, dtype)
        mantissa = bits(key, shape, jnp.uint64) >> jnp.uint64(12)
        return quantile((mantissa.astype(dtype) + 0.5) * 2.0**-52)

    if dtype not in (jnp.float32, jnp.float64) or not _numbered(key, shape):
        return jax.random.normal(key, shape, dtype)
    if math.prod(shape) < _MANY:
        return drawn()

    # A branch is not fused with what comes after it, and all cores draw. The barrier hides that it is always taken.
    always = lax.optimization_barrier(jnp.ones((), bool))
    return lax.cond(always, drawn, lambda: _zeros(key, shape, dtype))


def quantile(p: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The standard normal distribution's quantile of p, between 0 and 1, to 1e-15 relative (Wichura 1988, AS 241)."""
    q = p - 0.5
    r = jnp.sqrt(-jnp.log(jnp.minimum(p, 1 - p)))
    near = q * _ratio(_NEAR, 0.180625 - q * q)
    tail = jnp.where(r > 5, _ratio(_FAR, r - 5), _ratio(_TAIL, r - 1.6))
    return jnp.where(jnp.abs(q) <= 0.425, near, jnp.sign(q) * tail)


def head(key: PRNGKeyArray, some: int, shape: tuple[int, ...], dtype: Any) -> Float[Array, " some *rest"]:
    """The first rows of `white(key, shape, dtype)`, drawn alone where a number depends on its place only."""
    if _numbered(key, shape):
        return white(key, (some, *shape[1:]), dtype)
    return white(key, shape, dtype)[:some]


def _numbered(key: PRNGKeyArray, shape: tuple[int, ...]) -> bool:
    """Whether JAX draws every number from the key and its place, counted in 32 bits, and on a CPU."""
    placed: bool = jax.config.jax_threefry_partitionable  # pyright: ignore[reportAttributeAccessIssue]
    threefry = placed and str(jax.random.key_impl(key)) == "threefry2x32"
    return threefry and jax.default_backend() == "cpu" and math.prod(shape) < 2**32


def _one(key: PRNGKeyArray) -> bool:
    """Whether it is a single typed key, of which JAX makes others from their numbers, on a CPU."""
    return jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and not key.shape and _numbered(key, ())


def _wrapped(key: PRNGKeyArray, numbers: UInt[Array, "*shape"]) -> Key[Array, "*shape"]:
    """The keys that Threefry makes of numbers."""
    # Without the barrier XLA would make them once for each of their uses.
    drawn = lax.optimization_barrier(jnp.stack(_threefry(jax.random.key_data(key), numbers), axis=-1))
    return jax.random.wrap_key_data(drawn, impl=jax.random.key_impl(key))


def _count(size: int) -> UInt[Array, " size"]:
    return lax.iota(jnp.uint32, size)


def _zeros(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Float[Array, "*shape"]:
    """What stands where nothing is drawn yet: over a mesh it must vary as the key does."""
    return jnp.zeros(shape, dtype) + (0 * jax.random.key_data(key)[0]).astype(dtype)


def _bits(key: PRNGKeyArray, places: UInt[Array, "*shape"], dtype: Any) -> UInt[Array, "*shape"]:
    """Those of numbers at these places."""
    high, low = _threefry(jax.random.key_data(key), places)
    dtype = jnp.dtype(dtype)
    return high ^ low if dtype.itemsize == 4 else (high.astype(dtype) << 32) | low.astype(dtype)


def _between(drawn: UInt[Array, "*shape"], dtype: Any, low: Any, high: Any) -> Float[Array, "*shape"]:
    """Bits as uniform numbers, their upper ones as the mantissa."""
    low, high, info = jnp.asarray(low, dtype), jnp.asarray(high, dtype), jnp.finfo(dtype)
    one = lax.bitcast_convert_type(jnp.ones((), dtype), drawn.dtype)
    mantissa = drawn >> jnp.asarray(info.bits - info.nmant, drawn.dtype)
    unit = lax.bitcast_convert_type(mantissa | one, dtype) - 1
    return jnp.maximum(low, unit * (high - low) + low)


def _normal(drawn: UInt[Array, "*shape"], dtype: Any) -> Float[Array, "*shape"]:
    """Bits as standard normal numbers, by the quantile of uniform ones."""
    low = jnp.nextafter(jnp.asarray(-1, dtype), jnp.asarray(0, dtype))
    return jnp.asarray(math.sqrt(2), dtype) * lax.erf_inv(_between(drawn, dtype, low, 1.0))


def _threefry(key: UInt[Array, " two"], low: UInt[Array, "*shape"]) -> tuple[Array, Array]:
    """The block cipher's 64 bits for each counter, whose upper half is zero."""
    first, second = key[0], key[1]
    keys = first, second, first ^ second ^ jnp.uint32(_PARITY)
    one, two = jnp.zeros_like(low) + keys[0], low + keys[1]
    for i in range(5):
        # Functions of `lax`, not operators, which take JAX thrice as long to trace: a program draws in many places.
        for by in _ROTATIONS[i % 2]:
            one = lax.add(one, two)
            around = lax.shift_left(two, np.uint32(by)), lax.shift_right_logical(two, np.uint32(32 - by))
            two = lax.bitwise_xor(one, lax.bitwise_or(*around))
        one, two = one + keys[(i + 1) % 3], two + keys[(i + 2) % 3] + jnp.uint32(i + 1)
    return one, two


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    """A quotient of two polynomials, by Horner's rule."""
    above, below = (jnp.full_like(x, each[-1]) for each in coefficients)
    for a, b in zip(coefficients[0][-2::-1], coefficients[1][-2::-1], strict=True):
        above, below = above * x + a, below * x + b
    return above / below
