"""The first moments: what is imported, what an early Ctrl-C does, and that every name is there."""

import os
import subprocess
import sys

import pytest

import evolve
import zeroth

HEAVY = "{'jax', 'numpy', 'matplotlib', 'optax', 'sklearn'}"


def python(program, *words):
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_the_command_line_imports_nothing_heavy_before_it_has_work():
    program = (
        "import sys\n"
        "from evolve.cli import main\n"
        "assert main(['--help']) == 0 and main(['run', '--help']) == 0 and main(['rum']) == 2\n"
        f"print(sorted({HEAVY} & set(sys.modules)))"
    )
    status, said, error = python(program)
    assert status == 0, error
    assert said.splitlines()[-1] == "[]"


INTERRUPTED = """
import builtins, os, signal, sys
real = builtins.__import__
def interrupted(name, *args, **more):
    if name == sys.argv[1]:
        sys.argv[1] = ""
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *args, **more)
builtins.__import__ = interrupted
from evolve.cli import main
sys.exit(main(["run", "sphere", "--optimizer", "cmaes"]))
"""


@pytest.mark.parametrize("module", ["tyro", "evolve.cli.errors", "jax", "numpy", "evolve.cli.job"])
def test_an_interrupt_while_importing_ends_with_130_and_a_word(tmp_path, monkeypatch, module):
    monkeypatch.chdir(tmp_path)
    assert python(INTERRUPTED, module) == (130, "", "evolve: interrupted\n")


ORDERS = [
    "import evolve",
    "import evolve.run",
    "import evolve.run.loop, evolve.compare.page",
    "import evolve; evolve.run; import evolve.run.loop, evolve.compare",
    "from evolve.compare import compare; import evolve",
    "from evolve import run, compare, CMAES; import evolve.run, evolve.compare",
    "import evolve.cli.running, evolve.cli.comparing",
    "from evolve import *; import evolve",
]


@pytest.mark.parametrize("order", ORDERS)
def test_run_and_compare_are_the_functions_in_every_order(order):
    check = "from inspect import isfunction; assert isfunction(evolve.run) and isfunction(evolve.compare)"
    same = "from evolve.run import run; from evolve.compare import compare"
    equal = "assert evolve.run is run and evolve.compare is compare"
    status, _, error = python("\n".join([order, check, same, equal, check]))
    assert status == 0, error


def test_the_package_comes_light_and_whole():
    program = (
        f"import evolve, sys\nassert not {HEAVY} & set(sys.modules)\nassert set(evolve.__all__) <= set(dir(evolve))"
    )
    status, _, error = python(program)
    assert status == 0, error
    for name in evolve.__all__:
        assert getattr(evolve, name) is not None
    assert set(evolve.__all__) == set(evolve._HOME)
    for name in ("progress_bar", "Budget", "Progress", "CheckpointError", "wrap"):
        assert name in evolve.__all__
    assert evolve.core.wrap is evolve.wrap
    with pytest.raises(AttributeError, match="no attribute 'CMEAS'"):
        evolve.CMEAS  # noqa: B018


@pytest.mark.parametrize("name", zeroth.__all__)
def test_a_method_that_is_in_zeroth_is_looked_for_there(name):
    said = f"^{name} is in zeroth: from zeroth import {name}.$"
    with pytest.raises(ImportError, match=said):
        exec(f"from evolve import {name}")
    with pytest.raises(ImportError, match=said):
        getattr(evolve, name)
    assert set(zeroth.__all__) == set(evolve._ZEROTH)


def test_the_package_is_a_command():
    done = subprocess.run([sys.executable, "-m", "evolve", "--version"], capture_output=True, text=True, env=os.environ)
    assert done.stdout == f"{evolve.__version__}\n"
