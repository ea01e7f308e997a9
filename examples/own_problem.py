"""A whole problem of your own: where search starts, the loss to minimize, and held-out metrics."""

import jax
import jax.numpy as jnp

import evolve


class Balance(evolve.Problem):
    """Keep a pole upright on a cart for 10 s, by a linear policy of position, speed, angle and spin."""

    def init(self, key):
        return 0.1 * jax.random.normal(key, (4,))

    def loss(self, params, key):
        def step(state, _):
            x, speed, angle, spin = state
            push = jnp.clip(10 * params @ state, -10, 10)
            change = jnp.array([speed, push, spin, 9.8 * jnp.sin(angle) - push * jnp.cos(angle)])
            return state + 0.02 * change, (jnp.abs(x) < 2.4) & (jnp.abs(angle) < 0.2)

        upright = jax.lax.scan(step, jax.random.uniform(key, (4,), minval=-0.1, maxval=0.1), length=500)[1]
        return jnp.mean(1.0 - jnp.cumprod(upright))

    def report(self, params):
        return {"down": jnp.mean(jax.vmap(self.loss, (None, 0))(params, jax.random.split(jax.random.key(7), 100)))}


result = evolve.run(Balance(), evolve.CMAES(sigma=0.5), seed=0, evaluations=2_000)
print(f"loss {result.loss:.4f}; in 100 new episodes, down {Balance().report(result.answer)['down']:.1%} of the time")
