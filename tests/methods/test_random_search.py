"""Random search against a plain loop over everything it evaluated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evolve import Antithetic, RandomSearch


@pytest.mark.parametrize("local", [False, True])
def test_the_best_of_all_is_kept_from_the_first_generation_on(local):
    optimizer = RandomSearch(6, 0.5, local)
    start = np.array([1.0, -1.0, 2.0], np.float32)
    state, best, point = optimizer.init(jnp.asarray(start), jax.random.key(0)), np.inf, start
    improved = 0
    for t in range(12):
        population = optimizer.ask(state, jax.random.key(t))
        noise = np.asarray(population.directions.batch(0, 6))
        center = point if local else start
        members = np.asarray(population.members())
        np.testing.assert_allclose(members, center + np.float32(0.5) * noise, rtol=1e-6)
        losses = np.sum(members**2, axis=1)
        state = optimizer.tell(state, population, jnp.asarray(losses))
        if losses.min() < best:
            best, point, improved = losses.min(), members[losses.argmin()], improved + 1
        np.testing.assert_array_equal(optimizer.answer(state), point)
        np.testing.assert_array_equal(state.best_loss, best)
    assert 1 < improved < 12


def test_one_member_is_enough_and_pairs_need_two():
    RandomSearch(1)
    with pytest.raises(ValueError, match="RandomSearch: population is 3; antithetic pairs need an even number"):
        RandomSearch(3, perturbation=Antithetic())
    with pytest.raises(ValueError, match="RandomSearch: population is 0"):
        RandomSearch(0)
