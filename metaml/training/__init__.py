"""Fits one configuration: the torch loop and the scikit-learn fit behind one face."""

from metaml.training.deadline import TooLongError
from metaml.training.fitting import fit_model
from metaml.training.model import DivergedError, Model, Pauses, Rows
from metaml.training.stopping import agreed_epochs

__all__ = ["DivergedError", "Model", "Pauses", "Rows", "TooLongError", "agreed_epochs", "fit_model"]
