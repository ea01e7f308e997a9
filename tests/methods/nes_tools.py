"""What the tests of natural evolution strategies share: functions, and a run told generation by generation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from laws.programs import numeric


def ellipsoid(x, seed=None):
    """Condition 1e6, rotated where a seed is given; x has shape (members, n)."""
    n = x.shape[1]
    if seed is not None:
        x = x @ np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
    return (10.0 ** (6 * np.arange(n) / max(1, n - 1)) * x**2).sum(axis=1)


def rosenbrock(x):
    """The banana; x has shape (members, n)."""
    return (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(axis=1)


def trace(optimizer, start, loss, generations, seed=0, scale=1.0, factor=1.0):
    """The state before, members, losses and the state after each generation, on the host.

    The losses are `factor * loss(members / scale)`: one program for all numbers.
    """
    numbers = map(np.asarray, (start, seed, scale, factor))
    rows = jax.device_get(_run(numeric(optimizer), loss, generations, *numbers))
    for t in range(generations):
        yield jax.tree.map(lambda leaf, t=t: leaf[t], rows)


@eqx.filter_jit
def _run(optimizer, loss, generations, start, seed, scale, factor):
    key = jax.random.key(seed)

    def generation(state, t):
        population = optimizer.ask(state, jax.random.fold_in(key, t))
        members = population.members()
        losses = factor * loss(members / scale)
        after = optimizer.tell(state, population, losses)
        return after, (state, members, losses, after)

    return jax.lax.scan(generation, optimizer.init(start, key), jnp.arange(generations))[1]


def finite(state):
    """Whether a state holds neither NaN nor infinities."""
    return all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))


def after_noise(optimizer, n, generations, seed=0, how="random"):
    """The state after generations whose losses are random or constant, on the host."""
    return jax.device_get(_noise(numeric(optimizer), n, generations, np.asarray(seed), np.asarray(how == "random")))


@eqx.filter_jit
def _noise(optimizer, n, generations, seed, random):
    def generation(state, key):
        draw, chance = jax.random.split(key)
        population = optimizer.ask(state, draw)
        losses = jax.random.uniform(chance, (population.size,))
        return optimizer.tell(state, population, jnp.where(random, losses, 1.0)), None

    key = jax.random.key(seed)
    return jax.lax.scan(generation, optimizer.init(jnp.ones(n), key), jax.random.split(key, generations))[0]
