"""Recipes: everything that decides a training run, as data."""

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable
from typing import Literal

from edgecifar.errors import UserError


@dataclasses.dataclass(frozen=True)
class Stage:
    """One leg of a run, with one optimizer and one learning-rate schedule.

    Attributes:
        name: what `--set NAME.field=value` calls it.
        trains: "head", on features that the frozen backbone computes once; or "all" layers.
        epochs: passes over the training images.
        batch: images a step.
        learning_rate: AdamW's, at the end of the warm-up.
        final_learning_rate: where the cosine decay ends.
        warmup_epochs: length of the linear rise from zero, in epochs.
        size: side in pixels that the backbone sees, at most the recipe's; 0 is the recipe's.
    """

    name: str
    trains: Literal["head", "all"]
    epochs: int
    batch: int
    learning_rate: float
    final_learning_rate: float = 0.0
    warmup_epochs: float = 0.0
    size: int = 0


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What training images go through, as uint8, before the model.

    Attributes:
        crop_padding: pixels of reflected border before a random 32 x 32 crop; 0 is no crop.
        flip: mirror every other image, at random.
    """

    crop_padding: int = 4
    flip: bool = True


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A training run, complete.

    Attributes:
        name: what `edgecifar train NAME` calls it.
        summary: one line on what it is.
        source: where the method comes from.
        network: the function of `edgecifar.models` that builds it.
        size: side in pixels of the square that the deployed backbone sees.
        alpha: width multiplier.
        dropout: fraction of what the last layer reads that is dropped in training.
        hidden: units of a dense ReLU layer behind the pooled features; 0 is none.
        batch_norm_momentum: of the moving statistics.
        weights: what the backbone starts from: "imagenet", "none", or a file.
        label_smoothing: share of the target spread evenly over the classes.
        weight_decay: AdamW's, on kernels only.
        validation_images: training images held out, evenly over the classes, to choose the epoch.
        augmentation: of the training images, in stages that train all layers.
        stages: one after another, each from where the one before ended.
        seed: of the split, the order, the augmentation and the new weights.
    """

    name: str
    summary: str
    source: str
    stages: tuple[Stage, ...]
    network: Literal["mobilenetv2"] = "mobilenetv2"
    size: int = 96
    alpha: float = 1.0
    dropout: float = 0.2
    hidden: int = 0
    batch_norm_momentum: float = 0.99
    weights: str = "imagenet"
    label_smoothing: float = 0.1
    weight_decay: float = 0.02
    validation_images: int = 5000
    augmentation: Augmentation = Augmentation()
    seed: int = 1

    def stage_size(self, stage: Stage) -> int:
        """Side in pixels that the backbone sees in a stage."""
        return min(stage.size, self.size) if stage.size else self.size


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="mobilenetv2",
            summary="ImageNet MobileNetV2, head first, then every layer, at 64 px and at 96 px",
            source="Sandler et al. 2018, arXiv:1801.04381; progressive resizing after Howard 2018",
            stages=(
                Stage("head", "head", epochs=6, batch=256, learning_rate=3e-3, size=64),
                Stage(
                    "finetune-small",
                    "all",
                    epochs=5,
                    batch=64,
                    learning_rate=1e-3,
                    final_learning_rate=3e-4,
                    warmup_epochs=0.5,
                    size=64,
                ),
                Stage(
                    "finetune",
                    "all",
                    epochs=5,
                    batch=64,
                    learning_rate=4e-4,
                    warmup_epochs=0.2,
                ),
            ),
        ),
        Recipe(
            name="quick",
            summary="a head on frozen ImageNet MobileNetV2: the newcomer's five minutes",
            source="Sandler et al. 2018, arXiv:1801.04381",
            hidden=512,
            stages=(Stage("head", "head", epochs=15, batch=256, learning_rate=1e-3),),
        ),
    )
}

# The least and the most that a field takes; of any other number, zero or more.
RANGES = {
    (Stage, "batch"): (1, math.inf),
    (Recipe, "size"): (1, 1024),
    (Recipe, "alpha"): (0.05, 4),
    (Recipe, "dropout"): (0, 1),
    (Recipe, "batch_norm_momentum"): (0, 1),
    (Recipe, "label_smoothing"): (0, 1),
    (Recipe, "seed"): (0, 2**32 - 1),
}


def find(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UserError: there is none; the message lists those there are.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"no recipe {name!r}: there are {', '.join(RECIPES)}{hint}")
    return RECIPES[name]


def override(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """Replace single fields, given as `field=value`.

    Args:
        recipe: the recipe to start from.
        assignments: each `field=value`, `augmentation.field=value` or `STAGE.field=value`.

    Returns:
        A new recipe.

    Raises:
        UserError: no such field, or the value is not of its type or out of its range.
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--set {assignment}: expected field=value, as in dropout=0.3")
        recipe = _replace(recipe, path.strip(), text.strip())
    return recipe


def as_dict(recipe: Recipe) -> dict:
    """The recipe as plain JSON values."""
    return dataclasses.asdict(recipe)


def _replace(recipe: Recipe, path: str, text: str) -> Recipe:
    part, _, field = path.rpartition(".")
    if not part:
        return _replace_field(recipe, field, text, path)
    if part == "augmentation":
        augmentation = _replace_field(recipe.augmentation, field, text, path)
        return dataclasses.replace(recipe, augmentation=augmentation)
    names = [stage.name for stage in recipe.stages]
    if part not in names:
        raise UserError(
            f"--set {path}: {recipe.name} has no part {part!r}: "
            f"there are augmentation, {', '.join(names)}"
        )
    stages = tuple(
        _replace_field(stage, field, text, path) if stage.name == part else stage
        for stage in recipe.stages
    )
    return dataclasses.replace(recipe, stages=stages)


def _replace_field(part, field: str, text: str, path: str):
    types = typing.get_type_hints(type(part))
    settable = [
        name
        for name, kind in types.items()
        if kind in (int, float, bool, str) and name not in ("name", "summary", "source")
    ]
    if field not in settable:
        raise UserError(f"--set {path}: no field {field!r}: there are {', '.join(settable)}")
    limits = RANGES.get((type(part), field), (0, math.inf))
    return dataclasses.replace(part, **{field: _parse(text, types[field], limits, path)})


def _parse(
    text: str, kind: type, limits: tuple[float, float], path: str
) -> bool | int | float | str:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UserError(f"--set {path}={text}: expected true or false")
        return text.lower() == "true"
    try:
        value = kind(text)
    except ValueError:
        expected = {int: "a whole number", float: "a number"}[kind]
        raise UserError(f"--set {path}={text}: expected {expected}") from None
    least, most = limits
    if kind is not str and not (least <= value <= most and value < math.inf):
        expected = f"{least} to {most}" if most < math.inf else f"{least or 'zero'} or more"
        raise UserError(f"--set {path}={text}: expected {expected}")
    return value
