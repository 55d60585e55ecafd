"""Refusals of latency tables that are of something else than what is asked for."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hw_cost.runtimes import RuntimeMissing
from metaml.errors import UsageError

if TYPE_CHECKING:
    from metaml.latency import DeviceTable

WAY_OUT = "Please build a table with these settings (metaml latency build), or say --any-device to use this one."


def require_settings(opened: DeviceTable, **settings: Any) -> None:
    """Raise an error when a table is not of the settings given, or of another version than the runtime has now.

    A runtime that is not here has no version.
    """
    device = opened.table.device
    wrong = {
        name: (wanted, getattr(device, name))
        for name, wanted in settings.items()
        if wanted is not None and wanted != getattr(device, name)
    }
    with suppress(RuntimeMissing):
        version = opened.table.runtime.version()
        if version != device.runtime_version:
            wrong["version"] = version, device.runtime_version
    if wrong:
        told = ", ".join(f"{name} is {now} here and {table} in the table" for name, (now, table) in wrong.items())
        raise UsageError(f"The latency table does not fit: {told}. {WAY_OUT}")


def require_here(opened: DeviceTable) -> None:
    """Raise an error when a table is of another machine."""
    device = opened.table.device
    try:
        differences = device.differences(device.now())
    except RuntimeMissing as error:
        raise UsageError(f"Nothing can be measured here for this latency table: {error}") from error
    if differences:
        raise UsageError(f"The latency table is of another machine: it differs in {', '.join(differences)}. {WAY_OUT}")
