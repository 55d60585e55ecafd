"""How answers are printed."""

from __future__ import annotations

import json
import time
from typing import Any

import click
import psutil


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(document, ensure_ascii=False, allow_nan=False))


def process_start() -> float:
    """Return the monotonic time at which this process began: imports count towards the time limit."""
    return time.monotonic() - max(0.0, time.time() - psutil.Process().create_time())


def settings(configuration: dict[str, Any]) -> str:
    """Return a configuration on one line.

    >>> settings({"space": "s", "family": "linear", "l2": 0.01})
    'linear l2=0.01'
    """
    own = (f"{key}={value}" for key, value in configuration.items() if key not in ("space", "family"))
    return " ".join([str(configuration["family"]), *own])
