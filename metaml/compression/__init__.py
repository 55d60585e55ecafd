"""Smaller models for the same task: what is accepted has been measured on validation rows.

A new way to shrink a network is a `Compression` in a file of its own and a line in `COMPRESSIONS`.
"""

from metaml.compression.accept import TOLERANCE, Accepted, Terms, compress, distil_into
from metaml.compression.base import Compression, Price, TuningRows
from metaml.compression.factorise import Factorise
from metaml.compression.graph_model import GraphModel
from metaml.compression.int8 import agreement, is_quantisable, to_int8
from metaml.compression.prune import Prune

COMPRESSIONS: dict[str, Compression] = {compression.name: compression for compression in (Prune(), Factorise())}
"""Name -> how a trained network is made smaller."""

__all__ = [
    "COMPRESSIONS",
    "TOLERANCE",
    "Accepted",
    "Compression",
    "GraphModel",
    "Price",
    "Terms",
    "TuningRows",
    "agreement",
    "compress",
    "distil_into",
    "is_quantisable",
    "to_int8",
]
