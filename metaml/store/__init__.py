"""The metadata store: what was tried on which task, with which result. The only place with SQL."""

from metaml.errors import StoreError
from metaml.store.errors import (
    StoreCorruptError,
    StoreFullError,
    StoreMissingError,
    StoreReadOnlyError,
    StoreUnavailableError,
    StoreVersionError,
)
from metaml.store.location import default_store_url
from metaml.store.records import DeviceRecord, LatencyRecord, RunRecord, TaskRecord
from metaml.store.results import Results, Selection
from metaml.store.spool import Recorder, Spool
from metaml.store.store import Store

__all__ = [
    "DeviceRecord",
    "LatencyRecord",
    "Recorder",
    "Results",
    "RunRecord",
    "Selection",
    "Spool",
    "Store",
    "StoreCorruptError",
    "StoreError",
    "StoreFullError",
    "StoreMissingError",
    "StoreReadOnlyError",
    "StoreUnavailableError",
    "StoreVersionError",
    "TaskRecord",
    "default_store_url",
]
