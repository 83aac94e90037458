"""The model card of an export: `card.md`, the facts of `card.json` for readers."""

import contextlib
from collections.abc import Callable, Iterator

from edgecifar.export.card import recipe_name
from edgecifar.export.settings import DYNAMIC
from edgecifar.graphs.overflow import PAIR_LIMIT
from edgecifar.models import contract
from edgecifar.provenance import CARD, CHECKPOINT
from edgecifar.runtimes.normalization_trial import result_of

MARKDOWN = "card.md"
# Rows of the table of layers.
WORST_LAYERS = 5


def markdown(card: dict) -> str:
    """The card in Markdown, with the front matter that model hubs read."""
    title = recipe_name(card) or "An image classifier"
    accuracy = (
        f"{100 * card['checkpoint_top1']:.2f} % top-1 on the {card['test_images']:,} CIFAR-10 "
        "test images as a float32 Keras checkpoint"
        if _knows_cifar10(card)
        else f"{card['output']['shape'][1]} classes; its labels are not CIFAR-10's, so its "
        "accuracy is not known here"
    )
    return "\n".join(
        [
            *_front_matter(card),
            f"# {title}, CIFAR-10" if _knows_cifar10(card) else f"# {title}",
            "",
            f"{card['parameters']:,} parameters, {accuracy}.",
            "",
            *_files_table(card),
            *_counterpart_lines(card),
            *_use(card),
            *_class_table(card),
            "## How it was made",
            "",
            *_training_lines(card),
            *_rounding_lines(card),
            *_quantization_lines(card),
            "Made by edgecifar " + card["edgecifar"] + " with "
            f"{', '.join(f'{name} {version}' for name, version in card['tools'].items())}.",
            "",
            *_limits(card),
        ]
    )


def _knows_cifar10(card: dict) -> bool:
    return card["checkpoint_top1"] is not None


def _front_matter(card: dict) -> list[str]:
    knows_cifar10 = _knows_cifar10(card)
    formats = dict.fromkeys(row["file"].rpartition(".")[2] for row in card["files"])
    precisions = dict.fromkeys(row["precision"] for row in card["files"])
    tags = [*(["cifar-10"] if knows_cifar10 else []), *formats, *precisions, "edge"]
    return [
        "---",
        *([f"license: {card['license'].lower()}"] if card["license"] else []),
        "library_name: edgecifar",
        "pipeline_tag: image-classification",
        *(["datasets: [cifar10]", "metrics: [accuracy]"] if knows_cifar10 else []),
        f"tags: [{', '.join(tags)}]",
        "---",
        "",
    ]


def _files_table(card: dict) -> list[str]:
    return [
        "| file | precision | size, MB | top-1 | agrees with the checkpoint "
        "| KL divergence, nats |",
        "|---|---|---|---|---|---|",
        *(
            f"| `{row['file']}` | {row['precision']} | {row['size_bytes'] / 1e6:.2f} "
            f"| {_percent(row['top1'])} | {_percent(row['agreement'])} "
            f"| {row['kl_divergence']:.2g} |"
            for row in card["files"]
        ),
        "",
    ]


def _counterpart_lines(card: dict) -> list[str]:
    """How the files of one precision agree with each other."""
    counterparts = [(row["file"], row["twin"]) for row in card["files"] if row["twin"]]
    if not counterparts:
        return []
    agreeing = ", ".join(
        f"`{name}` on {_percent(found['agreement'])}" for name, found in counterparts
    )
    apart = max(found["kl_divergence"] for _, found in counterparts)
    return [
        "ONNX files choose the class that the TFLite file of the same precision chooses: "
        f"{agreeing} of the images; the KL divergence of their probabilities is {apart:.2g} nats "
        "at most.",
        "",
    ]


def _use(card: dict) -> list[str]:
    taken, given = card["input"], card["output"]
    floats = [row["file"] for row in card["files"] if row["input_dtype"] == "float32"]
    floats_too = f" (float32 in {', '.join(f'`{name}`' for name in floats)})" if floats else ""
    meaning = f" of {', '.join(card['labels'])}" if card["labels"] else ""
    lines = [
        "## Use",
        "",
        f"Input `{taken['name']}`: uint8{floats_too} {_shape(taken['shape'])}, "
        f"{taken['layout']}, {taken['values']}; scaling and resizing are inside. "
        f"Output `{given['name']}`: {_shape(given['shape'])}, one probability for each class"
        f"{meaning}.{_uint8_output(card)}",
        "",
    ]
    tflite = [row for row in card["files"] if row["file"].endswith(".tflite")]
    if not tflite or taken["shape"][0] != 1:
        return lines
    name = tflite[-1]["file"]
    return [
        *lines,
        "```python",
        "import numpy as np",
        "from ai_edge_litert.interpreter import Interpreter",
        "",
        f'interpreter = Interpreter("{name}", num_threads=4)',
        "interpreter.allocate_tensors()",
        "image = np.zeros((1, 32, 32, 3), np."
        f"{tflite[-1]['input_dtype']})  # your picture, RGB, 32 x 32",
        'interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)',
        "interpreter.invoke()",
        'scores = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]',
        "print(scores.argmax())",
        "```",
        "",
        f"`edgecifar bench {name}` measures it on your machine, `edgecifar info {name}` shows what "
        "is inside.",
        "",
    ]


def _uint8_output(card: dict) -> str:
    """What a reader of the int8 TFLite file must know about its output."""
    kept = (card["calibration"] or {}).get("kept_float", [])
    if contract.OUTPUT in kept or "model.tflite" not in [row["file"] for row in card["files"]]:
        return ""
    return " That of `model.tflite` is uint8: its quantization (scale 1/256) is in the file."


def _class_table(card: dict) -> list[str]:
    """Top-1 of each class, of the checkpoint and of every file."""
    if not card["files"][0]["per_class"]:
        return []
    lines = [
        "## Accuracy by class",
        "",
        "| class | checkpoint | " + " | ".join(f"`{row['file']}`" for row in card["files"]) + " |",
        "|---|---|" + "---|" * len(card["files"]),
    ]
    for changes in zip(*(row["per_class"] for row in card["files"]), strict=True):
        shares = [changes[0]["checkpoint_top1"], *(change["top1"] for change in changes)]
        lines.append(f"| {changes[0]['label']} | {' | '.join(map(_percent, shares))} |")
    return [*lines, ""]


def _limits(card: dict) -> list[str]:
    lines = ["## Limits", ""]
    if _knows_cifar10(card):
        lines += [
            "It knows the ten classes of CIFAR-10 in 32 x 32 pixels and nothing else: any other "
            "image gets one of them too, often with high confidence. The test images were used for "
            "the figures above only; every choice was made on training images. The images are "
            "those of Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.",
            "",
        ]
    else:
        lines += [
            "Agreement was measured on the CIFAR-10 test images, which may be far from what the "
            "checkpoint was trained for.",
            "",
        ]
    return [*lines, f"License: {card['license'] or 'that of the checkpoint'}.", ""]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _shape(sides: list) -> str:
    return f"({', '.join('any' if side == DYNAMIC else str(side) for side in sides)})"


def _rounding_lines(card: dict) -> list[str]:
    """How the published copy of the checkpoint differs from the checkpoint."""
    return [*_said(_rounding, card["rounding"], card), ""] if card["rounding"] else []


def _rounding(known: dict, card: dict) -> str:
    scores = known["source_top1"], known["top1"]
    of_labels = "" if None in scores else f" (top-1 {' and '.join(map(_percent, scores))})"
    beside = (
        f"on {known['images']:,} test images both chose the same class on "
        f"{_percent(known['agreement'])}{of_labels}, and no probability differed by more than "
        f"{known['largest_difference']:.2g}."
    )
    if known["source_sha256"] == card["checkpoint_sha256"]:
        return (
            f"`{CHECKPOINT}` is the checkpoint as it was: a copy with 11 bits per weight would "
            f"give other answers; {beside}"
        )
    return f"`{CHECKPOINT}` is the checkpoint with its weights rounded to 11 bits; {beside}"


def _training_lines(card: dict) -> list[str]:
    if card["training"] is None:
        scaled = card["normalization"]
        how = f" Its pixels are scaled by the normalization `{scaled}`." if scaled else ""
        if found := result_of(scaled, card["normalization_tried"]):
            how += (
                f" It was found by trial: with it the checkpoint classifies {found['top1']:.1%} of "
                f"{found['images']} training images correctly, more than with any other that was "
                "tried."
            )
        return [f"How the checkpoint was trained is not known.{how}", ""]
    provenance, metrics = card["training"]["provenance"], card["training"]["metrics"]
    recipe = provenance["recipe"]
    sentences = [
        *_said(lambda: f"{recipe['summary']} ({recipe['source']})."),
        *_said(_stages, recipe),
        *_said(_images, provenance, metrics["best_epoch"]),
        *_said(lambda: "The run was stopped before its end." if metrics["interrupted"] else ""),
        *_said(_duration, provenance, metrics),
        f"All details are in `{CARD}`.",
    ]
    around = [
        *_said(_averaged, provenance),
        *_said(_started_from, provenance),
        *_said(_distilled, provenance),
        *_said(_compressed, provenance),
    ]
    return [" ".join(filter(None, sentences)), *around, ""]


def _said(sentence: Callable[..., str], *facts: dict) -> Iterator[str]:
    """A sentence; none where the facts of an old or a foreign run lack a part of it."""
    with contextlib.suppress(ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        yield sentence(*facts)


def _stages(recipe: dict) -> str:
    """What was trained, one stage after the other."""
    stages = "; ".join(
        f"{stage['name']}: {stage['trains']} for {stage['epochs']} epochs "
        f"at {stage['size'] or recipe['size']} px, learning rate {stage['learning_rate']:g}"
        for stage in recipe["stages"]
        if stage["epochs"]
    )
    return f"Stages: {stages}."


def _images(provenance: dict, best: dict) -> str:
    """What the images were for."""
    recipe = provenance["recipe"]
    return (
        f"{provenance['training_images']:,} training images"
        f"{_augmentation(recipe['augmentation'])}; "
        f"{recipe['validation_images']:,} others were used to choose the epoch: {best['stage']} "
        f"{best['epoch']}, with {100 * best['validation_top1']:.2f} % on them."
    )


def _duration(provenance: dict, metrics: dict) -> str:
    """How long a run took, or the last of those that it is the average of."""
    if averaged := provenance.get("averaged"):
        metrics = averaged[-1]["metrics"]
    return f"Training took {metrics['seconds'] / 60:.0f} minutes."


def _augmentation(settings: dict) -> str:
    """The augmentation of the training images, as the end of a clause."""
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


def _averaged(provenance: dict) -> str:
    """The runs that a checkpoint is the average of."""
    runs = provenance["averaged"]
    scores = ", ".join(
        f"{100 * run['metrics']['best_epoch']['validation_top1']:.2f} %" for run in runs
    )
    return (
        f"Its weights are the average of {len(runs)} runs, each of which continued from the one "
        f"before ({scores} on the images that chose the epochs); the last is described here."
    )


def _started_from(provenance: dict) -> str:
    """The training that this one continued."""
    started = provenance["started_from"]
    before = started["provenance"]
    known = f": {_recipe_line(before)}" if before else ""
    return f"Training started from the checkpoint {started['sha256'][:12]}{known}."


def _distilled(provenance: dict) -> str:
    """The teachers whose answers the network learned beside the labels."""
    teachers, setting = provenance["teachers"], provenance["recipe"]["distillation"]
    named = "; ".join(_teacher(teacher) for teacher in teachers)
    of_them = "a teacher" if len(teachers) == 1 else f"{len(teachers)} teachers, averaged"
    return (
        f"It learned from the answers of {of_them}, with {100 * setting['weight']:g} % of the loss "
        f"at temperature {setting['temperature']:g}: {named}."
    )


def _teacher(teacher: dict) -> str:
    """The recipe of a teacher, the start of its SHA-256 and its accuracy, as far as known."""
    checkpoint = f"checkpoint {teacher['sha256'][:12]}"
    if not teacher["provenance"]:
        return f"the {checkpoint}, of unknown origin"
    top1 = (teacher["metrics"] or {}).get("test_top1")
    reached = "" if top1 is None else f", {_percent(top1)} of the test images"
    return f"recipe `{teacher['provenance']['recipe']['name']}`, {checkpoint}{reached}"


def _compressed(provenance: dict) -> str:
    """The compression that followed the training."""
    compression = provenance["compression"]
    return (
        f"Then {compression['method']}: {compression['epochs']} epochs at learning rate "
        f"{compression['learning_rate']:g}."
    )


def _recipe_line(provenance: dict) -> str:
    """The stages of a training before this one, back to its first."""
    recipe = provenance["recipe"]
    stages = "; ".join(
        f"{stage['name']} {stage['epochs']} epochs at {stage['size'] or recipe['size']} px"
        for stage in recipe["stages"]
        if stage["epochs"]
    )
    augmentation = _augmentation(recipe["augmentation"])
    taught = ", distilled" if provenance.get("teachers") else ""
    started = provenance.get("started_from")
    before = started and started["provenance"]
    return (
        f"{_recipe_line(before)}; then {stages}{augmentation}{taught}"
        if before
        else (f"{stages}{augmentation}{taught}")
    )


def _quantization_lines(card: dict) -> list[str]:
    known = card["calibration"]
    if known is None:
        return []
    lines = [
        f"The ranges of the quantized activations were found on {known['images']} {known['of']}, "
        f"with the method `{known['method']}`. Weights are int8 per channel; the biases are "
        "corrected for the mean error of rounding them (Nagel et al. 2019, arXiv:1906.04721). "
        "The ONNX file of a precision has the same integers as the TFLite file.",
        "",
        f"No two weights of the same sign in an output channel add up to more than {PAIR_LIMIT}, "
        "except in depthwise layers. So 16-bit sums of 8-bit products cannot overflow on x86-64 "
        "processors without VNNI, and the files give the same answers there. ONNX Runtime's "
        "`reduce_range` and NNCF's `overflow_fix` prevent the same with 7-bit weights.",
        "",
    ]
    if known["tried"]:
        lines += [
            f"The method was chosen in int8 on {known['judged_on']} other training images:",
            "",
            "| method | KL divergence, nats | agrees with float | top-1 |",
            "|---|---|---|---|",
            *(
                f"| {row['method']} | {row['kl_divergence']:.2g} | {_percent(row['agreement'])} "
                f"| {_percent(row['top1'])} |"
                for row in known["tried"]
            ),
            "",
        ]
    worst = known["noise"][:WORST_LAYERS]
    lines += [
        "The layers that lose most in int8, by their signal-to-noise ratio:",
        "",
        "| layer | operator | signal to noise, dB | signal to own noise, dB |",
        "|---|---|---|---|",
        *(
            f"| `{row['output'].rpartition(';')[2]}` | {row['operator']} | {row['sqnr_db']:.1f} "
            f"| {row['added_db']:.1f} |"
            for row in worst
        ),
        "",
    ]
    if known["kept_float"]:
        lines += [f"Kept in float: {', '.join(f'`{name}`' for name in known['kept_float'])}.", ""]
    return lines
