"""What every test shares: annotations are executed, the platform is the CPU, and precision is a fixture."""

import contextlib
import gc
import os
from importlib.metadata import version
from pathlib import Path

# Each worker keeps to CPUs of its own: XLA starts threads for as many as it sees, and two workers' would be in each
# other's way.
if hasattr(os, "sched_setaffinity") and "PYTEST_XDIST_WORKER" in os.environ:
    _cpus, _workers = sorted(os.sched_getaffinity(0)), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    _own = _cpus[int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) :: _workers]
    os.sched_setaffinity(0, _own or _cpus)

# Before JAX is imported, here and in every subprocess of a test. Most tests run many small programs once or twice, so
# XLA compiles quickly instead of well, which takes a quarter of the time; `optimized` is for the others.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
QUICKLY = "--xla_cpu_parallel_codegen_split_count=1"
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):  # later ones refuse the flag
    QUICKLY += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{QUICKLY} {os.environ.get('XLA_FLAGS', '')}"

# Programs of tests' subprocesses are kept in pytest's cache (`pytest --cache-clear` empties it): many compile the same
# ones. One folder a worker: two may write the same file, and read half of it.
PROGRAMS = Path(__file__).parents[1] / ".pytest_cache" / "d" / "programs" / os.environ.get("PYTEST_XDIST_WORKER", "")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(PROGRAMS))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")  # writing less takes longer than compiling
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

PROGRAMS_KEPT = 2000  # in memory, one or two megabytes each

import hypothesis
import jax
import jaxtyping
import pytest

# A test's own programs are rarely met again in a file: to look for each there takes a tenth of the suite's time.
jax.config.update("jax_enable_compilation_cache", False)
jax.config.update("jax_num_cpu_devices", 8)  # for meshes; what runs on one does not see the others
gc.set_threshold(200_000, 50, 1000)  # tracing makes objects by the million, and few of them are garbage

# Before the packages are imported: every annotation of theirs is checked on every call from here on. `evolve.run` and
# what stands above it are left out: what they are given wrongly, their tests give on purpose, to read the answer.
_CHECKED = ["evolve.core", "evolve.backend", "evolve.methods", "zeroth", "problems"]
jaxtyping.install_import_hook(_CHECKED, "typechecker.check")

# derandomize: a failure on one machine is a failure on all; deadlines measure the compiler, not the property.
hypothesis.settings.register_profile("suite", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("suite")


from laws.tools import compilations  # after the hook: it imports the packages


def pytest_collection_modifyitems(items):
    """A file's tests run in one process, as those of a row of the laws do: they share programs."""
    for item in items:
        if not any(item.iter_markers("xdist_group")):
            item.add_marker(pytest.mark.xdist_group(item.location[0]))


@pytest.fixture(autouse=True)
def _forget():
    """Compiled programs serve the tests after them too, but all of them together take many gigabytes."""
    yield
    if len(compilations) > PROGRAMS_KEPT:
        gc.unfreeze()
        jax.clear_caches()
        gc.collect()
        compilations.clear()
    gc.freeze()  # what JAX keeps are millions of objects, which need not be looked through again and again


@pytest.fixture
def x64():
    """Double precision for one test."""
    with _set("jax_enable_x64"):
        yield


@pytest.fixture
def optimized():
    """XLA compiles well: for a test of many generations."""
    with _set("jax_disable_most_optimizations", False):
        yield


@pytest.fixture
def unchecked():
    """Annotations are not executed in one test: what a user meets who passes a wrong shape."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@contextlib.contextmanager
def _set(option, value=True):
    before = jax.config.read(option)
    jax.config.update(option, value)
    try:
        yield
    finally:
        jax.config.update(option, before)
