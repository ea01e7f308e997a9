"""Your own fitness in JAX: any function of any pytree of parameters, and of a key if it is noisy."""

import jax
import jax.numpy as jnp

import evolve


def loss(params, key):
    """How badly a small network fits a sine, on 64 points drawn from the key."""
    x = jax.random.uniform(key, (64, 1), minval=-3, maxval=3)
    hidden = jnp.tanh(x @ params["w1"] + params["b1"])
    return jnp.mean((hidden @ params["w2"] - jnp.sin(2 * x)) ** 2)


start = {
    "w1": jax.random.normal(jax.random.key(0), (1, 16)),
    "b1": jax.random.normal(jax.random.key(1), (16,)),
    "w2": jnp.zeros((16, 1)),
}
result = evolve.minimize(loss, start, evolve.OpenES(population=128, learning_rate=0.02), evaluations=100_000)
print(f"loss {result.loss:.4f} (of a zero network: {loss(start, jax.random.key(2)):.2f})")
