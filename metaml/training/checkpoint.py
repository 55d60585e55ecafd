"""The state of a training in one file, from which it goes on as if it had never stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from metaml.files import write_atomic

_KEY = "state"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and everything else as plain JSON values."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write a safetensors file with the JSON in its metadata; it is there as a whole or not at all."""
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        write_atomic(path, save(tensors, {_KEY: json.dumps(self.values)}))

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read what `write` wrote.

        Raises:
            FileNotFoundError: there is no such file.
        """
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
            return cls(tensors, json.loads(file.metadata()[_KEY]))


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``prefix.``, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with ``prefix.`` before their names."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}
