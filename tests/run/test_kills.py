"""`evolve run` gets SIGKILL at ten random moments, or Ctrl-C: resumed, it ends bit-identical to one left alone.

`python -m benchmarks.kill_resume` does the same with ten kills for every optimizer.
"""

import importlib.util
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill_resume.py"
KILLS = {"CMAES": 4, "OpenES": 3, "SPSA": 3}


def _load(path):
    spec = importlib.util.spec_from_file_location("kill_resume", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kill_resume = _load(SCRIPT)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with kill_resume.Server(tmp_path_factory.mktemp("programs"), share=0.2) as started:
        yield started


@pytest.fixture(scope="module")
def alone(server, tmp_path_factory):
    """The folder of a run that was left alone, by name."""
    folders = {}

    def folder(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("alone") / "run"
            server.start(name, folders[name])
            assert server.wait() == 0
        return folders[name]

    return folder


@pytest.mark.parametrize("name", KILLS)
def test_killed_at_random_moments_it_ends_as_if_nothing_had_happened(server, alone, tmp_path, name):
    whole, often = alone(name), tmp_path / "run"
    assert kill_resume.killed(server, name, often, KILLS[name], random.Random(name)) == KILLS[name]
    assert kill_resume.differences(whole, often) == []


@pytest.mark.parametrize("name", ["OpenES", "CMAES on the host"])
def test_ctrl_c_ends_with_what_there_is_and_resumes(server, alone, tmp_path, name):
    whole, folder = alone(name), tmp_path / "run"
    pid = server.start(name, folder)
    while len(list(folder.glob("checkpoint-*.json"))) < 2 and kill_resume.alive(pid):
        time.sleep(0.005)
    os.kill(pid, signal.SIGINT)
    assert server.wait() == 130
    outcome = json.loads((folder / "result.json").read_text())
    (result,) = outcome["results"]
    assert outcome["reason"] == result["reason"] == "interrupted"
    done = json.loads(max(folder.glob("checkpoint-*.json")).read_text())["generation"]
    expected = json.loads((whole / "result.json").read_text())["results"][0]["generations"]
    assert 0 < done == result["generations"] < expected
    last = json.loads((folder / "history.jsonl").read_text().splitlines()[-1])
    assert last["generation"] == done
    assert (folder / "answer.safetensors").exists()
    server.start(name, folder)
    assert server.wait() == 0
    assert kill_resume.differences(whole, folder) == []
