"""What readers are told of a method: its numbers, by the names of what was called."""

import optax
import pytest

import evolve
from evolve.run.describe import outline

RATE = optax.cosine_decay_schedule(0.048, 100)


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (evolve.LowRank(2), "LowRank(rank=2, law=Gaussian)"),
        (
            evolve.Gradient(optax.sgd(RATE, momentum=0.9)),
            "Gradient(transformation=chain(trace(decay=0.9, nesterov=False), scale_by_schedule(scale_by_learning_rate("
            "learning_rate=cosine_decay_schedule(alpha=0.0, decay_steps=100, exponent=1.0, init_value=0.048), m=-1))))",
        ),
        (optax.scale(-0.1), "scale(-0.1)"),
        (evolve.RandomSearch(4), "RandomSearch(population=4, sigma=1.0, local=False, perturbation=Gaussian)"),
        ({"a": (1, None), "b": print}, "{'a': (1, None), 'b': print}"),
    ],
)
def test_outlines(thing, words):
    assert outline(thing) == words


def test_an_outline_of_what_holds_itself_ends():
    held = []
    held.append(held)
    assert outline(held) == "(...)"


def test_functions_that_call_each_other_are_outlined_once():
    def factory(rate):
        def one():
            return other, rate

        def other():
            return one

        return one

    assert outline(factory(0.5)) == "test_functions_that_call_each_other_are_outlined_once(0.5)"
