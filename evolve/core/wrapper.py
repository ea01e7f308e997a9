"""A method around another."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from evolve.core.checks import check_kind
from evolve.core.optimizer import Growing, Optimizer, State
from evolve.core.population import Population
from evolve.core.trees import Params


class Wrapper(Growing):
    """What it does not change is the method's own, whose state is the field `inner` of its state."""

    any_oracle: ClassVar[bool] = True  # whether the method may also be one that learns from gradients
    handles_noise: ClassVar[bool] = False  # whether it is for noisy losses

    optimizer: Optimizer

    def __check_init__(self) -> None:
        check_inner(self, self.optimizer, self.any_oracle)

    @property
    def oracle(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The method's."""
        return self.optimizer.oracle

    @property
    def reasons(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The method's."""
        return self.optimizer.reasons

    @abstractmethod
    def around(self, inner: State) -> State:
        """Its state at the beginning, around the method's."""

    def init(self, params: Params, key: PRNGKeyArray) -> State:
        """Around the method's."""
        return self.around(self.optimizer.init(params, key))

    def start(self, params: Params, key: PRNGKeyArray, size: Int[Array, ""], most: int, spread: Any) -> State:
        """`init` for a restart of a method that can grow."""
        return self.around(self.growing.start(params, key, size, most, spread))

    def default_size(self, n: int) -> int:
        """The method's, which must have one."""
        return self.growing.default_size(n)

    def failed(self, state: State, population: Population) -> State:
        """As the method has it."""
        return _with_inner(state, self.optimizer.failed(state.inner, population))

    def counted(self, state: State, learned: State) -> State:
        """As the method has it."""
        return _with_inner(state, self.optimizer.counted(state.inner, learned.inner))

    def widened(self, state: State, factor: Float[Array, ""]) -> State:
        """The method's."""
        return _with_inner(state, self.optimizer.widened(state.inner, factor))

    def deviations(self, state: State) -> Float[Array, " n"] | None:
        """The method's."""
        return self.optimizer.deviations(state.inner)

    def under_noise(self) -> Optimizer:
        """Around the method for noisy losses."""
        inner = self.optimizer.under_noise()
        return self if inner is self.optimizer else eqx.tree_at(lambda wrapper: wrapper.optimizer, self, inner)

    def takes_turns(self, state: State) -> bool:
        """Where the method does."""
        return self.optimizer.takes_turns(state.inner)

    def inject(self, state: State, population: Population, members: Params) -> Population:
        """As the method does it."""
        return self.optimizer.inject(state.inner, population, members)

    def answer(self, state: State) -> Params:
        """The method's."""
        return self.optimizer.answer(state.inner)

    def status(self, state: State) -> dict[str, Array]:
        """What the method says."""
        return self.optimizer.status(state.inner)

    def stop(self, state: State) -> Int[Array, ""]:
        """When the method does."""
        return self.optimizer.stop(state.inner)

    def extra(self, state: State) -> Int[Array, ""]:
        """The method's."""
        return self.optimizer.extra(state.inner)

    def more(self, state: State) -> Int[Array, ""]:
        """The method's."""
        return self.optimizer.more(state.inner)

    @property
    def growing(self) -> Growing:
        """The method, if its population can grow.

        Raises
        ------
        TypeError
            It cannot.
        """
        if not isinstance(self.optimizer, Growing):
            own, name = type(self).__name__, type(self.optimizer).__name__
            raise TypeError(
                f"{own}: the population of {name} cannot grow; put it inside instead: {own}(Restarts({name}(...)))."
            )
        return self.optimizer


def _with_inner(state: State, inner: State) -> State:
    """The state of a wrapper, whatever kind of tree it is, around another one of the method's."""
    return state if inner is state.inner else eqx.tree_at(lambda state: state.inner, state, inner)


def check_inner(owner: Any, optimizer: Any, any_oracle: bool) -> None:
    """Refuse what no wrapper can be put around.

    Raises
    ------
    TypeError
        It is no optimizer.
    ValueError
        It does something of its own in `tell`, which a wrapper does not call; or it learns from gradients, and not
        `any_oracle` will do.
    """
    check_kind(owner, Optimizer, "give CMAES(), say", optimizer=optimizer)
    own, name = type(owner).__name__, type(optimizer).__name__
    if optimizer.oracle != "loss" and not any_oracle:
        raise ValueError(f"{own}: {name} learns from gradients; take a method that needs losses only.")
    if type(optimizer).tell is not Optimizer.tell:
        raise ValueError(f"{own}: it would pass over the tell of {name}; put it inside: {name}({own}(...)).")


def grows(optimizer: Optimizer) -> bool:
    """Whether its population can: that of a wrapper where the method's can."""
    while isinstance(optimizer, Wrapper):
        optimizer = optimizer.optimizer
    return isinstance(optimizer, Growing)


def within(optimizer: Any) -> Iterator[Optimizer]:
    """An optimizer and all that it is put around, from the outside in."""
    while isinstance(optimizer, Optimizer):
        yield optimizer
        optimizer = getattr(optimizer, "optimizer", None)
