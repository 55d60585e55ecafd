"""What a machine says about itself. Needs only the standard library: this file is also part of the kit."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def cpu_info() -> dict[str, str]:
    """Return the fields of the first processor in /proc/cpuinfo; empty where there is no such file."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text(errors="replace").split("\n\n")[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def cpu_name() -> str:
    """Return the model name of the processor."""
    info = cpu_info()
    return info.get("model name") or info.get("Model") or platform.processor() or platform.machine()


def cpu_signature() -> str:
    """Return family, model and stepping and the size of the largest cache."""
    info = cpu_info()
    numbers = [info.get(name, "") for name in ("cpu family", "model", "stepping", "CPU part", "CPU variant")]
    return "-".join([number for number in numbers if number] + _largest_cache()) or "unknown"


def _largest_cache() -> list[str]:
    sizes = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"))
    return [sizes[-1].read_text().strip().lower()] if sizes else []


def governor() -> str | None:
    """Return the frequency governor; None where the machine does not tell."""
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return path.read_text().strip() if path.exists() else None


def load() -> float | None:
    """Return the load average over one minute; None where the machine does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
