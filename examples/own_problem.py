"""A whole problem of your own: its data, where search starts, the loss to minimize, and held-out metrics."""

import jax
import jax.numpy as jnp

import evolve


class Decay(evolve.Problem):
    """Two decays in one curve, found by the third quartile of the errors: every fifth point is wild."""

    points: jax.Array  # what a problem holds is declared here, and given when it is made
    noisy = False  # the loss makes nothing of its key, so the best member seen is the answer

    def init(self, key):
        return jax.random.normal(key, (2, 2))

    def loss(self, params, key, part=slice(0, None, 2)):
        (times, values), (amounts, rates) = self.points[:, part], jnp.exp(params)
        return jnp.quantile(jnp.abs(jnp.exp(-times[:, None] * rates) @ amounts - values), 0.75)

    def report(self, params):
        return {"error": self.loss(params, None, part=slice(1, None, 2))}


times, wild = jnp.linspace(0, 5, 80), jnp.where(jnp.arange(80) % 5 == 0, 3.0, 0.0)
problem = Decay(jnp.stack([times, 2 * jnp.exp(-3 * times) + jnp.exp(-0.4 * times) + wild]))
result = evolve.run(problem, evolve.CMAES(sigma=0.5), seed=0, evaluations=3_000)
print(f"loss {result.loss:.4f}, on points held out {problem.report(result.answer)['error']:.4f}")
print("amounts and rates:", jnp.exp(result.answer).round(2).tolist())
