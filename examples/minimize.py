"""Minimize a plain function: what most people come for."""

import jax.numpy as jnp

import evolve


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


result = evolve.minimize(rosenbrock, jnp.zeros(10), evolve.CMAES(sigma=0.3), seed=0, evaluations=10_000)
print(f"loss {result.loss:.2e} after {result.evaluations:,} evaluations, at {result.answer.round(3)}")
