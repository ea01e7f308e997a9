"""CSV tables: what is written is what is read, and every way a table can be wrong is named."""

import csv
import tempfile
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems import read_csv

FINITE = {"allow_nan": False, "allow_infinity": False}


@given(
    hnp.arrays("float64", st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=FINITE),
    st.data(),
    st.booleans(),
    st.sampled_from(",;\t"),
)
def test_csv_round_trip(table, data, header, delimiter):
    target = data.draw(st.integers(-table.shape[1], table.shape[1] - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        with open(path, "w", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter, quoting=data.draw(st.sampled_from([0, 1])))
            if header:
                writer.writerow([f"column {i}" for i in range(table.shape[1])])
            writer.writerows([[repr(float(v)) for v in row] for row in table])
        inputs, targets = read_csv(path, target, delimiter=delimiter)
    np.testing.assert_array_equal(inputs, np.delete(table, target, axis=1))
    np.testing.assert_array_equal(targets, table[:, target])
    assert inputs.dtype == targets.dtype == np.float64


@given(st.lists(st.integers(-999, 999), min_size=1, max_size=8))
def test_csv_targets_written_as_whole_numbers_are_labels(labels):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        path.write_text("\n".join(f"0.5,{label}" for label in labels))
        targets = read_csv(path)[1]
        assert targets.dtype == np.int64
        np.testing.assert_array_equal(targets, labels)
        path.write_text("\n".join(f"0.5,{label}.0" for label in labels))
        assert read_csv(path)[1].dtype == np.float64


def test_csv_target_by_name_bom_blank_lines_and_header_of_numbers(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("\ufeffage, weight\n\n30,70.5\n\n40,80.5\n", encoding="utf-8")
    inputs, targets = read_csv(path, "age")
    np.testing.assert_array_equal(inputs, [[70.5], [80.5]])
    np.testing.assert_array_equal(targets, [30, 40])
    path.write_text("1990,2000\n1.0,2.0\n")
    assert len(read_csv(path)[0]) == 2
    np.testing.assert_array_equal(read_csv(path, "2000", header=True)[1], [2.0])


@pytest.mark.parametrize("delimiter", [",", "\t", " "])
def test_csv_lines_of_blanks_are_empty_lines(delimiter, tmp_path):
    path = tmp_path / "d.csv"
    path.write_text(f"  \n1{delimiter}2\n   \n \t\n3{delimiter}4\n \n")
    inputs, targets = read_csv(path, delimiter=delimiter)
    np.testing.assert_array_equal(inputs, [[1.0], [3.0]])
    np.testing.assert_array_equal(targets, [2, 4])


@pytest.mark.parametrize("target", [np.int64(0), np.uint8(0), np.array(0)])
@pytest.mark.usefixtures("unchecked")
def test_csv_target_may_be_an_integer_of_any_library(target, tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("1,2\n3,4\n")
    np.testing.assert_array_equal(read_csv(path, target)[1], [1, 3])


def test_csv_numbers_beyond_float64_are_no_labels(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("1,12345678901234567890123\n")
    assert read_csv(path)[1].dtype == np.float64


# Faults


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("\n\n", {}, "the file is empty"),
        ("a,b\n", {}, "a header but no line of numbers"),
        ("a,b\n1,2\n3,x\n", {}, "line 3, column 2: 'x' is not a number; .* empty cells\\.$"),
        ("1,2\n3,\n", {}, "line 2, column 2: '' is not a number; .*fill or drop empty cells\\.$"),
        ("a,1\n2,3\n", {}, "line 1, column 1: 'a' is not a number; .*header=True"),
        ("a,b\n1,2\n", {"header": False}, "line 1, column 1: 'a' is not a number"),
        ("1,2\n3,4,5\n", {}, "line 2 has 3 columns, the first has 2"),
        ("a,b\n1,nan\n2,3\n", {}, "line 2, column 2: 'nan' is not finite"),
        ("1,2\n-inf,3\n", {}, "line 2, column 1: '-inf' is not finite"),
        ("\n\na,1\n2,3\n", {}, "line 3, column 1: 'a' is not a number; .*header=True"),
        ("a,b\n\n1,1e400\n", {}, "line 3, column 2: '1e400' is not finite; replace it, or drop the line"),
        ("1\n2\n", {}, "one column, '1'; give the delimiter"),
        ("1;2\n", {}, "one column, '1;2'; give the delimiter"),
        ("1,2\n", {"target": 2}, "there is no column 2; the first line has 2 columns, from 0 on"),
        ("1,2\n", {"target": -3}, "there is no column -3"),
        ("1,2\n", {"target": "price"}, "there is no header, so no column is named 'price'"),
        ("size,price\n1,2\n", {"target": "prize"}, r"no column is named 'prize'; did you mean 'price'\? There"),
        ("size,price\n1,2\n", {"target": "zz"}, "no column is named 'zz'; there is 'price', 'size'"),
        ("a,a\n1,2\n", {"target": "a"}, "2 columns are named 'a'"),
        ("1,2\n", {"target": True}, "target is True; give the column's index, an integer, or its name"),
        ("1,2\n", {"target": 1.0}, "target is 1.0; give the column's index"),
        ("1,2\n3,1_000\n", {}, "line 2, column 2: '1_000' is not a number"),
        ("1,2\n,\n", {}, "line 2, column 1: '' is not a number"),
        ("  \n \t\n", {}, "the file is empty"),
        ("1, 2\n", {"delimiter": ", "}, "delimiter is ', '; give one character, such as"),
        ("1,2\n", {"delimiter": ""}, "delimiter is ''; give one character"),
        ("1,2\n", {"delimiter": None}, "delimiter is None; give one character"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_csv_faults(text, options, message, tmp_path):
    path = tmp_path / "d.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"d\.csv: .*{message}"):
        read_csv(path, **options)


def test_csv_that_is_no_text(tmp_path):
    path = tmp_path / "d.csv"
    path.write_bytes(b"1,\xff\xfe\n")
    with pytest.raises(ValueError, match=r"d\.csv: this is no UTF-8 text"):
        read_csv(path)
    path.write_text("1," + "2" * 200_000)
    with pytest.raises(ValueError, match="line 1 is no CSV"):
        read_csv(path)
