"""The families that are searched; a new one is a file here and a line in `FAMILIES`."""

from metaml.models.base import Exported, Family, ImageShape, NetworkShape, TabularShape, Tensors
from metaml.models.cell import Cell
from metaml.models.estimator_family import EstimatorFamily
from metaml.models.extra_trees import ExtraTrees
from metaml.models.ft_transformer import FTTransformer
from metaml.models.hist_gradient_boosting import HistGradientBoosting
from metaml.models.image_family import ImageFamily
from metaml.models.knn import KNN
from metaml.models.linear import Linear
from metaml.models.mbconv import MBConv
from metaml.models.mlp import MLP
from metaml.models.resnet import ResNet
from metaml.models.saint import SAINT
from metaml.models.tabm import TabM
from metaml.models.torch_family import TorchFamily

_ALL: tuple[Family, ...] = (
    *(HistGradientBoosting(), Linear(), MLP(), ResNet(), ExtraTrees(), KNN()),
    *(TabM(), FTTransformer(), SAINT()),
    *(MBConv(), Cell()),
)
FAMILIES = {family.name: family for family in _ALL}
"""Name in the configuration -> family."""

__all__ = [
    "FAMILIES",
    "EstimatorFamily",
    "Exported",
    "Family",
    "ImageFamily",
    "ImageShape",
    "NetworkShape",
    "TabularShape",
    "Tensors",
    "TorchFamily",
]
