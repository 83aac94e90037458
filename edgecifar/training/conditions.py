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
        UserError: there is no stage, or one has no step in an epoch, a learning rate of zero, a
            warm-up as long as the stage, or a batch that the devices cannot share.
    """
    if not recipe.planned:
        raise UserError(f"recipe {recipe.name}: no stage has an epoch to train")
    if not 0 < recipe.validation_images < images:
        raise UserError(f"validation_images={recipe.validation_images}: expected 1 to {images - 1}")
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


def parent(weights: str) -> dict | None:
    """The facts that are known about the file that a run starts from.

    Args:
        weights: the recipe's field: "imagenet", "none", or a file.

    Returns:
        `sha256` of the file, and `provenance` and `metrics` of the run that made it, each None
        where it is not known; or None where the run starts from no file.
    """
    if weights in ("imagenet", "none"):
        return None
    path = Path(weights)
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
    if any(run.provenance.get(name) != value for name, value in now.items()):
        raise UserError(
            f"{run.path} was started with other images or versions: see its {provenance.RECIPE}"
        )
    return recipe, split


def check_parent(run: RunFolder, weights: str) -> None:
    """Check that a run which starts again from the beginning starts from the same file.

    Args:
        run: the run that is resumed.
        weights: the recipe's field.

    Raises:
        UserError: the file has changed.
    """
    begun, now = run.provenance.get("started_from"), parent(weights)
    sha256 = begun.get("sha256") if isinstance(begun, dict) else None
    if sha256 != (now and now["sha256"]):
        raise UserError(f"{run.path} was started with other weights than {weights} holds now")
