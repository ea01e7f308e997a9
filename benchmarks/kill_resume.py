"""Kill `evolve run` at ten random moments, resume it each time, and compare it with a run that was left alone.

    python -m benchmarks.kill_resume [--kills 10] [--seed 0] [NAME ...]

A server process that has imported everything forks one child for each attempt; the child is the command, `evolve run`
first and `evolve run --resume` from then on, and gets SIGKILL. Afterwards every array of the last checkpoint, the
answer, the outcome and every column of the history but the seconds must be bit-identical. The exit status is 1 if
anything differs.
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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TIMES = ("seconds", "compile_seconds", "memory")


NOISY, HOST = f"python:{__file__}:noisy", f"python:{__file__}:fitness:dimension=3,start=0.5,host=true"
ROSENBROCK = "rosenbrock:dimension=20,start=0.5"
# By name: a problem, an optimizer, its settings, and generations enough for a few seconds on one core.
JOBS = {
    "CMAES": (ROSENBROCK, "cmaes", ["stopping=none"], 90_000),
    "SepCMAES": (ROSENBROCK, "sepcmaes", ["stopping=none"], 300_000),
    "OpenES": (NOISY, "openes", ["population=64"], 120_000),
    "GeneticAlgorithm": (NOISY, "genetic", ["population=64", "parents=16"], 80_000),
    "SimulatedAnnealing": (ROSENBROCK, "annealing", ["chains=16", "exchange=true"], 300_000),
    "RandomSearch": (ROSENBROCK, "random", [], 180_000),
    "SPSA": (NOISY, "spsa", [], 800_000),
    "MeZO": ("digits", "mezo", ["population=4"], 20_000),
    "Adam": ("digits", "adam", [], 40_000),
    "L-BFGS": (ROSENBROCK, "lbfgs", [], 600_000),
    "CMAES on the host": (HOST, "cmaes", ["stopping=none"], 2_000),
}


def words(name: str, share: float, folder: Path) -> list[str]:
    """The command that begins a job, or goes on with it: what `evolve` is given."""
    pace = ["--save-seconds", "0.02", "--quiet"]
    if (folder / "command.json").exists():
        return ["run", "--resume", str(folder), *pace]
    problem, optimizer, settings, generations = JOBS[name]
    options = [word for setting in settings for word in ("--set", setting)]
    budget = ["--generations", str(int(share * generations))]
    return ["run", problem, "--optimizer", optimizer, *options, *budget, "--out", str(folder), *pace]


def noisy() -> Any:
    """A sphere around a center that is drawn anew for every evaluation."""
    import jax

    import problems

    return problems.wrap(_noisy, lambda key: 0.1 * jax.random.normal(key, (20,)))


def _noisy(x: Any, key: Any) -> Any:
    import jax
    import jax.numpy as jnp

    return jnp.sum((x - jax.random.normal(key, x.shape)) ** 2)


def fitness(x: Any) -> float:
    """Plain Python, and failing now and then."""
    if x[0] > 0.6:
        raise ValueError(f"no fitness at {x[0]}")
    return float(sum(v * v for v in x))


def serve() -> None:
    """Fork a child for every line on standard input, the words of a command; answer with its pid, then its status."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import evolve.cli.running  # makes no array: forking is safe only before JAX has started its threads
    import problems  # noqa: F401
    import zeroth  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have set it to be ignored
            os._exit(evolve.cli.main(json.loads(line)))
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


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
        self.process.stdin.write(json.dumps(words(name, self.share, folder)) + "\n")
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
    found: list[str] = []
    last = [max(folder.glob("checkpoint-*.safetensors")) for folder in (one, other)]
    if last[0].name != last[1].name or last[0].read_bytes() != last[1].read_bytes():
        found.append("checkpoint")
    answers = [(folder / "answer.safetensors").read_bytes() for folder in (one, other)]
    if answers[0] != answers[1]:
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
        for number, name in enumerate(options.names or JOBS):
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
