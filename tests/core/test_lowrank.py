"""Factors form their product, and are used without what multiplies them."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from evolve.core import Factored


@pytest.mark.parametrize("batch", [(), (4,)])
@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 5)])
def test_factored_forms_left_times_right(batch, shape):
    random = np.random.default_rng(1)
    left, right = (jnp.asarray(random.normal(size=(*batch, rows, 2))) for rows in (6, 5))
    formed = Factored(left, right, shape).form()
    expected = np.einsum("...mr,...nr->...mn", left, right).reshape(*batch, *shape)
    np.testing.assert_allclose(formed, expected, rtol=1e-5, atol=1e-6)


def test_only_low_rank_directions_import_quax():
    """It costs a quarter of importing all of the library's names."""
    code = (
        "import sys, jax.numpy as jnp, evolve; loss = lambda x: jnp.sum(x**2); x = jnp.ones((4, 4)); "
        "[getattr(evolve, name) for name in evolve.__all__]; "
        "evolve.minimize(loss, x, evolve.OpenES(4, sigma=0.1), evaluations=8); before = 'quax' in sys.modules; "
        "low = evolve.Antithetic(evolve.LowRank(1)); "
        "evolve.minimize(loss, x, evolve.OpenES(4, sigma=0.1, perturbation=low), evaluations=8); "
        "print(before, 'quax' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["False", "True"]
