"""Draws: the numbers are those of `jax.random`, whatever the key; the quantile is scipy's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from evolve.core import draws

FLOATS, WORDS = (jnp.float16, jnp.float32, jnp.float64), (jnp.uint8, jnp.uint32, jnp.uint64)
SHAPES = [(), (0, 2), (1,), (7,), (3, 5), (2, 3, 4)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("x64", "optimized")
def test_the_numbers_are_those_of_jax(shape):
    def drawn(law, dtypes=FLOATS, edges=()):
        return jax.jit(lambda key: [law(key, shape, dtype, *edges) for dtype in dtypes])(jax.random.key(3))

    def same(ours, theirs, rtol=0):
        for one, other in zip(ours, theirs, strict=True):
            assert one.dtype == other.dtype
            if rtol:
                np.testing.assert_allclose(one, other, rtol=rtol)
            else:
                np.testing.assert_array_equal(one, other)

    same(drawn(draws.bits, WORDS), drawn(jax.random.bits, WORDS))
    same(drawn(draws.uniform), drawn(jax.random.uniform))
    same(drawn(draws.uniform, edges=(-3.0, 4.5)), drawn(jax.random.uniform, edges=(-3.0, 4.5)))
    normal = drawn(jax.random.normal)
    same(drawn(draws.normal), normal)
    same(drawn(draws.materialized), normal)
    same(drawn(draws.white), normal, 1e-12)


@pytest.mark.usefixtures("x64", "optimized")
def test_without_a_program_around_them_they_are_the_same():
    key, shape = jax.random.key(3), (3, 5)
    np.testing.assert_array_equal(draws.bits(key, shape, jnp.uint64), jax.random.bits(key, shape, jnp.uint64))
    for dtype in FLOATS:
        here = draws.uniform(key, shape, dtype, -3.0, 4.5)
        np.testing.assert_array_equal(here, jax.random.uniform(key, shape, dtype, -3.0, 4.5))
        theirs = jax.random.normal(key, shape, dtype)
        np.testing.assert_array_equal(draws.normal(key, shape, dtype), theirs)
        np.testing.assert_array_equal(draws.materialized(key, shape, dtype), theirs)
        np.testing.assert_allclose(draws.white(key, shape, dtype), theirs, rtol=1e-12)


@pytest.mark.parametrize(
    "setting", [{}, {"jax_enable_x64": True}, {"jax_default_prng_impl": "rbg"}, {"jax_random_seed_offset": 5}]
)
def test_a_seeds_key_is_jaxs(setting, request):
    for name, value in setting.items():
        before = getattr(jax.config, name)
        request.addfinalizer(partial(jax.config.update, name, before))
        jax.config.update(name, value)
    for seed in (0, 1, 2**31 - 1, 2**31, 2**32 - 1):
        ours, theirs = draws.key(seed), jax.random.key(seed)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(jax.random.key_data(ours), jax.random.key_data(theirs))
        np.testing.assert_array_equal(jax.random.bits(ours, 3), jax.random.bits(theirs, 3))


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
@pytest.mark.usefixtures("x64", "optimized")
def test_keys_are_those_of_jax(impl):
    key = jax.random.key(3, impl=impl)

    def same(ours, theirs):
        assert jax.random.key_impl(ours) == jax.random.key_impl(theirs)
        np.testing.assert_array_equal(jax.random.key_data(ours), jax.random.key_data(theirs))

    raw = jax.random.PRNGKey(3)
    np.testing.assert_array_equal(draws.fold_in(raw, 7), jax.random.fold_in(raw, 7))
    np.testing.assert_array_equal(draws.split(raw), jax.random.split(raw))
    for count in (1, 2, 5):
        same(draws.split(key, count), jax.random.split(key, count))
        same(jax.jit(draws.split, static_argnums=1)(key, count), jax.random.split(key, count))
    for number in (0, 7, 2**31 - 1, jnp.asarray(9, jnp.int32), jnp.asarray(2**32 + 5, jnp.int64)):
        same(draws.fold_in(key, number), jax.random.fold_in(key, number))
        same(jax.jit(draws.fold_in)(key, number), jax.random.fold_in(key, number))
    places = jnp.arange(4)
    same(jax.vmap(lambda i: draws.fold_in(key, i))(places), jax.vmap(lambda i: jax.random.fold_in(key, i))(places))


@pytest.mark.parametrize(("dtype", "precision"), [(jnp.float32, 0.0), (jnp.float64, 1e-10)])
@pytest.mark.usefixtures("x64", "optimized")
def test_many_numbers_are_those_of_jax(dtype, precision):
    """An odd number of them, which no halves divide; in a tail the more exact quantile shows."""
    key, shape = jax.random.key(5), (100_001,)
    theirs = jax.random.normal(key, shape, dtype)
    np.testing.assert_array_equal(draws.normal(key, shape, dtype), theirs)
    np.testing.assert_array_equal(draws.materialized(key, shape, dtype), theirs)
    np.testing.assert_allclose(draws.white(key, shape, dtype), theirs, rtol=0, atol=precision)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.usefixtures("x64", "optimized")
def test_many_are_drawn_in_a_branch_of_their_own_and_few_are_not(dtype):
    """XLA has not found out that it is always taken."""
    for size, branch in ((2**14 - 1, False), (2**14, True)):
        program = jax.jit(lambda key, size=size: jnp.sum(draws.white(key, (size,), dtype) ** 2))
        text = program.lower(jax.random.key(0)).compile().as_text()
        assert (" conditional(" in text) == branch


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
def test_a_dtype_that_is_off_is_its_half():
    """Asked for float64 while JAX computes in float32, both draw float32."""
    key = jax.random.key(6)
    np.testing.assert_array_equal(draws.uniform(key, (5,), np.float64), jax.random.uniform(key, (5,), np.float64))
    np.testing.assert_array_equal(draws.normal(key, (5,), float), jax.random.normal(key, (5,), float))
    np.testing.assert_array_equal(draws.white(key, (5,), float), jax.random.normal(key, (5,), float))
    np.testing.assert_array_equal(draws.bits(key, (5,), np.uint64), jax.random.bits(key, (5,), np.uint64))


@pytest.mark.parametrize("span", [1, 2, 3, 1000, 2**16, 2**31 - 1])
def test_whole_numbers_are_those_of_jax(span):
    key = jax.random.key(4)
    low, high = np.array([-span // 2, 0]), np.array([-span // 2, 0]) + span
    np.testing.assert_array_equal(draws.integers(key, (9, 2), low, high), jax.random.randint(key, (9, 2), low, high))


def test_a_batch_of_keys_draws_what_each_draws():
    keys = jax.random.split(jax.random.key(1), 4)
    for law in (draws.normal, draws.materialized):
        batch = jax.jit(jax.vmap(lambda key, law=law: law(key, (3, 2), jnp.float32)))(keys)
        np.testing.assert_array_equal(batch, [jax.random.normal(key, (3, 2)) for key in keys])
    many = 5, 4001  # enough for a branch of their own
    batch = jax.jit(jax.vmap(lambda key: draws.white(key, many, jnp.float32)))(keys)
    np.testing.assert_array_equal(batch, [jax.random.normal(key, many) for key in keys])


def test_each_device_of_a_mesh_draws_from_a_key_of_its_own():
    """What is not drawn is typed as what is."""
    devices, spec = jax.sharding.Mesh(np.array(jax.devices()[:2]), "device"), jax.sharding.PartitionSpec("device")
    keys = jax.random.split(jax.random.key(1), len(devices.devices))

    def island(law):
        return jax.jit(
            jax.shard_map(
                lambda key: law(key[0], (5, 4001), jnp.float32)[None], mesh=devices, in_specs=spec, out_specs=spec
            )
        )

    for law in (draws.white, draws.materialized):
        np.testing.assert_array_equal(island(law)(keys), [jax.random.normal(key, (5, 4001)) for key in keys])


@pytest.mark.usefixtures("x64")
def test_the_head_of_many_is_drawn_alone():
    key = jax.random.key(5)
    for dtype in (jnp.float32, jnp.float64):
        whole = draws.white(key, (12, 3), dtype)
        np.testing.assert_allclose(draws.head(key, 4, (12, 3), dtype), whole[:4], rtol=1e-12)
        # Few of many that are drawn in a branch.
        whole = draws.white(key, (5, 4001), dtype)
        np.testing.assert_allclose(draws.head(key, 2, (5, 4001), dtype), whole[:2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg", "threefry2x32"])
@pytest.mark.parametrize("partitionable", [False, True])
def test_keys_of_every_kind_are_taken(impl, partitionable):
    with jax.threefry_partitionable(partitionable):
        key = jax.random.key(0, impl=impl)
        whole = draws.normal(key, (6, 3), jnp.float32)
        np.testing.assert_array_equal(whole, jax.random.normal(key, (6, 3)))
        np.testing.assert_array_equal(draws.materialized(key, (6, 3), jnp.float32), whole)
        np.testing.assert_array_equal(draws.head(key, 2, (6, 3), jnp.float32), whole[:2])
        np.testing.assert_array_equal(draws.bits(key, (5,)), jax.random.bits(key, (5,)))


@pytest.mark.usefixtures("x64")
def test_the_quantile_is_scipys():
    """Over the median, both tails, and where the formulas meet."""
    tails = 10.0 ** np.linspace(-15.9, -1, 2000)
    edges = np.array([0.075, 0.925, np.exp(-25.0)])
    p = np.concatenate([np.linspace(0.001, 0.999, 2000), tails, 1 - tails, edges, np.nextafter(edges, 0)])
    np.testing.assert_allclose(draws.quantile(jnp.asarray(p)), scipy.special.ndtri(p), rtol=3e-15, atol=1e-16)


@pytest.mark.usefixtures("x64")
def test_nothing_drawn_is_infinite():
    """The least and the largest number of 52 bits, in the middle of their intervals."""
    ends = draws.quantile((jnp.asarray([0.0, 2.0**52 - 1]) + 0.5) * 2.0**-52)
    np.testing.assert_allclose(ends, [-8.2095, 8.2095], rtol=1e-4)
