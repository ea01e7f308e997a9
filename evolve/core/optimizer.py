"""What every optimizer is: `ask` reads, `tell` writes, and no random key lives in a state."""

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from evolve.core.guards import check_options, guarded, what
from evolve.core.population import Population
from evolve.core.trees import Params, all_finite, keep

_WANTED = {
    "gradient": "it learns from a gradient; give evolve.core.graded(problem, population, key).",
    "loss": "it learns from losses alone; give an array of one loss a member.",
}

State = Any  # a pytree of arrays; each method has its own record


class Graded(eqx.Module):
    """What a gradient oracle answers for the one member of a population: its loss, gradient, and the loss function.

    `function` is for line searches, which look at further points of the same minibatch.
    """

    losses: Float[Array, " 1"]
    gradient: Params
    function: Callable[[Params], Float[Array, ""]] = eqx.field(static=True)


class Clean(eqx.Module):
    """Losses of which those of failed members, and of members not in use, are +inf already.

    A device writes them so where populations grow: looking at the largest one's would take a small generation a tenth
    of its time.
    """

    losses: Float[Array, " size"]


def plain(losses: Any) -> Any:
    """The losses alone, in whatever form they are told."""
    return losses.losses if isinstance(losses, (Graded, Clean)) else losses


class Optimizer(eqx.Module):
    """A search method as a frozen record: numbers are leaves (sweep them with `vmap`), structure is static.

    A new method defines `init`, `ask`, `learn` and `answer`. `tell` is `learn` behind one guard that holds for
    all: failed members come as +inf, and of a generation in which all failed nothing is learned (`failed`).
    """

    oracle: ClassVar[Literal["loss", "gradient"]] = "loss"
    reasons: ClassVar[tuple[str, ...]] = ()  # why it may stop by itself
    takes_clean: ClassVar[bool] = True  # whether `tell` knows `Clean`, which one of a class's own has to say

    if not TYPE_CHECKING:  # what a class takes, its fields say

        def __new__(cls, *args: Any, **options: Any) -> Any:
            """Refuse options that the class does not take, and a class that lacks a method."""
            check_options(cls, options)
            if lacking := sorted(getattr(cls, "__abstractmethods__", ())):
                wanted = "a method is init, ask, learn and answer, and tell is learn behind a guard"
                raise TypeError(f"{cls.__name__} does not define {', '.join(lacking)}: {wanted}.")
            return super().__new__(cls)

    def __init_subclass__(cls, **options: Any) -> None:
        """Guard the methods that take a key, whoever writes them."""
        super().__init_subclass__(**options)
        # Each is sure of itself and of what it is made of. Not by `issubclass`: an abstract class is not made yet here.
        sure = {made for one in cls.__mro__ if vars(one).get("takes_clean") for made in one.__mro__}
        if not sure.issuperset(one for one in cls.__mro__ if "tell" in vars(one)):
            cls.takes_clean = False  # one of them was written by who does not know of clean ones
        for name in ("init", "start", "ask"):
            method = vars(cls).get(name)
            if method is not None and not getattr(method, "__isabstractmethod__", False):
                setattr(cls, name, guarded(method))

    @abstractmethod
    def init(self, params: Params, key: PRNGKeyArray) -> State:
        """The state before the first generation. Nothing is evaluated."""

    @abstractmethod
    def ask(self, state: State, key: PRNGKeyArray) -> Population:
        """The members to evaluate. Reads the state, changes nothing."""

    def inject(self, state: State, population: Population, members: Params) -> Population:
        """A population in which members from elsewhere stand in the place of some, to be evaluated with the others.

        Parameters
        ----------
        members
            A tree like the parameters with a leading axis of at most as many as the smallest population has.

        Raises
        ------
        TypeError
            The method learns from what it has drawn alone.
        ValueError
            There are more of them, or none, or they have other shapes.
        """
        name = type(self).__name__
        raise TypeError(f"{name}.inject: it learns from its own members alone; take one of the CMA-ES family.")

    @abstractmethod
    def learn(self, state: State, population: Population, losses: Any) -> State:
        """The state after a generation; `losses` are finite, or +inf for failed members, and not all of them failed."""

    def failed(self, state: State, population: Population) -> State:
        """The state after a generation of which no member succeeded: as it was, but for what counts generations."""
        del population
        return state

    def learn_if(self, state: State, population: Population, losses: Any, some: Bool[Array, ""] | bool) -> State:
        """`learn` where some member succeeded, else `failed`.

        Finite losses may still overflow on their way: what cannot be deployed is not learned. A wrapper that hands this
        on to its method leaves the guarding to it.
        """
        learned = self.learn(state, population, losses)
        failed = self.counted(self.failed(state, population), learned)
        return keep(some & all_finite(self.answer(learned)), learned, failed)

    def counted(self, state: State, learned: State) -> State:
        """A state with the evaluations (`extra`) that another one counts, which was learned in vain."""
        del learned
        return state

    @abstractmethod
    def answer(self, state: State) -> Params:
        """What the user deploys, in the user's dtypes."""

    def status(self, state: State) -> dict[str, Float[Array, ""]]:
        """Scalars worth a line in the log: step size, temperature, condition number."""
        del state
        return {}

    def stop(self, state: State) -> Int[Array, ""]:
        """Why there is nothing more to find, as a place in `reasons` counted from 1; 0 to go on."""
        del state
        return jnp.zeros((), jnp.int32)

    def extra(self, state: State) -> Int[Array, ""]:
        """Evaluations so far beside those of the populations that were asked for: of line searches."""
        del state
        return jnp.zeros((), jnp.int32)

    def more(self, state: State) -> Int[Array, ""]:
        """Evaluations beyond `Population.least` that the next generation will make.

        Zero, unless a method says so: one whose populations have a `count` or `repeats` must, or budgets are overdrawn.
        """
        del state
        return jnp.zeros((), jnp.int32)

    def widened(self, state: State, factor: Float[Array, ""]) -> State:
        """With every standard deviation that the method adapts times a factor; a fixed or scheduled radius stays."""
        del factor
        return state

    def deviations(self, state: State) -> Float[Array, " n"] | None:
        """Standard deviations of the coordinates, in the order of a raveled vector; None where it adapts none."""
        del state
        return None

    def under_noise(self) -> "Optimizer":
        """The method for losses that are noisy, of which the lowest one is luck."""
        return self

    def takes_turns(self, state: State) -> bool:
        """Whether a CPU better runs several seeds in turn: side by side, each waits for the longest generation."""
        del state
        return False

    def tell(self, state: State, population: Population, losses: Float[Array, " size"] | Clean | Graded) -> State:
        """The state after a generation.

        Parameters
        ----------
        state
            The state that `ask` read.
        population
            What `ask` returned.
        losses
            One a member, lower is better, shape (size,); NaN and infinities mark failed members. `Clean` where that
            was looked for already. For a method whose `oracle` is "gradient", a `Graded`.

        Raises
        ------
        ValueError
            The losses' shape is not (size,).
        TypeError
            The losses are not floating-point numbers, a gradient is missing, or the population is none.
        """
        if not isinstance(population, Population):  # pyright: ignore[reportUnnecessaryIsInstance]
            found = f"{type(self).__name__}.tell: the population is {what(population)}"
            raise TypeError(f"{found}; pass the population that ask returned, then the losses.")
        if (self.oracle == "gradient") != isinstance(losses, Graded):
            raise TypeError(f"{type(self).__name__}.tell: {_WANTED[self.oracle]}")
        values = jnp.asarray(plain(losses))
        _check_losses(type(self).__name__, values, population.size)
        if not isinstance(losses, Clean):
            values = jnp.where(jnp.isfinite(values) & population.in_use, values, jnp.inf)
        clean = values.astype(jnp.promote_types(values.dtype, jnp.float32))
        some = population.brief(_any_finite, clean)
        if isinstance(losses, Graded):
            some &= all_finite(losses.gradient)
            return self.learn_if(state, population, Graded(clean, losses.gradient, losses.function), some)
        return self.learn_if(state, population, clean, some)


class Guarding(Optimizer):
    """A method that guards what it learns where it learns it, or leaves that to the method inside."""

    @abstractmethod
    def told(self, state: State, population: Population, losses: Any, some: Bool[Array, ""] | bool) -> State:
        """The state after a generation: `failed` where no member succeeded; `some` is True where others guard."""

    def learn(self, state: State, population: Population, losses: Any) -> State:
        """`told` where others guard."""
        return self.told(state, population, losses, True)

    def learn_if(self, state: State, population: Population, losses: Any, some: Bool[Array, ""] | bool) -> State:
        """`told`; a subclass that learns, fails or answers in a way of its own is guarded as any method."""
        kind = type(self)
        # The first one that wrote `told`, which others may have gone on with; before it comes the one that asks for it.
        authors = [one for one in kind.__mro__ if issubclass(one, Guarding) and "told" in vars(one)]
        author = authors[max(0, len(authors) - 2)]  # where it is a mixin's alone, who asks for it, and all is guarded
        if any(getattr(kind, name) is not getattr(author, name) for name in ("learn", "failed", "answer")):
            return super().learn_if(state, population, losses, some)
        return self.told(state, population, losses, some)


class Growing(Optimizer):
    """A method whose population may be another in every restart of one compiled program."""

    @abstractmethod
    def default_size(self, n: int) -> int:
        """Members a generation that it would have by itself, for n parameters."""

    @abstractmethod
    def start(self, params: Params, key: PRNGKeyArray, size: Int[Array, ""], most: int, spread: Any) -> State:
        """`init`, for `size` members a generation, a number up to `most`, and a radius `spread` times as large."""

    def more(self, state: State) -> Int[Array, ""]:
        """As the next population says; a method that knows it from its state spares the compiler a second `ask`."""
        population = self.ask(state, jax.random.key(0))  # what nobody reads is dropped
        return jnp.asarray(population.evaluations - population.least, jnp.int32)


def _any_finite(losses: Float[Array, " some"]) -> Bool[Array, ""]:
    return jnp.any(jnp.isfinite(losses))


def _check_losses(name: str, losses: Array, size: int) -> None:
    if losses.shape != (size,):
        raise ValueError(f"{name}.tell: the losses have shape {losses.shape}; a population of {size} needs ({size},).")
    if not jnp.issubdtype(losses.dtype, jnp.floating):
        raise TypeError(f"{name}.tell: the losses are {losses.dtype}; return floating-point numbers.")
