"""Evaluation on the devices of one process: one, or a mesh over which the population is spread."""

import dataclasses
import math
from abc import abstractmethod
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from evolve.core.checks import check_count, check_flags
from evolve.core.evaluation import batch_losses, graded, repeated
from evolve.core.memory import device_memory
from evolve.core.optimizer import Graded, Optimizer
from evolve.core.population import Population
from evolve.core.problem import Problem
from evolve.core.trees import float_dtype

# What a chunk's intermediate results may take. On a CPU they should stay in the caches: for a network of a few
# hundred units a generation in such chunks takes a third of the time of one that goes through memory
# (benchmarks/lowrank_inference.py). Elsewhere half of the memory, and this much where the device does not say.
_CPU_LIMIT = 8 << 20
_UNKNOWN_LIMIT = 1 << 30


class Backend(eqx.Module):
    """Where losses are computed."""

    @abstractmethod
    def evaluate(self, problem: Problem, population: Population, key: PRNGKeyArray) -> Float[Array, " size"]:
        """The members' losses; non-finite where a member failed."""

    def cleans(self, population: Population) -> bool:
        """Whether those of failed members, and of members not in use, are +inf (`Clean`)."""
        del population
        return False


class Device(Backend):
    """One device; a population too large for its memory is evaluated in chunks.

    Parameters
    ----------
    chunk
        Members evaluated at once, or "auto": as many as fit `memory`.
    memory
        Bytes that a chunk's intermediate results may take; by default 8 MiB on a CPU (they stay in its caches) and
        half of the memory elsewhere (1 GiB where the device does not say how much it has).
    common
        Whether all members of a generation get the same key (common random numbers: the same minibatch, so that
        their losses compare), or each member, and each antithetic pair, one of its own. Where the problem's noise is
        independent, or the method asks for repeats, each member has its own in any case.
    """

    chunk: int | Literal["auto"] = eqx.field(static=True, default="auto")
    memory: int | None = eqx.field(static=True, default=None)
    common: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        if isinstance(self.chunk, str) and self.chunk != "auto":
            raise ValueError(f"Device: chunk is {self.chunk!r}; it must be 'auto' or a whole number of at least 1.")
        if not isinstance(self.chunk, str):
            check_count(self, 1, chunk=self.chunk)
        if self.memory is not None:
            check_count(self, 1, memory=self.memory)
        check_flags(self, common=self.common)

    def evaluate(self, problem: Problem, population: Population, key: PRNGKeyArray) -> Float[Array, " size"]:
        """Losses, shape (size,); may be called inside `jit` and `vmap`.

        Raises
        ------
        ValueError
            The problem is plain Python, which a device cannot run.
        """
        _check_traceable(problem)
        return repeated(lambda key: self._once(problem, population, key), population, key)

    def cleans(self, population: Population) -> bool:
        """Where it goes block by block; the mean of several may overflow, and a subclass may make others of them."""
        own = all(getattr(type(self), name) is getattr(Device, name) for name in ("evaluate", "_once", "_counted"))
        return own and population.count is not None and population.repeats is None

    def _once(self, problem: Problem, population: Population, key: PRNGKeyArray) -> Float[Array, " size"]:
        if population.count is not None:
            return self._counted(problem, population, key)
        return self.part(problem, population, key, 0, population.size)

    def part(
        self,
        problem: Problem,
        population: Population,
        key: PRNGKeyArray,
        first: Int[Array, ""] | int,
        size: int,
    ) -> Float[Array, " part"]:
        """Losses of members first ... first + size - 1, in as many chunks as memory asks for."""
        group = population.directions.group
        pieces = math.ceil(size / self._chunk(problem, population, key, size))
        if pieces == 1:
            return batch_losses(problem, population, key, first, size, self.common)
        count = math.ceil(size / pieces / group) * group
        # The last chunk overlaps the one before it instead of being compiled for a size of its own.
        starts = jnp.minimum(jnp.arange(math.ceil(size / count)) * count, size - count)
        losses = jax.lax.map(
            lambda start: batch_losses(problem, population, key, first + start, count, self.common), starts
        )
        return jnp.zeros(size, losses.dtype).at[starts[:, None] + jnp.arange(count)].set(losses)

    def _counted(self, problem: Problem, population: Population, key: PRNGKeyArray) -> Float[Array, " size"]:
        """Block by block, as many as are in use, a window drawn at once; all but finite losses are +inf."""
        block, window, used = population.least, population.directions.window or population.size, population.used

        def evaluated(loop: Any) -> Any:
            begin, held = loop[0], population.directions.ahead(loop[0], used)
            end, drawn = jnp.minimum(begin + window, used), dataclasses.replace(population, directions=held)

            def body(loop: Any) -> Any:
                first, losses = loop
                some = batch_losses(problem, drawn, key, first, block, self.common)
                good = (first + jnp.arange(block) < used) & jnp.isfinite(some)
                some = jnp.where(good, some.astype(losses.dtype), jnp.inf)
                return first + block, jax.lax.dynamic_update_slice(losses, some, (first,))

            return begin + window, jax.lax.while_loop(lambda loop: loop[0] < end, body, loop)[1]

        start = (jnp.zeros((), jnp.int32), jnp.full(population.size, jnp.inf, float_dtype()))
        return jax.lax.while_loop(lambda loop: loop[0] < used, evaluated, start)[1]

    def _chunk(self, problem: Problem, population: Population, key: PRNGKeyArray, size: int) -> int:
        group = population.directions.group
        if self.chunk != "auto":
            return max(group, self.chunk // group * group)
        limit = self.memory or _memory_limit()
        traced = jax.make_jaxpr(lambda: batch_losses(problem, population, key, 0, group, self.common))()
        each = max(1, live_bytes(traced.jaxpr) // group)
        return max(group, min(size, limit // each) // group * group)


class Mesh(Backend):
    """The population axis spread over several devices of this process; only losses cross between them.

    Parameters
    ----------
    devices
        How many of `jax.devices()`; all by default. It must divide the population (in whole pairs).
    inner
        How each device evaluates its part.
    """

    devices: int | None = eqx.field(static=True, default=None)
    inner: Device = Device()

    def __check_init__(self) -> None:
        if self.devices is not None:
            check_count(self, 1, devices=self.devices)

    def evaluate(self, problem: Problem, population: Population, key: PRNGKeyArray) -> Float[Array, " size"]:
        """Losses, shape (size,), the same on every device.

        Raises
        ------
        ValueError
            There are fewer devices, they do not divide the population, or the problem is plain Python.
        """
        _check_traceable(problem)
        devices = jax.devices()[: self.devices]
        if self.devices is not None and len(devices) < self.devices:
            raise ValueError(
                f"Mesh: devices is {self.devices}, but there are {len(devices)}; ask for fewer, or for all."
            )
        group = population.directions.group
        if population.size % (len(devices) * group):
            raise ValueError(
                f"Mesh: {len(devices)} devices do not divide a population of {population.size} "
                f"(in groups of {group}); make it a multiple of {len(devices) * group}."
            )
        count = population.size // len(devices)
        mesh = jax.sharding.Mesh(devices, ("members",))
        spread, same = jax.sharding.PartitionSpec("members"), jax.sharding.PartitionSpec()

        # A problem may hold what is no array, such as a function that draws its start.
        arrays, rest = eqx.partition((problem, population), eqx.is_array)

        def part(first: Array, arrays: Any, key: PRNGKeyArray) -> Array:
            problem, population = eqx.combine(arrays, rest)
            return self.inner.part(problem, population, key, first[0], count)

        run = jax.shard_map(part, mesh=mesh, in_specs=(spread, same, same), out_specs=spread, check_vma=False)
        firsts = jnp.arange(len(devices)) * count
        losses = repeated(lambda key: run(firsts, arrays, key), population, key)
        if population.count is None:
            return losses
        return jnp.where(population.in_use, losses, jnp.inf)  # as those that one device leaves out


def _check_traceable(problem: Problem) -> None:
    if problem.host:
        raise ValueError("a host fitness is plain Python, which a device cannot run; evaluate it with Workers().")


def ask_oracle(
    backend: Backend, problem: Problem, optimizer: Optimizer, population: Population, key: PRNGKeyArray
) -> Float[Array, " size"] | Graded:
    """What the optimizer wants to know: losses, or one loss with its gradient."""
    if optimizer.oracle == "gradient":
        return graded(problem, population, key)
    return backend.evaluate(problem, population, key)


def live_bytes(jaxpr: Any) -> int:
    """The most bytes of intermediate results alive at once, in program order.

    An upper bound of what a compiler that fuses and reuses needs; inner programs (calls, loops) count as
    their own peak on top of what is alive around them.
    """
    last = {var: place for place, eqn in enumerate(jaxpr.eqns) for var in eqn.invars if not hasattr(var, "val")}
    last.update({var: len(jaxpr.eqns) for var in jaxpr.outvars if not hasattr(var, "val")})
    alive, now, peak = {}, 0, 0
    for place, eqn in enumerate(jaxpr.eqns):
        for var in eqn.outvars:
            alive[var] = _bytes(var)
            now += alive[var]
        inner = [live_bytes(sub) for sub in _inner(eqn)]
        peak = max(peak, now + max(inner, default=0))
        for var in [var for var in alive if last.get(var, place) <= place]:
            now -= alive.pop(var)
    return peak


def _inner(eqn: Any) -> list[Any]:
    found = [value for param in eqn.params.values() for value in (param if isinstance(param, tuple) else (param,))]
    return [getattr(value, "jaxpr", value) for value in found if hasattr(getattr(value, "jaxpr", value), "eqns")]


def _bytes(var: Any) -> int:
    aval = var.aval
    itemsize = getattr(getattr(aval, "dtype", None), "itemsize", 0)
    return math.prod(getattr(aval, "shape", ())) * itemsize


def _memory_limit() -> int:
    if jax.default_backend() == "cpu":
        return _CPU_LIMIT
    return (device_memory() or 2 * _UNKNOWN_LIMIT) // 2
