"""The genetic algorithm against closed forms of selection and crossover."""

import equinox as eqx
import jax
import numpy as np
import pytest
from laws.programs import answer, ask, init, members, program, tell
from scipy.stats import binomtest, chisquare

from evolve import GeneticAlgorithm

STILL = 1e-30  # a mutation that rounds away


def labelled(optimizer, genes=10):
    """A state whose k-th best parent holds the number k in all of its genes."""
    state = init(optimizer, {"a": np.zeros(genes), "b": np.zeros((2, 2))}, jax.random.key(0))
    label = np.arange(1, optimizer.parents + 1, dtype=np.float32)
    parents = jax.tree.map(lambda x: x + label.reshape(-1, *[1] * (x.ndim - 1)), jax.device_get(state.parents))
    return eqx.tree_at(lambda s: s.parents, state, parents)


drawn = program(lambda optimizer, state, key: optimizer.ask(state, key).members())


def children(optimizer, seed=1):
    """The genes of all children, one row each."""
    x = drawn(optimizer, labelled(optimizer), jax.random.key(seed))
    rows = np.concatenate([np.asarray(x["a"]), np.asarray(x["b"]).reshape(optimizer.population, 4)], axis=1)
    return rows[optimizer.elites :]


@pytest.mark.parametrize(
    ("selection", "size"), [("truncation", 3), ("tournament", 1), ("tournament", 2), ("tournament", 5)]
)
def test_selection_frequencies(selection, size):
    """The best of T uniform draws among P is the k-th (from 0) with chance ((P - k)^T - (P - k - 1)^T) / P^T."""
    p = 8
    rows = children(GeneticAlgorithm(20_001, p, 1, STILL, 0.0, selection, size))
    counts = np.bincount(rows[:, 0].astype(int), minlength=p + 1)[1:]
    left = p - np.arange(p)
    drawn = 1 if selection == "truncation" else size
    chances = (left**drawn - (left - 1) ** drawn) / p**drawn
    assert chisquare(counts, chances * len(rows)).pvalue > 1e-3


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_crossover_takes_each_gene_from_one_of_two_parents(chance):
    p, genes = 4, 14
    rows = children(GeneticAlgorithm(8000, p, 1, STILL, chance))
    assert set(np.unique(rows)) == set(range(1, p + 1))
    kinds = np.array([len(np.unique(row)) for row in rows])
    assert kinds.max() <= 2
    # Two parents differ with chance 1 - 1/p, and leave a trace of both unless all coins fall alike.
    mixed = chance * (1 - 1 / p) * (1 - 2.0 ** (1 - genes))
    assert binomtest(int(np.sum(kinds == 2)), len(rows), mixed).pvalue > 1e-3
    if chance:
        # Coins are fair, and independent between leaves.
        one = rows[kinds == 2] == rows[kinds == 2][:, :1]
        assert binomtest(int(one[:, 1:].sum()), one[:, 1:].size, 0.5).pvalue > 1e-3
        assert np.abs(np.corrcoef(one[:, 1:].T) - np.eye(genes - 1)).max() < 0.1


def test_mutation_is_normal_with_deviation_sigma():
    rows = children(GeneticAlgorithm(4001, 1, 1, 0.25, 0.0)) - 1.0
    assert abs(rows.mean()) < 5 * 0.25 / np.sqrt(rows.size)
    assert rows.std() == pytest.approx(0.25, rel=5 / np.sqrt(2 * rows.size))


def test_elites_go_on_bit_for_bit():
    """Generation after generation, the best members stand unchanged at the front, under any mutation."""
    optimizer = GeneticAlgorithm(16, 6, 3, 0.5)
    state = init(optimizer, np.linspace(0.1, 1.0, 5, dtype=np.float32), jax.random.key(0))
    for t in range(6):
        population = ask(optimizer, state, jax.random.key(t))
        x = np.asarray(members(population))
        np.testing.assert_array_equal(x[:3], np.asarray(state.parents)[:3])
        losses = np.sum(x**2, axis=1)
        state = tell(optimizer, state, population, losses)
        # The parents are the best, best first: truncation by NumPy.
        order = np.argsort(losses, kind="stable")[:6]
        np.testing.assert_array_equal(state.parents, x[order])
        np.testing.assert_array_equal(state.losses, losses[order])
        np.testing.assert_array_equal(answer(optimizer, state), x[order[0]])


def test_failed_members_are_never_parents():
    optimizer = GeneticAlgorithm(8, 5, 2, 0.5)
    state = init(optimizer, np.zeros(3), jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    losses = np.array([np.nan, np.inf, 2.0, -np.inf, np.nan, 1.0, np.nan, np.nan])
    state = tell(optimizer, state, population, losses)
    np.testing.assert_array_equal(state.parents, np.asarray(members(population))[[5, 2, 5, 5, 5]])
    np.testing.assert_array_equal(state.losses, [1.0, 2.0, 1.0, 1.0, 1.0])


def test_without_elites_the_best_may_be_lost_but_the_children_are_its_own():
    optimizer = GeneticAlgorithm(4, 1, 0, STILL, 0.0)
    state = labelled(optimizer)
    np.testing.assert_array_equal(drawn(optimizer, state, jax.random.key(0))["a"], np.ones((4, 10)))
