"""Tasks: how a table is read, checked, typed, fingerprinted and split."""

from metaml.data.columns import Column, ColumnKind, as_frame, encode_columns, infer_columns
from metaml.data.loading import load_task, read_table
from metaml.data.splits import Split, make_splits, subsample
from metaml.data.target import TaskType
from metaml.data.task import Modality, RawInputs, TableShape, TableTask, Task, make_task

__all__ = [
    "Column",
    "ColumnKind",
    "Modality",
    "RawInputs",
    "Split",
    "TableShape",
    "TableTask",
    "Task",
    "TaskType",
    "as_frame",
    "encode_columns",
    "infer_columns",
    "load_task",
    "make_splits",
    "make_task",
    "read_table",
    "subsample",
]
