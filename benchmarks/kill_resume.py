"""Kill a run at ten random moments, resume it each time, and compare it with a run that was left alone.

    python -m benchmarks.kill_resume [--kills 10] [--seed 0] [NAME ...]

A server process that has imported everything forks one child for each attempt; the child runs or resumes a job in its
folder and gets SIGKILL. Afterwards every array of the last checkpoint, the answer, the outcome and every column of
the history but the seconds must be bit-identical. The exit status is 1 if anything differs.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TIMES = ("seconds", "compile_seconds", "memory")


def jobs() -> dict[str, Callable[[], tuple[Any, Any, int]]]:
    """By name: what makes a problem, an optimizer, and generations enough for a few seconds on one core."""
    import jax
    import optax

    import evolve
    import problems
    import zeroth

    def rosenbrock() -> Any:
        return problems.Function("rosenbrock", 20, start=0.5)

    def noisy() -> Any:
        return problems.wrap(_noisy, lambda key: 0.1 * jax.random.normal(key, (20,)))

    def host() -> Any:
        return problems.wrap(_host_fitness, [0.5, -0.5, 1.0], host=True)

    digits = problems.Digits
    return {
        "CMAES": lambda: (rosenbrock(), evolve.CMAES(stopping=None), 90_000),
        "SepCMAES": lambda: (rosenbrock(), evolve.SepCMAES(stopping=None), 300_000),
        "OpenES": lambda: (noisy(), evolve.OpenES(population=64), 120_000),
        "GeneticAlgorithm": lambda: (noisy(), evolve.GeneticAlgorithm(population=64, parents=16), 80_000),
        "SimulatedAnnealing": lambda: (rosenbrock(), evolve.SimulatedAnnealing(chains=16, exchange=True), 300_000),
        "RandomSearch": lambda: (rosenbrock(), evolve.RandomSearch(), 180_000),
        "SPSA": lambda: (noisy(), zeroth.SPSA(), 800_000),
        "MeZO": lambda: (digits(), zeroth.MeZO(population=4), 20_000),
        "Adam": lambda: (digits(), evolve.Gradient(optax.adam(1e-2)), 40_000),
        "L-BFGS": lambda: (rosenbrock(), evolve.Gradient(optax.lbfgs()), 600_000),
        "CMAES on the host": lambda: (host(), evolve.CMAES(), 2_000),
    }


def _noisy(x: Any, key: Any) -> Any:
    import jax
    import jax.numpy as jnp

    return jnp.sum((x - jax.random.normal(key, x.shape)) ** 2)


def _host_fitness(x: Any) -> float:
    """Plain Python, and failing now and then."""
    if x[0] > 0.6:
        raise ValueError(f"no fitness at {x[0]}")
    return float(sum(v * v for v in x))


def serve() -> None:
    """Fork a child for every line on standard input; answer with its pid, then with its status."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    known = jobs()  # makes no array: forking is safe only before JAX has started its threads
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(known[order["name"]], order["share"], Path(order["folder"]))
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


def _child(make: Callable[[], tuple[Any, Any, int]], share: float, folder: Path) -> None:
    import jax
    import numpy as np

    import evolve

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have set it to be ignored
    try:
        problem, optimizer, generations = make()
        resume = (folder / "job.json").exists()
        options: Any = {"directory": folder, "resume": resume, "save_seconds": 0.02}
        result = evolve.run(problem, optimizer, generations=int(share * generations), **options)
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(result.answer)]
        np.savez(folder / "answer.npz", *leaves)
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


class Server:
    """Runs attempts one after another; compiled programs are shared by all through a cache in `scratch`.

    `share` of a job's generations are run.
    """

    def __init__(self, scratch: Path, share: float = 1.0) -> None:
        self.share = share
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(scratch / "programs"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        command = [sys.executable, "-c", "from benchmarks.kill_resume import serve; serve()"]
        env = {**os.environ, **cache, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=env, cwd=ROOT, text=True)

    def start(self, name: str, folder: Path) -> int:
        """Begin or resume; the child's pid."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"name": name, "folder": str(folder), "share": self.share}) + "\n")
        self.process.stdin.flush()
        return int(self._line())

    def wait(self) -> int:
        """The child's exit status; minus the signal that killed it."""
        return os.waitstatus_to_exitcode(int(self._line()))

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def progress(folder: Path) -> tuple[str, ...]:
    """What a child has finished so far: changes whenever it writes a checkpoint."""
    return tuple(sorted(path.name for path in folder.glob("*.json")))


def alive(pid: int) -> bool:
    """Whether a child has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def killed(server: Server, name: str, folder: Path, kills: int, rng: random.Random) -> int:
    """Kill a job so many times, resuming it each time, then let it end; how many kills hit it before its end."""
    hit = 0
    while hit < kills:
        before, pid = progress(folder), server.start(name, folder)
        if rng.random() < 0.7:  # after something was saved; else at any moment: compiling, starting, resuming
            while progress(folder) == before and alive(pid):
                time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.2))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if server.wait() != -signal.SIGKILL:
            return hit  # it had ended
        hit += 1
    server.start(name, folder)
    if server.wait() != 0:
        raise RuntimeError(f"{name} did not end after {hit} kills; its traceback is above.")
    return hit


def differences(one: Path, other: Path) -> list[str]:
    """What is not bit-identical in two run folders."""
    import numpy as np

    found: list[str] = []
    last = [max(folder.glob("checkpoint-*.safetensors")) for folder in (one, other)]
    if last[0].name != last[1].name or last[0].read_bytes() != last[1].read_bytes():
        found.append("checkpoint")
    answers = [np.load(folder / "answer.npz") for folder in (one, other)]
    if any(answers[0][name].tobytes() != answers[1][name].tobytes() for name in answers[0].files):
        found.append("answer")
    outcomes = [_timeless(json.loads((folder / "result.json").read_text())["results"][0]) for folder in (one, other)]
    if outcomes[0] != outcomes[1]:
        found.append(f"result {outcomes}")
    rows = [_rows(folder / "history.jsonl") for folder in (one, other)]
    if rows[0] != rows[1]:
        found.append(f"history ({len(rows[0])} and {len(rows[1])} rows)")
    return found


def _rows(path: Path) -> list[str]:
    """As text: a NaN equals no NaN."""
    return [json.dumps(_timeless(json.loads(line))) for line in path.read_text().splitlines()]


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in TIMES}


def main() -> int:
    """Every optimizer, or those named; prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="of optimizers; all by default")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, failed = random.Random(options.seed), 0
    print(f"{'optimizer':20} {'kills':>5} {'alone / s':>9} {'in all / s':>10}  identical")
    with tempfile.TemporaryDirectory() as scratch, Server(Path(scratch)) as server:
        for number, name in enumerate(options.names or jobs()):
            alone, often = (Path(scratch) / f"{number}-{kind}" for kind in ("alone", "killed"))
            start = time.perf_counter()
            server.start(name, alone)
            server.wait()
            between = time.perf_counter()
            hit = killed(server, name, often, options.kills, rng)
            found = differences(alone, often)
            failed += bool(found) or hit < options.kills
            times = f"{between - start:9.1f} {time.perf_counter() - between:10.1f}"
            print(f"{name:20} {hit:5} {times}  {'; '.join(found) or 'yes'}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
