"""A search goes on when its store does not: trials wait in a local file until the store takes them."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from metaml.errors import StoreError
from metaml.store.errors import StoreFullError, StoreUnavailableError
from metaml.store.records import trial_from_json, trial_to_json
from metaml.store.store import Store
from metaml.trial import Trial

RETRY_SECONDS = 20.0
"""How long a store that did not answer is left alone."""

logger = logging.getLogger(__name__)


class Spool:
    """Trials in a file, a line each, on the disk before `add` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, run_id: str, trial: Trial) -> None:
        """Append one trial.

        Raises:
            StoreError: The file cannot be written.
        """
        line = json.dumps({"run_id": run_id, "trial": trial_to_json(trial)}) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            msg = f"a trial can be kept neither in the store nor in {self.path} ({error.strerror}): free some space"
            raise StoreError(msg) from error

    def __iter__(self) -> Iterator[tuple[str, Trial]]:
        """Yield (id of the run, trial) in the order of writing; a line that a crash cut short is passed over."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                    yield entry["run_id"], trial_from_json(entry["trial"])
                except (ValueError, KeyError, TypeError):
                    logger.warning("a line of %s cannot be read and is passed over", self.path)

    def replay(self, store: Store) -> int:
        """Write everything into a store and remove the file; return how many trials there were.

        It may be done again after any kind of stop: a store takes each trial once.

        Raises:
            StoreError: The store still does not take them; the file stays.
        """
        waiting: dict[str, list[Trial]] = {}
        for run_id, trial in self:
            waiting.setdefault(run_id, []).append(trial)
        if waiting:
            store.add_runs_of_trials(waiting)
        self.path.unlink(missing_ok=True)
        return sum(map(len, waiting.values()))


class Recorder:
    """Keeps the trials of one run: in the store, or in a spool while the store is locked, full or away.

    Other failures, such as a run that the store does not know, are raised.
    """

    def __init__(self, store: Store, run_id: str, spool: Path) -> None:
        """Begin to record a run that the store has already.

        Args:
            store: Where the trials belong.
            run_id: The run.
            spool: File for what the store cannot take; it is removed when the store has everything.
        """
        self._store = store
        self._run_id = run_id
        self._spool = Spool(spool)
        self._retry_at = 0.0

    def add(self, trial: Trial) -> None:
        """Keep one trial; when this returns it is on a disk."""
        if time.monotonic() >= self._retry_at and self.flush():
            try:
                self._store.add_trial(self._run_id, trial)
                return
            except (StoreUnavailableError, StoreFullError) as error:
                self._give_up_for_now(error)
        self._spool.add(self._run_id, trial)

    def flush(self) -> bool:
        """Try to bring what waits into the store; return whether nothing waits any more."""
        try:
            if self._spool.path.exists():
                logger.info("%d trials that waited are in %s now", self._spool.replay(self._store), self._store.url)
        except (StoreUnavailableError, StoreFullError) as error:
            self._give_up_for_now(error)
            return False
        return True

    def _give_up_for_now(self, error: StoreError) -> None:
        logger.warning("%s; its trials wait in %s", error, self._spool.path)
        self._retry_at = time.monotonic() + RETRY_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()
