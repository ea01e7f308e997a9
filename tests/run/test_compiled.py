"""Compiling: which options XLA is given, and what it does about one that it does not know."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evolve.run.compiled import _compile, _digest, compiled


class Lowered:
    """Refuses options by the first that has been forgotten, and is compiled to those that it was given."""

    def __init__(self, *forgotten):
        self.forgotten = forgotten

    def compile(self, compiler_options=None):
        for name in compiler_options or {}:
            if name in self.forgotten:
                raise jax.errors.JaxRuntimeError(f"INVALID_ARGUMENT: No such compile option: '{name}'")
        return dict(compiler_options or {})


def test_an_option_that_xla_has_forgotten_is_left_out_and_the_others_are_given():
    every = _compile(Lowered(), True)
    assert len(every) > 2
    for name in every:
        assert _compile(Lowered(name), True) == {other: every[other] for other in every if other != name}
    assert _compile(Lowered(*every), True) == {}


def test_xla_still_says_so_in_these_words():
    with pytest.raises(jax.errors.JaxRuntimeError, match="No such compile option: 'xla_cpu_no_such_option'"):
        jax.jit(lambda x: x).lower(1.0).compile(compiler_options={"xla_cpu_no_such_option": False})


def test_what_is_compiled_quickly_has_options_of_its_own():
    assert _compile(Lowered(), False).items() < _compile(Lowered(), True).items()


def test_other_backends_have_options_of_their_own(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert _compile(Lowered(), True) == _compile(Lowered(), False) == {}


def test_other_errors_are_errors():
    class Full:
        def compile(self, compiler_options=None):
            del compiler_options
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no memory")

    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        _compile(Full(), True)


def test_a_constant_within_a_branch_tells_programs_apart():
    """Their text does not show it."""

    def with_constant(constant):
        return lambda x: jax.lax.cond(x[0] > 0, lambda: x + constant, lambda: x)

    traced = [jax.jit(with_constant(np.full(3, value))).trace(jnp.ones(3)).jaxpr for value in (1.0, 1.0, 2.0)]
    one, same, other = map(_digest, traced)
    assert one == same != other


def test_what_was_compiled_quickly_serves_only_where_that_is_asked_for():
    programs = [compiled(jnp.sin, np.float32(1.0), quickly=quickly) for quickly in (True, False, True, False)]
    assert programs[0].call is programs[2].call is not programs[1].call is programs[3].call
