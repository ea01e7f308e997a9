"""`evolve compare bbob`: the suite as it was asked for, shown, saved and drawn again."""

import json

import jax
import pytest

from evolve.cli import main
from evolve.cli.arguments import Compare, numbers
from evolve.cli.registry import OPTIMIZERS
from evolve.cli.suites import DEFAULT, SETTINGS, _optimizers, bbob
from evolve.compare.suite import Profiles
from problems import BBOB_FUNCTIONS


def test_the_suite_is_run_saved_and_shown_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "compare bbob --dimension 2 --functions 1,20-21 --instances 2 --budget 20 --optimizers random --seed 7"
    assert main(words.split()) == 0
    said, warned = capsys.readouterr()
    assert "a budget of 40 forward passes is less than one generation of random (64)" in warned
    assert "3 functions, 1 instance each, up to 40 evaluations a run" in " ".join(said.split())
    folder = tmp_path / "runs" / "compare-bbob"
    assert "runs/compare-bbob/report.html" in said
    found = Profiles.load(folder)
    assert found.facts["cases"] == [[1, 2], [20, 2], [21, 2]]
    assert found.facts["x64"] is True
    assert list(found.groups) == ["all functions", "separable", "multi-modal, weak global structure"]
    assert found.entries[0].evaluations == (64, 64, 64)  # one generation is always bought
    before = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    assert main(["report", str(folder)]) == 0
    assert (folder / "report.html").read_bytes() == before
    assert (folder / "coco" / "random" / "data_f20" / "bbobexp_f20_DIM2.tdat").exists()
    assert json.loads((folder / "results.json").read_text())["facts"]["seed"] == 7
    assert main([*words.split(), "--out", str(folder)]) == 2


def test_without_further_words_it_is_all_of_it():
    with jax.enable_x64(True):
        suite = bbob(2, None, (1,))
        made = _optimizers(Compare("bbob"))
    assert list(suite.functions.values()) == [row.name for row in BBOB_FUNCTIONS]
    assert [len(numbers) for numbers in suite.groups.values()] == [5, 4, 5, 5, 5]
    assert all(case.f_opt == float(case.problem.f_opt) for case in suite.cases)
    assert tuple(made) == DEFAULT
    assert SETTINGS.keys() <= OPTIMIZERS.keys()


@pytest.mark.parametrize(("text", "expected"), [("3", (3,)), ("1-3,2, 7", (1, 2, 3, 7)), ("5,1", (1, 5))])
def test_lists_of_numbers(text, expected):
    assert numbers(text) == expected


@pytest.mark.parametrize("text", ["", "0", "3-1", "a", "1-", "-2", "1.5", "1,,2"])
def test_what_is_no_list_of_numbers(text):
    with pytest.raises(ValueError, match="is not a list of whole numbers of at least 1, such as 1-5,8"):
        numbers(text)
