"""The BBOB suite of COCO as problems (Hansen et al. 2009, INRIA RR-6829; Hansen et al. 2021)."""

from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from evolve.core import draws
from evolve.core.problem import Problem
from evolve.core.trees import Params
from problems.bbob_catalog import BBOB_FUNCTIONS, FORMULAS
from problems.bbob_functions import Landscape, linear
from problems.bbob_instances import LAST_INSTANCE, instantiate
from problems.checks import as_integer

Number: TypeAlias = Any  # an integer, or a traced one


class BBOB(Problem):
    """A function of the suite "bbob" of the platform COCO, with COCO's values.

    What makes an instance is in leaves of the same shapes for all functions: one compiled program serves them all, and
    records of one dimension can be stacked. `function` and `instance` may be traced; the instance is then made inside
    the trace, and numbers out of range are not refused.

    Parameters
    ----------
    function
        1 to 24, in the order of `BBOB_FUNCTIONS`.
    dimension
        The number of coordinates, at least 2. COCO has 2, 3, 5, 10, 20 and 40.
    instance
        Which of the function's variants: COCO's number, at least 1.
    f_opt
        The minimum. None: COCO's. 0 makes the loss the excess, which float32 needs where targets are small: beside
        COCO's offset of up to 1000 it has no digits for 1e-8.

    Raises
    ------
    ValueError
        A number is no integer, or out of range.
    """

    dimension: int = eqx.field(static=True)
    function: Int[Array, ""]
    instance: Int[Array, ""]
    formula: Int[Array, ""]
    landscape: Landscape

    def __init__(self, function: Number = 1, dimension: Number = 10, instance: Number = 1, f_opt: Number = None):
        function = _checked("function", function, 1, len(BBOB_FUNCTIONS))
        instance = _checked("instance", instance, 1, LAST_INSTANCE)
        self.dimension = _checked("dimension", dimension, 2, None)
        (self.function, self.instance, self.formula), landscape = instantiate(function, instance, self.dimension)
        if f_opt is not None:
            minimum = jnp.asarray(f_opt, landscape.f_opt.dtype)
            landscape = eqx.tree_at(lambda land: land.f_opt, landscape, minimum)
        self.landscape = landscape

    @property
    def noisy(self) -> bool:
        """False: the key is not used."""
        return False

    @property
    def domain(self) -> tuple[float, float]:
        """Where the minimizer is, for every coordinate."""
        return -5.0, 5.0

    @property
    def x_opt(self) -> Float[Array, "..."]:
        """The minimizer."""
        return self.landscape.x_opt

    @property
    def f_opt(self) -> Float[Array, "..."]:
        """The minimum."""
        return self.landscape.f_opt

    @property
    def targets(self) -> Float[Array, "51"]:
        """COCO's targets for the excess: 10^2 to 10^-8, five a decade."""
        return 10.0 ** jnp.linspace(2.0, -8.0, 51, dtype=self.f_opt.dtype)

    def init(self, key: PRNGKeyArray) -> Float[Array, " n"]:
        """A start drawn uniformly from [-4, 4]^n, where most minimizers are."""
        return draws.uniform(key, (self.dimension,), self.f_opt.dtype, -4.0, 4.0)

    def loss(self, params: Float[Array, " n"], key: PRNGKeyArray | None = None) -> Float[Array, ""]:
        """COCO's value at x, computed in the wider of the dtypes of x and of the landscape."""
        del key
        return self.excess(params) + self.f_opt

    def excess(self, params: Float[Array, " n"]) -> Float[Array, ""]:
        """The value above the minimum, with all its digits: it is never added to the minimum."""
        if params.shape != (self.dimension,):
            raise ValueError(
                f"BBOB: the dimension is {self.dimension}, the parameters have shape {params.shape}; give a vector of"
                f" shape ({self.dimension},)."
            )
        land = self.landscape
        offset = params - land.x_opt
        inner = linear(offset, land.first)
        outside = jnp.maximum(jnp.abs(params) - self.domain[1], 0.0)
        value = jax.lax.switch(self.formula, FORMULAS, land, offset, inner)
        return value + land.penalty * jnp.sum(outside**2)

    def report(self, params: Params) -> dict[str, Float[Array, ""]]:
        """`distance`, Euclidean, to the minimizer, and `gap` >= 0 of the value above the minimum."""
        params = jnp.asarray(params)
        return {"distance": jnp.linalg.norm(params - self.x_opt), "gap": self.excess(params)}


def _checked(what: str, given: Any, least: int, most: int | None) -> Any:
    """Python's integer, after the check of its range; a traced one as it is."""
    if isinstance(given, jax.core.Tracer) and what != "dimension":
        return given
    number = as_integer(given)
    wanted = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"
    if number is None or number < least or (most is not None and number > most):
        raise ValueError(f"BBOB: {what} is {given!r}; give {wanted}.")
    return number
