"""What the laws are tried on: a landscape that compiles once for every shape it takes, and a bare loop."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from laws import programs
from laws.programs import numeric

from evolve.backend import Device
from evolve.backend.device import ask_oracle
from evolve.core import Geometry, Graded, Problem
from problems.formulas import ellipsoid, rosenbrock, sphere

SHAPE = (2, 3)  # the smallest matrix that a rank-one direction makes smaller
N = 6
KINDS = ("sphere", "ellipsoid", "rosenbrock")


class Landscape(Problem):
    """factor v^power + level, an increasing function of v, the value of a kind at rotation @ (params / scale - shift).

    A power below zero makes -(1 + v)^power of v, which is negative, bounded and increasing as well. Everything is a
    leaf: one compiled program serves all.
    """

    kind: Any
    start: Any
    shift: Any
    rotation: Any
    scale: Any
    factor: Any
    power: Any
    level: Any

    @property
    def noisy(self):
        return False

    def init(self, key):
        del key
        return jnp.asarray(self.start, float).reshape(SHAPE)

    def loss(self, params, key):
        del key
        shift, by = self.shift.astype(params.dtype), self.rotation.astype(params.dtype)
        value = jax.lax.switch(
            self.kind, [sphere, ellipsoid, rosenbrock], by @ (params.reshape(-1) / self.scale - shift)
        )
        # A power of one for what its gradient is asked of: that of others does not exist at zero.
        powered = jnp.where(value > 0, jnp.where(value > 0, value, 1) ** self.power, 0.0)
        bounded = -((1 + value) ** self.power)
        bent = jnp.where(self.power == 1, value, jnp.where(self.power < 0, bounded, powered))
        return self.factor * bent + self.level


class Squares(Problem):
    """The sum of (x - 1/4)^2 over all leaves, from 1."""

    like: Geometry

    @property
    def noisy(self):
        return False

    def init(self, key):
        del key
        return self.like.cast(jax.tree.map(lambda leaf: jnp.ones(leaf.shape), self.like.like))

    def loss(self, params, key):
        del key
        return sum(jnp.sum((leaf.astype(jnp.float32) - 0.25) ** 2) for leaf in jax.tree.leaves(params))


WORST = {
    "sphere": lambda x: jnp.sum(x**2),  # until it underflows to ties
    "flat": lambda x: 0.0 * jnp.sum(x),
    "stairs": lambda x: jnp.sum(jnp.floor(jnp.abs(x))),  # flat from the optimum outwards
    "edge": lambda x: jnp.abs(x[0]),  # one coordinate alone is seen
    "steep": lambda x: x[0] ** 2 + 1e14 * jnp.sum(x[1:] ** 2),
    "tilted": lambda x: jnp.sum(x**2) + 1e14 * jnp.sum(x) ** 2,
    "chance": lambda x: jnp.sin(1e9 * jnp.sum(x)),
    "failing": lambda x: jnp.nan * jnp.sum(x),
    "mostly failing": lambda x: jnp.where(jnp.sin(1e9 * x[0]) > 0.8, jnp.sum(x**2), jnp.nan),
}


class Worst(Problem):
    """What an optimizer may meet; the kind is a leaf, so that one program serves all of `WORST`."""

    kind: Any
    n: int = eqx.field(static=True)

    @property
    def noisy(self):
        return False

    def init(self, key):
        del key
        return jnp.full(() if self.n == 1 else self.n, 0.5)

    def loss(self, params, key):
        del key
        return jax.lax.switch(self.kind, list(WORST.values()), params.reshape(-1))


def landscape(kind="sphere", **changes) -> Landscape:
    """The landscape of a kind, seen from a start of ordinary numbers; the ellipsoid is rotated."""
    start = {"sphere": np.full(N, 1.0), "ellipsoid": np.linspace(0.5, 1.5, N), "rosenbrock": np.zeros(N)}[kind]
    turned = rotation(1) if kind == "ellipsoid" else np.eye(N)
    standard = {"start": start, "shift": np.zeros(N), "rotation": turned}
    plain = {"scale": 1.0, "factor": 1.0, "power": 1.0, "level": 0.0}
    return numeric(Landscape(KINDS.index(kind), **(standard | plain | changes)))


def rotation(seed: int) -> np.ndarray:
    """An orthogonal matrix of determinant one."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(N, N)))
    q[0] *= np.sign(np.linalg.det(q))
    return q


def begin(optimizer, problem, seed=0):
    """The state before the first generation, and the run's key."""
    key = jax.random.key(seed)
    return programs.init(optimizer, problem.init(key), key), key


def ask(optimizer, state, key, generation=1):
    """The population of a generation, as `advance` asks for it."""
    return programs.ask(optimizer, state, _keys(key, generation)[0])


def look(optimizer, state):
    """The answer and what the optimizer reports."""
    return jax.device_get((programs.answer(optimizer, state), programs.status(optimizer, state)))


loss = eqx.filter_jit(lambda problem, params: problem.loss(params, None))


def _keys(key, generation):
    return jax.random.split(jax.random.fold_in(key, generation))


def advance(optimizer, problem, state, key, generations, first=1, fail=0.0, backend=None):
    """The state after some generations, and the losses of the last one.

    `fail` is added to the losses, so that NaN and infinities mark members as failed.
    """
    fail = jnp.broadcast_to(jnp.asarray(fail, float), (size_of(optimizer, state),))
    numbers = jnp.int32(first), jnp.int32(generations)
    return _advance(numeric(optimizer), problem, state, key, *numbers, fail, backend or Device())


def size_of(optimizer, state) -> int:
    """How many members a generation has."""
    return eqx.filter_eval_shape(numeric(optimizer).ask, state, jax.random.key(0)).size


@eqx.filter_jit
def _advance(optimizer, problem, state, key, first, generations, fail, backend):
    def body(t, carry):
        state, _ = carry
        own, evaluate = _keys(key, t)
        population = optimizer.ask(state, own)
        losses = ask_oracle(backend, problem, optimizer, population, evaluate)
        if isinstance(losses, Graded):
            values = losses.losses + fail.astype(losses.losses.dtype)
            return optimizer.tell(state, population, Graded(values, losses.gradient, losses.function)), values
        values = losses + fail.astype(losses.dtype)
        return optimizer.tell(state, population, values), values

    dtype = jnp.promote_types(jax.tree.leaves(optimizer.answer(state))[0].dtype, jnp.float32)
    return jax.lax.fori_loop(first, first + generations, body, (state, jnp.zeros(fail.shape, dtype)))


def _met(optimizer, kind, n):
    """The first state on a kind of `WORST`, and a function: the state after some generations from `first` on."""
    problem, key = Worst(kind, n), jax.random.key(0)
    state = optimizer.init(problem.init(key), key)
    fail = jnp.zeros(size_of(optimizer, state))
    return state, lambda state, first, count: _advance(optimizer, problem, state, key, first, count, fail, Device())[0]


@eqx.filter_jit
def worst(optimizer, n, generations):
    """After some generations of each of `WORST`, in n dimensions: state, answer, status and reason to stop.

    Whatever stops is not asked.
    """

    def one(kind):
        state, go_on = _met(optimizer, kind, n)
        state = go_on(state, 1, generations)
        return state, optimizer.answer(state), optimizer.status(state), optimizer.stop(state)

    return jax.lax.map(one, jnp.arange(len(WORST)))


@eqx.filter_jit
def ended(optimizer, n, generations):
    """Why each of `WORST` ends, at the latest after so many generations, and whether a NaN is in the state then."""

    def one(kind):
        first, go_on = _met(optimizer, kind, n)

        def generation(loop):
            return loop[0] + 1, go_on(loop[1], loop[0], 1)

        def goes_on(loop):
            return (loop[0] <= generations) & (optimizer.stop(loop[1]) == 0)

        state = jax.lax.while_loop(goes_on, generation, (jnp.int32(1), first))[1]
        broken = jnp.any(jnp.stack([jnp.any(jnp.isnan(leaf)) for leaf in jax.tree.leaves(state)]))
        return optimizer.stop(state), broken

    return jax.lax.map(one, jnp.arange(len(WORST)))
