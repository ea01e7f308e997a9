"""Run directories: what is in them, resuming, every crash window, foreign runs, and disks that fail."""

import json
import shutil
import warnings

import jax.numpy as jnp
import optax
import pytest

import evolve
import problems
from evolve.run import CheckpointError, session
from evolve.run.describe import describe


def sphere(x):
    return jnp.sum((x - 1) ** 2)


PROBLEM = problems.wrap(sphere, jnp.zeros(3))
OPENES = evolve.OpenES(population=8, learning_rate=0.01)


def go(folder, generations=20, *, problem=PROBLEM, optimizer=OPENES, **options):
    return evolve.run(problem, optimizer, generations=generations, directory=folder, save_seconds=0, **options)


def rows(folder):
    """The history on disk but for the seconds, as text: a NaN equals no NaN."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [json.dumps({name: value for name, value in line.items() if name != "seconds"}) for line in lines]


def same(one, other):
    for name in ("loss", "reason", "failed", "generations", "evaluations", "forwards", "error"):
        assert repr(getattr(one, name)) == repr(getattr(other, name)), name  # a NaN equals no NaN
    assert one.answer.tobytes() == other.answer.tobytes()
    assert list(one.history) == list(other.history)
    for name in set(one.history) - {"seconds"}:
        assert one.history[name].tobytes() == other.history[name].tobytes(), name
        assert one.history[name].dtype == other.history[name].dtype


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 20 generations, with checkpoints at 14 and 20."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, go(folder, watch_every=7)


@pytest.fixture
def copy(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    return folder


def test_what_is_in_it(finished):
    folder, result = finished
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"checkpoint-{g:010d}.{kind}" for g in (14, 20) for kind in ("json", "safetensors")),
        *("history.jsonl", "job.json", "result.json"),
    ]
    job = json.loads((folder / "job.json").read_text())
    assert job["problem"] == describe(PROBLEM)
    assert "population=8" in job["optimizer"]
    assert (job["seed"], job["seeds"], job["x64"], job["budget"]["generations"]) == (0, None, False, 20)
    assert {"python", "jax", "numpy", "equinox", "optax"} <= set(job["versions"])
    outcome = json.loads((folder / "result.json").read_text())
    assert outcome["reason"] == outcome["results"][0]["reason"] == "generations"
    assert outcome["results"][0]["loss"] == result.loss
    assert len(rows(folder)) == 20


def test_resuming_what_is_finished_changes_nothing(finished, copy):
    same(go(copy, resume=True), finished[1])
    assert rows(copy) == rows(finished[0])


def test_prolonged_is_the_same_as_long(copy, tmp_path):
    longer = go(copy, 1015, resume=True)
    even = go(copy, 1033, resume=True)
    at_once = go(tmp_path / "at once", 1033)
    assert longer.history["generation"][-1] == 1015
    same(even, at_once)
    assert rows(copy) == rows(tmp_path / "at once")


def newest(folder, kind):
    return max(folder.glob(f"checkpoint-*.{kind}"))


def no_description(folder):
    newest(folder, "json").unlink()


def longer_history(folder):
    with open(folder / "history.jsonl", "a") as file:
        file.write('{"generation": 21}\n{"gener')
    no_description(folder)


def not_begun(folder):
    for path in [*folder.glob("checkpoint-*"), folder / "result.json"]:
        path.unlink()
    (folder / "history.jsonl").write_bytes(b"")


def only_a_job(folder):
    not_begun(folder)
    (folder / "history.jsonl").unlink()


def fragments(folder):
    (folder / ".checkpoint-0000000020.json.part").write_bytes(b'{"form')
    no_description(folder)


def lost_job(folder):
    (folder / "job.json").write_text('{"problem": ')


WINDOWS = {
    "between arrays and description": no_description,
    "between history and checkpoint": longer_history,
    "between job.json and the first checkpoint": not_begun,
    "between job.json and the history": only_a_job,
    "in the middle of a file": fragments,
    "before result.json": lambda folder: (folder / "result.json").unlink(),
    "a job.json cut short": lost_job,
    "arrays cut short": lambda folder: newest(folder, "safetensors").write_bytes(b"cut"),
}


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.filterwarnings("ignore:.*is corrupt")
def test_killed_in_any_window_it_resumes_to_the_same(finished, copy, window):
    WINDOWS[window](copy)
    same(go(copy, resume=True), finished[1])
    assert rows(copy) == rows(finished[0])
    assert (copy / "result.json").exists()
    assert not list(copy.glob(".*.part"))


@pytest.mark.parametrize("damage", ["cut", "gone", "scribbled"])
def test_a_damaged_history_costs_its_rows_only(finished, copy, damage):
    path = copy / "history.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes({"cut": b"".join(lines[:5])[:-4], "gone": b"", "scribbled": lines[0] + b"?" * 5000}[damage])
    kept = {"cut": 4, "gone": 0, "scribbled": 1}[damage]
    with pytest.warns(UserWarning, match=rf"history\.jsonl is damaged: only its first {kept} rows"):
        result = go(copy, 30, resume=True)
    assert result.history["generation"].tolist() == [*range(1, kept + 1), *range(21, 31)]
    assert len(rows(copy)) == kept + 10
    assert (result.loss, result.generations) == (go(finished[0].parent / damage, 30).loss, 30)


@pytest.mark.parametrize("left", [("history.jsonl",), ("result.json",), ("history.jsonl", "result.json")])
def test_checkpoints_that_are_gone_are_never_replaced_silently(copy, left):
    for path in copy.iterdir():
        if path.name not in (*left, "job.json"):
            path.unlink()
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    with pytest.raises(CheckpointError, match=f"holds no checkpoint, but {' and '.join(left)} of work that was done"):
        go(copy, resume=True)
    assert {name: content for name, content in before.items() if name in left} == {
        name: (copy / name).read_bytes() for name in left
    }


def test_the_result_of_an_end_before_does_not_outlive_a_resumption(copy):
    class Killed(BaseException):
        pass

    def kill(progress):
        raise Killed

    with pytest.raises(Killed):
        go(copy, 40, resume=True, watch=kill)
    assert not (copy / "result.json").exists()
    go(copy, 40, resume=True)
    assert json.loads((copy / "result.json").read_text())["results"][0]["generations"] == 40


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.filterwarnings("ignore:.*is corrupt")
def test_a_refused_resumption_leaves_the_result(copy, seed):
    for path in copy.glob("checkpoint-*.json"):
        path.write_text("{")
    with pytest.raises(CheckpointError):
        go(copy, resume=True, seed=seed)
    assert (copy / "result.json").exists()


@pytest.mark.parametrize("content", ["{", "[]", "null", "{}", '{"seed": 0}'])
def test_a_corrupt_job_is_said_once_and_mended(finished, copy, content):
    (copy / "job.json").write_text(content)
    with pytest.warns(UserWarning, match=r"job\.json is corrupt .*; the checkpoints decide") as said:
        same(go(copy, resume=True), finished[1])
    assert said[0].filename == __file__
    assert (copy / "job.json").read_bytes() == (finished[0] / "job.json").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(copy, resume=True)


def test_another_version_of_jax_is_said_once(finished, copy):
    job = json.loads((copy / "job.json").read_text())
    job["versions"]["jax"] = "0.1"
    (copy / "job.json").write_text(json.dumps(job))
    with pytest.warns(UserWarning, match=r"holds a run of jax 0\.1, and this is jax .*not bit for bit"):
        same(go(copy, resume=True), finished[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(copy, resume=True)


@pytest.mark.parametrize("seeds", [None, 2])
def test_numbers_that_are_none_are_strict_json_and_resume_exactly(tmp_path, seeds):
    problem = problems.wrap(lambda x: jnp.where(x[0] < 9, jnp.nan, 0.0), jnp.zeros(3))
    options = {"problem": problem, "seeds": seeds, "watch_every": 1}
    go(tmp_path / "run", 3, **options)
    resumed, whole = go(tmp_path / "run", 6, resume=True, **options), go(None, 6, **options)
    for one, other in zip(*([result] if seeds is None else result for result in (resumed, whole)), strict=True):
        same(one, other)
    for name in ("history.jsonl", "result.json"):
        text = (tmp_path / "run" / name).read_text()
        assert "Infinity" in text
        assert "Infinity" not in text.replace('"Infinity"', "")
        assert "NaN" not in text


@pytest.mark.parametrize("host", [False, True])
@pytest.mark.parametrize("seeds", [None, 2])
@pytest.mark.parametrize("noisy", [False, True])
def test_an_interrupt_while_compiling_ends_at_the_start(tmp_path, monkeypatch, host, seeds, noisy):
    def interrupted(*_):
        raise KeyboardInterrupt

    function = (lambda x, key: ((x - 1) ** 2).sum()) if noisy else (lambda x: ((x - 1) ** 2).sum())
    options = {"problem": problems.wrap(function, jnp.zeros(3), host=host), "seeds": seeds}
    with monkeypatch.context() as patch:
        patch.setattr(session, "HostLoop" if host else "DeviceLoop", interrupted)
        found = go(tmp_path / "run", **options)
    for result in [found] if seeds is None else found:
        assert (result.reason, result.generations, result.loss) == ("interrupted", 0, float("inf"))
        assert result.answer.tolist() == [0, 0, 0]
        assert {len(column) for column in result.history.values()} == {0}
    assert json.loads((tmp_path / "run" / "result.json").read_text())["reason"] == "interrupted"
    assert rows(tmp_path / "run") == []
    resumed, whole = go(tmp_path / "run", 5, resume=True, **options), go(None, 5, **options)
    for one, other in zip(*([result] if seeds is None else result for result in (resumed, whole)), strict=True):
        same(one, other)


FOREIGN = {
    "seed": {"seed": 1},
    "seeds": {"seeds": 2},
    "problem": {"problem": problems.wrap(sphere, jnp.ones(3))},
    "optimizer": {"optimizer": evolve.OpenES(population=8, learning_rate=0.02)},
    "optimizer's structure": {
        "optimizer": evolve.OpenES(
            population=8, learning_rate=0.01, perturbation=evolve.Antithetic(evolve.Rademacher())
        )
    },
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_runs_are_refused_by_name(copy, name):
    part = name.split("'")[0]
    with pytest.raises(CheckpointError, match=rf"holds a foreign run \({part} is .* there and .* here\)"):
        go(copy, resume=True, **FOREIGN[name])


def test_another_precision_is_foreign(copy, x64):
    with pytest.raises(CheckpointError, match=r"x64 is False there and True here"):
        go(copy, resume=True, problem=problems.wrap(sphere, jnp.zeros(3, jnp.float32)))


def test_foreign_checkpoints_are_refused_and_the_one_before_is_used(finished, copy, tmp_path):
    go(tmp_path / "other", seed=1)
    for kind in ("json", "safetensors"):
        shutil.copy(newest(tmp_path / "other", kind), newest(copy, kind))
    with pytest.warns(UserWarning, match=r"checkpoint-0000000020\.json is foreign \(seed is 1 there and 0 here\)"):
        same(go(copy, resume=True), finished[1])


def test_no_good_checkpoint_at_all(copy):
    for path in copy.glob("checkpoint-*.safetensors"):
        path.write_bytes(b"")
    with (
        pytest.warns(match="trying"),
        pytest.raises(CheckpointError, match=r"no checkpoint in .* be used: .*20.*14"),
    ):
        go(copy, resume=True)


def adam(rate):
    return evolve.Gradient(optax.adam(rate))


def test_descriptions_tell_runs_apart_and_hold_no_addresses():
    assert describe(adam(0.1)) == describe(adam(0.1)) != describe(adam(0.2))
    for rank in (1, 2):
        assert f"rank={rank}" in describe(evolve.OpenES(perturbation=evolve.Antithetic(evolve.LowRank(rank))))
    local = describe(problems.wrap(lambda x: x @ jnp.ones(3), lambda key: jnp.ones(3)))
    assert "0x" not in local + describe(adam(optax.cosine_decay_schedule(0.1, 10)))
    recursive = {"self": None}
    recursive["self"] = recursive
    assert "..." in describe(recursive)


NESTED = {
    "a schedule": lambda rate: evolve.Gradient(optax.adam(optax.cosine_decay_schedule(rate, 100))),
    "momentum": lambda rate: evolve.Gradient(optax.sgd(optax.cosine_decay_schedule(rate, 100), momentum=0.9)),
    "a chain": lambda rate: evolve.Gradient(optax.chain(optax.clip(1.0), optax.chain(optax.adam(rate)))),
    "a wrapper": lambda rate: evolve.Gradient(optax.apply_if_finite(optax.adam(rate), 3)),
    "several steps": lambda rate: evolve.Gradient(optax.MultiSteps(optax.adam(rate), 2).gradient_transformation()),
    "warming up": lambda rate: evolve.Gradient(optax.adamw(optax.warmup_cosine_decay_schedule(0.0, rate, 5, 10))),
    "our schedule": lambda rate: evolve.Gradient(optax.adam(evolve.Cosine(rate, 0.0, steps=10))),
    "inside a method": lambda rate: evolve.OpenES(update=optax.adam(optax.cosine_decay_schedule(rate, 100))),
}


@pytest.mark.parametrize("nested", NESTED)
def test_a_rate_is_told_apart_however_deep_it_lies(nested):
    one, same, other = (describe(NESTED[nested](rate)) for rate in (0.1, 0.1, 0.2))
    assert one == same != other
    assert "..." not in one


def test_a_run_with_another_nested_rate_is_refused(tmp_path):
    def go(rate, **resume):
        update = optax.sgd(optax.cosine_decay_schedule(rate, 100), momentum=0.9)
        evolve.run(PROBLEM, evolve.Gradient(update), generations=2, directory=tmp_path / "run", **resume)

    go(0.01)
    with pytest.raises(ValueError, match=r"0\.01"):
        go(0.5, resume=True)


def test_a_folder_with_a_run_is_not_overwritten(copy):
    before = (copy / "job.json").read_bytes()
    with pytest.raises(FileExistsError, match=r"copy already holds a run; pass resume=True, or choose another folder"):
        go(copy)
    assert (copy / "job.json").read_bytes() == before


def test_resuming_needs_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no run to resume \(no job\.json\)"):
        go(tmp_path, resume=True)
    with pytest.raises(ValueError, match="resume needs the directory of the run to go on with"):
        evolve.run(PROBLEM, OPENES, generations=1, resume=True)


def test_a_watcher_that_raises_loses_nothing(finished, tmp_path):
    def watcher(progress):
        if progress.generation >= 14:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        go(tmp_path / "run", watch=[watcher], watch_every=7)
    same(go(tmp_path / "run", resume=True), finished[1])


def test_an_interrupt_at_any_watch_point_loses_nothing(finished, tmp_path):
    def watcher(progress):
        if progress.generation == 14:
            raise KeyboardInterrupt

    result = go(tmp_path / "run", watch=[watcher], watch_every=7)
    assert (result.reason, result.generations) == ("interrupted", 14)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["reason"] == "interrupted"
    same(go(tmp_path / "run", resume=True), finished[1])


def test_what_cannot_be_compiled_leaves_its_folder(tmp_path):
    mesh = evolve.Mesh(inner=evolve.Device())
    odd = evolve.Gradient(optax.GradientTransformation(lambda params: (), lambda *_: ({"no": "tree"}, ())))
    with pytest.raises(Exception, match=r".+"):
        go(tmp_path / "run", optimizer=odd, backend=mesh)
    go(tmp_path / "run", 2)


@pytest.mark.parametrize("seeds", [None, 2])
@pytest.mark.parametrize("host", [False, True])
def test_kinds_of_runs_resume(tmp_path, seeds, host):
    """Noisy, with failures, of several seeds, on the host: interrupted half-way, all resume bit for bit."""

    def fitness(x, key):
        if host and x[0] > 0.02:
            raise ValueError("too far")
        value = ((x - 1) ** 2).sum()
        return float(value) if host else jnp.where(x[0] > 0.02, jnp.nan, value)

    problem = problems.wrap(fitness, jnp.zeros(3), host=host)
    options = {"problem": problem, "seeds": seeds, "watch_every": 1}
    whole = go(tmp_path / "whole", 12, **options)
    go(tmp_path / "half", 5, **options)
    resumed = go(tmp_path / "half", 12, resume=True, **options)
    for one, other in zip(*([result] if seeds is None else result for result in (resumed, whole)), strict=True):
        same(one, other)
        assert one.failed == other.failed > 0
        assert one.error == other.error
        assert (one.error is not None) == host
    assert rows(tmp_path / "half") == rows(tmp_path / "whole")


def test_no_warning_without_a_reason(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(tmp_path / "run", 3)
        go(tmp_path / "run", 6, resume=True)
