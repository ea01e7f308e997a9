"""Checkpoints that survive a kill at any moment: safetensors and JSON, atomic renames, checksums, the last two kept."""

import contextlib
import hashlib
import itertools
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

FORMAT = 4
KEPT = 2


class CheckpointError(ValueError):
    """A checkpoint that is corrupt or belongs to another run; the message names the file."""


def write_atomically(path: Path, content: bytes) -> None:
    """Either the old file or the whole new one is there, whenever the process or the machine dies.

    Raises
    ------
    OSError
        The disk is full or the folder cannot be written; the old file is untouched and no fragment is left.
    """
    fragment = path.with_name(f".{path.name}.part")
    try:
        with open(fragment, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fragment, path)
    except BaseException:  # Ctrl-C included
        with contextlib.suppress(OSError):
            fragment.unlink(missing_ok=True)
        raise


def save_checkpoint(directory: Path, generation: int, tree: Any, facts: Mapping[str, Any]) -> None:
    """Write a checkpoint, then drop all but it and the one before it.

    Parameters
    ----------
    directory
        An existing folder.
    generation
        How many were completed: the checkpoint's name and order.
    tree
        Arrays of any dtype.
    facts
        What JSON holds beside them; `run` among them says whose checkpoint it is.

    Raises
    ------
    OSError
        It cannot be written; the checkpoints before it are untouched.
    """
    arrays = _plain(tree)
    content = save({_name(place): _bits(array) for place, array in enumerate(arrays)})
    description = {"format": FORMAT, "generation": generation, "leaves": _outline(arrays), **facts}
    description["sha256"] = _checksum(content, description)
    stem = _stem(generation)
    # The description comes last: a checkpoint without one was never finished.
    write_atomically(directory / f"{stem}.safetensors", content)
    write_atomically(directory / f"{stem}.json", json.dumps(description).encode())
    # Later ones were refused when this run was resumed before them: counted among the last two, they would push
    # out good ones.
    kept = [path.stem for path in _descriptions(directory) if path.stem <= stem][-KEPT:]
    for old in sorted(directory.glob("checkpoint-*")):  # .json before .safetensors
        if old.stem not in kept:
            old.unlink(missing_ok=True)
    for fragment in directory.glob(".*.part"):
        fragment.unlink(missing_ok=True)


def load_checkpoint(directory: Path, like: Any, run: Mapping[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    """The newest checkpoint that is whole and of this run, or None if the folder has none at all.

    A corrupt or foreign one is refused by name in a warning, and the one before it is used.

    Parameters
    ----------
    directory
        Where to look.
    like
        A tree with the structure, shapes and dtypes to restore.
    run
        What `facts["run"]` must equal.

    Raises
    ------
    CheckpointError
        There are checkpoints, and every one was refused.
    """
    refused: list[str] = []
    for path in reversed(_descriptions(directory)):
        try:
            return _read(path, like, run)
        except CheckpointError as error:
            refused.append(str(error))
            warnings.warn(f"{error}; trying the one before it.", stacklevel=2)
    if refused:
        raise CheckpointError(f"no checkpoint in {directory} can be used: " + "; ".join(refused))
    return None


def differences(there: Any, here: Mapping[str, Any]) -> str:
    """What a stored description says otherwise than the present one, in words; empty if nothing."""
    stored = there if isinstance(there, Mapping) else {}
    return ", ".join(
        f"{name} is {_around(stored.get(name), value)} there and {_around(value, stored.get(name))} here"
        for name, value in here.items()
        if stored.get(name) != value
    )


def _around(value: Any, other: Any) -> str:
    """A value in words; of a long one the part around where it begins to differ from the other."""
    words = str(value)
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(words, str(other), strict=False)))
    start = max(0, same - 40)
    part = words[start : start + 80]
    return ("..." if start else "") + part + ("..." if len(words) > start + 80 else "")


def _read(path: Path, like: Any, run: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    weights = path.with_suffix(".safetensors")
    try:
        facts: Any = json.loads(path.read_bytes())
        form, checksum, leaves, stored = facts["format"], facts.pop("sha256"), facts["leaves"], facts["run"]
        content = weights.read_bytes()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path.name} is corrupt ({type(error).__name__}: {error})") from error
    if form != FORMAT:
        raise CheckpointError(f"{path.name} is foreign (its format is {form!r}; this version reads {FORMAT})")
    if checksum != _checksum(content, facts):
        raise CheckpointError(f"{path.name} or {weights.name} is corrupt (the checksum differs)")
    if other := differences(stored, run):
        raise CheckpointError(f"{path.name} is foreign ({other})")
    if leaves != _outline(_plain(like)):
        raise CheckpointError(f"{path.name} is foreign (its arrays have other shapes or dtypes)")
    try:
        return _restore(load(content), like), facts
    except (KeyError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{weights.name} is corrupt ({error})") from error


def _checksum(content: bytes, description: Mapping[str, Any]) -> str:
    """Of the arrays and of everything said about them."""
    return hashlib.sha256(content + json.dumps(description).encode()).hexdigest()


def _descriptions(directory: Path) -> list[Path]:
    return sorted(directory.glob("checkpoint-*.json"))


def _stem(generation: int) -> str:
    return f"checkpoint-{generation:010d}"


def _name(place: int) -> str:
    return f"{place:05d}"


def _plain(tree: Any) -> list[np.ndarray]:
    """Leaves as NumPy arrays, random keys as their words."""
    return [np.asarray(jax.random.key_data(x) if _is_key(x) else x) for x in jax.tree.leaves(tree)]


def _outline(arrays: list[np.ndarray]) -> list[Any]:
    return [[list(array.shape), str(array.dtype)] for array in arrays]


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _bits(array: np.ndarray) -> np.ndarray:
    """Contiguous; dtypes that NumPy's safetensors does not know (bfloat16, float8, complex, ...) as flat bytes."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    plain = array.dtype.isbuiltin == 1 and array.dtype.kind in "fiub"
    return array if plain else array.reshape(-1).view(np.uint8)


def _restore(arrays: dict[str, np.ndarray], like: Any) -> Any:
    leaves, structure = jax.tree.flatten(like)
    restored: list[Any] = []
    for place, (leaf, old) in enumerate(zip(leaves, _plain(like), strict=True)):
        array = jnp.asarray(arrays[_name(place)].reshape(-1).view(old.dtype).reshape(old.shape))
        restored.append(jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else array)
    return structure.unflatten(restored)
