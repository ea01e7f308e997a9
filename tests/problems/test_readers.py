"""Readers: what is written is what is read, and every way a file can be wrong is named."""

import gzip
import math
import pickle
import struct
import tempfile
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems import Dataset, read_csv, read_idx, read_npz

FINITE = {"allow_nan": False, "allow_infinity": False}
NPZ_DTYPES = ["float16", "float32", "float64", "uint8", "int8", "int32", "int64", "bool"]
IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def _arrays(dtype, shape):
    return hnp.arrays(dtype, shape, elements=FINITE if np.dtype(dtype).kind == "f" else None)


@st.composite
def _examples(draw, dtypes):
    size = draw(st.integers(1, 6))
    shape = (size, *draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)))
    return draw(_arrays(draw(st.sampled_from(dtypes)), shape)), draw(_arrays(draw(st.sampled_from(dtypes)), size))


def _idx(array):
    """The bytes of an IDX file, packed number by number with `struct` from the format's description."""
    kind = array.dtype.str[1:]
    letters = {"u1": "B", "i1": "b", "i2": "h", "i4": "i", "f4": "f", "f8": "d"}
    head = bytes([0, 0, IDX_CODES[kind], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + struct.pack(f">{array.size}{letters[kind]}", *array.ravel().tolist())


# Round trips


@given(_examples(NPZ_DTYPES))
def test_npz_round_trip(examples):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, x=examples[0], y=examples[1], other=np.zeros(3))
        for found, want in zip(read_npz(path), examples, strict=True):
            assert found.dtype == want.dtype
            np.testing.assert_array_equal(found, want)


def test_npz_arrays_by_name(tmp_path):
    np.savez_compressed(tmp_path / "d.npz", images=np.ones((2, 3)), labels=np.arange(2))
    inputs, targets = read_npz(str(tmp_path / "d.npz"), inputs="images", targets="labels")
    assert inputs.shape == (2, 3)
    np.testing.assert_array_equal(targets, [0, 1])


@pytest.mark.parametrize("kind", sorted(IDX_CODES))
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@given(data=st.data())
def test_idx_round_trip(kind, pack, data):
    inputs, targets = data.draw(_examples([kind]))
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "images", Path(folder) / "labels"
        first.write_bytes(pack(_idx(inputs)))
        second.write_bytes(pack(_idx(targets)))
        found_inputs, found_targets = read_idx(first, second)
    assert found_targets.dtype == np.dtype(kind)
    np.testing.assert_array_equal(found_targets, targets)
    if kind == "u1":
        assert found_inputs.dtype == np.float32
        np.testing.assert_allclose(found_inputs, inputs / 255, rtol=1e-7)
    else:
        assert found_inputs.dtype == np.dtype(kind)
        np.testing.assert_array_equal(found_inputs, inputs)


def test_idx_bytes_cover_zero_to_one(tmp_path):
    (tmp_path / "i").write_bytes(_idx(np.array([[0, 255]], np.uint8)))
    (tmp_path / "l").write_bytes(_idx(np.array([7], np.uint8)))
    np.testing.assert_array_equal(read_idx(tmp_path / "i", tmp_path / "l")[0], [[0.0, 1.0]])


def test_readers_feed_a_dataset(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4)).astype(np.uint8)
    (tmp_path / "i").write_bytes(_idx(images))
    (tmp_path / "l").write_bytes(_idx((np.arange(20) % 4).astype(np.uint8)))
    examples = read_idx(tmp_path / "i", tmp_path / "l")
    assert Dataset.split(*examples).inputs.shape == (16, 4, 4)
    assert Dataset(*examples, *examples).classes == 4


# Faults: missing and empty files


def _read_twice(path):
    return read_idx(path, path)


@pytest.mark.parametrize("reader", [read_npz, read_csv, _read_twice])
def test_missing_empty_and_folder(reader, tmp_path):
    (tmp_path / "digits.csv").write_text("")
    with pytest.raises(FileNotFoundError, match=r"no file .*digit\.csv; in its folder, did you mean 'digits\.csv'"):
        reader(tmp_path / "digit.csv")
    with pytest.raises(FileNotFoundError, match=r"nor the folder .*nowhere"):
        reader(tmp_path / "nowhere" / "digits.csv")
    with pytest.raises(ValueError, match=r"digits\.csv: the file is empty"):
        reader(tmp_path / "digits.csv")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        reader(tmp_path)


# Faults: npz


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({"X": [1.0], "y": [1]}, ValueError, r"no array 'x'; there is 'X', 'y'\."),
        ({"x": [1.0], "yy": [1]}, ValueError, r"no array 'y'; did you mean 'yy'\? There is 'x', 'yy'"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(4)}, ValueError, "there are 3 inputs but 4 targets"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, ValueError, r"inputs have shape \(0, 2\); .* at least one"),
        ({"x": [1.0, np.inf], "y": [0, 1]}, ValueError, r"inputs hold 1 non-finite .* first inf at index \(1,\)"),
        ({"x": [1.0, 2.0], "y": [np.nan, np.nan]}, ValueError, r"targets hold 2 non-finite .* nan at index \(0,\)"),
        ({"x": ["a", "b"], "y": [0, 1]}, TypeError, "inputs are <U1; they must be real numbers"),
        ({"x": np.array([None, 1]), "y": [0, 1]}, ValueError, "array 'x' cannot be read .*pickle"),
    ],
)
def test_npz_faults(arrays, error, message, tmp_path):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(error, match=rf"d\.npz: .*{message}"):
        read_npz(tmp_path / "d.npz")


def test_npz_that_is_none(tmp_path):
    path = tmp_path / "d.npz"
    for content in (b"certainly not", b"1,2\n3,4\n", pickle.dumps([1, 2]), b"P"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"d\.npz: this is no NumPy archive: it starts with .*, not") as error:
            read_npz(path)
        assert "pickle" not in str(error.value)
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match="one bare array"):
        read_npz(path)
    np.savez(path, x=np.zeros((100, 10)), y=np.zeros(100))
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ValueError, match=r"no readable \.npz file"):
        read_npz(path)


def test_npz_with_damaged_bytes(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=np.zeros((100, 10)), y=np.zeros(100))
    data = bytearray(path.read_bytes())
    data[500] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"array 'x' cannot be read .*CRC"):
        read_npz(path)


# Faults: IDX

GOOD = _idx(np.zeros((2, 3, 3), np.uint8))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0", "no IDX file: it starts with 00"),
        (b"\x89PNG....", "no IDX file: it starts with 89 50 4e 47, not with 00 00"),
        (b"\0\0\x0a\x01\0\0\0\1\0", "no IDX file: it starts with 00 00 0a 01"),
        (GOOD[:10], "cut off within its header of 16 bytes, at 10"),
        (GOOD[:-1], r"cut off: the header promises shape \(2, 3, 3\) of uint8, 34 bytes in all, and there are 33"),
        (GOOD + b"\0", "too long: .* 34 bytes in all, and there are 35"),
        (b"\0\0\x0e\x03" + b"\xff" * 12, "cut off: the header promises shape"),
        (gzip.compress(GOOD, mtime=0)[:-9], "the gzip data is damaged or cut off"),
        (_idx(np.zeros((3, 2), np.uint8)), "there are 3 inputs but 2 targets"),
        (_idx(np.zeros((0, 2), np.uint8)), r"inputs have shape \(0, 2\)"),
        (_idx(np.array([1.0, math.nan], "f4")), r"inputs hold 1 non-finite .* \(1,\)"),
    ],
)
def test_idx_faults(data, message, tmp_path):
    (tmp_path / "images").write_bytes(data)
    (tmp_path / "labels").write_bytes(_idx(np.zeros(2, np.uint8)))
    with pytest.raises(ValueError, match=rf"images.*: .*{message}"):
        read_idx(tmp_path / "images", tmp_path / "labels")
