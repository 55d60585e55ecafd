"""One sitting of a search: asks for proposals, runs them, remembers every outcome, until the time is up."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from metaml.context import Context
from metaml.delivery import finalists
from metaml.events import Listener, Progress
from metaml.halving import Halving, Rungs
from metaml.latency import MEASURE_SECONDS
from metaml.logbook import Logbook
from metaml.proposals import Proposal, Proposer
from metaml.refits import MOST_LENGTHENED, pays_bagged, pays_longer, refit_seconds
from metaml.request import SearchRequest
from metaml.runners import Job, Outcome, WorkerPool
from metaml.trial import Trial

TRIAL_SHARE = 0.25
"""A trial may use this share of the time limit."""
HOPELESS_FACTOR, HOPELESS_MARGIN = 1.5, 0.05
"""A trial is pruned when its first fold's error is above the best error times the factor, plus the margin."""
SAFE_SECONDS = 8.0
"""With less time than this, or after a failure, a search without a model tries the quickest family first."""
MOST_CUT_SHORT = 3
"""When so many trials have failed because the end was near, no more are started."""
MIN_TRIAL_SECONDS = 0.3
"""No trial is started for less time than this."""
LEAST_SECONDS = 4.0
"""A search without any model goes on for so long, even beyond its limit: late is better than nothing."""
OVERRUN_SECONDS = 0.7
"""Trials end by themselves when their time is up; one that is later than this is killed, with its worker."""
MIN_HALVING_ROWS = math.inf
"""Tasks with so many rows have trials that are paused on their way: none, until `experiments.halving` shows a gain."""
COMPRESSING_FACTOR, COMPRESSING_SECONDS = 3.0, 5.0
"""Compressions get so many times the seconds of the best trial, and so many seconds for measurements."""
LONGER_SHARE = 0.45
"""At most this share of the time limit is for training the best on all rows for longer than in its trial."""
CLOSING_SECONDS = 1.5
"""Kept for the report and the end of processes."""


@dataclass(frozen=True)
class _Started:
    """A trial that runs, or is paused."""

    proposal: Proposal
    time: str
    """UTC time of its start, ISO 8601."""
    is_short: bool
    """Whether it got less time than a trial should."""
    checkpoint: Path
    """Where its state is when it is paused."""
    spent: float = 0.0
    """Seconds before it was paused."""


class Session:
    """Runs trials and keeps them.

    Args:
        request: what was asked.
        context: the task and what is known of it.
        proposer: decides what to try next.
        pool: workers that were assigned the task.
        logbook: keeps trials; those of earlier sittings are in it.
        listener: hears of every trial.
        deadline: monotonic time at which the answer must be there.
    """

    def __init__(
        self,
        request: SearchRequest,
        context: Context,
        proposer: Proposer,
        pool: WorkerPool,
        logbook: Logbook,
        *,
        listener: Listener,
        deadline: float,
    ) -> None:
        self._request, self._context = request, context
        self._proposer, self._pool, self._log = proposer, pool, logbook
        self._listener, self._deadline = listener, deadline
        self._running: dict[int, _Started] = {}
        self._paused: dict[int, _Started] = {}
        """Trials of this sitting that may go on."""
        self._halving = Halving() if len(context.task.y) >= MIN_HALVING_ROWS else None
        self._n_cut_short = 0
        self._next_number = 1 + max((trial.number for trial in logbook.trials), default=-1)
        self._began = 0.0
        """When the first trial of this sitting was started; 0 before."""
        self.busy_seconds = 0.0
        """Time in which at least one trial was running."""
        for trial in logbook.trials:
            proposer.observe(trial)

    def run(self) -> None:
        """Run trials until the time is up, the number of trials is reached, or nothing is left to try.

        Raises:
            KeyboardInterrupt: on Ctrl-C, or when the listener asked to stop.
        """
        exhausted = False
        while not exhausted or self._running:
            if self._listener.stop_asked:
                raise KeyboardInterrupt
            while not exhausted and self._may_start():
                exhausted = not self._start_next()
            if not self._running:
                return
            since = time.monotonic()
            outcomes = self._pool.wait(max(0.05, self._trials_end() + OVERRUN_SECONDS - since))
            self.busy_seconds += time.monotonic() - since
            for outcome in outcomes:
                self._finish(outcome)
            if not outcomes and time.monotonic() >= self._trials_end() + OVERRUN_SECONDS:
                self._pool.cancel()
                self._running.clear()
                return

    def _may_start(self) -> bool:
        if self._pool.n_idle == 0:
            return False
        if self._request.trials is not None and self._log.n_run + len(self._running) >= self._allowed_trials:
            return False
        if self._n_cut_short >= MOST_CUT_SHORT and self._log.best is not None:
            return False
        left = self._trials_end() - time.monotonic()
        return not self._log.trials or left > max(MIN_TRIAL_SECONDS, 0.5 * self._log.typical_seconds)

    @property
    def _allowed_trials(self) -> int:
        """The trials asked for, and the quickest family beyond them where all of them failed."""
        all_failed = self._log.best is None and not self._running
        return (self._request.trials or 0) + all_failed

    def _start_next(self) -> bool:
        """Start the next trial; False when there is nothing left to try."""
        is_urgent = self._log.best is None and (
            self._log.n_run > 0 or self._trials_end() - time.monotonic() < SAFE_SECONDS
        )
        promoted = None if is_urgent else self._promote()
        if promoted is not None:
            self._submit(promoted.proposal, promoted)
            return True
        proposal = (self._proposer.safe() if is_urgent else None) or self._proposer.next()
        self._note_rejected()
        if proposal is None and not self._running and self._log.best is None:
            proposal = self._proposer.closest()
        if proposal is not None:
            self._submit(proposal)
        return proposal is not None

    def _promote(self) -> _Started | None:
        """Return the paused trial that is to go on now, if there is one."""
        number = self._halving.promote() if self._halving is not None else None
        return None if number is None else self._paused.pop(number)

    def _submit(self, proposal: Proposal, paused: _Started | None = None) -> None:
        """Start a trial, or go on with a paused one."""
        self._began = self._began or time.monotonic()
        number, self._next_number = self._next_number, self._next_number + 1
        checkpoint = self._log.candidate(number).with_suffix(".safetensors") if paused is None else paused.checkpoint
        best = self._log.best
        share, left = TRIAL_SHARE * self._request.time_limit, self._trials_end() - time.monotonic()
        is_last_hope = best is None and self._log.n_run > 0  # what was tried failed: the next one may have all the time
        job = Job(
            number,
            "evaluate",
            proposal.configuration,
            seconds=max(0.1, left if is_last_hope else min(share, left)),
            seed=self._request.seed,
            hopeless=HOPELESS_FACTOR * (best.error or 0.0) + HOPELESS_MARGIN if best is not None else float("inf"),
            export_to=self._log.candidate(number),
            export_below=self._worth_keeping(),
            predictions_to=self._log.predictions(number) if self._request.max_members > 1 else None,
            rungs=None if self._halving is None else Rungs(self._halving.limits(), checkpoint),
        )
        self._pool.submit(job)
        spent = 0.0 if paused is None else paused.spent
        self._running[number] = _Started(proposal, _utc_now(), job.seconds < share, checkpoint, spent)

    def _worth_keeping(self) -> float:
        """Error below which the model of a trial is kept: as good as those that may be delivered together."""
        ranked = finalists(self._log.trials)[: self._request.max_members]
        is_full = len(ranked) == self._request.max_members
        return ranked[-1].error or 0.0 if is_full else float("inf")

    def _finish(self, outcome: Outcome) -> None:
        running = self._running.pop(outcome.number)
        self._n_cut_short += running.is_short and outcome.status == "timeout"
        outcome = replace(outcome, seconds=outcome.seconds + running.spent)
        self._note_rungs(outcome, running)
        trial = outcome.as_trial(
            running.proposal.configuration,
            running.proposal.source,
            seed=self._request.seed,
            latency_ms=running.proposal.latency_ms,
            started=running.time,
        )
        self._log.keep([trial])
        self._proposer.observe(trial, running.proposal.configuration)
        n_rejected = len(self._log.trials) - self._log.n_run
        left = max(0.0, self._deadline - time.monotonic())
        self._listener.progress(Progress(trial, self._log.best, self._log.n_run, n_rejected, left))

    def _note_rungs(self, outcome: Outcome, running: _Started) -> None:
        """Compare later trials with this one; keep the state of one that is paused, and of no other."""
        if self._halving is None:
            return
        is_paused = outcome.status == "pruned" and running.checkpoint.exists() and bool(outcome.reached)
        self._halving.record(outcome.number, outcome.reached, is_paused=is_paused)
        if is_paused:
            self._paused[outcome.number] = replace(running, spent=outcome.seconds)
        else:
            running.checkpoint.unlink(missing_ok=True)

    def _note_rejected(self) -> None:
        limit = self._request.max_latency_ms
        rejected = []
        for proposal, excess in self._proposer.take_rejected():
            number, self._next_number = self._next_number, self._next_number + 1
            rejected.append(
                Trial(
                    number,
                    proposal.configuration,
                    proposal.source,
                    "infeasible",
                    latency_ms=proposal.latency_ms,
                    message=f"the upper bound of its predicted latency is {excess:.2f} x the limit of {limit} ms",
                    started=_utc_now(),
                )
            )
        if rejected:
            self._log.keep(rejected)

    def _trials_end(self) -> float:
        """Monotonic time at which trials must end, so that the finalists can be refitted and the answer measured.

        Without a model there is nothing to refit yet: the first one may take nearly all of the time.
        """
        best = self._log.best
        if best is None:
            return max(self._deadline - CLOSING_SECONDS, (self._began or time.monotonic()) + LEAST_SECONDS)
        n_folds = len(self._context.splits)
        bagged = n_folds > 1 and self._request.max_members > 1 and self._request.compress == "none"
        members = finalists(self._log.trials)[: self._request.max_members]
        refits = [refit_seconds(trial, n_folds, bagged=bagged and pays_bagged(trial)) for trial in members]
        compressing = (COMPRESSING_FACTOR * best.seconds + COMPRESSING_SECONDS) * (self._request.compress != "none")
        refitting = max(*refits, sum(refits) / self._request.workers)
        together = min(compressing + refitting, 0.25 * self._request.time_limit)
        if self._request.compress == "none" and pays_longer(best):
            together = max(together, min(MOST_LENGTHENED * refitting, LONGER_SHARE * self._request.time_limit))
        reserve = CLOSING_SECONDS + 2 * MEASURE_SECONDS + together
        return self._deadline - min(reserve, 0.5 * self._request.time_limit)


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
