"""Benchmarks measure the library's own loop."""

from pathlib import Path

import pytest

from evolve import CMAES, OpenES

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("optimizer", [CMAES(), OpenES(population=8)], ids=lambda optimizer: type(optimizer).__name__)
def test_the_loop_that_is_measured_goes_through_its_generations(optimizer, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.harness import our_loop

    call, _ = our_loop(optimizer, 3, 20)
    carry = call()
    assert int(carry.generation) == 20
    assert carry.best_loss < 3.0  # of the start
