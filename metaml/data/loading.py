"""From what the user gives as ``--task`` to a task: files, scikit-learn's datasets, OpenML, frames."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from metaml.data.columns import as_frame, closest
from metaml.data.delimited import read_delimited
from metaml.data.image_files import load_image_task
from metaml.data.splits import Split
from metaml.data.target import WantedType
from metaml.data.task import Task, make_task, rename_notes
from metaml.errors import DataError

if TYPE_CHECKING:
    from metaml.data.openml import OpenMLData

USUAL_TARGETS = ("target", "class", "label", "y")
"""The column that is taken as the target when none is named, if exactly one of them exists."""
SKLEARN_DATASETS = ("breast_cancer", "diabetes", "digits", "iris", "wine")
_MAGIC = {
    b"PAR1": "a Parquet file: name it .parquet",
    b"ARROW1": "an Arrow file: name it .feather",
    b"PK\x03\x04": "a zip file: unpack it",
}


def load_task(source: str | Path | pd.DataFrame, target: str | None = None, *, type: WantedType | None = None) -> Task:
    """Load a task.

    Args:
        source: A file (.csv, .tsv, .txt, .arff, each also .gz, .parquet, .feather), ``sklearn:NAME``, ``openml:ID``
            (a task of OpenML, with its own splits), ``openml:dID`` (a dataset), or a frame that holds the target too;
            a folder with one subfolder of images for each class, or an .npz file of images and labels.
        target: Name of the target column. Without it, the dataset's own, or the only one of ``USUAL_TARGETS``.
        type: Task type, or ``"classification"`` for either kind; None takes what the target looks like.

    Raises:
        DataError: it cannot be read, or is nothing to learn from; one sentence that says what to do.
    """
    notes: list[str] = []
    splits: tuple[Split, ...] = ()
    origin: str | None = str(source) if isinstance(source, str | Path) else None
    if isinstance(source, pd.DataFrame):
        frame, name, notes = source, "data", rename_notes(source)
    elif str(source).startswith("sklearn:"):
        frame, usual, name = _load_sklearn(str(source).partition(":")[2])
        target = target or usual
    elif str(source).startswith("openml:"):
        found = _load_openml(str(source).partition(":")[2])
        frame, name, target = found.frame, found.name, target or found.target
        if target == found.target:
            type, splits = type or found.type, found.splits
    elif _shows_images(Path(source)):
        return load_image_task(Path(source), target, type=type)
    else:
        frame, notes = _read_table(source)
        name, origin = _stem(Path(source)), str(Path(source).resolve())
    unique = as_frame(frame)
    column = _target_column(list(unique.columns), target, origin and Path(origin).name or name)
    task = make_task(unique.drop(columns=column), unique[column], name=name, type=type, source=origin, splits=splits)
    return _with_notes(task, notes)


def _shows_images(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() == ".npz"


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a file as a table, in whatever of the known formats it is.

    Raises:
        DataError: there is no such file, or it cannot be read; one sentence that says what to do.
    """
    return _read_table(path)[0]


def _with_notes(task: Task, notes: list[str]) -> Task:
    return replace(task, notes=(*notes, *task.notes)) if notes else task


def _read_table(source: str | Path) -> tuple[pd.DataFrame, list[str]]:
    if "://" in str(source):
        raise DataError(f"{source} is an address: download it first.")
    path = Path(source)
    if path.is_dir():
        raise DataError(f"{path} is a folder: give the file of a table.")
    if not path.exists():
        raise DataError(f"There is no file {path}.{_similar_file(path)}")
    if not path.is_file():
        raise DataError(f"{path} is no regular file: save the data to a file first.")
    reader = _READERS.get(_suffix(path))
    if reader is None:
        raise DataError(f"{path.name} has an unknown ending: known are {', '.join(_READERS)} (.gz for text files).")
    try:
        return reader(path)
    except (OSError, MemoryError) as error:
        raise DataError(
            f"{path.name} cannot be read ({str(error).splitlines()[0] if str(error) else 'out of memory'})."
        ) from error


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else suffixes[-1] if suffixes else ""


def _stem(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).stem


def _similar_file(path: Path) -> str:
    return closest(path.name, [file.name for file in path.parent.iterdir()]) if path.parent.is_dir() else ""


def _read_text(path: Path) -> tuple[pd.DataFrame, list[str]]:
    with path.open("rb") as file:
        start = file.read(8)
    for magic, what in _MAGIC.items():
        if start.startswith(magic):
            raise DataError(f"{path.name} is {what}.")
    return read_delimited(path)


def _read_columnar(
    reader: Callable[[Path], pd.DataFrame], what: str
) -> Callable[[Path], tuple[pd.DataFrame, list[str]]]:
    def read(path: Path) -> tuple[pd.DataFrame, list[str]]:
        if path.stat().st_size == 0:
            raise DataError(f"{path.name} is empty.")
        try:
            frame = reader(path)
        except Exception as error:  # pyarrow raises many kinds
            reason = str(error).strip().splitlines()[0][:150]
            raise DataError(f"{path.name} cannot be read as {what} ({reason}): write it again.") from error
        if frame.empty:
            raise DataError(f"{path.name} has no rows.")
        return frame.reset_index(drop=True), []

    return read


def _read_arff(path: Path) -> tuple[pd.DataFrame, list[str]]:
    import arff

    with path.open("rb") as file:
        raw = file.read()
    try:
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8", errors="replace")
        dense = not any(line.lstrip().startswith("{") for line in text.splitlines())
        content = arff.load(io.StringIO(text), return_type=arff.DENSE if dense else arff.LOD)
    except (arff.ArffException, EOFError, gzip.BadGzipFile, ValueError, StopIteration) as error:
        raise DataError(
            f"{path.name} cannot be read as ARFF ({(str(error) or 'it is empty').splitlines()[0]})."
        ) from error
    rows = content["data"] if dense else [_dense_row(row, content["attributes"]) for row in content["data"]]
    if not rows:
        raise DataError(f"{path.name} has no rows.")
    frame = pd.DataFrame(rows, columns=[name for name, _ in content["attributes"]])
    nominal = {i: kind for i, (_, kind) in enumerate(content["attributes"]) if isinstance(kind, list)}
    columns = [frame.iloc[:, i].astype("category") if i in nominal else frame.iloc[:, i] for i in range(frame.shape[1])]
    return pd.concat(columns, axis=1), []


def _dense_row(row: dict[int, Any], attributes: list[tuple[str, Any]]) -> list[Any]:
    """Fill a sparse ARFF row: what is not written is zero, or the first value of a nominal attribute."""
    return [row.get(i, kind[0] if isinstance(kind, list) else 0.0) for i, (_, kind) in enumerate(attributes)]


_READERS: dict[str, Callable[[Path], tuple[pd.DataFrame, list[str]]]] = {
    ".csv": _read_text,
    ".tsv": _read_text,
    ".txt": _read_text,
    ".parquet": _read_columnar(pd.read_parquet, "Parquet"),
    ".pq": _read_columnar(pd.read_parquet, "Parquet"),
    ".feather": _read_columnar(pd.read_feather, "Feather"),
    ".arff": _read_arff,
}


def _load_sklearn(name: str) -> tuple[pd.DataFrame, str, str]:
    if name not in SKLEARN_DATASETS:
        known = ", ".join(SKLEARN_DATASETS)
        raise DataError(f'There is no dataset "sklearn:{name}": known are {known}.{closest(name, SKLEARN_DATASETS)}')
    import sklearn.datasets

    data = getattr(sklearn.datasets, f"load_{name}")(as_frame=True)
    frame = data.frame
    if "target_names" in data:
        frame = frame.assign(target=[data.target_names[code].item() for code in data.target])
    return frame, "target", name


def _load_openml(identifier: str) -> OpenMLData:
    from metaml.data.openml import load_openml

    return load_openml(identifier, read_table)


def _target_column(names: list[str], target: str | None, where: str) -> str:
    if target is not None:
        if target in names:
            return target
        raise DataError(f'No column "{target}" in {where}.{closest(target, names) or _listing(names)}')
    usual = [name for name in names if name.lower() in USUAL_TARGETS]
    if len(usual) == 1:
        return usual[0]
    raise DataError(f"Say which column of {where} is the target.{_listing(names)}")


def _listing(names: Iterable[str]) -> str:
    names = list(names)
    return f" Its columns are: {', '.join(names[:30])}{', …' if len(names) > 30 else ''}."
