"""How the laws compare, cut, turn and count."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from laws.harness import N
from laws.programs import numeric

from evolve import Tolerances
from evolve.backend import Device
from evolve.backend.device import ask_oracle
from evolve.core import Population, Stored, Wrapper
from evolve.core.lowrank import form

COUNTS = "failed", "searched", "spent"  # what a generation without a success adds to, by the names of fields


class Inside(NamedTuple):
    """A wrapper's state."""

    inner: Any


class Plain(Wrapper):
    """A wrapper that knows `learn` alone."""

    def around(self, inner):
        return Inside(inner)

    def ask(self, state, key):
        return self.optimizer.ask(state.inner, key)

    def learn(self, state, population, losses):
        return Inside(self.optimizer.learn(state.inner, population, losses))


def same_bits(one, other, but: tuple[str, ...] = ()) -> None:
    """Two trees hold the very same numbers, NaN too; fields of some names may have grown from the other to the one."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        if path and getattr(path[-1], "name", None) in but:
            assert np.all(a >= b), jax.tree_util.keystr(path)
            continue
        assert a.dtype == b.dtype, jax.tree_util.keystr(path)
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


def close(one, other, rtol) -> None:
    """Two trees agree, relative to the largest number of each leaf."""
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        scale = np.max(np.abs(b), initial=0.0, where=np.isfinite(b))
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale, err_msg=jax.tree_util.keystr(path))


@eqx.filter_jit
def turned(population: Population, center, by) -> Population:
    """The population with every direction turned, around the center of the turned run."""

    def turn(tree):
        return jax.tree.map(lambda leaf: (leaf.reshape(-1, N) @ by.T).reshape(leaf.shape), tree)

    directions = Stored(turn(form(population.directions.batch(0, population.size))))
    return dataclasses.replace(population, center=center, directions=directions)


@eqx.filter_jit
def told(optimizer, problem, state, population, key):
    """The state after the optimizer was told of a population what it asks."""
    return optimizer.tell(state, population, ask_oracle(Device(), problem, optimizer, population, key))


@eqx.filter_jit
def evaluate(problem, population, key, chunk):
    """The losses, so many at once."""
    return Device(chunk).evaluate(problem, population, key)


@eqx.filter_jit
def redrawn(directions, size, count):
    """All directions drawn anew, so many at once; 0 for each alone."""
    again = eqx.tree_at(lambda d: d.kept, directions, None, is_leaf=lambda x: x is None)
    if count == 0:
        return jax.lax.map(lambda i: form(again.one(i)), jnp.arange(size))
    parts = jax.lax.map(lambda i: form(again.batch(i * count, count)), jnp.arange(size // count))
    return jax.tree.map(lambda leaf: leaf.reshape(size, *leaf.shape[2:]), parts)


def sweeps(optimizer):
    """The optimizer twice, and for each of its numbers one in which that is a quarter larger, or 0.1 in place of 0.

    `Gradient` has none: its numbers are inside the optax transformation, which is static.
    """
    leaves, structure = jax.tree.flatten(numeric(optimizer))
    one = [[larger(x) if i == k else x for i, x in enumerate(leaves)] for k in range(len(leaves))]
    return [structure.unflatten(changed) for changed in [leaves, leaves, *one]]


def larger(number):
    """A quarter larger, or 0.1 in place of 0."""
    return jnp.where(number == 0, 0.1, number * 1.25).astype(number.dtype)


def smallest(optimizer):
    """With the smallest population that it takes."""
    names = {field.name for field in dataclasses.fields(optimizer)}
    if "optimizer" in names:
        return dataclasses.replace(optimizer, optimizer=smallest(optimizer.optimizer))
    sizes = {"population": 2, "chains": 2, "parents": 1, "elites": 1, "tournament": 1}
    return dataclasses.replace(optimizer, **{name: size for name, size in sizes.items() if name in names})


def stops(optimizer):
    """With pycma's tolerances, also where by default it goes on for ever; None for a method that has none."""
    names = {field.name for field in dataclasses.fields(optimizer)}
    if "optimizer" in names:
        inner = stops(optimizer.optimizer)
        return None if inner is None else dataclasses.replace(optimizer, optimizer=inner)
    return dataclasses.replace(optimizer, stopping=Tolerances()) if "stopping" in names else None


compilations = []  # the programs that XLA has compiled since they were forgotten last


@jax.monitoring.register_event_duration_secs_listener
def _count(event, duration, **facts):
    if event.endswith("backend_compile_duration"):
        compilations.append(facts)
