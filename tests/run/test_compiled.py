"""Compiling: what an XLA that does not know an option does about it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evolve.run.compiled import _compile, compiled


class Lowered:
    """Refuses all options with the same message."""

    def __init__(self, message):
        self.message = message

    def compile(self, compiler_options=None):
        if compiler_options:
            raise jax.errors.JaxRuntimeError(self.message)
        return "compiled"


def test_an_option_that_xla_has_forgotten_is_left_out():
    lowered = Lowered("INVALID_ARGUMENT: No such compile option: 'xla_cpu_use_fusion_emitters'")
    assert _compile(lowered, True) == "compiled"


def test_xla_still_says_so_in_these_words():
    with pytest.raises(jax.errors.JaxRuntimeError, match="No such compile option"):
        jax.jit(lambda x: x).lower(1.0).compile(compiler_options={"xla_cpu_no_such_option": False})


def test_no_option_is_given_where_none_is_wanted():
    assert _compile(Lowered("an option was given"), False) == "compiled"


def test_other_errors_are_errors():
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        _compile(Lowered("RESOURCE_EXHAUSTED: no memory"), True)


def test_what_was_compiled_quickly_serves_only_where_that_is_asked_for():
    programs = [compiled(jnp.sin, np.float32(1.0), quickly=quickly) for quickly in (True, False, True, False)]
    assert programs[0].call is programs[2].call is not programs[1].call is programs[3].call
