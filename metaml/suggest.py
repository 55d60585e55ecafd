"""Zero evaluations: what to try first on a task, what it will cost, and why."""

from __future__ import annotations

from typing import Any

import numpy as np

from metaml.context import Context, prepare
from metaml.data import Task
from metaml.latency import open_device
from metaml.proposals import Proposal
from metaml.request import SearchRequest
from metaml.store import Store
from metaml.trial import configuration_id


def suggest(request: SearchRequest, task: Task, *, n: int = 5) -> dict[str, Any]:
    """Return the first `n` configurations for a task with predicted error and latency, and the reasons.

    Args:
        request: device, latency limit, warm-starter and store are taken from it.
        task: what is to be searched.
        n: how many.
    """
    device = open_device(request.device, uncertified=request.uncertified)
    if request.store is None:
        context = prepare(request, task, None, device)
    else:
        with Store.open(request.store) as store:
            context = prepare(request, task, store, device)
    proposer = context.proposer(request)
    suggestions, why = [], ""
    for _ in range(n):
        proposal = proposer.next()
        if proposal is None:
            break
        why = why or proposer.why
        suggestions.append(_describe(proposal, context))
    limit = request.max_latency_ms
    if not suggestions and limit is not None and (fastest := proposer.closest()) is not None:
        suggestions.append(_describe(fastest, context))
        why = f"nothing is foretold to keep {limit:g} ms: this is the fastest that was found"
    proposer.close()
    return {
        "task": {"name": task.name, "type": task.type, "fingerprint": task.fingerprint},
        "device": device.name,
        "suggestions": suggestions,
        "is_here": device.is_here,
        "why": why or "nothing that is remembered could be proposed: these are defaults and random configurations",
        "history": {"tasks": len(context.history.errors), "configurations": context.history.errors.shape[1]},
    }


def _describe(proposal: Proposal, context: Context) -> dict[str, Any]:
    """The predicted error is the median over the tasks on which the configuration was tried."""
    name = configuration_id(proposal.configuration)
    errors = context.history.errors
    seen = errors[name].dropna().to_numpy() if name in errors.columns else np.empty(0)
    return {
        "configuration": proposal.configuration,
        "source": proposal.source,
        "error": {
            "median": float(np.median(seen)) if len(seen) else None,
            "p10": float(np.quantile(seen, 0.1)) if len(seen) else None,
            "p90": float(np.quantile(seen, 0.9)) if len(seen) else None,
            "tasks": len(seen),
        },
        "latency_ms": proposal.latency_ms,
    }
