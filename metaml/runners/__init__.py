"""Runs trials in processes of their own, so that a trial that hangs, crashes or eats memory ends as a status."""

from metaml.runners.jobs import Assignment, Job, Outcome
from metaml.runners.pool import WorkerPool, default_workers

__all__ = ["Assignment", "Job", "Outcome", "WorkerPool", "default_workers"]
