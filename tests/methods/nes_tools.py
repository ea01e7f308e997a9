"""What the tests of natural evolution strategies share: functions, and a run told generation by generation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


def ellipsoid(x, seed=None):
    """Condition 1e6, rotated where a seed is given; x has shape (members, n)."""
    n = x.shape[1]
    if seed is not None:
        x = x @ np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
    return np.sum(10.0 ** (6 * np.arange(n) / max(1, n - 1)) * x**2, axis=1)


def rosenbrock(x):
    """The banana; x has shape (members, n)."""
    return np.sum(100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2, axis=1)


# Compiled once for all numbers: an optimizer's numbers are arguments.
ask = eqx.filter_jit(lambda optimizer, state, key: optimizer.ask(state, key))
tell = eqx.filter_jit(lambda optimizer, state, population, losses: optimizer.tell(state, population, losses))


def trace(optimizer, start, loss, generations, seed=0):
    """The state before, members, losses and the state after each generation."""
    optimizer = jax.tree.map(jnp.asarray, optimizer)
    state = optimizer.init(jnp.asarray(start), jax.random.key(seed))
    for t in range(generations):
        population = ask(optimizer, state, jax.random.fold_in(jax.random.key(seed), t))
        members = np.asarray(population.members())
        losses = np.asarray(loss(members))
        before, state = state, tell(optimizer, state, population, jnp.asarray(losses))
        yield before, members, losses, state


def finite(state):
    """Whether a state holds neither NaN nor infinities."""
    return all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))


def after_noise(optimizer, n, generations, seed=0, how="random"):
    """The state after generations whose losses are random or constant."""

    def generation(state, key):
        draw, chance = jax.random.split(key)
        population = optimizer.ask(state, draw)
        losses = {
            "random": lambda: jax.random.uniform(chance, (population.size,)),
            "constant": lambda: jnp.ones(population.size),
        }[how]()
        return optimizer.tell(state, population, losses), None

    keys = jax.random.split(jax.random.key(seed), generations)
    state = optimizer.init(jnp.ones(n), jax.random.key(seed))
    return jax.jit(lambda state, keys: jax.lax.scan(generation, state, keys)[0])(state, keys)
