"""Disks that fail: said before any work where it can be known, and costing nothing where it cannot."""

import errno
import json
import os

import jax.numpy as jnp
import numpy as np
import pytest

import evolve
import problems
from evolve.run import session
from evolve.run.directory import RunDirectory

PROBLEM = problems.wrap(lambda x: jnp.sum((x - 1) ** 2), jnp.zeros(3))
OPENES = evolve.OpenES(population=8, learning_rate=0.01)


def go(folder, generations=20, **options):
    options = {"directory": folder, "save_seconds": 0, "watch_every": 7, **options}
    return evolve.run(PROBLEM, OPENES, generations=generations, **options)


def numbers(result):
    """All that a run found, but for the time it took."""
    columns = {name: column.tobytes() for name, column in result.history.items() if name != "seconds"}
    return result.answer.tobytes(), result.loss, result.reason, result.generations, result.failed, columns


@pytest.fixture(scope="module")
def whole():
    return numbers(evolve.run(PROBLEM, OPENES, generations=20))


def untouched(*_):
    raise AssertionError("work was done")


@pytest.mark.parametrize("under", ["file", "file/below", "nul\0byte"])
def test_an_unwritable_folder_is_said_before_any_work(tmp_path, under, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(session, "DeviceLoop", untouched)
    expected = ValueError if "\0" in under else OSError
    with pytest.raises(expected, match=r"null|the run's folder cannot be written"):
        go(tmp_path / under)


def failing(monkeypatch, *, after=0, times=10**9):
    """A disk that is full from the call of fsync after `after` ones on, for so many calls."""
    real, calls = os.fsync, []

    def fsync(number):
        calls.append(number)
        if after < len(calls) <= after + times:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    return calls


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_disk_full_from_the_start_is_said_before_any_work(tmp_path, monkeypatch, after):
    with monkeypatch.context() as patch:
        patch.setattr(session, "DeviceLoop", untouched)
        failing(patch, after=after)
        with pytest.raises(OSError, match=r"the run's folder cannot be written \(No space left on device\)") as error:
            go(tmp_path / "run")
        assert error.value.errno == errno.ENOSPC
    go(tmp_path / "run", 2)  # nothing stands in the way once there is room


def test_a_disk_that_fills_up_costs_nothing(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        failing(patch, after=4)  # job.json and the first checkpoint
        with pytest.warns(match="not be written|cannot be written") as said:
            result = go(tmp_path / "run")
    assert numbers(result) == whole
    messages = [str(warning.message) for warning in said]
    assert len(messages) == 2
    assert "cannot be written ([Errno 28] No space left on device); the run goes on in memory" in messages[0]
    assert "the end of the run is not on disk; it is in the result" in messages[1]
    assert not list((tmp_path / "run").glob(".*.part"))
    assert numbers(go(tmp_path / "run", resume=True)) == whole


def test_a_disk_that_recovers_holds_everything_in_the_end(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        failing(patch, after=4, times=1)
        with pytest.warns(UserWarning, match="goes on in memory and tries again") as said:
            result = go(tmp_path / "run")
    assert len(said) == 1
    assert numbers(result) == whole
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows] == result.history["loss"].tolist()


def crowded(monkeypatch, room):
    """A disk that holds so many bytes of a history: what goes beyond is written as far as it fits."""
    real = RunDirectory._write

    def write(folder, place, text):
        real(folder, place, text[: max(0, room - place)])
        if place + len(text) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RunDirectory, "_write", write)


def test_a_history_that_does_not_fit_keeps_no_checkpoint_from_being_saved(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        crowded(patch, room=2000)  # 7 rows, not 14
        with pytest.warns(UserWarning, match=r"No space left on device: '.*history.jsonl'"):
            assert numbers(go(tmp_path / "run")) == whole
    assert (tmp_path / "run" / "checkpoint-0000000020.json").exists()
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 7, "a fragment was left"
    with pytest.warns(UserWarning, match=r"history\.jsonl lacks 13 rows that the disk had no room for"):
        result = go(tmp_path / "run", 30, resume=True)
    longer = go(tmp_path / "longer", 30)
    assert numbers(result)[:-1] == numbers(longer)[:-1]
    assert result.history["loss"].tobytes() == np.delete(longer.history["loss"], range(7, 20)).tobytes()


def test_rows_that_did_not_fit_are_written_once_they_do(whole, tmp_path, monkeypatch):
    def room(progress):
        if progress.generation >= 14:
            crowding.undo()

    with pytest.MonkeyPatch.context() as crowding:
        crowded(crowding, room=2000)
        with pytest.warns(UserWarning, match="tries again at the next checkpoint"):
            go(tmp_path / "run", 16, watch=room, watch_every=4)
    assert numbers(go(tmp_path / "run", resume=True)) == whole
