"""Judges networks: on the held-out images after an epoch, and on the test images at a run's end."""

from typing import TYPE_CHECKING

import numpy as np

from edgecifar.data import cifar10, shipped
from edgecifar.metrics.classification import assess
from edgecifar.models import networks
from edgecifar.models.keras_loader import load_keras
from edgecifar.progress import ShowProgress
from edgecifar.training import plots
from edgecifar.training.devices import machine_summary
from edgecifar.training.fast_layers import with_fast_layers
from edgecifar.training.prediction import predict
from edgecifar.training.run_folder import RunFolder

if TYPE_CHECKING:
    import keras
    import tf_keras


def assess_held_out(
    model: "keras.Model | tf_keras.Model",
    inputs: np.ndarray,
    labels: np.ndarray,
    progress: ShowProgress,
) -> dict:
    """Assess a network by its answers to the held-out training images.

    Args:
        model: takes arrays like `inputs`, gives probabilities (n, 10).
        inputs: the held-out images, or their features, shape (n, ...).
        labels: uint8, shape (n,).
        progress: shows a bar meanwhile.

    Returns:
        See `metrics.classification.assess`.
    """
    with progress("held-out images", len(inputs)) as update:
        return assess(predict(model, inputs, update), labels)


def evaluate(run: RunFolder, progress: ShowProgress) -> dict:
    """Classify the test images with a run's checkpoint, and draw the pictures of the result.

    Returns:
        `test_images`; `test_top1`, the share that is classified correctly; `test_top1_flipped`, the
        same when the probabilities are averaged with those of the mirrored images; and `test`,
        the whole assessment.
    """
    kept = load_keras().saving.load_model(run.checkpoint, compile=False)
    model = with_fast_layers(kept)
    test = shipped.test_set()
    images = test.images()
    with progress("test images", len(test)) as update:
        probabilities = predict(model, images, update)
    with progress("mirrored test images", len(test)) as update:
        mirrored = predict(model, np.ascontiguousarray(images[:, :, ::-1]), update)
    assessment = assess(probabilities, test.labels)
    error = assessment["expected_calibration_error"]
    run.draw(
        {
            "confusion": plots.confusion_heat_map(
                assessment["confusion"], cifar10.CLASSES, run.title
            ),
            "mistakes": plots.mistakes_grid(images, assessment["confident_mistakes"], run.title),
            "reliability": plots.reliability_diagram(assessment["reliability"], error, run.title),
        }
    )
    return {
        "test_images": len(test),
        "test_top1": assessment["top1"],
        "test_top1_flipped": float(
            np.mean((probabilities + mirrored).argmax(axis=1) == test.labels)
        ),
        "test": assessment,
    }


def finish(run: RunFolder, network: "keras.Model", interrupted: bool, measured: dict) -> None:
    """Write a run's `metrics.json`: the entries of every run, and what was measured.

    Args:
        run: the run folder, with its epochs.
        network: what was trained; it needs no trained weights.
        interrupted: whether the run ended early.
        measured: further entries, plain JSON values.
    """
    run.finish(
        interrupted=interrupted,
        parameters=network.count_params(),
        multiply_accumulates=networks.multiply_accumulates(network),
        machine=machine_summary(),
        **measured,
    )
