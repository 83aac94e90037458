"""Every recipe goes the whole road: narrow, for an epoch a stage, on the images that ship."""

import dataclasses

import keras
import numpy as np
import pytest
import tiny_training

from edgecifar.data import shipped
from edgecifar.export import tflite
from edgecifar.export.quantization import calibration, quantizer, raw_pixels
from edgecifar.export.verification import probabilities_of
from edgecifar.training import trainer
from edgecifar.training.recipe_book import RECIPES

IMAGES = 40


def narrow(recipe):
    """The same recipe with all its kinds of layers, and little of its first and last stage."""
    stages = tuple(
        dataclasses.replace(
            stage,
            epochs=1,
            batch=50,
            warmup_epochs=min(stage.warmup_epochs, 0.5),
            size=0,
        )
        for stage in dict.fromkeys((recipe.stages[0], recipe.stages[-1]))
    )
    return dataclasses.replace(
        recipe,
        stages=stages,
        size=32,
        alpha=0.35 if recipe.network.startswith("mobilenet") else 0.25,
        hidden=min(recipe.hidden, 16),
        batch_norm_momentum=0.8,
        weights="none",
        validation_images=100,
    )


def of_each_kind():
    """The names of recipes that differ when they are narrow; the others would train the same."""
    unnamed = {"name": "", "summary": "", "source": "", "target": 0.0}
    kinds = {dataclasses.replace(narrow(RECIPES[name]), **unnamed): name for name in RECIPES}
    return list(kinds.values())


@pytest.mark.spread
@pytest.mark.parametrize("name", of_each_kind())
def test_it_trains_and_its_checkpoint_becomes_an_int8_file(name, few_test_images, tmp_path):
    recipe = narrow(RECIPES[name])
    data = shipped.calibration_set()
    ignore, quiet = tiny_training.ignore, tiny_training.no_progress
    run = trainer.train(recipe, data, tmp_path / "run", quiet, ignore)
    assert [epoch.stage for epoch in run.epochs] == [stage.name for stage in recipe.stages]
    assert all(np.isfinite(epoch.loss) for epoch in run.epochs)
    assert run.metrics["multiply_accumulates"] > 0

    model = keras.saving.load_model(run.checkpoint, compile=False)
    images = data.images(np.arange(IMAGES))
    path = tmp_path / "model.tflite"
    float_file = tflite.float_tflite(model)
    graph, scaling = raw_pixels.split(float_file)
    ranges = calibration.ranges(calibration.observe(graph, scaling(images)), "minmax")
    path.write_bytes(quantizer.quantize(graph, scaling, "int8", ranges))
    expected = model.predict_on_batch(images)
    assert np.abs(probabilities_of(path, images) - expected).mean() < 0.05
