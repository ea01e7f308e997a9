"""Time several ways of doing the same thing in turn, and print medians and ratios.

A machine's speed drifts while others use it, so the contestants take turns, round by round: what slows one slows all,
and ratios of medians stay meaningful where seconds do not.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

import evolve
from evolve.core.optimizer import Optimizer
from evolve.core.problem import wrap
from evolve.run.compiled import Program
from evolve.run.loop import Carry, DeviceLoop, Task, begin


def in_turn(contestants: dict[str, Callable[[], Any]], rounds: int = 11) -> dict[str, list[float]]:
    """Seconds of each contestant's call in each round, after one call that is not counted (it compiles)."""
    for call in contestants.values():
        jax.block_until_ready(call())
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - start)
    return seconds


def medians(seconds: dict[str, list[float]], per: int = 1) -> dict[str, float]:
    """Median milliseconds of each contestant, divided by `per` (generations in one call, say)."""
    return {name: 1e3 * statistics.median(values) / per for name, values in seconds.items()}


def our_loop(optimizer: Optimizer, n: int, generations: int) -> tuple[Callable[[], Any], Program]:
    """The library's own loop on the sphere, compiled once, and its program."""
    problem = wrap(lambda x: jnp.sum(x**2), jnp.ones(n))
    task = Task(problem, optimizer, jax.random.key(0), jnp.asarray(-jnp.inf), None, evolve.Device())
    carry = Carry.start(optimizer, jnp.ones(n, float), jax.random.key(1))
    seen = begin(task, carry)
    loop = DeviceLoop(task, carry, seen)
    return lambda: loop.advance(carry, seen, 0, generations)[0], loop.program


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows as a table; floats with three digits."""
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=120).print(table)


def keep(name: str, rows: list[dict[str, Any]]) -> None:
    """Write rows to benchmarks/results/NAME.json, with what they were measured on."""
    path = Path(__file__).parent / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    machine = {"jax": jax.__version__, "device": jax.devices()[0].device_kind, "python": platform.python_version()}
    path.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
