"""Checkpoints: every dtype comes back bit for bit, and what is damaged or foreign is refused by name."""

import builtins
import errno
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from evolve.run import CheckpointError
from evolve.run.checkpoint import load_checkpoint, save_checkpoint, write_atomically

RUN = {"problem": "p", "optimizer": "o", "seed": 0}
DTYPES = [
    *(jnp.bool_, jnp.int8, jnp.int16, jnp.int32, jnp.int64, jnp.uint8, jnp.uint16, jnp.uint32, jnp.uint64),
    *(jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64, jnp.complex64, jnp.complex128),
    *(jnp.float8_e4m3fn, jnp.float8_e5m2, ml_dtypes.int4),
]


def leaves():
    """Every bit pattern that matters: zeros of both signs, NaN, infinities, the smallest and the largest."""
    numbers = np.array([0.0, -0.0, 1.5, -2.25, np.nan, np.inf, -np.inf, 1e-45, 3e38])
    tree = {}
    for dtype in DTYPES:
        with np.errstate(all="ignore"):
            exact = jnp.issubdtype(dtype, jnp.inexact)
            array = np.asarray(numbers if exact else [0, 1, 1, 0], np.float32 if exact else np.int32).astype(dtype)
        tree[np.dtype(dtype).name] = {"many": array, "none": array[:0].reshape(0, 3), "one": array[1].reshape(())}
    tree["turned"] = np.arange(6.0, dtype=np.float32).reshape(2, 3).T
    return tree


def bits(tree):
    return [(leaf.shape, leaf.dtype, np.asarray(leaf).tobytes()) for leaf in jax.tree.leaves(tree)]


@pytest.mark.usefixtures("x64")
def test_every_dtype_comes_back_bit_for_bit(tmp_path):
    tree = jax.tree.map(jnp.asarray, leaves())
    save_checkpoint(tmp_path, 7, tree, {"run": RUN, "seconds": 0.1})
    back, facts = load_checkpoint(tmp_path, jax.tree.map(jnp.zeros_like, tree), RUN)
    assert bits(back) == bits(tree)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    assert (facts["generation"], facts["seconds"]) == (7, 0.1)


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_random_keys_come_back(tmp_path, kind):
    tree = {"one": jax.random.key(3, impl=kind), "many": jax.random.split(jax.random.key(4, impl=kind), 5)}
    save_checkpoint(tmp_path, 1, tree, {"run": RUN})
    back, _ = load_checkpoint(tmp_path, tree, RUN)
    for name, key in tree.items():
        assert back[name].dtype == key.dtype
        np.testing.assert_array_equal(jax.random.key_data(back[name]), jax.random.key_data(key))


def test_nothing_to_load(tmp_path):
    assert load_checkpoint(tmp_path, {}, RUN) is None


def save(folder, *generations):
    for generation in generations:
        save_checkpoint(folder, generation, {"x": jnp.full(3, float(generation))}, {"run": RUN})


def load(folder, run=RUN, like=None):
    return load_checkpoint(folder, {"x": jnp.zeros(3)} if like is None else like, run)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_last_two_are_kept(tmp_path):
    save(tmp_path, 1, 5, 30, 200, 1000)
    expected = [f"checkpoint-{g:010d}.{kind}" for g in (200, 1000) for kind in ("json", "safetensors")]
    assert names(tmp_path) == expected
    assert load(tmp_path)[1]["generation"] == 1000


def test_what_a_kill_left_goes_with_the_next_save(tmp_path):
    (tmp_path / "checkpoint-0000000002.safetensors").write_bytes(b"no description was written")
    (tmp_path / ".checkpoint-0000000003.json.part").write_bytes(b"half a desc")
    save(tmp_path, 1)
    assert len(names(tmp_path)) == 2


def test_refused_later_ones_never_push_out_good_ones(tmp_path):
    save(tmp_path, 50, 60)
    for path in tmp_path.glob("*.json"):
        path.write_text("{")
    save(tmp_path, 40)
    assert [name for name in names(tmp_path) if name.endswith("json")] == ["checkpoint-0000000040.json"]
    assert load(tmp_path)[1]["generation"] == 40


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def flip(place):
    def damage(path):
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)

    return damage


def digit(path):
    """Still JSON, but another number."""
    path.write_text(path.read_text().replace('"generation": 2', '"generation": 3'))


DAMAGE = {
    "cut arrays": ("safetensors", cut, "checksum differs"),
    "flipped header": ("safetensors", flip(2), "checksum differs"),
    "flipped array": ("safetensors", flip(-1), "checksum differs"),
    "empty arrays": ("safetensors", lambda path: path.write_bytes(b""), "checksum differs"),
    "no arrays": ("safetensors", os.unlink, "FileNotFoundError"),
    "cut description": ("json", cut, "JSONDecodeError"),
    "empty description": ("json", lambda path: path.write_bytes(b""), "JSONDecodeError"),
    "no text": ("json", lambda path: path.write_bytes(b"\xff\xfe\x00"), "UnicodeDecodeError"),
    "other JSON": ("json", lambda path: path.write_text("[1, 2]"), "TypeError"),
    "no facts": ("json", lambda path: path.write_text("{}"), "KeyError"),
    "another number": ("json", digit, "checksum differs"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_corrupt_ones_are_refused_by_name_and_the_one_before_is_used(tmp_path, name):
    kind, damage, why = DAMAGE[name]
    save(tmp_path, 1, 2)
    damage(tmp_path / f"checkpoint-0000000002.{kind}")
    with pytest.warns(UserWarning, match=rf"0000000002\.json.* is corrupt \(.*{why}.*; trying the one before"):
        tree, facts = load(tmp_path)
    assert facts["generation"] == 1
    np.testing.assert_array_equal(tree["x"], np.ones(3))
    damage(tmp_path / f"checkpoint-0000000001.{kind}") if "number" not in name else cut(
        tmp_path / "checkpoint-0000000001.json"
    )
    with (
        pytest.warns(match="trying"),
        pytest.raises(CheckpointError, match=r"no checkpoint in .* be used: .*02.*01"),
    ):
        load(tmp_path)


def edited(path, **facts):
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_foreign_ones_are_refused_by_name(tmp_path):
    save(tmp_path, 1)
    with (
        pytest.warns(match="trying"),
        pytest.raises(CheckpointError, match=r"foreign \(seed is 0 there and 4 here\)"),
    ):
        load(tmp_path, run=RUN | {"seed": 4})
    for like in ({"x": jnp.zeros(4)}, {"x": jnp.zeros(3, jnp.int32)}, {"x": jnp.zeros(3), "y": jnp.zeros(())}):
        with pytest.warns(match="trying"), pytest.raises(CheckpointError, match="arrays have other shapes or dtypes"):
            load(tmp_path, like=like)
    edited(tmp_path / "checkpoint-0000000001.json", format=99)
    with (
        pytest.warns(match="trying"),
        pytest.raises(CheckpointError, match=r"foreign \(its format is 99; this"),
    ):
        load(tmp_path)


def full(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace", "open", "write"])
def test_a_full_disk_leaves_the_old_file_and_no_fragment(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    if call == "open":
        monkeypatch.setattr(builtins, "open", full)
    elif call == "write":
        real = open

        def opened(*args, **kwargs):
            file = real(*args, **kwargs)
            return type("Full", (), {"__enter__": lambda s: s, "__exit__": lambda *_: file.close(), "write": full})()

        monkeypatch.setattr(builtins, "open", opened)
    else:
        monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new and longer")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_an_interrupt_while_writing_leaves_no_fragment(tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert names(tmp_path) == []


@pytest.mark.parametrize("writes", range(4))
def test_a_kill_at_any_step_of_a_save_leaves_a_good_checkpoint(tmp_path, monkeypatch, writes):
    """The steps are the renames and removals; a kill before each of them in turn."""

    class Killed(BaseException):
        pass

    save(tmp_path, 1, 2)
    steps = []

    def killing(real):
        def step(*args, **kwargs):
            if len(steps) == writes:
                raise Killed
            steps.append(args)
            return real(*args, **kwargs)

        return step

    monkeypatch.setattr(os, "replace", killing(os.replace))
    monkeypatch.setattr(Path, "unlink", killing(Path.unlink))
    with pytest.raises(Killed):
        save(tmp_path, 3)
    monkeypatch.undo()
    tree, facts = load(tmp_path)
    assert facts["generation"] == (3 if writes >= 2 else 2)
    np.testing.assert_array_equal(tree["x"], np.full(3, float(facts["generation"])))
