"""Compiling: which options XLA is given, and what it does about one that it does not know."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evolve
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
    assert {}.items() < _compile(Lowered(), False).items() < _compile(Lowered(), True).items()


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


def plus(constant):
    return lambda x: x + constant


PLACES = {
    "alone": plus,
    "function": lambda constant: lambda x: jax.jit(plus(constant))(x),
    "branch": lambda constant: lambda x: jax.lax.cond(x[0] > 0, plus(constant), lambda x: x, x),
    "branches": lambda constant: lambda x: jax.lax.cond(x[0] > 0, jax.jit(plus(constant)), lambda x: x, x),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_constant_tells_programs_apart_wherever_it_is(place):
    """Their text does not show it."""
    traced = [jax.jit(PLACES[place](np.full(3, value))).trace(jnp.ones(3)).jaxpr for value in (1.0, 1.0, 2.0)]
    one, same, other = map(_digest, traced)
    assert one == same != other


def halved(x):
    return x / 2


class Simulator:
    def __init__(self, by):
        self.by = by

    def times(self, x):
        return np.asarray(x) * self.by


def calling(host):
    """A function of the same text whatever it calls."""
    return jax.jit(lambda x: jax.pure_callback(host, x, x))


def test_functions_of_the_host_tell_programs_apart():
    """Also in a function within, and of methods those of one object are the same."""
    three, four = Simulator(3.0), Simulator(4.0)
    hosts = [halved, halved, np.sqrt, three.times, three.times, four.times]
    digests = [_digest(jax.jit(calling(host)).trace(np.float32(1.0)).jaxpr) for host in hosts]
    assert digests[0] == digests[1]
    assert digests[3] == digests[4]
    assert len(set(digests)) == 4


def test_a_function_of_the_host_that_was_written_anew_is_the_one_that_is_called():
    def loss(x):
        return jax.pure_callback(HOST[0], jax.ShapeDtypeStruct((), x.dtype), x, vmap_method="sequential")

    for shift in (0.0, 5.0):
        HOST[:] = [lambda x, shift=shift: np.sum((x - shift) ** 2)]
        result = evolve.minimize(loss, np.full(2, 3.0, np.float32), evolve.CMAES(0.5, 8), evaluations=800)
        np.testing.assert_allclose(result.answer, shift, atol=1e-3)


HOST = []


def test_what_was_compiled_quickly_serves_only_where_that_is_asked_for():
    programs = [compiled(jnp.sin, np.float32(1.0), quickly=quickly) for quickly in (True, False, True, False)]
    assert programs[0].call is programs[2].call is not programs[1].call is programs[3].call
