"""What a method does, each as one program for all of its numbers: eagerly, every operation would be compiled alone."""

import equinox as eqx
import jax
import jax.numpy as jnp

from evolve.core.lowrank import form


def numeric(tree):
    """Plain numbers as arrays: programs are compiled for their shapes, not for their values."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)) if eqx.is_array_like(leaf) else leaf, tree
    )


def program(function):
    """A function of an optimizer and arrays as one program."""
    whole = eqx.filter_jit(function)
    return lambda optimizer, *args: whole(numeric(optimizer), *args)


def host(function):
    """A function of a population as one program; what it gives can be cut and compared in NumPy."""
    whole = eqx.filter_jit(function)
    return lambda population: jax.device_get(whole(population))


init = program(lambda optimizer, params, key: optimizer.init(params, key))
start = program(lambda optimizer, *args: optimizer.start(*args))
ask = program(lambda optimizer, state, key: optimizer.ask(state, key))
tell = program(lambda optimizer, state, population, losses: optimizer.tell(state, population, losses))
answer = program(lambda optimizer, state: optimizer.answer(state))
status = program(lambda optimizer, state: optimizer.status(state))
inject = program(lambda optimizer, state, population, members: optimizer.inject(state, population, members))
members = host(lambda population: population.members())
directions = host(lambda population: form(population.directions.batch(0, population.size)))
