"""What is searched: a start, a loss to minimize, and metrics that no optimizer sees."""

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from evolve.core.trees import Params, as_arrays


class Problem(eqx.Module):
    """Something to minimize.

    Subclass it and define `init` and `loss`; `report` is optional. Lower is better: a fitness to be maximized
    changes sign once, in `wrap(..., maximize=True)` or in your own `loss`.

    It is a frozen record. What it holds is declared in the body of the class, and given when it is made; an `__init__`
    of your own may set what is declared, and nothing else::

        class Fit(evolve.Problem):
            inputs: jax.Array  # arrays may change without a new compilation
            degree: int = eqx.field(static=True, default=3)  # what is no array, or decides a shape, is static
            noisy = False

    `noisy` is True unless a class says otherwise: the answer is then the optimizer's own and its loss that at one fixed
    key, and a target is one for a generation's mean. Say False where `loss` does not depend on its key: the answer is
    the best member seen.
    """

    @property
    def noisy(self) -> bool:
        """Whether `loss` depends on its key. For a noisy problem "the best loss seen" is luck, so none is kept."""
        return True

    @property
    def host(self) -> bool:
        """Whether `loss` is plain Python that JAX cannot trace.

        It then gets NumPy parameters, one member a call, and as its key an array of 32-bit words, fit for
        `numpy.random.default_rng(key)`.
        """
        return False

    @property
    def common(self) -> bool:
        """Whether all members of a generation get the same key, or each one of its own."""
        return True

    @property
    def passes(self) -> int:
        """Forward passes that one loss takes, as budgets count them; more than 1 where it is an average."""
        return 1

    @abstractmethod
    def init(self, key: PRNGKeyArray) -> Params:
        """Where search starts: any pytree of floating-point arrays."""

    @abstractmethod
    def loss(self, params: Params, key: PRNGKeyArray) -> Float[Array, ""]:
        """The scalar to minimize; the key draws minibatch, episode or noise.

        All members of a generation get the same key (common random numbers), so that their losses compare; see
        `common`, and the wrappers in `evolve.core.noise`.
        A non-finite loss marks the member as failed.
        """

    def report(self, params: Params) -> dict[str, Float[Array, ""]]:
        """Held-out metrics of an answer. No optimizer ever sees them."""
        del params
        return {}


class Wrapped(Problem):
    """A function made into a problem; see `wrap`."""

    function: Callable[..., Any] = eqx.field(static=True)
    start: Any
    takes_key: bool = eqx.field(static=True)
    sign: float = eqx.field(static=True)
    on_host: bool = eqx.field(static=True)

    @property
    def noisy(self) -> bool:
        """True where the function takes a key."""
        return self.takes_key

    @property
    def host(self) -> bool:
        """True where the function is plain Python."""
        return self.on_host

    def init(self, key: PRNGKeyArray) -> Params:
        """The given start, or what the given function draws from the key."""
        return as_arrays(self.start(key) if _draws(self.start) else self.start)

    def loss(self, params: Params, key: Any) -> Any:
        """The function's value, whatever it is until it is checked, its sign changed where it is to be maximized."""
        value = self.function(params, key) if self.takes_key else self.function(params)
        if self.sign == 1.0:
            return value
        # On a device an integer stays one, and is refused; on the host minus an unsigned or true one is no number.
        return self.sign * value if self.on_host else -value


def _draws(start: Any) -> bool:
    """Whether it is a function that draws the start. A model may be callable, but has leaves; a function is its own."""
    leaves = jax.tree.leaves(start)
    return callable(start) and len(leaves) == 1 and leaves[0] is start


def wrap(
    function: Callable[..., Any],
    init: Params | Callable[[PRNGKeyArray], Params],
    *,
    maximize: bool = False,
    host: bool = False,
) -> Problem:
    """Make a problem of a function.

    Parameters
    ----------
    function
        `params -> scalar`, or `(params, key) -> scalar` for a noisy one. With `host`, plain Python: the parameters
        come as NumPy arrays, the key as 32-bit words for `numpy.random.default_rng(key)`, and an exception marks the
        member as failed instead of ending the run.
    init
        The start: a pytree of floats, or a function of a key that draws one.
    maximize
        The function is a fitness: higher is better. The sign changes here and nowhere else, so every reported loss
        is minus the fitness.
    host
        Whether JAX must not trace the function.

    Raises
    ------
    TypeError
        The function is not callable, or needs something else than (params) or (params, key).
    """
    if not callable(function):
        raise TypeError(f"wrap: {function!r} is not callable; pass a function of (params) or (params, key).")
    if _draws(init) and not takes(init, "key"):
        words = f"wrap: init takes {inspect.signature(init)}; it must take (key)"
        raise TypeError(f"{words}, from which it draws the start, or be the start itself.")
    return Wrapped(
        function=function,
        start=init,
        takes_key=_takes_key(function),
        sign=-1.0 if maximize else 1.0,
        on_host=host,
    )


def reported(problem: Problem, params: Params) -> Mapping[str, Any]:
    """What a problem reports of an answer.

    Raises
    ------
    TypeError
        It is no dict.
    """
    report: Any = problem.report(params)
    if not isinstance(report, Mapping):
        name, kind = type(problem).__name__, type(report).__name__
        raise TypeError(f"{name}.report returned {kind}; it must return a dict of numbers.")
    return report


def required(function: Callable[..., Any]) -> list[str]:
    """Names of the parameters that a call of the function must give.

    Raises
    ------
    ValueError
        The function, a builtin, does not say what it takes.
    """
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variable]


def takes(function: Callable[..., Any], *arguments: str) -> bool:
    """Whether a function can be called with so many arguments; a builtin that does not say is taken to be able."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def second(function: Callable[..., Any]) -> str | None:
    """The name of a function's second parameter, if it says."""
    try:
        return list(inspect.signature(function).parameters)[1]
    except (ValueError, IndexError):
        return None


def _takes_key(function: Callable[..., Any]) -> bool:
    """Whether a function is one of (params, key); builtins without a signature are taken to be one of (params)."""
    try:
        needed, parameters = required(function), list(inspect.signature(function).parameters.values())
    except ValueError:
        return False
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    by_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if len(needed) > 2 or by_name or not (places or any(p.kind is p.VAR_POSITIONAL for p in parameters)):
        raise TypeError(f"wrap: the function needs ({', '.join(needed)}); it must need (params) or (params, key) only.")
    return len(needed) == 2 or (len(places) > 1 and places[1].name == "key")
