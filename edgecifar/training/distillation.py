"""Distillation (Hinton et al. 2015, arXiv:1503.02531): a student learns its teachers' answers too.

The student sees only a fixed set of views of each training image, the crops and mirror images that
its teachers have answered: teacher and student always see the same pixels (Beyer et al. 2021,
arXiv:2106.05237). The answers are computed once. `teachers/KEY.npy` in the cache has them, and the
key is a hash of the images, the views, and the layers and weights of the teachers.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.data.cifar10 import CLASSES, IMAGE_SHAPE
from edgecifar.errors import UserError
from edgecifar.models.keras_loader import load_keras, open_model
from edgecifar.progress import ShowProgress, Update, ignore
from edgecifar.training.array_cache import cached_array
from edgecifar.training.augmentation import look_up_views
from edgecifar.training.fast_layers import with_fast_layers
from edgecifar.training.features import key
from edgecifar.training.prediction import BATCH, predict
from edgecifar.training.recipes import Augmentation, Recipe

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What a student is trained with beside the labels.

    Attributes:
        views: the view of each number, see `augmentation.look_up_views`; int32, shape (k, 3).
        answers: the teachers' mean probabilities for each view of each image, float32, shape
            (images, k, 10).
        weight: the share of the loss that compares the student with the teachers, 0 to 1.
        temperature: what the logits of both are divided by in that share.
    """

    views: np.ndarray
    answers: np.ndarray
    weight: float
    temperature: float


def open_teachers(recipe: Recipe) -> list["keras.Model"]:
    """Open the checkpoints of a recipe's teachers.

    Returns:
        Networks of uint8 images (n, 32, 32, 3) to probabilities (n, 10); none without a
        distillation.

    Raises:
        UserError: one of them cannot be opened, or takes or gives something else.
    """
    teachers = []
    for path in recipe.distillation.paths:
        teacher = open_model(Path(path))
        if (teacher.input_shape[1:], teacher.output_shape[1:]) != (IMAGE_SHAPE, (len(CLASSES),)):
            raise UserError(
                f"{path} cannot be a teacher: expected images of {IMAGE_SHAPE} and {len(CLASSES)} "
                f"probabilities, got {teacher.input_shape[1:]} and {teacher.output_shape[1:]}"
            )
        teachers.append(teacher)
    return teachers


def views(crops: int, augmentation: Augmentation) -> np.ndarray:
    """The views that teachers and student see of each image.

    Args:
        crops: the number of crops; the first is the whole image.
        augmentation: its `crop_padding` says how far a crop may be moved, and with `flip` each
            crop is seen mirrored too.

    Returns:
        See `Lesson.views`. The same for the same arguments.
    """
    pad = augmentation.crop_padding
    moves = np.indices((2 * pad + 1, 2 * pad + 1)).reshape(2, -1).T - pad
    others = moves[np.any(moves, axis=1)]
    drawn = np.random.default_rng(0).permutation(others)[: crops - 1]
    places = np.concatenate([np.zeros((1, 2), int), drawn])
    return np.array(
        [(*place, mirrored) for place in places for mirrored in range(1 + augmentation.flip)],
        np.int32,
    )


def lesson(
    recipe: Recipe, teachers: list["keras.Model"], images: np.ndarray, progress: ShowProgress
) -> Lesson | None:
    """The teachers' answers to the views of the images, from the cache or computed into it.

    Args:
        recipe: its distillation and its augmentation.
        teachers: see `open_teachers`.
        images: uint8, shape (m, 32, 32, 3).
        progress: shows a bar while they are computed.

    Returns:
        None when there is no teacher.

    Raises:
        UserError: the cache cannot be written.
    """
    if not teachers:
        return None
    setting = recipe.distillation
    seen = views(setting.crops, recipe.augmentation)
    digest = hashlib.sha256(seen.tobytes())
    for teacher in teachers:
        digest.update(key(teacher, images).encode())

    def blocks(update: Update) -> Iterator[np.ndarray]:
        return _answers([with_fast_layers(each) for each in teachers], images, seen, update)

    answers = cached_array(
        f"teachers/{digest.hexdigest()[:32]}",
        (len(images), len(seen), len(CLASSES)),
        np.float32,
        blocks,
        "teachers' answers",
        len(images) * len(seen),
        progress,
    )
    return Lesson(seen, answers, setting.weight, setting.temperature)


def _answers(
    teachers: list["keras.Model"], images: np.ndarray, seen: np.ndarray, update: Update
) -> Iterator[np.ndarray]:
    """Blocks of the teachers' mean probabilities, shape (n, k, 10)."""
    pixels = load_keras().ops.convert_to_tensor(images.reshape(-1, images.shape[-1]))
    for start in range(0, len(images), BATCH):
        rows = np.arange(start, min(start + BATCH, len(images)), dtype=np.int32)
        answers = []
        for number in range(len(seen)):
            chosen = np.full(len(rows), number, np.int32)
            batch = np.asarray(look_up_views(pixels, rows, seen, chosen))
            each = [predict(teacher, batch, ignore) for teacher in teachers]
            answers.append(np.mean(each, axis=0))
            update(start * len(seen) + (number + 1) * len(rows))
        yield np.stack(answers, axis=1)
