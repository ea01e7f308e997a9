"""Counts beyond 32 bits, against Python's integers."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import evolve
from evolve import CMAES, Problem, Restarts, UncertaintyHandling, wrap
from evolve.run.account import Account, total
from evolve.run.budget import Budget
from evolve.run.loop import bought
from evolve.run.prepare import prepare

NUMBERS = st.integers(0, 2**31 - 1)
PLUS, WITHIN = jax.jit(Account.plus), jax.jit(Account.within)


def value(account):
    return int(total(account.high, account.low))


@given(st.lists(NUMBERS, max_size=8), st.integers(0, 2**40))
def test_sums_and_comparisons_are_those_of_whole_numbers(numbers, first):
    account, number = Account.of(first), first
    for each in numbers:
        account, number = PLUS(account, np.int32(each)), number + each
    assert value(account) == number
    assert 0 <= int(account.low) < 2**30
    for other in (number - 1, number, number + 1, first):
        if other >= 0:
            assert bool(WITHIN(account, Account.of(other))) == (number <= other)


def test_the_largest_holds_whatever_is_given():
    assert value(Account.of(10**30)) == 2**61 - 1


class Costly(Problem):
    """A million forward passes an evaluation."""

    noisy = False
    passes = 1_000_000

    def init(self, key):
        return jnp.ones(3)

    def loss(self, params, key):
        return jnp.sum(params**2)


def test_without_a_budget_of_evaluations_nothing_ends_where_32_bits_do():
    """Of methods whose generations differ in what they cost, each of which passes 2^31 forward passes here."""
    method = CMAES(0.5, 4, stopping=None)
    for optimizer in (method, UncertaintyHandling(method)):
        result = evolve.run(Costly(), optimizer, generations=700)
        assert result.reason == "generations"
        assert result.generations == 700
        assert result.forwards >= 700 * 4 * Costly.passes > 2**31
        assert np.all(np.diff(result.history["evaluations"]) > 0)


def test_a_budget_beyond_32_bits_is_kept_to_the_evaluation():
    """From a run that has spent nearly all of it."""
    problem, optimizer = wrap(lambda x: jnp.sum(x**2), jnp.ones(2)), Restarts(CMAES(0.5, 1000), "ipop", 9)
    task, carry, _ = prepare(problem, optimizer, 0, None, Budget(evaluations=5 * 10**9), None)
    for spent, more in ((0, True), (5 * 10**9 - 1000, True), (5 * 10**9 - 999, False), (6 * 10**9, False)):
        at = carry.__class__(**(vars(carry) | {"generation": jnp.asarray(400), "spent": Account.of(spent)}))
        assert bool(bought(task, at)) == more, spent
