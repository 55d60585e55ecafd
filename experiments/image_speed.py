"""How long an epoch takes on images: ``python -m experiments.image_speed --images 2250``.

Trains first tries of the image space on random pixels of 32 x 32 in colour with the engine, on one thread, and prints
processor seconds of an epoch, in float32 and (where the machine has instructions for it) in bfloat16, in turns.
"""

from __future__ import annotations

import time
from unittest import mock

import click
import numpy as np
import pandas as pd
import torch

from metaml.data import make_image_task
from metaml.models import FAMILIES, ImageFamily, image_layers
from metaml.preprocessing import PREPROCESSORS
from metaml.space import SPACES
from metaml.training.loop import Training
from metaml.training.model import Rows
from metaml.trial import Configuration

TURNS = 2


def epoch_seconds(configuration: Configuration, rows: Rows, shape: object, *, half: bool) -> float:
    """Return processor seconds of the second epoch: in the first one, kernels are still being chosen."""
    family = FAMILIES[configuration["family"]]
    assert isinstance(family, ImageFamily)
    with mock.patch.object(image_layers, "has_fast_bfloat16", lambda _: half):
        training = Training(family, configuration, shape, rows, seed=0)  # type: ignore[arg-type]
        training.run(1, seconds=1e6)
        start = time.process_time()
        training.run(2, seconds=1e6)
    return time.process_time() - start


@click.command(help=__doc__)
@click.option("--images", type=int, default=2250, show_default=True)
def main(images: int) -> None:
    """Print one row for each configuration."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    task = make_image_task(rng.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8), np.arange(images) % 10)
    preprocessor = PREPROCESSORS["image"].fit(task.inputs)
    shape = preprocessor.shape(10, is_regression=False)
    rows = Rows(preprocessor.transform(task.inputs), task.y)
    space = SPACES["image"]
    tries = [*space.defaults(), space.default("mbconv") | {"block": "depthwise", "expansion": 4, "width": 24}]
    found = []
    for configuration in tries:
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for half in (False, True) * TURNS:
            seconds[half].append(epoch_seconds(configuration, rows, shape, half=half))
        name = " ".join(
            str(configuration[key]) for key in ("family", "block", "width", "channels") if key in configuration
        )
        found.append({"network": name, "float32_s": min(seconds[False]), "bfloat16_s": min(seconds[True])})
    click.echo(pd.DataFrame(found).round(2).to_string(index=False))
    here = "has" if image_layers.has_fast_bfloat16("cpu") else "has not"
    click.echo(f"this machine {here} fast bfloat16")


if __name__ == "__main__":
    main()
