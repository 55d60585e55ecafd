"""A kit carried to a device, run there and its result fetched, by the system's own ssh and scp."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hw_cost.kit import Kit

PATIENCE_S = 120.0
"""Time beyond that of the measurements before a command on the device is given up."""


class RemoteError(RuntimeError):
    """A command on the device failed; the message holds what it said."""


@dataclass(frozen=True)
class Remote:
    """A device that can be reached by ssh without a password."""

    host: str
    """``user@host``, or a name of the ssh configuration."""
    options: Sequence[str] = ()
    """ssh options such as ``Port=2222``."""
    python: str = "python3"
    """Python there, with numpy and onnxruntime."""

    def measure(self, kit: Kit, time_limit_s: float) -> dict[str, Any]:
        """Return what the runner found; what it leaves on the device lets a second call go on.

        Raises:
            RemoteError: a step failed.
        """
        place = f"metaml-kit-{kit.identity}"
        with TemporaryDirectory() as folder:
            archive, result = Path(folder) / "kit.zip", Path(folder) / "result.json"
            kit.write(archive)
            self._ssh(f"mkdir -p {place}")
            self._run(["scp", "-q", *self._flags, str(archive), f"{self.host}:{place}/kit.zip"])
            python = shlex.quote(self.python)
            steps = f"cd {place} && {python} -m zipfile -e kit.zip . && {python} run.py --time {time_limit_s:.0f}"
            self._ssh(steps, time_limit_s + PATIENCE_S, accepted=(0, 3))
            self._run(["scp", "-q", *self._flags, f"{self.host}:{place}/result.json", str(result)])
            found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found

    @property
    def _flags(self) -> list[str]:
        told = ["BatchMode=yes", "ConnectTimeout=20", *self.options]
        return [word for option in told for word in ("-o", option)]

    def _ssh(self, command: str, timeout_s: float = PATIENCE_S, accepted: Sequence[int] = (0,)) -> None:
        self._run(["ssh", *self._flags, self.host, command], timeout_s, accepted)

    def _run(self, command: list[str], timeout_s: float = PATIENCE_S, accepted: Sequence[int] = (0,)) -> None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except FileNotFoundError as error:
            raise RemoteError(f"{command[0]} is not installed here; please install OpenSSH's client.") from error
        except subprocess.TimeoutExpired as error:
            raise RemoteError(f"{self.host} did not finish within {timeout_s:.0f} s: {command[-1]}") from error
        if done.returncode not in accepted:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise RemoteError(f"{self.host}: {command[0]} ended with {done.returncode}: {' '.join(said[-3:])}")
