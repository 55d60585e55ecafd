"""OpenML: tasks, datasets and other people's results. The only file that imports openml.

The openml package asks the server and keeps what it gets in its cache (``OPENML_CACHE_DIR``), so that a task which was
loaded once needs no network. What that package leaves open is settled here: time limits, tries, damaged caches, caches
that must not be written to, and errors that a user can understand. Its pickles are never read: tables and splits are
read from the ARFF or Parquet files themselves.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import logging
import os
import pickle
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openml
import pandas as pd
import requests
import urllib3
from openml.exceptions import OpenMLHashException, OpenMLPrivateDatasetError, OpenMLServerException

from metaml.data.patience import Patience, RefusedError, time_limits
from metaml.data.splits import Split
from metaml.errors import DataError

TIMEOUT_S = 10.0
"""A server that is silent for longer is given up."""
LISTING_TIMEOUT_S = 60.0
"""The same where the server has to search its database for thousands of results."""
_NO_DATABASE = 107
"""OpenML's code for "try again"."""
_NO_DATASET, _NO_TASK = 111, 151
"""OpenML's codes for what does not exist, or not any more."""
_SETUPS_AT_ONCE = 100


@dataclass(frozen=True, eq=False)
class OpenMLData:
    """What OpenML has under a number."""

    frame: pd.DataFrame
    """All columns to learn from, and the target."""
    name: str
    """Name of the dataset."""
    target: str | None = None
    """The task's, or the usual one of the dataset if that has one."""
    type: Literal["classification", "regression"] | None = None
    """None for a dataset, which leaves it open."""
    splits: tuple[Split, ...] = ()
    """The folds of the task's first repetition; none for a dataset."""


@dataclass(frozen=True, eq=False)
class OpenMLResults:
    """Evaluations of other people's runs."""

    evaluations: pd.DataFrame
    """One row a run: ``run_id``, ``task_id``, ``setup_id``, ``flow_id``, ``flow_name``, ``data_id``, ``data_name``,
    ``value`` (of the measure, nan where it has none) and ``seconds`` (of the processor, nan where they are unknown)."""
    parameters: Mapping[int, Mapping[str, str | None]]
    """Setup -> full names of its parameters -> values."""
    datasets: pd.DataFrame
    """Dataset -> its simple qualities, named as OpenML names them (``NumberOfInstances``, …)."""
    cut: tuple[str, ...] = ()
    """Tasks and studies of which only as many evaluations came as were asked for (``task 31``)."""


class _UnusableError(Exception):
    """Content that cannot be what OpenML has: from a damaged cache or a damaged answer."""


# -- tasks and datasets --------------------------------------------------------------------------------------------


def load_openml(identifier: str | int, read: Callable[[Path], pd.DataFrame]) -> OpenMLData:
    """Load a task by its number (``31``, ``t31``, ``task/31``), or a dataset (``d31``, ``data/31``).

    What is in the cache is not asked for again; what is damaged there is fetched once more.

    Args:
        identifier: What stands behind ``openml:``.
        read: Reads an ARFF or Parquet file.

    Raises:
        DataError: It does not exist, is nothing to predict, or cannot be fetched; one sentence.
    """
    found = re.fullmatch(r"(t|task/|d|data/)?(\d{1,9})", str(identifier))
    if not found:
        raise DataError(f'"openml:{identifier}" is no OpenML source: write openml:ID of a task, or openml:dID.')
    is_task, number = found[1] in (None, "t", "task/"), int(found[2])
    patience = Patience(_may_pass, TIMEOUT_S)
    with _plainly(f"OpenML {'task' if is_task else 'dataset'} {number}"), time_limits(TIMEOUT_S), _cache():
        try:
            return patience.call(lambda: _load(number, is_task, read))
        except (requests.RequestException, OpenMLServerException, DataError, NotImplementedError):
            raise
        except Exception:  # whatever openml and the parsers raise on damaged files
            with _environment("OPENML_SKIP_PARQUET", "true"):  # the checksum is that of the ARFF file
                return patience.call(lambda: _load(number, is_task, read, afresh=True))


def _load(number: int, is_task: bool, read: Callable[[Path], pd.DataFrame], *, afresh: bool = False) -> OpenMLData:
    """Load a task or a dataset through the cache, or without what the cache has of it."""
    if not is_task:
        dataset = openml.datasets.get_dataset(number, download_data=True, force_refresh_cache=afresh)
        frame, target = _table(dataset, read), dataset.default_target_attribute
        return OpenMLData(frame, str(dataset.name), target if target in frame.columns else None)
    if afresh:
        shutil.rmtree(_task_folder(number), ignore_errors=True)
    task = openml.tasks.get_task(number, force_refresh_cache=afresh)
    if not isinstance(task, openml.tasks.OpenMLSupervisedTask):
        raise DataError(f"OpenML task {number} is of type {task.task_type}, which has no target to predict.")
    dataset = openml.datasets.get_dataset(task.dataset_id, download_data=True)
    frame, target = _table(dataset, read), str(task.target_name)
    if target not in frame.columns:
        raise DataError(f'OpenML task {number} is to predict "{target}", which its dataset does not have.')
    is_regression = isinstance(task, openml.tasks.OpenMLRegressionTask)
    splits = _read_splits(_splits_file(task))
    return OpenMLData(frame, str(dataset.name), target, "regression" if is_regression else "classification", splits)


def _table(dataset: Any, read: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
    """Return the columns to learn from, and the target."""
    path = Path(dataset.parquet_file or dataset.data_file)
    if path.suffix == ".arff" and dataset.md5_checksum:
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if digest != dataset.md5_checksum.lower():
            raise _UnusableError("the data do not match their checksum")
    try:
        frame = read(path)
    except DataError as error:
        raise _UnusableError(str(error)) from error
    ignored = [dataset.row_id_attribute or "", *(dataset.ignore_attribute or [])]
    names = {name.strip() for names in ignored for name in (names, *names.split(","))}
    return frame.drop(columns=[name for name in frame.columns if name in names])


def _task_folder(number: int) -> Path:
    return Path(openml.config.get_cache_directory(), "tasks", str(number))


def _splits_file(task: Any) -> Path:
    path = _task_folder(task.task_id) / "datasplits.arff"
    if not path.exists() and task.estimation_procedure["data_splits_url"]:
        task.download_split()
    return path


def _read_splits(path: Path) -> tuple[Split, ...]:
    """Read the folds of the first repetition; of a learning curve, those with the most training rows.

    The file has one line for each row of each fold (``type``, ``rowid``, ``repeat``, ``fold`` and maybe ``sample``).
    """
    if not path.exists():
        return ()
    header, body = re.split(r"(?im)^@data\b.*\n", path.read_text(encoding="utf-8"), maxsplit=1)
    names = [name.strip("'\"").lower() for name in re.findall(r"(?im)^@attribute\s+(\S+)", header)]
    rows = pd.read_csv(io.StringIO(body), names=names, comment="%", quotechar="'", skipinitialspace=True)
    rows = rows[rows["repeat"] == 0]
    rows = rows[rows["sample"] == rows["sample"].max()] if "sample" in names else rows
    folds = [fold for _, fold in rows.groupby("fold")]
    if len({len(fold) for fold in folds}) != 1 or not rows["type"].isin(["TRAIN", "TEST"]).all():
        raise _UnusableError("its splits are damaged")
    return tuple(_split(fold["rowid"].to_numpy(np.int64), (fold["type"] == "TRAIN").to_numpy()) for fold in folds)


def _split(rows: np.ndarray[Any, Any], is_train: np.ndarray[Any, Any]) -> Split:
    return Split(train=np.sort(rows[is_train]), valid=np.sort(rows[~is_train]))


# -- other people's results ----------------------------------------------------------------------------------------


def list_results(*, tasks: list[int], studies: list[int], measure: str, limit: int) -> OpenMLResults:
    """List evaluations of runs on some tasks, and of some studies (of runs, or suites of tasks).

    Args:
        tasks: Numbers of tasks.
        studies: Numbers of studies.
        measure: A measure of OpenML's.
        limit: At most this many evaluations of each task, and of each study of runs.

    Raises:
        DataError: Something does not exist, has no evaluations, or cannot be fetched; one sentence.
    """
    patience = Patience(_may_pass, LISTING_TIMEOUT_S)

    def fetch() -> OpenMLResults:
        wanted = [("task", number) for number in tasks]
        wanted += [each for number in studies for each in _members(number)]
        found = {each: _evaluations(*each, measure, limit) for each in dict.fromkeys(wanted)}
        rows = pd.concat(found.values(), ignore_index=True)
        if rows.empty:
            raise DataError(
                f'OpenML has no evaluations by "{measure}" there: check the numbers, or use another measure.'
            )
        cut = tuple(f"{kind} {number}" for (kind, number), rows in found.items() if len(rows) >= limit)
        rows = rows.drop_duplicates("run_id")
        return OpenMLResults(rows, _parameters(rows["setup_id"]), _datasets(rows["data_id"]), cut)

    with _plainly("The list of OpenML's evaluations"), time_limits(LISTING_TIMEOUT_S):
        return patience.call(fetch)


def _members(study: int) -> list[tuple[str, int]]:
    """Return the tasks of a suite; or the study itself, whose runs are listed in one go."""
    try:
        return [("task", number) for number in openml.study.get_suite(study).tasks or ()]
    except ValueError:  # it is one of runs
        return [("study", study)]


def _evaluations(kind: str, number: int, measure: str, limit: int) -> pd.DataFrame:
    where: dict[str, Any] = {"tasks": [number]} if kind == "task" else {"study": number}
    listing = openml.evaluations.list_evaluations
    rows = listing(measure, size=limit, output_format="dataframe", **where)
    if len(rows) == 0:
        return pd.DataFrame()
    times = listing("usercpu_time_millis", size=limit, output_format="dataframe", **where)
    milliseconds = times.set_index("run_id")["value"] if len(times) else pd.Series(dtype=float)
    seconds = rows["run_id"].map(pd.to_numeric(milliseconds)) / 1e3
    return pd.DataFrame(rows.assign(value=pd.to_numeric(rows["value"]), seconds=seconds))


def _parameters(setups: pd.Series[int]) -> dict[int, dict[str, str | None]]:
    numbers = [int(number) for number in setups.unique()]
    found: dict[Any, dict[str, str | None]] = {}
    for first in range(0, len(numbers), _SETUPS_AT_ONCE):
        part = openml.setups.list_setups(setup=numbers[first : first + _SETUPS_AT_ONCE], output_format="object")
        for number, setup in part.items():
            found[number] = {each.full_name: each.value for each in (setup.parameters or {}).values()}
    return found


def _datasets(numbers: pd.Series[int]) -> pd.DataFrame:
    wanted = [int(number) for number in numbers.unique()]
    listed = openml.datasets.list_datasets(data_id=wanted, status="all", output_format="dataframe")
    return listed if len(listed) == 0 else listed.set_index("did").select_dtypes("number")


# -- the cache and the way to the server ---------------------------------------------------------------------------


@contextmanager
def _cache() -> Iterator[None]:
    """Have openml's cache to itself; where it must not be written to, work on a temporary folder of links to it."""
    root = Path(openml.config.get_config_as_dict()["cachedir"])
    if _is_writable(root):
        with (root / "metaml.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two processes do not fill it at once
            yield
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "cache")
        if root.is_dir():
            shutil.copytree(root, copy, copy_function=os.symlink, ignore=shutil.ignore_patterns("*.pkl", "*.pkl.py3"))
        openml.config.set_root_cache_directory(copy)
        try:
            yield
        finally:
            openml.config.set_root_cache_directory(root)


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metaml.lock").touch()
    except OSError:
        return False
    return True


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})


def _may_pass(error: Exception) -> bool:
    if isinstance(error, RefusedError):
        return error.is_busy
    if isinstance(error, OpenMLServerException):
        return error.code == _NO_DATABASE
    return isinstance(error, OpenMLHashException | requests.exceptions.ChunkedEncodingError)


class _WriteOnlyPickle:
    """Stands for the module pickle inside openml: what is in a cache could run anything when it is unpickled."""

    HIGHEST_PROTOCOL = pickle.HIGHEST_PROTOCOL
    dump = staticmethod(pickle.dump)

    @staticmethod
    def load(_: Any) -> Any:
        """Read nothing; openml goes on with the file that the pickle was made of."""
        raise EOFError("pickles are not read")


@contextmanager
def _plainly(what: str) -> Iterator[None]:
    """Turn whatever goes wrong into a `DataError`; keep openml from tries of its own, pickles and a log on stderr."""
    quiet = logging.NullHandler()
    changed: list[tuple[Any, str, Any]] = [(openml.config, "connection_n_retries", 1)]
    changed += [(module, "pickle", _WriteOnlyPickle) for module in (openml.datasets.dataset, openml.tasks.split)]
    before = [(module, name, getattr(module, name)) for module, name, _ in changed]
    for module, name, value in changed:
        setattr(module, name, value)
    logging.root.addHandler(quiet)  # or else logging.warning would set up a handler
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # openml raises its own and its parsers' errors
        raise DataError(_sentence(what, error)) from error
    finally:
        logging.root.removeHandler(quiet)
        for module, name, value in before:
            setattr(module, name, value)


def _sentence(what: str, error: Exception) -> str:
    """Return what went wrong, and what to do about it."""
    if isinstance(error, RefusedError):
        return f"{what} cannot be fetched, {_refusal(error)} (HTTP {error.status}): try again later or use a file."
    if isinstance(error, requests.exceptions.ChunkedEncodingError | OpenMLHashException):
        return f"{what} cannot be fetched, it arrives damaged: try again later or use a file."
    if isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError):
        return f"{what} cannot be fetched, the server does not answer: check the network or use a file."
    if isinstance(error, OpenMLServerException) and error.code == _NO_DATASET and "task" in what:
        return f"{what} is on a dataset that OpenML has removed: choose another."
    if isinstance(error, OpenMLServerException) and error.code in (_NO_DATASET, _NO_TASK):
        return f"{what} does not exist: openml:ID is a task, openml:dID a dataset."
    if isinstance(error, OpenMLPrivateDatasetError):
        return f"{what} is private: configure the key of its owner for openml."
    reason = (str(getattr(error, "message", error)).strip() or type(error).__name__).splitlines()[0][:200]
    key = openml.config.apikey
    return f"{what} cannot be loaded ({reason.replace(key, '***') if key else reason}): check the number or use a file."


def _refusal(error: RefusedError) -> str:
    if error.status == 429:
        return "the server asks for fewer questions"
    if error.status < 400:
        return "a web page came instead of data"
    return "the server fails" if error.is_busy else "the server refuses"
