"""A fitness to maximize: higher is better, and the sign changes once, where the function is wrapped."""

import jax.numpy as jnp

import evolve


def fitness(logits):
    """Yearly growth (in logs) of a fortune bet on three horses with known chances and odds (Kelly 1956)."""
    shares = jnp.exp(logits) / jnp.sum(jnp.exp(logits))
    chances, odds = jnp.array([0.5, 0.3, 0.2]), jnp.array([2.2, 4.0, 4.5])
    return jnp.sum(chances * jnp.log(shares * odds))


result = evolve.minimize(fitness, jnp.zeros(3), evolve.CMAES(sigma=0.5), maximize=True, evaluations=2_000)
shares = jnp.exp(result.answer) / jnp.sum(jnp.exp(result.answer))
print(f"fitness {-result.loss:.4f}: bet {shares.round(3)} of the fortune")  # the best shares are the chances
