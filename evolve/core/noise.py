"""Problems whose noise is averaged, the same in every generation, or independent for every member."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from evolve.core import draws
from evolve.core.checks import check_count, check_kind
from evolve.core.evaluation import checked, real
from evolve.core.problem import Problem
from evolve.core.trees import Params


class NoiseWrapper(Problem):
    """A noisy problem in whose place it stands: all that is not about noise is the problem's own."""

    problem: Problem

    def __check_init__(self) -> None:
        check_kind(self, Problem, "wrap a function of (params, key) with problems.wrap", problem=self.problem)
        if not self.problem.noisy:
            name, inner = type(self).__name__, type(self.problem).__name__
            raise ValueError(
                f"{name}: the problem is {inner}(...), whose loss does not depend on its key, so there is no noise;"
                f" make it a function of (params, key), or put CommonRandomNumbers outermost."
            )

    @property
    def host(self) -> bool:
        """The problem's."""
        return self.problem.host

    @property
    def common(self) -> bool:
        """The problem's."""
        return self.problem.common

    @property
    def passes(self) -> int:
        """The problem's."""
        return self.problem.passes

    def init(self, key: PRNGKeyArray) -> Params:
        """The problem's."""
        return self.problem.init(key)

    def loss(self, params: Params, key: Any) -> Any:
        """The problem's."""
        return self.problem.loss(params, key)

    def report(self, params: Params) -> dict[str, Float[Array, ""]]:
        """The problem's."""
        return self.problem.report(params)


class Averaged(NoiseWrapper):
    """The mean or the median of several evaluations, each with a key of its own.

    The standard deviation of a mean is sqrt(repeats) times smaller, at `repeats` times the cost: every repeat counts as
    a forward pass. `UncertaintyHandling` finds out how many are worth it.

    Parameters
    ----------
    problem
        A noisy one.
    repeats
        How many, at least 1.
    aggregate
        "mean", or "median", which a few outliers do not move. A NaN fails the member either way.
    chunk
        Repeats evaluated at once, at least 1; None for all of them. What is evaluated at once is alive at once.
    """

    repeats: int = eqx.field(static=True)
    aggregate: Literal["mean", "median"] = eqx.field(static=True, default="mean")
    chunk: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        check_count(self, 1, repeats=self.repeats)
        if self.chunk is not None:
            check_count(self, 1, chunk=self.chunk)
        if self.aggregate not in ("mean", "median"):
            raise ValueError(f"Averaged: aggregate is {self.aggregate!r}; it must be 'mean' or 'median'.")

    @property
    def passes(self) -> int:
        """One a repeat, or as many as the problem takes for it."""
        return self.repeats * self.problem.passes

    def loss(self, params: Params, key: Any) -> Any:
        """Over keys that are a function of the one given."""
        if self.host:
            losses = [real(self.problem.loss(params, words)) for words in _spawned(key, self.repeats)]
            return np.mean(losses) if self.aggregate == "mean" else np.median(losses)
        keys = jax.vmap(lambda repeat: draws.fold_in(key, repeat))(jnp.arange(self.repeats))

        def once(key: PRNGKeyArray) -> Float[Array, ""]:
            return checked(self.problem.loss(params, key))

        at_once = self.chunk is None or self.chunk >= self.repeats
        losses = jax.vmap(once)(keys) if at_once else jax.lax.map(once, keys, batch_size=self.chunk)
        return jnp.mean(losses) if self.aggregate == "mean" else jnp.median(losses)


class CommonRandomNumbers(NoiseWrapper):
    """The same noise in every generation: what is minimized is a fixed function, and the best seen is kept.

    Within a generation members share their noise anyway. Around `Averaged` it is the sample average approximation
    (Kleywegt, Shapiro and Homem-de-Mello 2002): the mean over a fixed set of keys, whose minimizer is off the true
    one by O(1 / sqrt(repeats)).

    Parameters
    ----------
    problem
        A noisy one, whose members share their noise.
    seed
        Which noise, from 0 to 2^31 - 1. Not the run's: several seeds minimize the same function.
    """

    seed: int = 0

    def __check_init__(self) -> None:
        check_count(self, 0, 2**31 - 1, seed=self.seed)
        if not self.problem.common:
            raise ValueError("CommonRandomNumbers: its problem is IndependentNoise(...); take one of the two.")

    @property
    def noisy(self) -> bool:
        """No longer."""
        return False

    def loss(self, params: Params, key: Any) -> Any:
        """With the seed's key in place of the one given."""
        # In NumPy: a worker process shall not wake up a device for two words.
        del key
        fixed: Any = np.asarray([0, self.seed], np.uint32) if self.host else jax.random.key(self.seed)
        return self.problem.loss(params, fixed)


class IndependentNoise(NoiseWrapper):
    """Noise of its own for every member, antithetic pairs included, as if each were measured once in the real world.

    Usually the worse choice: losses with common noise compare better. It is for studying noise, and where common noise
    misleads: a minibatch that all members fit alike. `Device(common=False)` gives each antithetic pair its own.
    """

    @property
    def common(self) -> bool:
        """False."""
        return False


def _spawned(words: np.ndarray, count: int) -> list[Any]:
    """As many keys of a host fitness, of the same form, as a function of one."""
    seeds = ([*np.asarray(words).tolist(), repeat] for repeat in range(count))
    return [np.random.SeedSequence(each).generate_state(np.size(words), np.uint32) for each in seeds]
