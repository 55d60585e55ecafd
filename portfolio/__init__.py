"""Warm-starters: a matrix of past errors -> the configurations to try first on a new task."""

from portfolio.auto import Auto
from portfolio.base import WarmStarter
from portfolio.cold import ColdStart
from portfolio.factor import Factorization
from portfolio.gplvm import GpLvm
from portfolio.greedy import GreedyPortfolio
from portfolio.history import History, Target
from portfolio.nearest import Nearest
from portfolio.replay import replay
from portfolio.selector import Selector
from portfolio.shipped import load_default_history, load_history, save_history

WARM_STARTERS: dict[str, type[WarmStarter]] = {
    "cold": ColdStart,
    "portfolio": GreedyPortfolio,
    "knn": Nearest,
    "pmf": Factorization,
    "gplvm": GpLvm,
    "selector": Selector,
    "auto": Auto,
}

__all__ = [
    "WARM_STARTERS",
    "Auto",
    "ColdStart",
    "Factorization",
    "GpLvm",
    "GreedyPortfolio",
    "History",
    "Nearest",
    "Selector",
    "Target",
    "WarmStarter",
    "load_default_history",
    "load_history",
    "replay",
    "save_history",
]
