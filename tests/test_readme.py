"""The README's scripts run as they stand, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_a_script_runs_as_it_stands(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(SCRIPTS[number], f"README.md, script {number}", "exec"), names)
    if "rosenbrock" in names:
        assert names["result"].loss < 1e-6
    if "results" in names:
        accuracies = [names["problems"].Digits().report(result.answer)["accuracy"] for result in names["results"]]
        assert min(accuracies) > 0.9
        assert (tmp_path / "runs" / "digits" / "result.json").exists()
    if "comparison" in names:
        assert {row["optimizer"] for row in names["comparison"].rows()} == set(names["methods"])
        assert (tmp_path / "report.html").exists()
    if "ask" in names:
        assert names["losses"].max() < 1e-6


def test_every_link_leads_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
