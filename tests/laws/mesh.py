"""The table on one device and on eight: run with XLA_FLAGS=--xla_force_host_platform_device_count=8."""

import equinox as eqx
import jax
from laws.harness import begin, landscape
from laws.programs import numeric
from laws.table import ROWS
from laws.tools import close

from evolve import Device, Mesh
from evolve.backend.device import ask_oracle


@eqx.filter_jit
def generation(backend, optimizer, problem, state, key):
    """What is drawn, and the state after it."""
    population = optimizer.ask(state, key)
    losses = ask_oracle(backend, problem, optimizer, population, key)
    return population.members(), optimizer.tell(state, population, losses)


def main() -> None:
    """Compare; an AssertionError says which row differs."""
    assert jax.device_count() == 8
    for name, row in ROWS.items():
        optimizer, problem = numeric(row.optimizer), landscape("rosenbrock")
        states = [begin(optimizer, problem)[0]] * 2
        for t in range(3):
            told = [
                generation(backend, optimizer, problem, state, jax.random.key(t))
                for backend, state in zip((Device(), Mesh()), states, strict=True)
            ]
            states = [state for _, state in told]
            try:
                close(told[1], told[0], 1e-4)
            except AssertionError as error:
                raise AssertionError(f"{name}, generation {t}: {error}") from error


if __name__ == "__main__":
    main()
