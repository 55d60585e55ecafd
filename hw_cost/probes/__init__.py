"""Probes: small graphs that show what one kernel costs; see `hw_cost.probes.base`."""

from hw_cost.probes.base import MAX_COPIES, Probe, Stream, baseline_of, call_probe, probe
from hw_cost.probes.images import Convolution, convolution, image_streams
from hw_cost.probes.quantised import quantised_streams
from hw_cost.probes.tabular import dense, encoder, tabular_streams, trees, unary
from hw_cost.probes.tokens import token_streams

__all__ = [
    "MAX_COPIES",
    "Convolution",
    "Probe",
    "Stream",
    "baseline_of",
    "call_probe",
    "convolution",
    "dense",
    "encoder",
    "tabular_streams",
    "probe",
    "probe_streams",
    "trees",
    "unary",
]


def probe_streams(precision: str = "fp32", *, seed: int = 0) -> list[Stream]:
    """Return the probes of a table of a precision, ``fp32`` or ``int8``, sort by sort."""
    if precision == "int8":
        return quantised_streams(seed)
    return [*tabular_streams(seed), *image_streams(seed), *token_streams(seed)]
