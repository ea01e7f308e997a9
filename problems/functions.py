"""Analytic test functions, shifted and rotated, with the minimum known."""

import difflib
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from evolve.core import draws
from evolve.core.problem import Problem
from evolve.core.trees import Params, check_params, float_dtype
from problems.catalog import FUNCTIONS, Formula
from problems.checks import as_integer

Given: TypeAlias = Any  # None, an integer seed, or the numbers themselves


class Function(Problem):
    """A function of the table `FUNCTIONS` as a problem, shifted and rotated.

    The value at x is `f(z)` with `z = z_opt + rotation @ (x - shift - z_opt)`, where `z_opt` minimizes `f`.
    The rotation turns about the minimum, so the minimizer is `z_opt + shift` with any rotation, and one that
    is drawn stays in the standard domain. Shift, rotation and start are leaves: stack them and `vmap` over
    the problem.

    Parameters
    ----------
    name
        A key of `FUNCTIONS`: sphere, ellipsoid, discus, cigar, different_powers, rosenbrock, rastrigin,
        ackley, griewank, schwefel, levy, zakharov, styblinski_tang, schaffer, step.
    dimension
        The number of coordinates, at least 1; 2 for rosenbrock and schaffer.
    shift
        A vector of shape (dimension,), in the units of x. An integer is no distance but a seed, 0 like any
        other: the minimizer is then uniform in the middle four fifths of the standard domain, as in BBOB.
        None: no shift.
    rotation
        An orthogonal matrix of shape (dimension, dimension), or an integer, the seed of a uniformly (Haar)
        distributed one; True is seed 0. None or False: no rotation.
    start
        Where search starts, shape (dimension,), or one number for all coordinates. None: uniform in the
        domain.

    Raises
    ------
    ValueError
        An unknown name; a dimension that is no integer or too small; a seed below 0, or True or False as the
        shift; numbers of the wrong shape, not finite or not orthogonal.
    """

    name: str = eqx.field(static=True)
    dimension: int = eqx.field(static=True)
    shift: Float[Array, " n"]
    rotation: Float[Array, "n n"] | None
    start: Float[Array, " n"] | None

    def __init__(
        self,
        name: str = "rosenbrock",
        dimension: int = 10,
        shift: Given = None,
        rotation: Given = None,
        start: Given = None,
    ):
        formula, dimension = _lookup(name, dimension)
        self.name, self.dimension = name, dimension
        self.shift = _shift(shift, formula, dimension)
        self.rotation = _rotation(rotation, dimension)
        self.start = None if start is None else _vector(start, dimension, "start")

    @property
    def noisy(self) -> bool:
        """False: the key is not used."""
        return False

    @property
    def formula(self) -> Formula:
        """The row of the table: equation, source, domain."""
        return FUNCTIONS[self.name]

    @property
    def optimum(self) -> Float[Array, " n"]:
        """The minimizer, in the units of x."""
        return self.formula.optimum + self.shift

    @property
    def minimum(self) -> Float[Array, ""]:
        """The value at the minimizer."""
        return jnp.asarray(self.formula.minimum * self.dimension, self.shift.dtype)

    def init(self, key: PRNGKeyArray) -> Float[Array, " n"]:
        """The start that was given, or one drawn uniformly from the standard domain."""
        if self.start is not None:
            return self.start
        low, high = self.formula.domain
        return draws.uniform(key, (self.dimension,), self.shift.dtype, low, high)

    def loss(self, params: Float[Array, " n"], key: PRNGKeyArray | None = None) -> Float[Array, ""]:
        """The value at x, computed in the wider of the dtypes of x and of the shift."""
        del key
        return self.formula.value(self._standard(params))

    def report(self, params: Params) -> dict[str, Float[Array, ""]]:
        """`distance`, Euclidean, to the minimizer, and `gap` >= 0 of the value above the minimum."""
        params = jnp.asarray(params)
        gap = self.formula.gap(self._standard(params))
        return {"distance": jnp.linalg.norm(params - self.optimum), "gap": gap}

    def _standard(self, params: Float[Array, " n"]) -> Float[Array, " n"]:
        """The point z of the formula that x stands for."""
        if params.shape != (self.dimension,):
            raise ValueError(
                f"Function: {self.name} has dimension {self.dimension}, the parameters have shape"
                f" {params.shape}; give a vector of shape ({self.dimension},)."
            )
        offset = params - self.optimum
        if self.rotation is not None:
            # A GPU's default precision keeps three digits: fewer than a condition number of 1e6 needs.
            offset = jnp.matmul(self.rotation, offset, precision=jax.lax.Precision.HIGHEST)
        return self.formula.optimum + offset


def _lookup(name: str, dimension: Any) -> tuple[Formula, int]:
    """The table's row and the dimension as Python's integer, after the checks of both."""
    if name not in FUNCTIONS:
        near = difflib.get_close_matches(str(name).lower(), FUNCTIONS, n=3)
        cure = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(FUNCTIONS)}."
        raise ValueError(f"Function: there is no function {name!r}; {cure}")
    least = FUNCTIONS[name].least
    number = as_integer(dimension)
    if number is None:
        raise ValueError(f"Function: dimension is {dimension!r}; give an integer of at least {least}.")
    if number < least:
        raise ValueError(f"Function: {name} needs a dimension of at least {least}; found {number}.")
    return FUNCTIONS[name], number


def _seed(given: Given, what: str) -> int | None:
    """The seed if an integer was given; None for anything else."""
    seed = as_integer(given)
    if seed is not None and seed < 0:
        raise ValueError(f"Function: {what} is {seed}; an integer is a seed, give one of at least 0.")
    return seed


def _shift(given: Given, formula: Formula, dimension: int) -> Float[Array, " n"]:
    """The shift as a vector: zeros, drawn, or as given."""
    if given is None:
        return jnp.zeros(dimension, float_dtype())
    seed = _seed(given, "shift")
    if seed is None:
        if np.ndim(given) == 0:
            raise ValueError(
                f"Function: shift is {given!r}; give a vector of shape ({dimension},), an integer seed, or None"
                " for no shift."
            )
        return _vector(given, dimension, "shift").astype(float_dtype())
    low, high = formula.domain
    # NumPy draws in float64 whatever the precision of the run: float32 and float64 search the same landscape.
    part = np.random.default_rng((seed, 0)).uniform(0.1, 0.9, dimension)
    return jnp.asarray(low + (high - low) * part - formula.optimum, float_dtype())


def _rotation(given: Given, dimension: int) -> Float[Array, "n n"] | None:
    """The rotation as a matrix: none, drawn, or as given and checked."""
    if given is None or given is False:
        return None
    seed = 0 if given is True else _seed(given, "rotation")
    if seed is not None:
        gaussian = np.random.default_rng((seed, 1)).normal(size=(dimension, dimension))
        q, r = np.linalg.qr(gaussian)
        # The signs make the decomposition unique, and Q uniform over all orthogonal matrices (Mezzadri 2007).
        return jnp.asarray(q * np.where(np.diag(r) < 0, -1.0, 1.0), float_dtype())
    matrix = np.asarray(given, np.float64)
    if matrix.shape != (dimension, dimension):
        raise ValueError(f"Function: rotation has shape {matrix.shape}; it must be ({dimension}, {dimension}).")
    error = np.abs(matrix @ matrix.T - np.eye(dimension)).max()
    if not error < 1e-4:
        raise ValueError(f"Function: rotation is not orthogonal, R @ R.T is off by {error:.2g}; take the Q of its QR.")
    return jnp.asarray(matrix, float_dtype())


def _vector(given: Given, dimension: int, what: str) -> Float[Array, " n"]:
    """A finite vector of the right length; floating-point arrays keep their dtype."""
    vector = jnp.asarray(given)
    if vector.shape not in ((), (dimension,)):
        raise ValueError(f"Function: {what} has shape {vector.shape}; it must be ({dimension},).")
    if not jnp.issubdtype(vector.dtype, jnp.floating):
        vector = vector.astype(float_dtype())
    check_params(vector, f"Function: {what}")
    return jnp.broadcast_to(vector, (dimension,))
