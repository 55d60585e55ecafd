"""MetaML: hardware-aware network search that remembers what worked before."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metaml.answer import SearchResult
    from metaml.automl import resume, search
    from metaml.data import Task, load_task
    from metaml.estimators import MetaClassifier, MetaRegressor
    from metaml.predictor import Predictor

_PLACES = {
    "MetaClassifier": "metaml.estimators",
    "MetaRegressor": "metaml.estimators",
    "Predictor": "metaml.predictor",
    "SearchResult": "metaml.answer",
    "Task": "metaml.data",
    "load_task": "metaml.data",
    "resume": "metaml.automl",
    "search": "metaml.automl",
}

__all__ = [
    "MetaClassifier",
    "MetaRegressor",
    "Predictor",
    "SearchResult",
    "Task",
    "load_task",
    "resume",
    "search",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: ``import metaml`` alone takes no torch."""
    if name not in _PLACES:
        raise AttributeError(f"module 'metaml' has no attribute '{name}'")
    return getattr(import_module(_PLACES[name]), name)
