"""One run a folder at a time: a second one is refused by name, and a lock never outlives its process."""

import errno
import json
import os
import signal
import subprocess
import sys

import jax.numpy as jnp
import pytest

import evolve
from evolve.run import lock
from evolve.run.lock import Lock

pytestmark = pytest.mark.skipif(lock.fcntl is None, reason="no locks here")

SEARCH = evolve.RandomSearch(population=4)
HOLD = """
import pathlib, sys, time
from evolve.run.lock import Lock
held = Lock(pathlib.Path(sys.argv[1]))
held.take()
print("held", flush=True)
time.sleep(60)
"""
FORK = """
import os, pathlib, sys, time
from evolve.run.lock import Lock
held = Lock(pathlib.Path(sys.argv[1]))
held.take()
read, write = os.pipe()
worker = os.fork()
if worker == 0:
    os.write(write, b"ready")
    os.closerange(0, 3)
    time.sleep(60)
os.read(read, 5)
print(worker, flush=True)
os._exit(0)
"""


def go(folder, generations=3, **options):
    return evolve.minimize(
        lambda x: jnp.sum(x**2), jnp.ones(2), SEARCH, generations=generations, directory=folder, **options
    )


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_process_is_refused_before_any_work(tmp_path, holder, resume):
    if resume:
        (tmp_path / "job.json").write_text("{}")
    before = names(tmp_path)
    with pytest.raises(
        BlockingIOError, match=rf"{tmp_path.name} is in use by process {holder.pid}; wait until its run"
    ):
        go(tmp_path, resume=resume)
    assert names(tmp_path) == before
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    (tmp_path / "job.json").unlink(missing_ok=True)
    go(tmp_path)
    assert ".lock" not in names(tmp_path)


def test_a_second_run_of_the_same_process_is_refused(tmp_path):
    def another(progress):
        with pytest.raises(BlockingIOError, match=f"in use by process {os.getpid()}"):
            go(tmp_path / "run", resume=True)

    go(tmp_path / "run", watch=another)
    history = [json.loads(line)["generation"] for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert history == [1, 2, 3]
    go(tmp_path / "run", 5, resume=True)


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_whatever_ends_a_run_frees_its_folder(tmp_path, error):
    def watcher(progress):
        raise error

    if error is KeyboardInterrupt:
        go(tmp_path, watch=watcher)
    else:
        with pytest.raises(error):
            go(tmp_path, watch=watcher)
    assert ".lock" not in names(tmp_path)
    with pytest.raises(FileExistsError, match="already holds a run"):
        go(tmp_path)
    assert ".lock" not in names(tmp_path)
    go(tmp_path, resume=True)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_file_systems_without_locks_do_without(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    assert go(tmp_path).generations == 3


def test_systems_without_locks_do_without(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    assert go(tmp_path).generations == 3
    assert ".lock" not in names(tmp_path)


def test_a_worker_that_was_forked_does_not_hold_the_folder(tmp_path):
    """It may outlive a run that was killed."""
    done = subprocess.run([sys.executable, "-c", FORK, str(tmp_path)], capture_output=True, text=True, check=True)
    worker = int(done.stdout)
    try:
        assert (tmp_path / ".lock").exists()
        Lock(tmp_path).take()
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_file_that_was_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
    """Between opening the file and locking it, its holder ends and a third process begins."""
    real, calls = lock.fcntl.flock, []

    def flock(file, how):
        calls.append(file)
        if len(calls) == 1:
            (tmp_path / ".lock").unlink()
        real(file, how)

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    one = Lock(tmp_path)
    one.take()
    assert len(calls) == 2
    with pytest.raises(BlockingIOError):
        Lock(tmp_path).take()
    one.release()
