"""Checkpoints that survive a kill at any moment: safetensors and JSON, atomic renames, checksums, the last two kept."""

import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load, save

FORMAT = 1
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
    except OSError:
        fragment.unlink(missing_ok=True)
        raise


def save_checkpoint(directory: Path, generation: int, tree: Any, facts: dict[str, Any]) -> None:
    """Write a checkpoint, then drop all but the last two.

    Parameters
    ----------
    directory
        An existing folder.
    generation
        How many were completed: the checkpoint's name and order.
    tree
        Arrays of any dtype.
    facts
        What JSON holds beside them; `fingerprint` among them says whose checkpoint it is.
    """
    arrays = {_name(i): array for i, array in enumerate(_plain(tree))}
    content = save({name: np.ascontiguousarray(_bits(array)) for name, array in arrays.items()})
    description = {
        "format": FORMAT,
        "generation": generation,
        "sha256": hashlib.sha256(content).hexdigest(),
        "leaves": [[list(array.shape), str(array.dtype)] for array in arrays.values()],
        **facts,
    }
    stem = directory / f"checkpoint-{generation:010d}"
    # The description comes last: a checkpoint without one was never finished.
    write_atomically(stem.with_suffix(".safetensors"), content)
    write_atomically(stem.with_suffix(".json"), json.dumps(description).encode())
    for old in _descriptions(directory)[:-KEPT]:
        old.unlink(missing_ok=True)
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def load_checkpoint(directory: Path, like: Any, fingerprint: str) -> tuple[Any, dict[str, Any]] | None:
    """The newest checkpoint that is whole and ours, or None if the folder has none at all.

    A corrupt or foreign one is refused by name in a warning, and the one before it is used.

    Raises
    ------
    CheckpointError
        There are checkpoints, and every one was refused.
    """
    refused: list[str] = []
    for path in reversed(_descriptions(directory)):
        try:
            return _read(path, like, fingerprint)
        except CheckpointError as error:
            refused.append(str(error))
            warnings.warn(f"{error}; trying the one before it.", stacklevel=2)
    if refused:
        raise CheckpointError(f"no checkpoint in {directory} can be used: " + "; ".join(refused))
    return None


def _read(path: Path, like: Any, fingerprint: str) -> tuple[Any, dict[str, Any]]:
    try:
        facts = json.loads(path.read_bytes())
        content = path.with_suffix(".safetensors").read_bytes()
        whole = facts["sha256"] == hashlib.sha256(content).hexdigest()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path.name} is corrupt ({error})") from error
    if not whole:
        raise CheckpointError(f"{path.with_suffix('.safetensors').name} is corrupt (its checksum differs)")
    if facts.get("format") != FORMAT:
        raise CheckpointError(f"{path.name} has format {facts.get('format')}, this version reads {FORMAT}")
    if facts.get("fingerprint") != fingerprint:
        raise CheckpointError(f"{path.name} is foreign (another problem, optimizer, seed or precision made it)")
    wanted = [[list(array.shape), str(array.dtype)] for array in _plain(like)]
    if facts["leaves"] != wanted:
        raise CheckpointError(f"{path.name} is foreign (its arrays have other shapes)")
    return _restore(load(content), like), facts


def _descriptions(directory: Path) -> list[Path]:
    return sorted(directory.glob("checkpoint-*.json"))


def _name(place: int) -> str:
    return f"{place:05d}"


def _plain(tree: Any) -> list[np.ndarray]:
    """Leaves as NumPy arrays, random keys as their words."""
    return [np.asarray(jax.random.key_data(x) if _is_key(x) else x) for x in jax.tree.leaves(tree)]


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _bits(array: np.ndarray) -> np.ndarray:
    """Half-precision and other exotic floats as plain unsigned words: NumPy's safetensors does not know them all."""
    return array if array.dtype.kind in "fiub" else array.view(f"u{array.dtype.itemsize}")


def _restore(arrays: dict[str, np.ndarray], like: Any) -> Any:
    leaves, structure = jax.tree.flatten(like)
    plain = _plain(like)
    restored = []
    for place, (leaf, old) in enumerate(zip(leaves, plain, strict=True)):
        array = arrays[_name(place)].reshape(old.shape).view(old.dtype)
        key = _is_key(leaf)
        restored.append(jax.random.wrap_key_data(jnp.asarray(array)) if key else jnp.asarray(array))
    return structure.unflatten(restored)
