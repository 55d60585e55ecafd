"""Fits one configuration: the torch loop and the scikit-learn fit behind one face."""

from metaml.training.fitting import fit_model
from metaml.training.model import DivergedError, Model, Rows

__all__ = ["DivergedError", "Model", "Rows", "fit_model"]
