"""The ask-tell loop: evaluate the members yourself, wherever and however you like."""

import jax
import jax.numpy as jnp

import evolve


def loss(x):
    return jnp.sum((x - 3) ** 2)


optimizer, key = evolve.CMAES(sigma=1.0), jax.random.key(0)
ask, tell = jax.jit(optimizer.ask), jax.jit(optimizer.tell)

state = optimizer.init(jnp.zeros(5), key)
for generation in range(1, 101):
    population = ask(state, jax.random.fold_in(key, generation))
    losses = jax.vmap(loss)(population.members())
    state = tell(state, population, losses)

answer = optimizer.answer(state)
print(f"loss {loss(answer):.2e} at {answer}")
