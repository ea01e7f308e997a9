"""When there is nothing more to find: the termination criteria of pycma 4.5, with the reason as data."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from evolve.core.checks import check_between, check_kind
from evolve.core.refresh import refresh
from evolve.core.shaping import ordered
from evolve.core.trees import full

# In pycma's order: where several hold, the first is named.
REASONS = (
    "maxiter",
    "tolfacupx",
    "tolx",
    "tolfun",
    "tolfunhist",
    "tolstagnation",
    "tolxstagnation",
    "tolupsigma",
    "noeffectcoord",
    "noeffectaxis",
    "tolconditioncov",
    "tolflatfitness",
    "tolfailed",
)
_EVERY = 5  # generations between entries of the long histories, as pycma has it
_RECENT, _LONG = 2000, 1024  # entries that are kept at most
Found: TypeAlias = dict[str, Bool[Array, ""]]


class Tolerances(eqx.Module):
    """pycma's options of these names, with its defaults.

    At zero `tolfun`, `tolfunhist`, `tolx` and `tolstagnation` never stop, and `tolxstagnation` only where the mean does
    not move at all. `tolfacupx`, `tolupsigma`, `tolconditioncov`, `tolflatfitness`, `maxiter` and `tolfailed` never
    stop at infinity; at zero they stop as soon as they can, where pycma takes a zero of `tolupsigma` or
    `tolconditioncov` for never. `noeffectcoord` and `noeffectaxis` have no number.

    pycma's `tolfunrel`, by default off, is not here, and `tolx` asks of the path's size what pycma asks of its value.
    `tolfailed` is none of pycma's, to which failed members are equally bad ones.
    A method leaves out what it has no use for, and says so.

    Parameters
    ----------
    tolfun
        Range of the losses, of this generation and of the best of the recent ones.
    tolfunhist
        Range of the best losses of the last 10 + 30 n / population generations.
    tolx
        Every coordinate's standard deviation and step of the path.
    tolfacupx
        Growth of a coordinate's standard deviation since the start: the first sigma was far too small.
    tolupsigma
        Growth of sigma since the start, over the longest axis of C where that is a matrix: steps creep along.
    tolconditioncov
        Condition of C; by default 1e14 in float64 and 4e6 in float32, half of what the digits can hold.
    tolflatfitness
        Successive generations whose best three quarters are equal.
    tolstagnation
        Factor on pycma's 100 + 100 n^1.5 / population generations, over whose latter half neither the best losses nor
        the medians improve.
    tolxstagnation
        Distance that the mean keeps within for 20 generations and a tenth of all.
    maxiter
        Factor on pycma's 100 + 150 (n + 3)^2 / sqrt(population) generations.
    tolfailed
        Successive generations of which no member succeeded; nothing is learned from them.
    """

    tolfun: float = 1e-11
    tolfunhist: float = 1e-12
    tolx: float = 1e-11
    tolfacupx: float = 1e3
    tolupsigma: float = 1e20
    tolconditioncov: float | None = None
    tolflatfitness: float = 1.0
    tolstagnation: float = 1.0
    tolxstagnation: float = 1e-9
    maxiter: float = 1.0
    tolfailed: float = 30.0

    def __check_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        check_between(self, 0, float("inf"), schedules=False, **given)


class Spread(eqx.Module):
    """Where a normal distribution is, and how wide: what the criteria on parameters look at.

    What a method does not have is None, and the criteria on it are not asked.
    """

    mean: Float[Array, " n"]
    deviations: Float[Array, " n"]  # of the coordinates
    path: Float[Array, " n"] | None = None  # sigma p_c
    axes: Float[Array, " some"] | None = None  # lengths of the principal axes, up to a factor
    axis: Float[Array, " n"] | None = None  # a principal axis, another each generation, in the parameters' units
    creep: Float[Array, ""] | None = None  # growth of sigma over the longest axis of C

    def found(self, tolerances: Tolerances, first: Float[Array, " n"]) -> Found:
        """Which criteria hold; `first` are the deviations at the start."""
        still = True if self.path is None else jnp.all(jnp.abs(self.path) < tolerances.tolx)
        found = {
            "tolfacupx": jnp.any(self.deviations > first * tolerances.tolfacupx),
            "tolx": jnp.all(self.deviations < tolerances.tolx) & still,
            "noeffectcoord": jnp.any(self.mean == self.mean + 0.2 * self.deviations),
        }
        if self.axes is not None:
            condition = tolerances.tolconditioncov
            if condition is None:
                condition = 1e14 if self.mean.dtype == jnp.float64 else 4e6
            found["tolconditioncov"] = jnp.max(self.axes) > jnp.sqrt(condition) * jnp.min(self.axes)
        if self.axis is not None:
            found["noeffectaxis"] = jnp.all(self.mean == self.mean + 0.1 * self.axis)
        if self.creep is not None:
            found["tolupsigma"] = self.creep > tolerances.tolupsigma
        return found


class Trail(eqx.Module):
    """What the criteria on losses remember. Rings: generation t is at place t modulo their length."""

    recent: Float[Array, " recent"]  # best losses, generation by generation
    best: Float[Array, " long"]  # the same, of one generation in `stride`
    median: Float[Array, " long"]
    lowest: Float[Array, ""]
    since: Int[Array, ""]  # the generation that found it
    width: Float[Array, ""]  # range of the last generation's losses
    flat: Int[Array, ""]  # flat generations in a row
    first: Float[Array, " n"]  # standard deviations at the start
    mean: Float[Array, " n"]  # where the mean was when it moved last
    moved: Int[Array, ""]
    failed: Int[Array, ""]  # generations in a row of which no member succeeded
    stride: int = eqx.field(static=True)

    @classmethod
    def start(cls, mean: Float[Array, " n"], deviations: Float[Array, " n"], size: int) -> "Trail":
        """Before the first generation; `size` is the population, or the least that it will have."""
        n, zero = mean.shape[0], full((), 0, jnp.int32)
        # The longest window of `_stagnates` and the one before it, thinned where that is too much to keep.
        entries = 2 * max(patience(n, size) / 10, limit(n, size) / 10 / _EVERY)
        # Nor more than the generations' dtype can count, which a million parameters would ask for.
        stride = min(_EVERY * max(1, -(-int(entries) // (_LONG - 2))), jnp.iinfo(jnp.int32).max)
        infinite = full((), np.inf, mean.dtype)
        recent = full((min(_RECENT, _recent(n, size)),), np.inf, mean.dtype)
        long = full((min(_LONG, int(entries) + 2),), np.inf, mean.dtype)
        return cls(recent, long, long, infinite, zero, infinite, zero, deviations, mean, zero, zero, stride)

    def after(
        self, losses: Float[Array, " four"], mean: Float[Array, " n"], generation: Int[Array, ""], reach: Any
    ) -> "Trail":
        """With one more generation (0, 1, ...): the `quantiles` of its losses, and the mean that it led to.

        Within `reach` (`tolxstagnation`) the mean counts as still.
        """
        best, middle, quartile, worst = losses.astype(self.recent.dtype)
        place, kept = generation // self.stride % len(self.best), (generation + 1) % self.stride == 0
        # What has been still for longer may have gone farther.
        reach = reach * jnp.sqrt(jnp.maximum(1.0, (generation + 1 - self.moved) / _rest(generation + 1)))
        still = jnp.linalg.norm(mean - self.mean) <= reach
        return Trail(
            self.recent.at[generation % len(self.recent)].set(best),
            self.best.at[place].set(jnp.where(kept, best, self.best[place])),
            self.median.at[place].set(jnp.where(kept, middle, self.median[place])),
            jnp.minimum(self.lowest, best),
            jnp.where(best < self.lowest, generation, self.since),
            worst - best,
            jnp.where(best < quartile, 0, self.flat + 1),
            self.first,
            jnp.where(still, self.mean, mean),
            jnp.where(still, self.moved, generation + 1),
            jnp.zeros_like(self.failed),
            self.stride,
        )

    def found(self, tolerances: Tolerances, generation: Int[Array, ""], n: int, size: Any, first: int) -> Found:
        """Which criteria hold after so many generations; pycma grants every restart what it grants the `first` size."""
        length = jnp.minimum(jnp.minimum(_recent(n, size), len(self.recent)), generation)
        seen = _age(generation - 1, self.recent) < length
        high, low = (jnp.max(jnp.where(seen, sign * self.recent, -jnp.inf)) for sign in (1, -1))
        history = high + low
        return {
            "maxiter": generation >= tolerances.maxiter * limit(n, first),
            "tolfun": (self.width < tolerances.tolfun) & (history < tolerances.tolfun),
            "tolfunhist": (length > 9) & (history < tolerances.tolfunhist),
            "tolstagnation": self._stagnates(tolerances.tolstagnation * patience(n, size), generation, n, size),
            "tolxstagnation": generation - self.moved > _rest(generation),
            "tolflatfitness": self.flat > tolerances.tolflatfitness,
            "tolfailed": self.failed > tolerances.tolfailed,
        }

    def _stagnates(self, tol: Any, generation: Int[Array, ""], n: int, size: Any) -> Bool[Array, ""]:
        """Neither the best losses nor the medians of the newest window are better than those of the one before."""
        count = jnp.minimum(generation // _EVERY, 20_000)
        window = jnp.floor(jnp.maximum(tol / 10, count / 10))  # in entries
        late = (tol > 0) & (generation - self.since > tol / 2) & (generation > n * (5 + 100 / size))
        late &= (count > 100) & (2 * window < count)

        def compare(operand: Any) -> Bool[Array, ""]:
            trail, window, generation = operand
            width = jnp.maximum(1, window * _EVERY // trail.stride)
            age = _age(generation // trail.stride - 1, trail.best)
            newer, older = age < width, (age >= width) & (age < 2 * width)
            rings, windows = jnp.stack([trail.best, trail.median]), jnp.stack([newer, older])
            medians = jax.vmap(jax.vmap(_median, (None, 0)), (0, None))(rings, windows)
            return jnp.all(medians[:, 1] - medians[:, 0] <= 0)

        # A sort, only where it can matter.
        return refresh(late, compare, (self, window, generation), jnp.zeros((), bool))


def missed(trail: Trail | None) -> Trail | None:
    """With one more generation of which no member succeeded, where anything is kept."""
    return None if trail is None else dataclasses.replace(trail, failed=trail.failed + 1)


def relaxed(optimizer: Any, change: Callable[[Tolerances], Tolerances]) -> Any:
    """The optimizer with its tolerances changed, or those of the method that it is a wrapper of."""
    own, inner = getattr(optimizer, "stopping", None), getattr(optimizer, "optimizer", None)
    if isinstance(own, Tolerances):
        return eqx.tree_at(lambda method: method.stopping, optimizer, change(own))
    return (
        optimizer
        if inner is None
        else eqx.tree_at(lambda wrapper: wrapper.optimizer, optimizer, relaxed(inner, change))
    )


def check_stopping(owner: Any, tolerances: Tolerances | None) -> None:
    """Refuse an option `stopping` that says nothing.

    Raises
    ------
    TypeError
        It is neither tolerances nor None.
    """
    if tolerances is not None:
        check_kind(owner, Tolerances, "give Tolerances(), or None to go on for ever", stopping=tolerances)


def reason(
    tolerances: Tolerances, trail: Trail, spread: Spread, generation: Int[Array, ""], size: Any, first: int
) -> Int[Array, ""]:
    """The first criterion that holds after so many generations, as its place in `REASONS` counted from 1; 0 for none.

    `size` is the population, `first` that of the first run.
    """
    found = trail.found(tolerances, generation, spread.mean.shape[0], size, first)
    found |= spread.found(tolerances, trail.first)
    # All but one ask about generations that taught something.
    return code({name: held & ((generation > 0) | (name == "tolfailed")) for name, held in found.items()})


def quantiles(losses: Float[Array, " size"], first: Int[Array, " size"], count: Any) -> Float[Array, " four"]:
    """Best, median, upper quartile and worst of the first `count` losses, which `places` ranks."""
    # Shifted: a division that rounds down asks for signs, in fifteen steps.
    found = ordered(losses, first, (0, (count - 1) >> 1, count >> 1, (3 * count) >> 2, count - 1))
    return jnp.stack([found[0], found[1] / 2 + found[2] / 2, found[3], found[4]])  # halved first: nothing overflows


def code(found: Found) -> Int[Array, ""]:
    """The first criterion that holds, as its place in `REASONS` counted from 1; 0 for none."""
    first: Any = 0
    for name in reversed([name for name in REASONS if name in found]):  # as a vector they were a step of the loop each
        first = jnp.where(found[name], REASONS.index(name) + 1, first)
    return jnp.asarray(first, jnp.int32)


def patience(n: int, size: Any) -> Any:
    """Generations without improvement that count as stagnation."""
    return 100 + 100 * n**1.5 // size


def limit(n: int, size: Any) -> Any:
    """Generations that pycma grants."""
    return 100 + 150 * (n + 3) ** 2 // size**0.5


def _recent(n: int, size: Any) -> Any:
    return 10 + 30 * n // size


def _rest(generation: Any) -> Any:
    """Generations that the mean must keep still for."""
    return 20 + 0.1 * generation


def _age(newest: Int[Array, ""], ring: Float[Array, " length"]) -> Int[Array, " length"]:
    """How many entries ago each place of a ring was written, if the newest has this number."""
    return (newest - jnp.arange(len(ring))) % len(ring)


def _median(values: Float[Array, " length"], chosen: Bool[Array, " length"]) -> Float[Array, ""]:
    ranked, count = jnp.sort(jnp.where(chosen, values, jnp.inf)), jnp.sum(chosen)
    return ranked[(count - 1) // 2] / 2 + ranked[count // 2] / 2  # halved first: nothing overflows
