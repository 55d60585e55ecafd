"""The folder of one search: what it was asked, how far it came, what it delivers."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

from metaml.errors import UsageError
from metaml.files import write_json

FORMAT = 1
"""Number of the folder's format."""


def slug(name: str) -> str:
    """Return a name that is safe as a file name.

    >>> slug("../My data (2).csv")
    'my-data-2-csv'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "task"


class RunFolder:
    """Paths and small JSON files of a run; the trials themselves are in the store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model.onnx"
        self.waiting = path / "waiting.jsonl"
        """Trials that the store could not take yet."""
        self.report = path / "report.html"
        self.candidates = path / "candidates"
        self._request, self._progress, self._result = (path / f"{name}.json" for name in ("run", "progress", "result"))

    @classmethod
    def create(cls, path: Path | None, task_name: str, request: dict[str, Any]) -> RunFolder:
        """Make the folder of a new run: `path`, or one under ``runs/`` named after the task and the time.

        Raises:
            UsageError: the folder holds a run already, or cannot be made.
        """
        if path is None:
            stamp = time.strftime("%Y%m%d-%H%M%S")
            path = next(p for p in _numbered(Path("runs") / f"{slug(task_name)}-{stamp}") if not p.exists())
        folder = cls(path)
        if folder._request.exists():
            raise UsageError(f"{path} holds a run already: go on with metaml resume {path}, or choose another --out.")
        try:
            folder.candidates.mkdir(parents=True, exist_ok=True)
            write_json(folder._request, {"format": FORMAT, **request})
        except OSError as error:
            reason = f"The run folder {path} cannot be written ({error.strerror}); choose another --out."
            raise UsageError(reason) from error
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open the folder of an existing run.

        Raises:
            UsageError: there is no run, or one of a newer format.
        """
        folder = cls(path)
        if not folder._request.is_file():
            raise UsageError(f"{path} is not a run folder: it has no run.json.")
        if folder.request.get("format", 0) > FORMAT:
            raise UsageError(f"{path} was written by a newer MetaML; please upgrade.")
        return folder

    @property
    def request(self) -> dict[str, Any]:
        """What the run was asked."""
        return _read(self._request)

    def update_request(self, **content: Any) -> None:
        """Add to what is written down about the run."""
        write_json(self._request, self.request | content)

    @property
    def elapsed(self) -> float:
        """Seconds that the run has used so far, over all its sessions."""
        return float(_read(self._progress)["elapsed"]) if self._progress.exists() else 0.0

    @elapsed.setter
    def elapsed(self, seconds: float) -> None:
        write_json(self._progress, {"elapsed": round(seconds, 3)})

    @property
    def result(self) -> dict[str, Any] | None:
        """The answer, or None while there is none; its paths are those of this folder, wherever it was moved to."""
        if not self._result.exists():
            return None
        content = _read(self._result)
        latency = content["best"]["latency_ms"]
        latency.setdefault("judged", latency["measured"])  # older runs measured all models
        return content | {"run": str(self.path), "best": content["best"] | {"model": str(self.model)}}

    @result.setter
    def result(self, content: dict[str, Any]) -> None:
        write_json(self._result, content)

    def candidate(self, number: int) -> Path:
        """Path of the model that trial `number` left behind."""
        return self.candidates / f"{number:05d}.onnx"

    def predictions(self, number: int) -> Path:
        """Path of the validation predictions of trial `number`."""
        return self.candidates / f"{number:05d}.npz"


def _numbered(path: Path) -> Any:
    yield path
    for i in range(2, 10_000):
        yield path.with_name(f"{path.name}-{i}")


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        advice = "" if path.name == "run.json" else f" Without it metaml resume {path.parent} goes on."
        raise UsageError(f"{path} is damaged: {error}.{advice}") from error
    return content
