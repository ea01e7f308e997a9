"""Examples from CSV tables (RFC 4180, with any delimiter)."""

import csv
import itertools
from collections.abc import Iterator
from typing import SupportsIndex, TextIO

import numpy as np

from problems.checks import as_integer, check_examples
from problems.readers import Examples, FilePath, existing, nearest


def read_csv(
    path: FilePath, target: SupportsIndex | str = -1, *, header: bool | None = None, delimiter: str = ","
) -> Examples:
    """A table of numbers, one example a line; one column is the target.

    What is wrong is named by line and column, both counted from 1 as in a text editor.

    Parameters
    ----------
    path
        The file, UTF-8. Lines that are empty or blank are skipped.
    target
        The target's column: its name, or its index from 0 (negative from the end).
    header
        Whether the first line names the columns; None finds out: it does if none of its cells is a number.
    delimiter
        What separates cells, one character; blanks around a number do not matter.

    Returns
    -------
    inputs
        All other columns in their order, float64, shape (n, columns - 1).
    targets
        Shape (n,): int64 class labels if every cell is written as a whole number ("3"), else float64 ("3.0").

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        There is no example or no such column, lines differ in length, a cell is no finite number, which is
        named with its place, or the delimiter is none.
    """
    file = existing(path, "read_csv")
    where = f"read_csv: {file}:"
    with open(file, encoding="utf-8-sig", newline="") as text:
        lines = _lines(text, delimiter, where)
        number, first = next(lines, (0, []))
        if not first:
            raise ValueError(f"{where} the file is empty.")
        if header is None:
            header = not any(_is_number(cell) for cell in first)
        column = _column(target, first, header, where)
        table: list[np.ndarray] = []
        whole = True
        for line, row in lines if header else itertools.chain([(number, first)], lines):
            table.append(_numbers(row, len(first), f"{where} line {line}", may_name=line == number))
            whole = whole and _is_whole(row[column])
    if not table:
        raise ValueError(f"{where} there is a header but no line of numbers below it.")
    numbers = np.stack(table)
    inputs, targets = check_examples(np.delete(numbers, column, axis=1), numbers[:, column], where)
    return inputs, targets.astype(np.int64) if whole else targets


def _lines(text: TextIO, delimiter: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not blank, each with its number from 1."""
    try:
        reader = csv.reader(text, delimiter=delimiter)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} delimiter is {delimiter!r}; give one character, such as ',' or ';'.") from error
    try:
        for row in reader:
            if delimiter.join(row).strip():
                yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} this is no UTF-8 text ({error}); save it as UTF-8.") from error
    except csv.Error as error:
        raise ValueError(f"{where} line {reader.line_num} is no CSV ({error}).") from error


def _column(target: SupportsIndex | str, first: list[str], header: bool, where: str) -> int:
    """The index of the target's column."""
    if len(first) < 2:
        raise ValueError(
            f"{where} the first line has one column, {first[0]!r}; give the delimiter that parts inputs from target."
        )
    index = as_integer(target)
    if index is not None:
        if not -len(first) <= index < len(first):
            raise ValueError(f"{where} there is no column {index}; the first line has {len(first)} columns, from 0 on.")
        return index % len(first)
    if not isinstance(target, str):
        raise ValueError(f"{where} target is {target!r}; give the column's index, an integer, or its name.")
    if not header:
        raise ValueError(f"{where} there is no header, so no column is named {target!r}; give the column's index.")
    names = [cell.strip() for cell in first]
    if names.count(target) != 1:
        fault = f"{names.count(target)} columns are named" if target in names else "no column is named"
        raise ValueError(f"{where} {fault} {target!r}; {nearest(target, names)}")
    return names.index(target)


def _numbers(row: list[str], columns: int, where: str, may_name: bool) -> np.ndarray:
    """One line's cells as float64; the first may rather name the columns."""
    if len(row) != columns:
        raise ValueError(f"{where} has {len(row)} columns, the first has {columns}.")
    try:
        numbers = np.array([_number(cell) for cell in row])
    except ValueError:
        bad = next(i for i, cell in enumerate(row) if not _is_number(cell))
        header = ", and pass header=True if this line names the columns" if may_name else ""
        cure = f"encode text as numbers, fill or drop empty cells{header}"
        raise ValueError(f"{where}, column {bad + 1}: {row[bad]!r} is not a number; {cure}.") from None
    if not np.isfinite(numbers).all():
        bad = int(np.argmin(np.isfinite(numbers)))
        raise ValueError(f"{where}, column {bad + 1}: {row[bad]!r} is not finite; replace it, or drop the line.")
    return numbers


def _number(cell: str) -> float:
    # Python groups digits by "_"; in a table "1_000" is rather a name or a slip.
    if "_" in cell:
        raise ValueError(cell)
    return float(cell)


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def _is_whole(cell: str) -> bool:
    digits = cell.strip().lstrip("+-")
    # Beyond 15 digits float64 no longer holds every whole number.
    return digits.isdecimal() and len(digits) <= 15
