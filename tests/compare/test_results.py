"""What a comparison writes can be read again, stands alone, and survives numbers that are none."""

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html import escape

import jax.numpy as jnp
import matplotlib.image
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import evolve
from evolve.compare import Comparison, Entry, compare
from evolve.compare.entry import spread
from evolve.compare.plots import apart
from evolve.compare.words import count, duration, interval, size, value
from evolve.core import wrap

FILES = {"results.json", "report.html", "overview.png", "loss_evaluations.png", "loss_seconds.png"}


@pytest.fixture(scope="module")
def found():
    problem = wrap(lambda x: jnp.sum(x**2), jnp.ones(3))
    optimizers = {
        "CMA-ES": evolve.CMAES(sigma=0.3),
        "<b>SGD & co": evolve.Gradient(optax.sgd(0.1)),
        "diverges": evolve.Gradient(optax.sgd(1e3)),
    }
    return compare(problem, optimizers, seeds=2, evaluations=300, progress=False, title="Bowl <i>")


def made(name, losses, family="evolution", **final):
    """An entry with given losses, shape (points, seeds)."""
    losses = np.asarray(losses, float)
    spent = np.broadcast_to(10.0 ** np.arange(1, 1 + len(losses))[:, None], losses.shape)
    metrics = {"loss": losses} | {metric: np.asarray(values, float) for metric, values in final.items()}
    return Entry(
        name,
        family,
        "settings",
        status="finished",
        reasons=("evaluations",) * losses.shape[1],
        evaluations=(100,) * losses.shape[1],
        forwards=(100,) * losses.shape[1],
        failed=(0,) * losses.shape[1],
        seconds=1.0,
        compile_seconds=0.5,
        memory=2048,
        final={metric: values[-1] for metric, values in metrics.items()},
        curves=metrics | {"evaluations": spent, "seconds": np.arange(1.0, 1 + len(losses))},
    )


def strict(text):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def assert_pictures(folder, names):
    for name in names:
        pixels = matplotlib.image.imread(folder / name)
        assert pixels.ndim == 3
        shades = np.unique(np.round(255 * pixels[..., :3]) @ [1, 256, 65536])
        assert len(shades) > 50, f"{name} is blank"


def test_a_saved_comparison_is_the_same_again(found, tmp_path):
    found.save(tmp_path / "one")
    loaded = Comparison.load(tmp_path / "one")
    assert loaded.rows() == found.rows()
    assert str(loaded) == str(found)
    assert loaded.title == found.title
    for ours, theirs in zip(loaded.entries, found.entries, strict=True):
        assert replace(ours, final={}, curves={}) == replace(theirs, final={}, curves={})
        assert ours.curves.keys() == theirs.curves.keys()
        for name, values in theirs.curves.items():
            np.testing.assert_array_equal(ours.curves[name], np.where(np.isfinite(values), values, np.nan))
    loaded.save_results(tmp_path / "two")
    loaded.report(tmp_path / "two" / "report.html")
    for name in ("results.json", "report.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert {path.name for path in (tmp_path / "one").iterdir()} == FILES
    assert_pictures(tmp_path / "one", [name for name in FILES if name.endswith(".png")])


def test_results_are_strict_json(found, tmp_path):
    found.save_results(tmp_path)
    content = strict((tmp_path / "results.json").read_text())
    diverged = next(entry for entry in content["entries"] if entry["name"] == "diverges")
    assert None in np.ravel(diverged["curves"]["loss"]).tolist() or max(np.ravel(diverged["curves"]["loss"])) < np.inf
    assert content["facts"]["budget"] == {"evaluations": 300, "generations": None, "seconds": None}
    assert {"python", "jax"} <= content["facts"]["versions"].keys()


def test_the_report_needs_nothing_beside_it(found, tmp_path):
    text = found.report(tmp_path / "deep" / "report.html").read_text()
    assert not re.search(r"https?:|//\w|\ssrc=|@import|<script|<link|<iframe", text)
    assert re.findall(r"url\((?!#)", text) == []
    assert re.findall(r'href="(?!#)', text) == []
    ids = Counter(re.findall(r'\sid="([^"]+)"', text))
    for target in re.findall(r'(?:href="#|url\(#)([^")]+)', text):
        assert ids[target] == 1, f"{target} is not there once"
    assert "&lt;b&gt;SGD &amp; co" in text
    assert "<b>SGD" not in text
    assert "Bowl <i>" not in text
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("name", [r"\d$R^2$", r"\1", '"><b>&', r"$\nonsense{$", "$"])
def test_a_metric_of_any_name_is_drawn_as_it_is(found, tmp_path, name):
    entries = (made("$x_", [[3.0], [2.0]], **{name: [[0.5], [0.8]]}),)
    replace(found, entries=entries).save(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert f'aria-label="{escape(name)} against evaluations"' in text
    assert "<b>&" not in text.replace("<b>&lt;", "")
    if name == r"\1":
        assert (tmp_path / "_1_seconds.png").exists()


def test_a_folder_that_holds_none_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no results\.json"):
        Comparison.load(tmp_path)
    for content in ("{", "[]", '{"format": 99}', '{"format": 1, "title": "x"}'):
        (tmp_path / "results.json").write_text(content)
        with pytest.raises(ValueError, match="is not a comparison"):
            Comparison.load(tmp_path)


def test_numbers_that_are_none_break_nothing(found, tmp_path):
    nan, inf = np.nan, np.inf
    entries = (
        made("good", [[3, 2], [2, 1], [1, 0]], accuracy=[[0.5, 0.6], [0.8, 0.9], [1.0, 0.9]]),
        made("half", [[3, 2], [2, nan], [1, inf]], "gradient", accuracy=[[0.5, nan]] * 3),
        made("none", [[nan, nan]] * 3, "zeroth-order", accuracy=[[nan, nan]] * 3),
        made("huge", [[3, 2], [1e30, 1e25], [1e38, 1e38]], accuracy=[[0.1, 0.1]] * 3),
        Entry("idle", "evolution", "settings"),
    )
    broken = replace(found, entries=entries)
    broken.save(tmp_path)
    strict((tmp_path / "results.json").read_text())
    assert_pictures(tmp_path, [path.name for path in tmp_path.glob("*.png")])
    assert [row["optimizer"] for row in broken.rows()] == ["good", "huge", "half", "none", "idle"]
    rows = {row["optimizer"]: row for row in broken.rows()}
    assert rows["half"]["loss"] is None  # one of two seeds is infinitely bad, and so is their median
    assert rows["half"]["loss_range"] == [1.0, None]
    assert "diverged" in str(broken)
    assert Comparison.load(tmp_path).rows() == broken.rows()


@pytest.mark.parametrize("entries", [(), (made("at zero", [[0.0], [0.0]]),), (made("below", [[1.0], [-5.0]]),)])
def test_figures_of_little_or_of_negative_losses(found, tmp_path, entries):
    entries = entries or (Entry("idle", "evolution", "settings"),)
    (path,) = replace(found, entries=entries).plot(tmp_path / "one.png")
    assert_pictures(tmp_path, [path.name])


def test_importing_draws_nothing_in():
    names = ("matplotlib", "rich.progress", "rich.table", "pandas")
    code = f"import sys, evolve.compare; print([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


seeds = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=7)


@given(seeds)
def test_a_seed_that_diverged_is_the_worst(values):
    error, score = spread(np.asarray(values), "loss"), spread(np.asarray(values), "accuracy")
    finite = [v for v in values if np.isfinite(v)]
    bad = [np.inf] * (len(values) - len(finite))
    assert error == (min(finite + bad), np.median(finite + bad), max(finite + bad))
    bad = [-np.inf] * len(bad)
    assert score == (min(finite + bad), np.median(finite + bad), max(finite + bad))


@given(st.floats(1, 1e11))
def test_a_count_in_words_is_right_to_half_a_percent(number):
    words = count(number)
    unit = {"k": 1e3, "M": 1e6, "G": 1e9}.get(words[-1], 1.0)
    assert float(words.rstrip("kMG")) * unit == pytest.approx(number, rel=0.0051)
    assert len(words) <= 5


def test_numbers_in_words():
    assert [count(n) for n in (0, 7, 512, 999, 1000, 1536, 150_000, 999_600, 2_100_000)] == (
        ["0", "7", "512", "999", "1k", "1.54k", "150k", "1M", "2.1M"]
    )
    assert [duration(s) for s in (None, 0.034, 9.949, 9.96, 119.4, 125.0)] == (
        ["–", "0.03 s", "9.95 s", "10.0 s", "119.4 s", "2 min 05 s"]
    )
    assert [size(n) for n in (None, 512, 2048, 5 * 2**20, 1023 * 2**20, 3 * 2**30)] == (
        ["–", "512 B", "2 KiB", "5 MiB", "1023 MiB", "3 GiB"]
    )
    assert [value(v) for v in (0.0, 0.123456, 1e-12, 2.5e8, np.inf)] == ["0", "0.123", "1e-12", "2.5e8", "diverged"]
    assert interval(spread(np.asarray([0.971, 0.969, 0.98]), "accuracy"), "accuracy") == ("97.1 %", "[96.9, 98.0]")
    assert interval(spread(np.asarray([2.0, 2.0]), "loss"), "loss") == ("2", "")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12).map(sorted), st.floats(0.01, 0.3))
def test_labels_are_moved_apart_in_order_and_stay_inside(places, gap):
    moved = np.asarray(apart(places, gap))
    room = min(gap, 1 / max(1, len(places) - 1))
    assert np.all(np.diff(moved) >= room - 1e-9)
    assert moved.min() >= -1e-9
    assert moved.max() <= 1 + 1e-9


@given(st.integers(1, 9))
def test_labels_that_are_apart_already_stay(count):
    places = np.linspace(0.05, 0.95, count).tolist()
    np.testing.assert_allclose(apart(places, 0.1), places, atol=1e-9)


def long_named():
    """Twelve metrics, and names that hardly fit anywhere."""
    metrics = {f"reward_of_episode_{i}": [[1.25 * i, 2.5 * i]] for i in range(12)}
    entries = tuple(made(name, [[1.0, 2.0]], **metrics) for name in ("Separable CMA-ES with restarts", "x" * 40))
    facts = {"budget": {"evaluations": 100}, "seeds": 2}
    return Comparison("Title", facts, entries)


def test_a_table_that_no_terminal_limits_is_whole():
    shown = str(long_named())
    for words in ("Separable CMA-ES with restarts", "x" * 40, "evaluations", "reward of episode 11", "[13.8, 27.5]"):
        assert words in shown
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) > 200


@pytest.mark.parametrize("width", [60, 80, 132, 200])
def test_a_terminal_cuts_no_name(width):
    comparison, console = long_named(), Console(width=width)
    with console.capture() as captured:
        console.print(comparison.table(width))
    lines = [line.ljust(width) for line in captured.get().splitlines()]
    assert max(map(len, lines)) <= width
    names = "".join(line.split("  ")[0].strip() for line in lines)
    assert "x" * 40 in names.replace(" ", "")
    assert width < 70 or "…" not in captured.get()
