"""Before the first generation: everything that can be refused is refused here, before any work is done."""

import inspect
import operator
import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from evolve.backend import Backend, Device, Workers
from evolve.core import draws
from evolve.core.evaluation import checked
from evolve.core.optimizer import Optimizer
from evolve.core.problem import Problem, Wrapped, second, takes
from evolve.core.trees import Params, as_arrays, check_params, float_dtype, full
from evolve.run.account import Account
from evolve.run.budget import Budget, forwards
from evolve.run.compiled import numeric
from evolve.run.loop import Carry, Task

# What JAX raises where a function needs numbers and gets what stands for them while tracing.
UNTRACEABLE = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)
_KEY = re.compile("key|rng|seed|^k$|^_")  # how a parameter may be called that is meant to be a random key
PLAIN_PYTHON = "for a function that JAX cannot trace, such as plain Python or NumPy, pass host=True"


def prepare(
    problem: Problem,
    optimizer: Optimizer,
    seed: int,
    seeds: int | None,
    budget: Budget,
    backend: Backend | Workers | None,
) -> tuple[Task, Carry, Workers | None]:
    """What to run, where it starts, and who evaluates it on the host, if anyone does.

    Raises
    ------
    ValueError, TypeError
        Anything that cannot be run: the message names the value and the cure.
    """
    _check_kinds(problem, optimizer)
    optimizer = optimizer.under_noise() if problem.noisy else optimizer
    workers, device = _backends(problem, optimizer, backend)
    keys = [draws.key(one) for one in seeds_of(seed, seeds)]
    run_key = keys[0] if seeds is None else jnp.stack(keys)
    goal = full((), -jnp.inf if budget.target is None else budget.target, float_dtype())
    starts = [start(problem, key) for key in keys]
    _check_loss(problem, starts[0][0])
    carries = [Carry.start(optimizer, params, own) for params, own in starts]
    asked = jax.eval_shape(optimizer.ask, carries[0].state, keys[0])
    least, searches = asked.least, type(optimizer).extra is not Optimizer.extra
    # Where every generation costs the same, counting generations is enough.
    varies = searches or asked.count is not None or asked.repeats is not None
    limit = budget.evaluations if varies else None
    bought = None if limit is None else Account.of(limit // forwards(problem, optimizer))
    task = Task(problem, optimizer, run_key, goal, bought, device, seeds, least)
    # Starts may be drawn by code that vmap cannot trace; they are few, so a loop draws them.
    carry = carries[0] if seeds is None else jax.tree.map(lambda *leaves: jnp.stack(leaves), *carries)
    return task, carry, workers


def _check_kinds(problem: Any, optimizer: Any) -> None:
    _check_kind("run: problem", problem, Problem, "wrap a function with problems.wrap, or call minimize")
    check_optimizer("run: optimizer", optimizer)
    for name, wanted in (("init", ["key"]), ("loss", ["params", "key"])):
        method = getattr(problem, name)
        if not takes(method, *wanted):
            found = f"{type(problem).__name__}.{name} takes {inspect.signature(method)}"
            raise TypeError(f"run: {found}; it needs ({', '.join(wanted)}), even if it draws nothing from the key.")


def check_optimizer(what: str, thing: Any) -> None:
    """Refuse what is no optimizer; `what` begins the sentence.

    Raises
    ------
    TypeError
        The message says what it is, and what to give.
    """
    if not isinstance(thing, (Optimizer, type)) and hasattr(thing, "init") and hasattr(thing, "update"):
        raise TypeError(f"{what} is an optax optimizer; wrap it: Gradient(optax.adam(0.1)), say.")
    _check_kind(what, thing, Optimizer, "give CMAES(), say")


def _check_kind(what: str, thing: Any, kind: type, cure: str) -> None:
    if isinstance(thing, type):
        raise TypeError(f"{what} is the class {thing.__name__}; make one: {thing.__name__}(...).")
    if not isinstance(thing, kind):
        raise TypeError(f"{what} is {thing!r}, which is no {kind.__name__}; {cure}.")


def seeds_of(seed: Any, seeds: Any) -> range:
    """The seeds to run.

    Raises
    ------
    ValueError, TypeError
        They are no integers, too few or too large.
    """
    try:
        if isinstance(seed, bool) or isinstance(seeds, bool):
            raise TypeError
        first, count = operator.index(seed), operator.index(1 if seeds is None else seeds)
    except TypeError as error:
        raise TypeError(f"run: seed is {seed!r} and seeds is {seeds!r}; they must be integers.") from error
    if count < 1:
        raise ValueError(f"run: seeds is {seeds}; it must be at least 1.")
    if not 0 <= first <= 2**32 - count:
        raise ValueError(f"run: seed is {seed}; it must lie in [0, 2^32), and so must the last of several.")
    return range(first, first + count)


def check_backend(problem: Problem, backend: Any) -> None:
    """Refuse what is no backend, or none for this problem.

    Raises
    ------
    ValueError, TypeError
        The message names it, and what to give.
    """
    if backend is not None and not isinstance(backend, (Backend, Workers)):
        raise TypeError(f"run: backend is {backend!r}; give Device(), Mesh() or Workers().")
    if problem.host and isinstance(backend, Backend):
        raise ValueError(f"run: backend is {backend!r}, but a host fitness needs Workers(); give that or none.")


def _backends(problem: Problem, optimizer: Optimizer, backend: Any) -> tuple[Workers | None, Backend]:
    name = type(optimizer).__name__
    check_backend(problem, backend)
    workers = backend if isinstance(backend, Workers) else Workers() if problem.host else None
    if workers is not None and optimizer.oracle == "gradient":
        owner, cure = ("a host fitness", "") if problem.host else ("Workers()", "leave the backend out, or ")
        cure += "take a method that needs losses only, such as CMAES"
        raise ValueError(f"run: {name} needs gradients, which {owner} cannot give; {cure}.")
    return workers, backend if isinstance(backend, Backend) else Device()


def start(problem: Problem, run_key: Any) -> tuple[Params, Any]:
    """A checked start, and the key for the optimizer's."""
    begin, own = _first_keys(run_key)
    params = as_arrays(problem.init(begin))
    check_params(params, "init")
    return params, own


@jax.jit
def _first_keys(run_key: Any) -> tuple[Any, Any]:
    """The problem's and the optimizer's, for the start."""
    begin, own = draws.split(draws.fold_in(run_key, 0))
    return begin, own


def _check_loss(problem: Problem, params: Params) -> None:
    """Name a loss that is no scalar, or that JAX cannot trace, before anything is compiled.

    Raises
    ------
    ValueError, TypeError
        It is no floating-point scalar, or cannot be traced: the message says what to write instead, and the cause is
        the error of the trace.
    """
    if problem.host:
        return
    # The problem's own arrays are arguments in the compiled loop: here too, or a loss could pass that fails there.
    dynamic, static = eqx.partition(numeric(problem), eqx.is_array)

    def loss(dynamic: Any, params: Params) -> Any:
        return eqx.combine(dynamic, static).loss(params, jax.random.key(0))

    try:
        shape = jax.eval_shape(loss, dynamic, params)
    except (TypeError, ValueError, AttributeError, IndexError, *UNTRACEABLE) as error:
        cure = _cure(error, params, problem)
        if cure is None:
            raise
        words = str(error).strip().partition("\n")[0].rstrip(".")
        # With the trace's own frames: they lead to the user's line.
        raise TypeError(f"{words}; {cure}.").with_traceback(error.__traceback__) from error
    check_scalar(shape)


def check_scalar(shape: Any) -> None:
    """Refuse what `jax.eval_shape` says of a loss, unless it is a floating-point scalar.

    Raises
    ------
    ValueError, TypeError
        Saying what it is, and what to return.
    """
    if not isinstance(shape, jax.ShapeDtypeStruct):
        raise TypeError(f"the loss is a {type(shape).__name__}; return a floating-point scalar.")
    jax.eval_shape(checked, shape)


def _cure(error: Exception, params: Params, problem: Problem) -> str | None:
    """What to do about a loss that cannot be traced, where that can be told from the error, the start or a name."""
    name = second(problem.function) if isinstance(problem, Wrapped) and problem.takes_key else None
    if name is not None and ("key<" in str(error) or not _KEY.search(name)):
        return f"the second parameter of the function, {name}, is a random key: close over data instead"
    if isinstance(error, UNTRACEABLE):
        return PLAIN_PYTHON
    if isinstance(error, (ValueError, IndexError)):
        return None
    if type(params) in (list, tuple) and all(isinstance(leaf, jax.Array) and leaf.ndim == 0 for leaf in params):
        return f"the start is a {type(params).__name__} of numbers; for a vector pass jnp.array([...])"
    return None
