"""The method for a size and a memory: the thresholds that its documentation names, and the reason in words."""

import pytest

from evolve import CMAES, LMMAES, SepCMAES
from evolve.methods import auto

GIB = 1 << 30


@pytest.mark.parametrize(
    ("n", "memory", "kind", "why"),
    [
        (1, GIB, CMAES, "full matrix for 1 parameters"),
        (2000, GIB, CMAES, " MiB of 512 MiB"),
        (2000, GIB // 16, LMMAES, " MiB of 32 MiB"),
        (2001, GIB, LMMAES, "more than 2000, takes too long"),
        (1_000_000, 8 * GIB, LMMAES, "45 directions"),
        (1_000_000, GIB, SepCMAES, "a diagonal is the least"),
        (10_000_000, 80 * GIB, LMMAES, "52 directions"),
    ],
)
def test_the_first_that_fits_is_taken(n, memory, kind, why):
    optimizer, said = auto(n, memory)
    assert type(optimizer) is kind
    assert said.startswith(f"{kind.__name__}: ")
    assert why in said


def test_without_a_limit_the_device_says():
    assert isinstance(auto(10).optimizer, CMAES)
    assert isinstance(auto(100_000).optimizer, LMMAES)


@pytest.mark.parametrize(("n", "memory", "error"), [(0, GIB, ValueError), (3, 0, ValueError)])
def test_what_is_no_count_is_refused(n, memory, error):
    with pytest.raises(error, match=r"auto: (n|memory) is .*; it must be"):
        auto(n, memory)
