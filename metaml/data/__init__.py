"""Tasks: how a table or images are read, checked, typed, fingerprinted and split."""

from metaml.data.columns import Column, ColumnKind, as_frame, encode_columns, infer_columns
from metaml.data.image_files import ImageFiles, read_images
from metaml.data.image_task import ImageTask, make_image_task
from metaml.data.loading import load_task, read_table
from metaml.data.pixels import ImageSize, as_pixels
from metaml.data.splits import N_FOLDS, Split, make_splits, subsample
from metaml.data.target import TaskType
from metaml.data.task import Modality, RawInputs, TableShape, TableTask, Task, make_task

__all__ = [
    "N_FOLDS",
    "Column",
    "ColumnKind",
    "ImageFiles",
    "ImageSize",
    "ImageTask",
    "Modality",
    "RawInputs",
    "Split",
    "TableShape",
    "TableTask",
    "Task",
    "TaskType",
    "as_frame",
    "as_pixels",
    "encode_columns",
    "infer_columns",
    "load_task",
    "make_image_task",
    "make_splits",
    "make_task",
    "read_images",
    "read_table",
    "subsample",
]
