"""What an export says of itself: inside each file, in `card.json`, and in `card.md` for people."""

import json
from importlib import metadata as distributions
from typing import TYPE_CHECKING

from edgecifar import __version__
from edgecifar.data.cifar10 import CLASSES, IMAGE_SHAPE
from edgecifar.export.calibration import IMAGES
from edgecifar.export.verification import Verification
from edgecifar.models import contract

if TYPE_CHECKING:
    from edgecifar.export.checkpoint import Checkpoint

CHECKPOINT = "model.keras"
CARDS = ("card.json", "card.md")
CALIBRATION = {"images": IMAGES, "of": "CIFAR-10 training images, even over the classes"}
TOOLS = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert")


def facts(checkpoint: "Checkpoint", verifications: list[Verification]) -> dict:
    """Everything that is known of an export, as plain JSON values: the content of `card.json`."""
    precisions = [verification.precision for verification in verifications]
    return {
        "card_version": 1,
        "edgecifar": __version__,
        "license": "Apache-2.0",
        "checkpoint": CHECKPOINT,
        "checkpoint_sha256": checkpoint.sha256,
        "parameters": checkpoint.model.count_params(),
        "labels": list(CLASSES),
        "input": {
            "name": contract.INPUT,
            "dtype": "uint8",
            "shape": [1, *IMAGE_SHAPE],
            "layout": "NHWC",
            "values": "raw RGB pixels, 0 to 255",
        },
        "output": {"name": contract.OUTPUT, "shape": [1, len(CLASSES)]},
        "calibration": CALIBRATION if "int8" in precisions else None,
        "tools": dict(filter(None, map(_installed, TOOLS))),
        "test_images": verifications[0].images,
        "checkpoint_top1": verifications[0].checkpoint_top1,
        "files": [
            {
                "file": verification.file,
                "precision": verification.precision,
                "top1": verification.top1,
                "agreement": verification.agreement,
                "largest_difference": verification.largest_difference,
            }
            for verification in verifications
        ],
        "training": checkpoint.training,
    }


def metadata(card: dict, verification: Verification) -> str:
    """What travels inside a file, as JSON."""
    shared = ("edgecifar", "license", "checkpoint_sha256", "labels", "input", "output")
    inside = {key: card[key] for key in shared} | {
        "recipe": _recipe(card),
        "precision": verification.precision,
        "test_images": verification.images,
        "top1": verification.top1,
    }
    if verification.precision == "int8":
        inside["calibration"] = card["calibration"]
    return json.dumps(inside)


def markdown(card: dict) -> str:
    """The card for people, in Markdown."""
    lines = [
        f"# {_recipe(card) or 'An image classifier'}, CIFAR-10",
        "",
        f"{card['parameters']:,} parameters, {100 * card['checkpoint_top1']:.2f} % top-1 on the "
        f"{card['test_images']:,} CIFAR-10 test images as a float32 Keras checkpoint.",
        "",
        "| file | precision | size, MB | top-1 | agrees with the checkpoint |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{row['file']}` | {row['precision']} | {row['size_bytes'] / 1e6:.2f} "
        f"| {100 * row['top1']:.2f} % | {100 * row['agreement']:.2f} % |"
        for row in card["files"]
    ]
    lines += [
        "",
        "## Use",
        "",
        f"Input `{card['input']['name']}`: uint8 {tuple(card['input']['shape'])}, "
        f"{card['input']['layout']}, {card['input']['values']}; scaling and resizing are inside. "
        f"Output `{card['output']['name']}`: one probability for each of "
        f"{', '.join(card['labels'])}. The output of the int8 TFLite file is uint8: "
        "its quantization (scale 1/256) is in the file.",
        "",
        "## How it was made",
        "",
        *_training_lines(card),
        *_quantization_lines(card),
        "Made by edgecifar " + card["edgecifar"] + " with "
        f"{', '.join(f'{name} {version}' for name, version in card['tools'].items())}.",
        "",
        "## Limits",
        "",
        "It knows the ten classes of CIFAR-10 in 32 x 32 pixels and nothing else: any other image "
        "gets one of them too, often with high confidence. The test images were used for the "
        "figures above only; every choice was made on training images.",
        "",
        f"License: {card['license']}.",
        "",
    ]
    return "\n".join(lines)


def _installed(tool: str) -> tuple[str, str] | None:
    """A tool and its version; None where it is installed under another name, as some builds are."""
    try:
        return tool, distributions.version(tool)
    except distributions.PackageNotFoundError:
        return None


def _recipe(card: dict) -> str | None:
    training = card["training"]
    return training["provenance"]["recipe"]["name"] if training else None


def _training_lines(card: dict) -> list[str]:
    if card["training"] is None:
        return ["How the checkpoint was trained is not known."]
    provenance, metrics = card["training"]["provenance"], card["training"]["metrics"]
    recipe, best = provenance["recipe"], metrics["best_epoch"]
    augmentation = _augmentation(recipe["augmentation"])
    stages = "; ".join(
        f"{stage['name']}: {stage['trains']} for {stage['epochs']} epochs "
        f"at {stage['size'] or recipe['size']} px, learning rate {stage['learning_rate']:g}"
        for stage in recipe["stages"]
        if stage["epochs"]
    )
    return [
        f"{recipe['summary']} ({recipe['source']}). Stages: {stages}. "
        f"{provenance['training_images']:,} training images{augmentation}; "
        f"{recipe['validation_images']:,} more chose the epoch: {best['stage']} {best['epoch']}, "
        f"{100 * best['validation_top1']:.2f} % on them. "
        f"{'The run was stopped before its end. ' if metrics['interrupted'] else ''}"
        f"{_duration(provenance, metrics)}Everything that decided it is in "
        "`card.json`.",
        *_before_and_after(provenance),
        "",
    ]


def _duration(provenance: dict, metrics: dict) -> str:
    """How long a run took, or the last of those that it is the average of."""
    if averaged := provenance.get("averaged"):
        metrics = averaged[-1]["metrics"]
    return f"Training took {metrics['seconds'] / 60:.0f} minutes. "


def _augmentation(settings: dict) -> str:
    """What the training images went through, as the end of a clause."""
    texts = {
        "crop_padding": "a crop with {} px of reflected border",
        "flip": "a flip",
        "rotation": "a turn of up to {:g} degrees",
        "shift": "a shift of up to {:g} of the side",
        "cutout": "a gray square of {} px",
        "mixup": "mixup of strength {:g}",
    }
    used = [text.format(settings[name]) for name, text in texts.items() if settings.get(name)]
    return f", augmented by {', '.join(used)}" if used else ""


def _before_and_after(provenance: dict) -> list[str]:
    """The training that this one went on from, and the compression that followed it."""
    lines = []
    if averaged := provenance.get("averaged"):
        scores = ", ".join(
            f"{100 * run['metrics']['best_epoch']['validation_top1']:.2f} %" for run in averaged
        )
        lines.append(
            f"Its weights are the average of {len(averaged)} runs that went on from one another "
            f"({scores} on the images that chose); the last is described here."
        )
    if started := provenance.get("started_from"):
        before = started["provenance"]
        known = f": {_recipe_line(before)}" if before else ""
        lines.append(f"It started from the checkpoint {started['sha256'][:12]}{known}.")
    if compression := provenance.get("compression"):
        lines.append(
            f"Then {compression['method']}: {compression['epochs']} epochs at learning rate "
            f"{compression['learning_rate']:g}."
        )
    return lines


def _recipe_line(provenance: dict) -> str:
    """The stages of a training before this one, back to its first."""
    recipe = provenance["recipe"]
    stages = "; ".join(
        f"{stage['name']} {stage['epochs']} epochs at {stage['size'] or recipe['size']} px"
        for stage in recipe["stages"]
        if stage["epochs"]
    )
    augmentation = _augmentation(recipe["augmentation"])
    started = provenance.get("started_from")
    before = started and started["provenance"]
    return (
        f"{_recipe_line(before)}; then {stages}{augmentation}"
        if before
        else (f"{stages}{augmentation}")
    )


def _quantization_lines(card: dict) -> list[str]:
    if card["calibration"] is None:
        return []
    return [
        f"The int8 files were calibrated on {card['calibration']['images']} "
        f"{card['calibration']['of']}; weights are int8 per channel, activations 8 "
        "bits, biases corrected for the mean error of rounding the weights (Nagel et al. 2019, "
        "arXiv:1906.04721).",
        "",
    ]
