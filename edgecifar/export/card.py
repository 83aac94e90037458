"""The facts of an export: those of `card.json`, and the metadata inside each file."""

import dataclasses
import json
from typing import TYPE_CHECKING

from edgecifar import __version__
from edgecifar.data import cifar10
from edgecifar.data.cifar10 import IMAGE_SHAPE
from edgecifar.export.settings import INTEGER, ExportSettings
from edgecifar.export.verification import Verification
from edgecifar.models import contract
from edgecifar.provenance import CHECKPOINT
from edgecifar.runtimes.environments import distribution_version

if TYPE_CHECKING:
    from edgecifar.export.checkpoint import Checkpoint

# Of the content of `card.json`.
VERSION = 3
TOOLS = (
    "keras",
    "tensorflow",
    "ai-edge-quantizer",
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
)
PIXELS = "raw RGB pixels, 0 to 255"


def facts(
    checkpoint: "Checkpoint",
    verifications: list[Verification],
    settings: ExportSettings,
    calibration: dict | None,
) -> dict:
    """All facts of an export, as plain JSON values: the content of `card.json`.

    Args:
        checkpoint: what was exported.
        verifications: of its files.
        settings: of the export.
        calibration: how activations were quantized, see `conversion.Conversion`; None if they were
            not.
    """
    return {
        "card_version": VERSION,
        "edgecifar": __version__,
        "license": settings.license,
        "checkpoint": CHECKPOINT,
        "checkpoint_sha256": checkpoint.sha256,
        "rounding": checkpoint.rounding,
        "parameters": checkpoint.model.count_params(),
        "labels": list(checkpoint.labels) if checkpoint.labels else None,
        "normalization": checkpoint.normalization,
        "normalization_tried": checkpoint.normalization_tried,
        "input": {
            "name": contract.INPUT,
            "shape": [settings.batch, *IMAGE_SHAPE],
            "layout": "NHWC",
            "values": PIXELS,
        },
        "output": {"name": contract.OUTPUT, "shape": [settings.batch, checkpoint.classes]},
        "calibration": calibration,
        # One that is installed under another name, as some builds are, is left out.
        "tools": {name: version for name in TOOLS if (version := distribution_version(name))},
        "test_data": {"name": "CIFAR-10", "sha256": cifar10.SHA256[cifar10.TEST_FILE]},
        "test_images": verifications[0].images,
        "checkpoint_top1": verifications[0].checkpoint_top1,
        "files": [_file_facts(verification) for verification in verifications],
        "training": checkpoint.training,
    }


def metadata(card: dict, verification: Verification) -> str:
    """The metadata inside a file, as JSON."""
    shared = (
        "edgecifar",
        "license",
        "checkpoint_sha256",
        "labels",
        "normalization",
        "output",
        "test_data",
    )
    inside = {key: card[key] for key in shared} | {
        "input": card["input"] | {"dtype": input_dtype(verification.precision)},
        "recipe": recipe_name(card),
        "training_data_sha256": _training_data(card),
        "precision": verification.precision,
        "test_images": verification.images,
        "top1": verification.top1,
        "agreement": verification.agreement,
    }
    if verification.precision in INTEGER:
        known = card["calibration"]
        inside["calibration"] = {
            key: known[key] for key in ("images", "of", "method", "kept_float")
        }
    return json.dumps(inside)


def draft_metadata() -> str:
    """The metadata of a file while it is verified: what its input takes."""
    return json.dumps({"input": {"values": PIXELS}})


def input_dtype(precision: str) -> str:
    """The dtype of the input of a file of a precision."""
    return "float32" if precision == "int8-float-io" else "uint8"


def recipe_name(card: dict) -> str | None:
    """The recipe that trained the checkpoint; None for a checkpoint of another origin."""
    training = card["training"]
    return training["provenance"]["recipe"]["name"] if training else None


def _file_facts(verification: Verification) -> dict:
    known = dataclasses.asdict(verification)
    for shared in ("images", "checkpoint_top1", "defects"):
        del known[shared]
    known["twin"] = known.pop("counterpart")  # its name in the cards of the first exports
    return known | {"input_dtype": input_dtype(verification.precision)}


def _training_data(card: dict) -> dict | None:
    return card["training"]["provenance"].get("data_sha256") if card["training"] else None
