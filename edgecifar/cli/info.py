"""`edgecifar info`."""

import json
from pathlib import Path
from typing import Annotated

import typer


def info(
    model: Annotated[
        Path,
        typer.Argument(
            help="A .tflite, .onnx, .keras or .h5 file, or a SavedModel folder of Keras; from "
            "edgecifar or elsewhere."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show what is in a model file: contract, precision, operators, cost and metadata.

    The model is not run. Files of Keras need Keras and TensorFlow; the multiply-accumulates of an
    ONNX file need the onnx package.

    Examples:

        edgecifar info exported/model.tflite

        edgecifar info exported/model.onnx --json
    """
    from edgecifar import provenance
    from edgecifar.cli.output import note
    from edgecifar.graphs import facts, kinds
    from edgecifar.models.keras_loader import load_keras
    from edgecifar.report.model_facts import model_facts
    from edgecifar.report.progress import stdout_console

    if kinds.of(model) in kinds.OPENED_BY_KERAS:
        load_keras()  # without what TensorFlow prints when it is imported
    found = facts.of(model)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        model_facts(found, model, stdout_console())
    if contradiction := provenance.contradiction(model):
        note(contradiction)
