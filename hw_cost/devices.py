"""Which machine, runtime and settings a latency belongs to."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import psutil

from hw_cost.fingerprint import cpu_name, cpu_signature, governor, load
from hw_cost.runtimes import Runtime, find_runtime

IDENTITY = (
    "accelerator",
    "cpu",
    "cpu_signature",
    "architecture",
    "runtime",
    "runtime_version",
    "threads",
    "precision",
    "os",
)
"""Fields that must agree for two devices to be the same; the others are circumstances."""


@dataclass(frozen=True)
class Device:
    """The fingerprint of a machine with its runtime and settings."""

    cpu: str
    """Model name as the machine reports it."""
    cpu_signature: str
    """Family, model and stepping and the size of the largest cache: different machines share one model name."""
    architecture: str
    cores: int
    """Logical processors of the whole machine."""
    memory_gib: float
    os: str
    runtime: str
    runtime_version: str
    threads: int
    precision: str
    batches: tuple[int, ...] = (1, 32)
    """Rows of the calls that a table is corrected and certified for; it foretells others less surely."""
    governor: str | None = None
    """Frequency governor; None where the machine does not tell."""
    frequency_mhz: float | None = None
    load: float | None = None
    """Load average over one minute when the fingerprint was taken."""
    python: str = ""
    accelerator: str = ""
    """Model name of the GPU that the runtime computes on; empty when that is the processor."""

    @classmethod
    def here(
        cls,
        *,
        runtime: str = "onnxruntime",
        threads: int = 1,
        precision: str = "fp32",
        batches: Sequence[int] = (1, 32),
    ) -> Device:
        """Return this machine with a runtime on `threads` threads.

        Raises:
            ValueError: there is no such runtime, or it cannot be set so.
            RuntimeMissing: the runtime is not installed.
        """
        if not batches or min(batches) < 1:
            raise ValueError(f"batches must be whole numbers of at least 1, got {list(batches)}")
        program = find_runtime(runtime)(threads=threads, precision=precision)
        frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
        return cls(
            cpu=cpu_name(),
            cpu_signature=cpu_signature(),
            architecture=platform.machine(),
            cores=os.cpu_count() or 1,
            memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
            os=platform.system(),
            runtime=runtime,
            runtime_version=program.version(),
            threads=threads,
            precision=precision,
            batches=tuple(batches),
            governor=governor(),
            frequency_mhz=round(frequency.current, 0) if frequency else None,
            load=load(),
            python=platform.python_version(),
            accelerator=program.accelerator(),
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Device:
        """Return the device that `to_json` described; unknown fields are ignored.

        Raises:
            ValueError: a required field is missing.
        """
        known = {field.name for field in fields(cls)}
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        try:
            return cls(**{name: value for name, value in given.items() if name in known})
        except TypeError as error:
            raise ValueError(f"The device is not described completely: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def same_machine(self, other: Device) -> bool:
        """True when a latency measured on one holds for the other: same processor, runtime, threads and precision."""
        return not self.differences(other)

    def differences(self, other: Device) -> list[str]:
        """Return the names of the identifying fields in which two devices differ."""
        return [name for name in IDENTITY if getattr(self, name) != getattr(other, name)]

    def now(self) -> Device:
        """Return this machine, as it is now, with the device's runtime and settings."""
        return Device.here(runtime=self.runtime, threads=self.threads, precision=self.precision, batches=self.batches)

    def open_runtime(self) -> Runtime:
        """Return the device's runtime with its settings."""
        return find_runtime(self.runtime)(threads=self.threads, precision=self.precision)

    @property
    def chip(self) -> str:
        """Model name of what computes: the GPU, or the processor."""
        return self.accelerator or self.cpu

    @property
    def slug(self) -> str:
        """A short name for files."""
        words = re.sub(r"\((r|tm|c)\)|cpu|processor|@.*", " ", f"{self.accelerator} {self.cpu}".lower())
        chips = "-".join(re.findall(r"[a-z0-9]+", words)) or self.architecture
        settings = f"{self.runtime}-{self.runtime_version}-{self.threads}thread-{self.precision}"
        return f"{chips}-{self.cpu_signature}-{settings}"
