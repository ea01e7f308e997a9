"""Compile ahead of time, once for each computation: how long it took and how much memory it needs are known."""

import gc
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.extend import core
from jaxtyping import Array

from evolve.core.trees import as_array, float_dtype
from evolve.run.describe import describe


@dataclass(frozen=True)
class Program:
    """A compiled function of arrays, what compiling cost, and the bytes it needs at its peak (None if unknown)."""

    call: Callable[..., Any]
    seconds: float
    memory: int | None


# Steps in an order that spares memory, and not in one in which several could be done at once: a small generation's take
# a microsecond each, and handing one to another thread takes longer. Networks run as fast; one run of a small problem
# takes a tenth to a fifth less time, and half of the processor's.
_IN_TURN = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}

# Not XLA's newer code generator, nor sums in parts of 32, and modules of code in which many functions share what each
# costs. Many small functions compile in half of the time and run as fast; a network runs up to a third slower.
_QUICKLY = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_disable_hlo_passes": "tree_reduction_rewriter",
    "xla_cpu_parallel_codegen_split_count": 4,
}

_programs: OrderedDict[Any, Program] = OrderedDict()
_KEPT = 64


def numeric(tree: Any) -> Any:
    """Plain numbers become arrays, so that a program is compiled for their shape, never for their value."""
    return jax.tree.map(_number, tree)


def _number(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array):
        return leaf  # the common case, and asking costs less than converting
    if isinstance(leaf, (bool, int, float, complex)):
        return jax.device_put(leaf)  # as `jnp.asarray`, which compiles a program for each kind of them
    return as_array(leaf) if hasattr(leaf, "__array__") else leaf


def compiled(function: Callable[..., Any], *args: Any, quickly: bool = False) -> Program:
    """The program of a function for arguments of these shapes; the same again while it is remembered.

    Leaves of `args` that are not arrays are static: they must be hashable to be remembered. The function is traced
    every time: one that reads a global or a field may compute something else now, and is then compiled anew. `quickly`
    spares the compiler where that costs the program nothing: small functions, no networks.
    """
    leaves, structure = jax.tree.flatten(args)
    leaves = [_number(leaf) for leaf in leaves]
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]
    given, static = [leaves[i] for i in places], [None if isinstance(leaf, jax.Array) else leaf for leaf in leaves]

    # Arrays come in a plain list: a call from Python then costs no more than taking the arguments apart once.
    def whole(arrays: list[Array]) -> Any:
        both = list(static)
        for i, array in zip(places, arrays, strict=True):
            both[i] = array
        return function(*jax.tree.unflatten(structure, both))

    start = time.perf_counter()
    with _uncollected():
        traced = jax.jit(whole).trace(given)
    about = _about((function, structure, quickly, *static), given)
    digest = None if about is not None else ""  # what is not remembered needs none
    if about in {known for known, _ in list(_programs)}:
        digest = _digest(traced.jaxpr)
    if (about, digest) in _programs:
        _programs.move_to_end((about, digest))
        return Program(_programs[about, digest].call, 0.0, _programs[about, digest].memory)
    program, digest = _built(traced, quickly, digest)

    def call(*args: Any) -> Any:
        leaves = jax.tree.leaves(args)
        return program([_number(leaves[i]) for i in places])

    made = Program(call, time.perf_counter() - start, _memory(program))
    if about is not None:
        _programs[about, digest] = made
        while len(_programs) > _KEPT:
            _programs.popitem(last=False)
    return made


def _built(traced: Any, quickly: bool, digest: str | None) -> tuple[Any, str]:
    """The program and its digest, which takes a while: where it is not known yet, another thread finds it."""
    with _uncollected():
        lowered = traced.lower()
    with ThreadPoolExecutor(1) as other:
        found = other.submit(lambda: _digest(traced.jaxpr) if digest is None else digest)
        program = _compile(lowered, quickly)
    return program, found.result()


@contextmanager
def _uncollected() -> Generator[None]:
    """Without Python's garbage collector, which would take a sixth of the time of tracing and find next to nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _compile(lowered: Any, quickly: bool) -> Any:
    """With the options for a CPU, whatever `XLA_FLAGS` says; those that this version of XLA does not have are left out.

    `quickly` spares what costs more to compile than small functions gain by it.
    """
    options: dict[str, Any] = {}
    if jax.default_backend() == "cpu":
        options = dict(_IN_TURN | _QUICKLY if quickly else _IN_TURN)
    while True:
        try:
            return lowered.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError as error:
            unknown = [name for name in options if f"No such compile option: '{name}'" in str(error)]
            if not unknown:
                raise
            del options[unknown[0]]


def _about(fixed: tuple[Any, ...], given: list[Array]) -> Any:
    """What must be equal, beside its text, for a program to serve again; None if that cannot be said."""
    shapes = tuple((leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)) for leaf in given)
    about = *fixed, shapes, float_dtype(), jax.default_backend()
    try:
        hash(about)
    except TypeError:
        return None
    return about


def _digest(traced: Any) -> str:
    """Of a computation, of the constants in it and of the Python functions that it calls.

    Its text shows neither, but addresses in memory, which say nothing.
    """
    constants, hosts = list[Any](), list[tuple[int, int]]()
    for one in _computations(traced):
        constants += [_plain(value) for value in getattr(one, "consts", ())]
        hosts += [_host(equation.params["callback"]) for equation in one.eqns if "callback" in equation.params]
    text = re.sub("0x[0-9a-f]+", "", str(traced)) + describe(constants) + repr(hosts)
    return hashlib.sha256(text.encode()).hexdigest()


def _computations(part: Any) -> Generator[Any]:
    """A computation, and those in it."""
    if isinstance(part, (core.ClosedJaxpr, core.Jaxpr)):  # one class since JAX 0.11; the latter held no constants
        yield part
        part = [value for equation in part.eqns for value in equation.params.values()]
    if isinstance(part, (list, tuple)):
        for inner in part:
            yield from _computations(inner)


def _host(callback: Any) -> tuple[int, int]:
    """Which Python function, and for a method whose: the program that calls it keeps it, so no other gets its id.

    One that is made anew in every trace is another one each time, and so is one that `jax.debug.callback` wraps.
    """
    function = getattr(callback, "callback_func", callback)
    return id(getattr(function, "__func__", function)), id(getattr(function, "__self__", None))


def _plain(value: Any) -> Any:
    """JAX has classes of its own for constants, which `describe` does not know."""
    return value if isinstance(value, jax.Array) else np.asarray(value)


def _memory(program: Any) -> int | None:
    """Arguments, results and temporaries, less what they share, as the compiler planned them."""
    try:
        plan = program.memory_analysis()
        sizes = plan.argument_size_in_bytes, plan.output_size_in_bytes, plan.temp_size_in_bytes
        return sum(sizes) - plan.alias_size_in_bytes
    except (AttributeError, NotImplementedError, jax.errors.JaxRuntimeError):
        return None
