"""The average of finished runs: mean weights, judged by images that no run trained on."""

import json
import shutil

import keras
import numpy as np
import pytest
import tiny_training
from listing import names_in

from edgecifar.data import shipped
from edgecifar.errors import UserError
from edgecifar.training import recipes, trainer
from edgecifar.training.averaging import average
from edgecifar.training.batches import hold_out


@pytest.fixture(autouse=True)
def small(small_network, few_test_images):
    """Every test here trains one convolution and reads few test images."""


@pytest.fixture
def train(tmp_path):
    """Trains one convolution for an epoch; gives the run folder."""

    def train(name, *assignments):
        fields = ("head.epochs=0", "finetune.epochs=1", *assignments)
        recipe = recipes.override(tiny_training.CONVOLUTION, fields)
        quiet, ignore = tiny_training.no_progress, tiny_training.ignore
        data = shipped.calibration_set()
        return trainer.train(recipe, data, tmp_path / name, quiet, ignore).path

    return train


def averaged(runs, out):
    return average(runs, shipped.calibration_set(), out, tiny_training.no_progress)


def weights(run):
    return keras.saving.load_model(run / "model.keras", compile=False).get_weights()


def test_the_weights_are_the_mean_and_judged_on_what_was_held_out(train, tmp_path):
    first = train("first")
    second = train("second", f"weights={first / 'model.keras'}", "finetune.learning_rate=1e-3")
    run = averaged([first, second], tmp_path / "average")
    for mean, one, two in zip(weights(run.path), weights(first), weights(second), strict=True):
        np.testing.assert_allclose(mean, (one + two) / 2, rtol=1e-5, atol=1e-6)
    recipe = tiny_training.CONVOLUTION
    split = hold_out(shipped.calibration_set(), recipe.validation_images, recipe.seed)
    model = keras.saving.load_model(run.checkpoint, compile=False)
    answers = model.predict_on_batch(split.images[split.validation]).argmax(axis=1)
    top1 = np.mean(answers == split.labels[split.validation])
    assert run.best.validation_top1 == pytest.approx(top1, abs=1e-6)
    known = json.loads((run.path / "recipe.json").read_text())
    assert [len(each["sha256"]) for each in known["averaged"]] == [64, 64]
    assert known["averaged"][1]["provenance"]["started_from"]["provenance"]["recipe"]
    assert run.metrics["test_images"] == 300
    assert "state.npz" not in names_in(run.path)


def test_what_cannot_be_averaged_is_one_line_and_makes_no_folder(train, tmp_path):
    first = train("first")
    out = tmp_path / "average"
    for runs, complaint in (
        ([first], "takes two runs or more"),
        ([first, tmp_path / "nowhere"], "nowhere is not a finished run"),
        ([first, train("seed", "seed=2")], "held out other images"),
        ([first, train("hidden", "hidden=8")], "is not of the same network"),
    ):
        with pytest.raises(UserError, match=complaint) as error:
            averaged(runs, out)
        assert "\n" not in str(error.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("recipe.json", "{", "is not a finished run: .*recipe.json: it is not JSON"),
        ("recipe.json", "[]", "is not a finished run: .*recipe.json: it is not a recipe.json"),
        ("metrics.json", "7", "is not a finished run: .*metrics.json: it is not a metrics.json"),
        ("recipe.json", '{"recipe": {"name": "x"}}', "cannot be averaged: .*recipe.json: "),
    ],
)
def test_a_run_that_does_not_say_how_it_was_made_is_one_line(
    small_run, tmp_path, name, content, complaint
):
    odd = shutil.copytree(small_run.path, tmp_path / "odd")
    (odd / name).write_text(content)
    with pytest.raises(UserError, match=complaint) as error:
        averaged([small_run.path, odd], tmp_path / "average")
    assert str(odd) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "average").exists()


def test_a_run_that_does_not_say_what_it_held_out_is_not_averaged(small_run, tmp_path):
    odd = shutil.copytree(small_run.path, tmp_path / "odd")
    (odd / "recipe.json").write_text('{"recipe": {"name": "x"}}')
    with pytest.raises(UserError, match="held out other images"):
        averaged([odd, small_run.path], tmp_path / "average")
