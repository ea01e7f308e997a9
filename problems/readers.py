"""Examples from files: NumPy archives and the IDX files of MNIST; CSV tables are in `problems.tables`.

Every reader returns `(inputs, targets)`, NumPy arrays with one example per row, ready for
`Dataset.split(*read_npz(path))`. A file that cannot be used raises, naming the file, what was found, and the
cure.
"""

import difflib
import gzip
import math
import zipfile
import zlib
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.npyio import NpzFile

from problems.checks import check_examples

Examples: TypeAlias = tuple[np.ndarray, np.ndarray]
FilePath: TypeAlias = str | PathLike[str]

# Type codes of the IDX format (LeCun, Cortes & Burges, "The MNIST database"); all numbers are big-endian.
_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_npz(path: FilePath, inputs: str = "x", targets: str = "y") -> Examples:
    """Two arrays of a NumPy archive, as `numpy.savez(path, x=..., y=...)` writes it.

    Parameters
    ----------
    path
        The .npz file. Pickled objects in it are refused: they could run any code.
    inputs, targets
        Names of the two arrays; shapes (n, ...).

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError, TypeError
        It is no archive, lacks an array, or an array holds objects, text or non-finite numbers, or lengths
        disagree.
    """
    file = existing(path, "read_npz")
    where = f"read_npz: {file}:"
    arrays: list[np.ndarray] = []
    with _archive(file, where) as archive:
        for name in (inputs, targets):
            if name not in archive.files:
                raise ValueError(f"{where} there is no array {name!r}; {nearest(name, archive.files)}")
            try:
                arrays.append(archive[name])
            except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise ValueError(
                    f"{where} array {name!r} cannot be read ({error}); save it as a plain numeric array."
                ) from error
    return check_examples(arrays[0], arrays[1], where)


def _archive(file: Path, where: str) -> NpzFile:
    """The arrays by name. What is neither a zip file nor a bare array NumPy would take for a pickle."""
    with open(file, "rb") as opened:
        start = opened.read(4)
    if start[:2] not in (b"PK", b"\x93N"):
        found = f"it starts with {start.hex(' ')}, not with 50 4b"
        raise ValueError(f"{where} this is no NumPy archive: {found}; write one with numpy.savez.")
    try:
        archive: Any = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{where} this is no readable .npz file ({error}); write one with numpy.savez.") from error
    if isinstance(archive, np.ndarray):
        raise ValueError(f"{where} this holds one bare array; write inputs and targets with numpy.savez.")
    return archive


def read_idx(images_path: FilePath, labels_path: FilePath) -> Examples:
    """Images and labels in the IDX format of MNIST, plain or gzipped.

    Parameters
    ----------
    images_path, labels_path
        The two files, such as train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz.

    Returns
    -------
    inputs
        Shape (n, ...), such as (60000, 28, 28). Bytes are scaled to float32 in [0, 1]; other types stay.
    targets
        Shape (n,) as written, in the machine's byte order.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        A file is no IDX file, is shorter or longer than its header says, or lengths disagree.
    """
    images = _read_array(existing(images_path, "read_idx"))
    labels = _read_array(existing(labels_path, "read_idx"))
    if images.dtype == np.uint8:
        images = images.astype(np.float32) / np.float32(255)
    return check_examples(images, labels, f"read_idx: {images_path} and {labels_path}:")


def _read_array(file: Path) -> np.ndarray:
    """The array of one IDX file: two zero bytes, type, number of axes, their lengths, then the numbers."""
    where = f"read_idx: {file}:"
    data = file.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{where} the gzip data is damaged or cut off ({error}); fetch it again.") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_DTYPES:
        raise ValueError(
            f"{where} this is no IDX file: it starts with {data[:4].hex(' ') or 'nothing'}, not with 00 00,"
            " a type (08, 09, 0b, 0c, 0d, 0e) and the number of axes."
        )
    dtype, axes = np.dtype(_IDX_DTYPES[data[2]]), data[3]
    start = 4 + 4 * axes
    if len(data) < start:
        raise ValueError(f"{where} cut off within its header of {start} bytes, at {len(data)}; fetch it again.")
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", axes, 4))
    expected = start + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        fault = "cut off" if len(data) < expected else "too long"
        raise ValueError(
            f"{where} {fault}: the header promises shape {shape} of {dtype.name}, {expected} bytes in all,"
            f" and there are {len(data)}; fetch it again."
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def existing(path: FilePath, reader: str) -> Path:
    """The path of a file that is there and not empty."""
    file = Path(path)
    if file.is_dir():
        raise IsADirectoryError(f"{reader}: {file} is a folder; name a file in it.")
    if not file.exists():
        folder = file.parent
        if not folder.is_dir():
            raise FileNotFoundError(f"{reader}: there is no file {file}, nor the folder {folder}.")
        cure = nearest(file.name, [entry.name for entry in folder.iterdir()])
        raise FileNotFoundError(f"{reader}: there is no file {file}; in its folder, {cure}")
    if file.stat().st_size == 0:
        raise ValueError(f"{reader}: {file}: the file is empty.")
    return file


def nearest(name: str, known: list[str]) -> str:
    """A cure for a wrong name: the nearest known one, and all of them if they are few."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    start = f"did you mean {near[0]!r}? There is" if near else "there is"
    shown = ", ".join(repr(one) for one in sorted(known)[:20]) or "nothing"
    return f"{start} {shown}{', ...' if len(known) > 20 else ''}."
