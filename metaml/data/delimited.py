"""Delimited text (CSV and its relatives): finds out how it was written from its beginning, then reads it fast."""

from __future__ import annotations

import codecs
import csv
import gzip
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from metaml.data.columns import MISSING_TEXT
from metaml.errors import DataError

SAMPLE_BYTES = 65_536
"""How much of a file is looked at to find out its dialect."""
DELIMITERS = ",;\t|"
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_COMMA_NUMBER = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+")
_POINT_NUMBER = re.compile(r"[+-]?\d+\.\d+")
_POINT_THOUSANDS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+,\d+")
_COMMA_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Dialect:
    """How a text file writes a table."""

    encoding: str = "utf-8"
    delimiter: str = ","
    decimal: str = "."
    thousands: str | None = None
    header: tuple[str, ...] = ()
    """The column names as they stand in the file."""
    trailing: bool = False
    """Every line ends with a delimiter, but the header does not."""
    n_short: int = 0
    """Lines among the first ones that have fewer fields than the header."""


def read_delimited(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read a delimited text file, gzipped or not; returns the table and notes for the user.

    Raises:
        DataError: it is empty, has no rows, is not text, or its lines do not fit its header.
    """
    dialect = sniff(_sample(path), path.name)
    frame = _read(path, dialect)
    if frame.empty:
        raise DataError(f"{path.name} has a header but no rows.")
    return frame, _notes(dialect)


def _notes(dialect: Dialect) -> list[str]:
    notes = []
    repeated = [name for name, count in Counter(dialect.header).items() if count > 1]
    if repeated:
        names = ", ".join(f'"{name}"' for name in repeated[:5])
        notes.append(f"Column names that occur more than once got a number behind: {names}.")
    if dialect.n_short:
        notes.append(f"{dialect.n_short} of the first lines have too few fields: those not there count as missing.")
    return notes


def sniff(sample: bytes, name: str) -> Dialect:
    r"""Find out the dialect of a file from its first bytes.

    >>> sniff(b"a;b\n1,5;2\n2,5;3\n", "x.csv").decimal
    ','
    """
    encoding, text = _decode(sample, name)
    if not text.strip():
        raise DataError(f"{name} is empty.")
    rows = {delimiter: _rows(text, delimiter, len(sample) >= SAMPLE_BYTES) for delimiter in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda d: _fit(rows[d]))
    header, *body = rows[delimiter]
    if any(_POINT_NUMBER.fullmatch(cell.strip()) for cell in header) and all(_is_number(cell) for cell in header):
        raise DataError(
            f"{name} has no header (its first line is all numbers): add a line with the names of the columns."
        )
    decimal, thousands = _number_style([cell.strip() for row in body for cell in row], delimiter)
    trailing = bool(body) and all(len(row) == len(header) + 1 and not row[-1].strip() for row in body)
    n_short = sum(len(row) < len(header) for row in body)
    return Dialect(encoding, delimiter, decimal, thousands, tuple(header), trailing=trailing, n_short=n_short)


def _sample(path: Path) -> bytes:
    try:
        with gzip.open(path) if _is_gzip(path) else path.open("rb") as file:
            return file.read(SAMPLE_BYTES)
    except (EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{path.name} is a damaged gzip file: copy it again.") from error


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _decode(sample: bytes, name: str) -> tuple[str, str]:
    """Return the encoding of a file and its beginning as text: Unicode by its mark or by trial, else Latin-1."""
    for mark, encoding in _BOMS.items():
        if sample.startswith(mark):
            return encoding, sample.decode(encoding, errors="ignore")
    if b"\x00" in sample:
        encoding = "utf-16-le" if sample[1::2].count(0) > sample[::2].count(0) else "utf-16-be"
        if max(sample[::2].count(0), sample[1::2].count(0)) < len(sample) // 3:
            raise DataError(f"{name} is not a text file: give a .csv, .tsv, .parquet, .feather or .arff file.")
        return encoding, sample.decode(encoding, errors="ignore")
    try:
        encoding, text = "utf-8", codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        encoding, text = "latin-1", sample.decode("latin-1")
    if len(_CONTROL.findall(text)) > len(text) // 100:
        raise DataError(f"{name} is not a text file: give a .csv, .tsv, .parquet, .feather or .arff file.")
    return encoding, text


def _rows(text: str, delimiter: str, cut: bool) -> list[list[str]]:
    """Split the sample into fields; a line that the sample cuts off is left out, and so are empty lines."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if cut and len(lines) > 1:
        lines = lines[:-1]
    try:
        rows = [
            row
            for row in csv.reader([f"{line}\n" for line in lines], delimiter=delimiter, skipinitialspace=True)
            if row
        ]
    except csv.Error:
        return [[text]]
    return (rows[:-1] if cut and len(rows) > 2 else rows) or [[text]]


def _fit(rows: list[list[str]]) -> tuple[float, int]:
    """Return how well a delimiter fits: the share of lines with as many fields as the header, and their number."""
    width = len(rows[0])
    if width < 2:
        return 0.0, 0
    return sum(len(row) in (width, width + 1) for row in rows) / len(rows), width


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number_style(cells: list[str], delimiter: str) -> tuple[str, str | None]:
    """Return the decimal mark and the mark between thousands."""
    comma = [cell for cell in cells if _COMMA_NUMBER.fullmatch(cell)]
    grouped = all(_COMMA_THOUSANDS.fullmatch(cell) for cell in comma)
    if any(_COMMA_THOUSANDS.fullmatch(cell) for cell in cells) and grouped and delimiter != ";":
        return ".", ","
    if comma and not any(_POINT_NUMBER.fullmatch(cell) for cell in cells):
        return ",", "." if any(_POINT_THOUSANDS.fullmatch(cell) for cell in comma) else None
    return ".", None


def _read(path: Path, dialect: Dialect) -> pd.DataFrame:
    options: dict[str, Any] = {
        "sep": dialect.delimiter,
        "decimal": dialect.decimal,
        "thousands": dialect.thousands,
        "na_values": sorted(MISSING_TEXT),
        "keep_default_na": False,
        "skipinitialspace": True,
        "index_col": False,
        "low_memory": False,
        "compression": "gzip" if _is_gzip(path) else None,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if dialect.trailing else "error", pd.errors.ParserWarning)
            try:
                frame: pd.DataFrame = pd.read_csv(path, encoding=dialect.encoding, **options)
            except UnicodeDecodeError:  # the first bytes were plain ASCII
                frame = pd.read_csv(path, encoding="latin-1", **options)
    except pd.errors.ParserWarning as error:
        n_names = len(dialect.header)
        raise DataError(
            f"{path.name} has {n_names} names in its header but more fields in its lines: name all."
        ) from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path.name} is empty.") from error
    except (pd.errors.ParserError, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{path.name} {_explain(str(error))}.") from error
    return frame


def _explain(message: str) -> str:
    """Say in plain words what pandas found wrong in a file."""
    fields = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", message)
    if fields:
        expected, line, found = fields.groups()
        return f"has {found} fields in line {line} where {expected} are expected: mend it, or quote its fields"
    quote = re.search(r"EOF inside string starting at row (\d+)", message)
    if quote:
        return f"has a quotation mark in data row {int(quote[1]) + 1} that is never closed: close or remove it"
    return f"cannot be read as a table ({message.strip().splitlines()[-1][:150]})"
