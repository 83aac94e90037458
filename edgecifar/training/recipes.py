"""Recipes: everything that determines a training run, as data, and how one field is replaced."""

import dataclasses
import math
import sys
import typing
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

from edgecifar.errors import UserError

Part = TypeVar("Part", "Recipe", "Stage", "Augmentation")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One leg of a run, with one optimizer and one learning-rate schedule.

    Attributes:
        name: what `--set NAME.field=value` calls it.
        trains: "head", on features that the frozen backbone computes once; or "all" layers.
        epochs: passes over the training images.
        batch: images a step.
        learning_rate: the optimizer's, at the end of the warm-up.
        final_learning_rate: where the cosine decay ends; the same as `learning_rate` is no decay.
        warmup_epochs: length of the linear rise from zero, in epochs. `override` shortens it to
            half of the stage when `epochs` is replaced by fewer and `warmup_epochs` is not given.
        size: side in pixels that the backbone sees, at most the recipe's; 0 is the recipe's.
        optimizer: "adamw", "adam", or "sgd" with Nesterov momentum 0.9.
        hidden: units of the head's dense ReLU layer in this stage; -1 is the recipe's. A layer that
            is not of the same shape in the stage before starts anew.
        average: decay, a step, of the moving average of the weights that is judged and kept in
            their place (Polyak and Juditsky 1992); 0 is no average.
        first_layer_rate: learning rate of the first layer as a share of the last layer's; between
            them the rate rises by one factor from layer to layer (Howard and Ruder 2018,
            arXiv:1801.06146). 1 is one rate for all layers. Weight decay is not scaled.
    """

    name: str
    trains: Literal["head", "all"]
    epochs: int
    batch: int
    learning_rate: float
    final_learning_rate: float = 0.0
    warmup_epochs: float = 0.0
    size: int = 0
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    hidden: int = -1
    average: float = 0.0
    first_layer_rate: float = 1.0


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What training images go through before the model, each on its own.

    Attributes:
        crop_padding: pixels of reflected border before a random 32 x 32 crop; 0 is no crop.
        flip: mirror every other image, at random.
        rotation: the most degrees that an image is turned, either way.
        shift: the most that an image is moved, either way on both axes, as a share of its side.
        cutout: side in pixels of a square that is made gray, anywhere (DeVries and Taylor 2017).
        mixup: both parameters of the beta distribution that two images and their targets are
            mixed by (Zhang et al. 2018); 0 mixes none.
    """

    crop_padding: int = 4
    flip: bool = True
    rotation: float = 0.0
    shift: float = 0.0
    cutout: int = 0
    mixup: float = 0.0


@dataclasses.dataclass(frozen=True)
class Distillation:
    """What a network learns from the answers of others, in stages that train all layers.

    Attributes:
        teachers: checkpoint files whose probabilities are averaged, separated by commas; "" is no
            distillation. They should have held out the same images, that is, have the same seed.
        weight: the share of the loss that compares with the teachers; the rest compares with the
            labels.
        temperature: what the logits of both are divided by in that share. It is multiplied by the
            square of this, as in Hinton et al. 2015.
        crops: the number of crops of each image that the teachers answer, within the augmentation's
            `crop_padding`, and each mirrored too with its `flip`. These views alone are trained on.
    """

    teachers: str = ""
    weight: float = 0.7
    temperature: float = 2.0
    crops: int = 8

    @property
    def paths(self) -> list[str]:
        """The files of the teachers."""
        return [path.strip() for path in self.teachers.split(",") if path.strip()]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A training run, complete.

    Attributes:
        name: what `edgecifar train NAME` calls it.
        summary: one line on what it is.
        source: where the method comes from.
        stages: one after another, each from where the one before ended.
        target: test top-1 that it is to reach, as float32; what its source reports, or our own aim.
        network: the name in `edgecifar.models.networks` of the function that builds it.
        size: side in pixels of the square that the deployed backbone sees.
        alpha: width multiplier.
        dropout: fraction of what the last layer reads that is dropped in training.
        hidden: units of the head's dense ReLU layer; 0 means no such layer.
        batch_norm_momentum: of the moving statistics.
        weights: what the backbone starts from: "imagenet", "none", or a file.
        label_smoothing: share of the target spread evenly over the classes.
        weight_decay: AdamW's and SGD's, on kernels only.
        validation_images: training images held out, evenly over the classes, to choose the epoch.
        augmentation: of the training images, in stages that train all layers.
        distillation: the teachers, if there are any.
        source_stages: the schedule of the source, where `stages` are others.
        schedule: whose schedule `stages` is: "ours" or the "source"'s.
        seed: of the split, the order, the augmentation and the new weights.
    """

    name: str
    summary: str
    source: str
    stages: tuple[Stage, ...]
    target: float = 0.0
    network: str = "mobilenetv2"
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
    distillation: Distillation = Distillation()
    source_stages: tuple[Stage, ...] = ()
    schedule: Literal["ours", "source"] = "ours"
    seed: int = 1

    @property
    def planned(self) -> tuple[Stage, ...]:
        """The stages that have an epoch to train."""
        return tuple(stage for stage in self.stages if stage.epochs)

    def stage_size(self, stage: Stage) -> int:
        """Side in pixels that the backbone sees in a stage."""
        return min(stage.size, self.size) if stage.size else self.size

    def stage_hidden(self, stage: Stage) -> int:
        """Units of the head's dense layer in a stage."""
        return self.hidden if stage.hidden < 0 else stage.hidden


# What makes a recipe the one that it is: another of these is another recipe.
FIXED = ("name", "summary", "source", "target", "network", "trains")

# The fields of a recipe that have fields of their own, beside the stages.
PARTS = ("augmentation", "distillation")

# The share of a stage that its warm-up may take when the number of epochs is replaced.
LONGEST_WARMUP = 0.5

# The least and the most that a field takes; any other number is zero or more.
NOT_NEGATIVE = (0, math.inf)
RANGES = {
    (Stage, "batch"): (1, math.inf),
    (Stage, "hidden"): (-1, 65536),
    (Stage, "average"): (0, 0.99999),
    (Stage, "first_layer_rate"): (0, 1),
    (Augmentation, "crop_padding"): (0, 31),
    (Augmentation, "rotation"): (0, 180),
    (Augmentation, "shift"): (0, 1),
    (Augmentation, "cutout"): (0, 32),
    (Distillation, "weight"): (0, 1),
    (Distillation, "temperature"): (0.1, 100),
    (Distillation, "crops"): (1, 3969),
    (Recipe, "size"): (1, 1024),
    (Recipe, "alpha"): (0.05, 4),
    (Recipe, "dropout"): (0, 1),
    (Recipe, "batch_norm_momentum"): (0, 1),
    (Recipe, "label_smoothing"): (0, 1),
    (Recipe, "seed"): (0, 2**32 - 1),
}


def override(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """Replace single fields, given as `field=value`.

    Args:
        recipe: the recipe to start from.
        assignments: each `field=value`, `PART.field=value` with the part augmentation or
            distillation, or `STAGE.field=value`. The last one of a field counts; `schedule`, which
            replaces the stages, is applied first. `STAGE.epochs=N` also shortens the stage's
            warm-up to half of it where it is longer, unless `STAGE.warmup_epochs` is given too.

    Returns:
        A new recipe.

    Raises:
        UserError: no such field, or the value is not of its type or out of its range.
    """
    pairs = []
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"`set={assignment}`: expected field=value, as in dropout=0.3")
        pairs.append((path.strip(), text.strip()))
    schedules = [pair for pair in pairs if pair[0] == "schedule"]
    for path, text in schedules[-1:] + [pair for pair in pairs if pair not in schedules]:
        recipe = _replace(recipe, path, text)
    return _with_warmups_that_fit(recipe, {path for path, _ in pairs})


def as_dict(recipe: Recipe) -> dict:
    """The recipe as plain JSON values."""
    return dataclasses.asdict(recipe)


def from_dict(fields: dict) -> Recipe:
    """The recipe that `as_dict` made these values of.

    Raises:
        TypeError, KeyError: they are not a recipe's, or another version's; or a value is not of
            its field's type, or out of its range.
    """
    parts = {
        "stages": tuple(Stage(**stage) for stage in fields["stages"]),
        "source_stages": tuple(Stage(**stage) for stage in fields["source_stages"]),
        "augmentation": Augmentation(**fields["augmentation"]),
        # Older recipes have none.
        "distillation": Distillation(**fields.get("distillation", {})),
    }
    recipe = Recipe(**fields | parts)
    single: list[Any] = [recipe, recipe.augmentation, recipe.distillation]
    for part in (*single, *recipe.stages, *recipe.source_stages):
        for field in dataclasses.fields(part):
            if not fits(type(part), field.name, getattr(part, field.name)):
                raise TypeError(f"{field.name} is not of its type, or out of its range")
    return recipe


def fits(part: type, field: str, value: object) -> bool:
    """Whether a value is of the type and in the range of a field of `Recipe` or of its parts."""
    kind = typing.get_type_hints(part)[field]
    if choices := typing.get_args(kind):
        return typing.get_origin(kind) is tuple or value in choices
    if kind not in (int, float):
        return isinstance(value, kind)
    least, most = RANGES.get((part, field), NOT_NEGATIVE)
    if isinstance(value, int) or (kind is float and isinstance(value, float)):
        return least <= value <= min(most, sys.float_info.max)
    return False


def _replace(recipe: Recipe, path: str, text: str) -> Recipe:
    part, _, field = path.rpartition(".")
    if not part:
        recipe = _replace_field(recipe, field, text, path)
        return _with_source_stages(recipe) if field == "schedule" else recipe
    if part in PARTS:
        replaced = _replace_field(getattr(recipe, part), field, text, path)
        return dataclasses.replace(recipe, **{part: replaced})
    names = [stage.name for stage in recipe.stages]
    if part not in names:
        raise UserError(
            f"`{path}={text}`: {recipe.name} has no part {part!r}: "
            f"there are {', '.join(['augmentation', *names, 'distillation'])}"
        )
    stages = tuple(
        _replace_field(stage, field, text, path) if stage.name == part else stage
        for stage in recipe.stages
    )
    return dataclasses.replace(recipe, stages=stages)


def _with_warmups_that_fit(recipe: Recipe, given: set[str]) -> Recipe:
    """The recipe, its warm-ups shortened in the stages whose epochs alone were given."""
    return dataclasses.replace(
        recipe,
        stages=tuple(
            dataclasses.replace(
                stage, warmup_epochs=min(stage.warmup_epochs, stage.epochs * LONGEST_WARMUP)
            )
            if f"{stage.name}.epochs" in given and f"{stage.name}.warmup_epochs" not in given
            else stage
            for stage in recipe.stages
        ),
    )


def _with_source_stages(recipe: Recipe) -> Recipe:
    if recipe.schedule == "ours":
        return recipe
    if not recipe.source_stages:
        raise UserError(f"`schedule=source`: {recipe.name} has no other schedule than its own")
    return dataclasses.replace(recipe, stages=recipe.source_stages)


def _replace_field(part: Part, field: str, text: str, path: str) -> Part:
    types = typing.get_type_hints(type(part))
    settable = [
        name
        for name, kind in types.items()
        if (kind in (int, float, bool, str) or typing.get_origin(kind) is Literal)
        and name not in FIXED
    ]
    if field not in settable:
        raise UserError(f"`{path}={text}`: no field {field!r}: there are {', '.join(settable)}")
    limits = RANGES.get((type(part), field), NOT_NEGATIVE)
    change: dict[str, Any] = {field: _parse(text, types[field], limits, path)}
    return dataclasses.replace(part, **change)


def _parse(
    text: str, kind: type, limits: tuple[float, float], path: str
) -> bool | int | float | str:
    if choices := typing.get_args(kind):
        if text not in choices:
            raise UserError(f"`{path}={text}`: expected {' or '.join(choices)}")
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UserError(f"`{path}={text}`: expected true or false")
        return text.lower() == "true"
    try:
        value = kind(text)
    except ValueError:
        expected = {int: "a whole number", float: "a number"}[kind]
        raise UserError(f"`{path}={text}`: expected {expected}") from None
    least, most = limits
    if kind is not str and not (least <= value <= most and value < math.inf):
        expected = f"{least} to {most}" if most < math.inf else f"{least or 'zero'} or more"
        raise UserError(f"`{path}={text}`: expected {expected}")
    return value
