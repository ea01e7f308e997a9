"""LM-MA-ES against the paper in NumPy, and what it promises: linear memory, any rotation, nothing that overflows."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evolve
from evolve import LMMAES
from evolve.methods import lmmaes

pytestmark = pytest.mark.usefixtures("x64")


class Paper:
    """Loshchilov, Glasmachers and Beyer (2019), algorithm 1, written from the paper alone: vector after vector."""

    def __init__(self, mean, sigma, size, m):
        self.y, self.sigma, self.n, self.t = np.array(mean), sigma, len(mean), 0
        n, self.mu = self.n, size // 2
        self.p, self.m = np.zeros(n), np.zeros((m, n))
        raw = math.log(self.mu + 1 / 2) - np.log(np.arange(1, self.mu + 1))
        self.w = raw / raw.sum()
        self.mu_w, self.c_sigma = 1 / np.sum(self.w**2), 2 * size / n
        self.c_d, self.c_c = 1 / (1.5 ** np.arange(m) * n), size / (4.0 ** np.arange(m) * n)
        assert max(self.c_sigma, self.c_c[0]) <= 1 / 2  # beyond that the paper's rates are no longer ours

    def directions(self, z):
        """d of each row of z."""
        d = z.copy()
        for j in range(min(self.t, len(self.m))):
            d = (1 - self.c_d[j]) * d + self.c_d[j] * np.outer(d @ self.m[j], self.m[j])
        return d

    def tell(self, z, losses):
        """One generation of white noise z, shape (size, n), of members of which none are tied."""
        z = z[np.argsort(losses)][: self.mu]
        self.y = self.y + self.sigma * self.w @ self.directions(z)
        step = self.w @ z
        for path, c in ((self.p, self.c_sigma), *zip(self.m, self.c_c, strict=True)):
            path[:] = (1 - c) * path + math.sqrt(self.mu_w * c * (2 - c)) * step
        growth = self.c_sigma / 2 * (self.p @ self.p / self.n - 1)
        assert growth < 1
        self.sigma, self.t = self.sigma * math.exp(growth), self.t + 1


def ellipsoid(x):
    """Condition 1e6; x has shape (members, n)."""
    return np.sum(10.0 ** (6 * np.arange(x.shape[1]) / (x.shape[1] - 1)) * x**2, axis=1)


def cigar(x):
    """One long axis that lies across all coordinates; x has shape (..., n)."""
    n = x.shape[-1]
    along = x @ (np.ones(n) / math.sqrt(n))
    return along**2 + 1e6 * ((x**2).sum(axis=-1) - along**2)


def discus(x):
    """One short axis that lies across all coordinates; x has shape (..., n)."""
    n = x.shape[-1]
    along = x @ (np.ones(n) / math.sqrt(n))
    return 1e6 * along**2 + (x**2).sum(axis=-1) - along**2


def shaped(optimizer, start, generations):
    """The shape after some generations on the sphere."""

    @jax.jit
    def run():
        def advance(seed, state):
            population = optimizer.ask(state, jax.random.key(seed))
            return optimizer.tell(state, population, jnp.sum(population.members() ** 2, axis=1))

        first = optimizer.init(start, jax.random.key(0))
        return jax.lax.fori_loop(0, generations, advance, first).shape

    return run()


def agree(ours, theirs, rtol=1e-9):
    """Relative to the largest number."""
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=rtol * np.max(np.abs(theirs)))


@pytest.mark.parametrize(
    ("n", "size", "m", "loss", "piece"),
    [(40, 8, None, ellipsoid, None), (60, 14, 3, cigar, 20), (200, 18, 30, discus, 33)],
)
def test_a_trace_is_the_papers(n, size, m, loss, piece, monkeypatch):
    """Products are taken whole, in pieces, and in pieces with a rest."""
    if piece is not None:
        monkeypatch.setattr(lmmaes, "_PIECE", piece)
    start, optimizer = np.linspace(1.0, 2.0, n), LMMAES(0.5, size, vectors=m)
    oracle = Paper(start, 0.5, size, m or 4 + math.floor(3 * math.log(n)))

    def generation(state, key):
        population = optimizer.ask(state, key)
        losses = loss(population.members())
        after = optimizer.tell(state, population, losses)
        return after, (jax.random.normal(key, (size, n)), population.stored, losses, after)

    @jax.jit
    def run(key):
        keys = jax.vmap(lambda t: jax.random.fold_in(key, t))(jnp.arange(300))
        return jax.lax.scan(generation, optimizer.init(start, key), keys)[1]

    rows = jax.device_get(run(jax.random.key(1)))
    for t in range(300):
        z, stored, losses, state = jax.tree.map(lambda leaf, t=t: leaf[t], rows)
        agree(stored, oracle.directions(z))
        oracle.tell(z, losses)
        agree(state.mean, oracle.y)
        agree(state.sigma, oracle.sigma)
        agree(state.path_sigma, oracle.p)
        agree(state.shape.vectors, oracle.m)


@jax.jit
def looked_at(shape, white, y):
    """Noise in the shape, directions to noise and back, and what is seen without forming the matrix."""
    return shape.color(white), shape.color(shape.whiten(y)), shape.deviations, shape.axes, shape.units


@pytest.mark.parametrize(
    ("n", "m", "piece"), [(1, 4, None), (3, 7, None), (8, 8, None), (20, 6, None), (21, 6, 7), (22, 6, 4), (23, 6, 9)]
)
def test_what_is_seen_of_the_shape_is_that_of_the_whole_matrix(n, m, piece, monkeypatch):
    """The vectors are looked at whole, in pieces longer and shorter than their number, and with a rest."""
    if piece is not None:
        monkeypatch.setattr(lmmaes, "_PIECE", piece)
    optimizer = LMMAES(0.5, 8, vectors=m, stds=np.linspace(1.0, 2.0, n))
    shape = shaped(optimizer, jnp.ones(n), 3 * m)
    y = np.random.default_rng(0).normal(size=(5, n))
    whole, back, deviations, axes, units = jax.device_get(looked_at(shape, np.eye(n), y))
    whole = whole.T
    values = np.linalg.svd(whole / units[:, None])[1]
    agree(deviations, np.linalg.norm(whole, axis=1))
    for found, others in ((axes, values), (values, axes)):  # of equal values one is enough
        assert all(np.min(np.abs(others / value - 1)) < 1e-9 for value in found)
    agree([np.min(axes), np.max(axes)], [np.min(values), np.max(values)])
    agree(back, y)


def test_memory_is_linear():
    """A state of m + 8 vectors of n numbers and a fixed rest, at a million parameters as at a thousand."""
    for n in (1000, 1_000_000):
        m = 4 + math.floor(3 * math.log(n))
        state = jax.eval_shape(LMMAES().init, jax.ShapeDtypeStruct((n,), jnp.float32), jax.random.key(0))
        numbers = sum(leaf.size for leaf in jax.tree.leaves(state))
        assert numbers <= (m + 8) * n + 2 * m * m + 10_000


@pytest.mark.parametrize(("loss", "factor"), [(cigar, 1e6), (discus, 1e3)])
def test_improves_on_one_odd_axis_wherever_it_points(loss, factor):
    """In 300 dimensions, within 50 n evaluations; `SepCMAES` sees no coordinate to learn."""
    start = np.random.default_rng(0).normal(size=300)
    result = evolve.minimize(loss, start, LMMAES(0.3, stopping=None), evaluations=15_000)
    assert result.loss < loss(start) / factor


def test_no_vectors_are_refused():
    with pytest.raises(ValueError, match="LMMAES: vectors is 0; it must be at least 1"):
        LMMAES(vectors=0)
