"""History: a grid that depends on the generation alone, whatever blocks the generations came in."""

import builtins
import json

import jax.numpy as jnp
import numpy as np
import pytest

import evolve
import problems
from evolve.run.history import History, exact, stride

PROBLEM = problems.wrap(lambda x: jnp.sum((x - 1) ** 2), jnp.zeros(3))
OPENES = evolve.OpenES(population=8, learning_rate=1e-4)


def grid(last):
    """Every generation up to 1,000, every tenth up to 10,000, ...; and the last."""
    decades = [range(10**k if k > 2 else 0, 10 ** (k + 1), 10 ** max(0, k - 2)) for k in range(2, 6)]
    points = sorted({g for decade in decades for g in decade if 0 < g <= last} | {last})
    return points


def same(one, other, but=("seconds",)):
    assert list(one) == list(other)
    for name in set(one) - set(but):
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize("generation", [1, 999, 1000, 1001, 10_000, 10_001, 100_000, 2**31 - 2])
def test_stride_is_a_hundredth_of_the_decade(generation):
    expected = max(1, 10 ** (len(str(generation - 1)) - 3))
    assert stride(generation) == stride(jnp.int32(generation)) == expected


@pytest.mark.parametrize("last", [1, 999, 1000, 1001, 1234, 12_345])
def test_rows_are_a_thinned_grid_and_the_end(last):
    history = evolve.run(PROBLEM, OPENES, generations=last).history
    assert history["generation"].tolist() == grid(last)
    assert all(len(column) == len(grid(last)) for column in history.values())


def test_blocks_never_alter_results():
    """Watched every generation, every seventh, or at the end only: bit-identical."""
    results = [evolve.run(PROBLEM, OPENES, generations=1234, watch_every=every) for every in (1, 7, 1000, 5000)]
    results.append(evolve.run(PROBLEM, OPENES, generations=1234, watch_every=lambda g: g + 13))
    for result in results[1:]:
        same(result.history, results[0].history)
        assert np.array_equal(result.answer, results[0].answer)
        assert np.array_equal(result.state.center, results[0].state.center)


def test_columns():
    history = evolve.run(PROBLEM, OPENES, generations=5).history
    assert list(history)[:7] == ["generation", "evaluations", "seconds", "loss", "mean", "best", "failed"]
    assert {"sigma", "learning_rate"} <= set(history)
    assert history["generation"].dtype == history["evaluations"].dtype == history["failed"].dtype == np.int64
    assert history["loss"].dtype == np.float64
    np.testing.assert_array_equal(history["evaluations"], 8 * history["generation"])
    np.testing.assert_array_equal(history["best"], np.minimum.accumulate(history["loss"]))
    assert (history["mean"] >= history["loss"]).all()


def test_seconds_never_fall(tmp_path):
    evolve.run(PROBLEM, OPENES, generations=40, directory=tmp_path / "run", watch_every=3)
    result = evolve.run(PROBLEM, OPENES, generations=80, directory=tmp_path / "run", watch_every=4, resume=True)
    seconds = result.history["seconds"]
    assert len(seconds) == 80
    assert (np.diff(seconds) > 0).all()
    assert seconds[0] > 0
    assert seconds[-1] == pytest.approx(result.seconds)


def test_rows_stopped_by_a_watcher_end_where_it_stopped():
    def enough(progress):
        return progress.generation >= 1003

    result = evolve.run(PROBLEM, OPENES, generations=5000, watch=[enough], watch_every=1)
    assert (result.reason, result.generations) == ("stopped", 1003)
    assert result.history["generation"].tolist() == grid(1003)


def test_watchers_see_the_newest_row():
    seen = []
    result = evolve.run(PROBLEM, OPENES, generations=1006, watch=[seen.append], watch_every=503)
    assert [progress.row["generation"] for progress in seen] == [503, 1006]
    assert seen[-1].row["mean"] == result.history["mean"][-1]
    assert (seen[-1].evaluations, seen[-1].total) == (8 * 1006, 1006)
    assert seen[-1].seconds == result.seconds


def test_to_pandas():
    result = evolve.run(PROBLEM, OPENES, generations=4)
    frame = result.to_pandas()
    assert list(frame.columns) == list(result.history)
    np.testing.assert_array_equal(frame["best"], result.history["best"])


def test_to_pandas_without_pandas(monkeypatch):
    result = evolve.run(PROBLEM, OPENES, generations=1)
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"Result\.to_pandas needs pandas: pip install pandas"):
        result.to_pandas()


def rows(single):
    values = np.array([0.1, np.nan, np.inf, -1e-45, 1e300])[:, None]
    columns = {"generation": np.arange(1, 6)[:, None], "loss": values, "best": values}
    columns = columns if single else {name: np.repeat(column, 2, axis=1) for name, column in columns.items()}
    return History(single).joined({name: exact(column) for name, column in columns.items()})


@pytest.mark.parametrize("single", [True, False])
def test_lines_round_trip(single):
    history = rows(single)
    back = History.read(history.lines(), single)
    assert back.lines() == history.lines()
    for name, column in history.columns.items():
        assert back.columns[name].dtype == column.dtype
        np.testing.assert_array_equal(back.columns[name], column)


def test_lines_are_strict_json():
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    lines = rows(single=True).lines().decode().splitlines()
    values = [json.loads(line, parse_constant=refuse)["loss"] for line in lines]
    assert values == [0.1, None, "Infinity", -1e-45, 1e300]


def test_lines_of_pythons_own_json_are_read_too():
    text = b'{"generation": 1, "loss": NaN}\n{"generation": 2, "loss": -Infinity}\n'
    np.testing.assert_array_equal(History.read(text, single=True).columns["loss"], [[np.nan], [-np.inf]])


@pytest.mark.parametrize(
    "damage", [b"{", b'{"generation": 3}\n', b"null\n", b"\xff\xfe\n", b"\x00" * 9, b'{"generation": "x"}\n']
)
def test_reading_stops_at_the_first_damaged_row(damage):
    whole = rows(single=True)
    kept = b"".join(whole.lines().splitlines(keepends=True)[:3])
    assert History.read(kept + damage + kept, single=True).lines() == kept
    assert History.read(kept[:-1], single=True).lines() == b"".join(kept.splitlines(keepends=True)[:2])
