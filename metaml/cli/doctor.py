"""``metaml doctor``."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from metaml.cli import options
from metaml.cli.output import print_json
from metaml.errors import MetamlError

PACKAGES = (
    "metaml",
    "torch",
    "scikit-learn",
    "smac",
    "ConfigSpace",
    "onnx",
    "onnxruntime",
    "openml",
    "SQLAlchemy",
    "numpy",
    "pandas",
)


@click.command()
@options.json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check that everything needed is here and works."""
    checks = [_python(), _packages(), _machine(), _store(), _latency(), _history(), _folder(Path.cwd())]
    if as_json:
        print_json({"ok": all(check["ok"] for check in checks), "checks": checks})
    else:
        for check in checks:
            mark = click.style("ok  ", fg="green") if check["ok"] else click.style("FAIL", fg="red")
            click.echo(f"{mark} {check['name']:>10s}  {check['found']}")
    ctx.exit(0 if all(check["ok"] for check in checks) else 1)


def _check(name: str, ok: bool, found: str) -> dict[str, Any]:
    return {"name": name, "ok": ok, "found": found}


def _python() -> dict[str, Any]:
    return _check("python", True, f"{platform.python_version()} on {platform.platform()}")


def _packages() -> dict[str, Any]:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    text = ", ".join(found) + (f"; MISSING: {', '.join(missing)}; run pip install metaml again" if missing else "")
    return _check("packages", not missing, text)


def _machine() -> dict[str, Any]:
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    return _check("machine", True, f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {gpu}")


def _store() -> dict[str, Any]:
    from metaml.store import Store, StoreMissingError, default_store_url

    place = default_store_url()
    try:
        with Store.open(create=False, read_only=True) as store:
            counts = ", ".join(f"{n} {name}" for name, n in store.info()["counts"].items())
            return _check("store", True, f"{place}: {counts}")
    except StoreMissingError:
        return _check("store", True, f"{place}: none yet, the first search makes it")
    except MetamlError as error:
        return _check("store", False, str(error))


def _latency() -> dict[str, Any]:
    from metaml.latency import own_table

    path = own_table()
    return _check("latency", True, str(path) if path else "no table of this machine yet: the first search adapts one")


def _history() -> dict[str, Any]:
    from portfolio import load_default_history

    n_tasks, n_configurations = load_default_history().errors.shape
    return _check(
        "history", n_tasks > 0, f"{n_configurations} configurations on {n_tasks} tasks ship with this version"
    )


def _folder(path: Path) -> dict[str, Any]:
    free = shutil.disk_usage(path).free / 2**30
    return _check("folder", os.access(path, os.W_OK) and free > 0.1, f"{path}: writable, {free:.1f} GiB free")
