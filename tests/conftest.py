"""What all tests share: nothing is written into the user's own folders, and real data are found where they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


@pytest.fixture(autouse=True)
def _own_user_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAML_STORE", str(tmp_path_factory.mktemp("store") / "store.sqlite"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; tests that need it are skipped where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("METAML_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set METAML_DATA")
    return folder


def mixed_table(n: int = 240, *, n_classes: int = 2, seed: int = 0) -> pd.DataFrame:
    """Return numbers with holes, infinite values, text and booleans; the target depends on them."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "age": rng.normal(40, 12, n).round(1),
            "income": np.exp(rng.normal(10, 1, n)),
            "city": rng.choice(["Graz", "Wien", "Linz", "Łódź"], n),
            "member": rng.random(n) < 0.4,
            "stamp": 1.6e9 + rng.integers(0, 1000, n).astype(float),
        }
    )
    signal = (table["age"] - 40) / 12 + (table["city"] == "Wien") - table["member"] + 0.01 * (table["stamp"] - 1.6e9)
    table["value"] = signal + rng.normal(0, 0.3, n)
    ranks = table["value"].rank(pct=True)
    table["label"] = ("c" + (ranks * n_classes).clip(upper=n_classes - 1e-9).astype(int).astype(str)).astype(object)
    table.loc[::7, "age"] = np.nan
    table.loc[::11, "city"] = None
    table.loc[3, "income"] = np.inf
    return table


@pytest.fixture(scope="session")
def device_table(tmp_path_factory) -> str:
    """A latency table that ships, said to be of this machine, so that no test measures one."""
    from dataclasses import replace

    from hw_cost import Device, LatencyTable
    from hw_cost.shipped import SHIPPED

    table = LatencyTable.load(sorted(SHIPPED.glob("*.json"))[0])
    path = tmp_path_factory.mktemp("latency") / "here.json"
    replace(table, device=Device.here(), reference_us=0.0).save(path)
    return str(path)


def striped_images(n: int = 60, *, side: int = 12, n_classes: int = 3, channels: int = 3, seed: int = 0):
    """Return images (n, side, side, channels) with stripes across, along, or of no direction, and their classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    waves = np.sin(np.arange(side) * 1.5 + rng.uniform(0, 6, (n, 1)))
    patterns = np.stack([waves[:, :, None] + 0 * waves[:, None, :], 0 * waves[:, :, None] + waves[:, None, :]])
    images = np.where((y == 0)[:, None, None], patterns[0], patterns[1]) * (y < 2)[:, None, None]
    noisy = 128 + 60 * images[..., None] + rng.normal(0, 15, (n, side, side, channels))
    return np.clip(noisy, 0, 255).astype(np.uint8), y
