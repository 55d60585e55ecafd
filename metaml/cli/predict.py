"""``metaml predict``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from metaml.cli import options
from metaml.cli.output import print_json


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path())
@click.option("-o", "--output", type=options.OutFile(), help="CSV file; default: stdout.")
@options.json_option
def predict(model: Path, data: str, output: Path | None, as_json: bool) -> None:
    """Predict the rows of DATA with MODEL.

    MODEL is a run folder or a model.onnx; DATA a table with the columns of the training data, in any order, or images:
    a folder, one file, or an .npz file. The result has one row for each row or image of DATA: the predicted class with
    all probabilities, or the predicted value.
    """
    from metaml.predictor import Predictor

    predictor = Predictor(model)
    predicted = predictor.predict(predictor.read(data))
    if predicted.index.name is not None:  # the paths of images
        predicted = predicted.reset_index()
    if output is not None:
        predicted.to_csv(output, index=False)
        click.echo(f"{len(predicted)} predictions written to {output}", err=True)
    if as_json:
        print_json({"rows": len(predicted), "predictions": predicted.to_dict(orient="records")})
    elif output is None:
        predicted.to_csv(sys.stdout, index=False)
