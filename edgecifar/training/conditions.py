"""The conditions of a run: checks before it begins, and whether a resumed one has the same."""

import json
import logging
from pathlib import Path

from edgecifar import __version__, files, provenance
from edgecifar.data import cifar10
from edgecifar.errors import UserError, plain
from edgecifar.models.keras_loader import load_keras
from edgecifar.training import recipes
from edgecifar.training.batches import Split, hold_out
from edgecifar.training.devices import PRECISIONS, device_count
from edgecifar.training.recipes import Recipe
from edgecifar.training.run_folder import RunFolder

LOGGER = logging.getLogger(__name__)


def check(recipe: Recipe, images: int) -> None:
    """Check that every stage of a recipe can be trained, before the first one starts.

    Args:
        recipe: the recipe.
        images: how many training images there are, the ones to hold out included.

    Raises:
        UserError: there is no stage, or the augmentation changes the views that teachers have
            answered, or a stage has no step in an epoch, a learning rate of zero, a warm-up as long
            as the stage, or a batch that the devices cannot share.
    """
    if not recipe.planned:
        raise UserError(f"recipe {recipe.name}: no stage has an epoch to train")
    if not 0 < recipe.validation_images < images:
        raise UserError(f"validation_images={recipe.validation_images}: expected 1 to {images - 1}")
    if recipe.distillation.paths:
        _check_views(recipe)
    training_images = images - recipe.validation_images
    for stage in recipe.planned:
        steps = training_images // stage.batch
        if steps == 0:
            raise UserError(
                f"{stage.name}.batch={stage.batch}: there are {training_images} training images"
            )
        if stage.batch % device_count():
            raise UserError(
                f"{stage.name}.batch={stage.batch}: {device_count()} devices cannot share it evenly"
            )
        if stage.learning_rate == 0:
            raise UserError(f"{stage.name}.learning_rate=0: expected more than zero")
        if steps * stage.epochs <= round(stage.warmup_epochs * steps):
            raise UserError(
                f"{stage.name}.warmup_epochs={stage.warmup_epochs:g}: expected less than the "
                f"stage's epochs, {stage.epochs}"
            )


def _check_views(recipe: Recipe) -> None:
    for field in ("rotation", "shift", "cutout"):
        if value := getattr(recipe.augmentation, field):
            raise UserError(
                f"`augmentation.{field}={value}`: expected 0 with a distillation, whose student "
                "sees the same pixels as its teachers"
            )


def conditions(recipe: Recipe, training_images: int, precision: str) -> dict:
    """What determines a run: the recipe, the data, the versions and the arithmetic.

    Args:
        recipe: the recipe.
        training_images: how many images it trains on.
        precision: of the computation, see `devices.dtype_policy`.

    Returns:
        The content of `recipe.json`, without the file that the run starts from.
    """
    keras = load_keras()
    return {
        "recipe": recipes.as_dict(recipe),
        "data": "CIFAR-10",
        "data_sha256": {name: cifar10.SHA256[name] for name in cifar10.TRAIN_FILES},
        "training_images": training_images,
        "edgecifar": __version__,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "precision": precision,
        "devices": device_count(),
    }


def origins(recipe: Recipe) -> dict:
    """The facts that are known about the files that a run starts from and learns from.

    Args:
        recipe: its `weights`, and the teachers of its distillation.

    Returns:
        `started_from`, None where the run starts from no file; and `teachers`, a list, where there
        are any. Of each file: its `sha256`, and `provenance` and `metrics` of the run that made it,
        each None where it is not known.
    """
    start = None if recipe.weights in ("imagenet", "none") else _origin(recipe.weights)
    teachers = [_origin(path) for path in recipe.distillation.paths]
    return {"started_from": start} | ({"teachers": teachers} if teachers else {})


def _origin(file: str) -> dict:
    path = Path(file)
    sha256 = files.sha256(path)
    known = provenance.of_checkpoint(path, sha256)
    for line in known.ignored:
        LOGGER.warning("ignored: %s", line)
    return {"sha256": sha256, "provenance": known.recipe, "metrics": known.metrics}


def as_begun(run: RunFolder, data: cifar10.ImageSet) -> tuple[Recipe, Split]:
    """The recipe and the images of a run that is resumed.

    Raises:
        UserError: `recipe.json` is damaged, or the images or the versions are not those that the
            run was started with.
    """
    try:
        recipe = recipes.from_dict(run.provenance["recipe"])
        precision, backend = run.provenance["precision"], run.provenance["backend"]
        if precision not in PRECISIONS or not isinstance(backend, str):
            raise TypeError("its precision or its backend is not one that exists")
    except (KeyError, TypeError) as error:
        reason = plain(f"{provenance.RECIPE}: {error}")
        raise UserError(f"{run.path} cannot be resumed: {reason}") from error
    if backend != load_keras().backend.backend():
        raise UserError(
            f"{run.path} was started with {backend}: resume it with `backend={backend}`"
        )
    check(recipe, len(data))
    split = hold_out(data, recipe.validation_images, recipe.seed)
    now = json.loads(json.dumps(conditions(recipe, len(split.training), precision)))
    del now["recipe"]  # read from there, maybe without fields that are newer
    if any(run.provenance.get(name) != value for name, value in now.items()):
        raise UserError(
            f"{run.path} was started with other images or versions: see its {provenance.RECIPE}"
        )
    return recipe, split


def check_origins(run: RunFolder, recipe: Recipe) -> None:
    """Check that a resumed run still has the same files to start from and to learn from.

    Args:
        run: the run that is resumed. After its first epoch it does not need what it started from.
        recipe: its recipe.

    Raises:
        UserError: a file has changed.
    """
    if not run.epochs and recipe.weights not in ("imagenet", "none"):
        _check_origin(run, "other weights", recipe.weights, run.provenance.get("started_from"))
    begun = run.provenance.get("teachers")
    for place, path in enumerate(recipe.distillation.paths):
        known = begun[place] if isinstance(begun, list) and place < len(begun) else None
        _check_origin(run, "another teacher", path, known)


def _check_origin(run: RunFolder, what: str, path: str, known: object) -> None:
    sha256 = known.get("sha256") if isinstance(known, dict) else None
    if sha256 != files.sha256(Path(path)):
        raise UserError(f"{run.path} was started with {what} than {path} holds now")
