"""Random search against a plain loop over everything it evaluated."""

import jax
import numpy as np
import pytest
from laws.programs import answer, ask, directions, init, members, tell

from evolve import Antithetic, RandomSearch


@pytest.mark.parametrize("local", [False, True])
def test_the_best_of_all_is_kept_from_the_first_generation_on(local):
    optimizer = RandomSearch(6, 0.5, local)
    start = np.array([1.0, -1.0, 2.0], np.float32)
    state, best, point = init(optimizer, start, jax.random.key(0)), np.inf, start
    improved = 0
    for t in range(12):
        population = ask(optimizer, state, jax.random.key(t))
        noise = np.asarray(directions(population))
        center = point if local else start
        x = np.asarray(members(population))
        np.testing.assert_allclose(x, center + np.float32(0.5) * noise, rtol=1e-6)
        losses = np.sum(x**2, axis=1)
        state = tell(optimizer, state, population, losses)
        if losses.min() < best:
            best, point, improved = losses.min(), x[losses.argmin()], improved + 1
        np.testing.assert_array_equal(answer(optimizer, state), point)
        np.testing.assert_array_equal(state.best_loss, best)
    assert 1 < improved < 12


def test_one_member_is_enough_and_pairs_need_two():
    RandomSearch(1)
    with pytest.raises(ValueError, match="RandomSearch: population is 3; antithetic pairs need an even number"):
        RandomSearch(3, perturbation=Antithetic())
    with pytest.raises(ValueError, match="RandomSearch: population is 0"):
        RandomSearch(0)
