"""Which checkpoint is meant, and what is said of one that is none."""

import json
import os
import shutil

import keras
import pytest

from edgecifar.errors import UserError
from edgecifar.export import checkpoint


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model_file(small_run, tmp_path):
    """A copy of a checkpoint, with nothing beside it."""
    folder = tmp_path / "alone"
    folder.mkdir()
    return shutil.copy(small_run.checkpoint, folder / "model.keras")


def make(path, age_s=0):
    path.parent.mkdir(parents=True)
    path.write_text("any")
    os.utime(path, (1e9 - age_s, 1e9 - age_s))
    return path


def test_the_newest_run_is_the_default(here):
    make(here / "exported" / "model.keras")
    make(here / "runs" / "z-old" / "model.keras", age_s=100)
    make(here / "runs" / "a-new" / "model.keras", age_s=10)
    (here / "runs" / "stopped-before-any-epoch").mkdir()
    assert str(checkpoint.find(None)) == "runs/a-new/model.keras"


def test_without_a_run_the_shipped_one_is_the_default(here):
    make(here / "exported" / "model.keras")
    assert str(checkpoint.find(None)) == "exported/model.keras"


def test_with_neither_the_message_says_how_to_make_one(here):
    with pytest.raises(UserError, match=r"none in runs/ .* `edgecifar train`"):
        checkpoint.find(None)


def test_a_run_folder_means_its_checkpoint(here):
    path = make(here / "run" / "model.keras")
    assert checkpoint.find(path.parent) == checkpoint.find(path) == path


@pytest.mark.parametrize("name", ["missing.keras", "empty"])
def test_what_is_not_there_is_one_line(here, name):
    (here / "empty").mkdir()
    with pytest.raises(UserError, match=f"no checkpoint .*{name}"):
        checkpoint.find(here / name)


def test_a_run_tells_how_it_was_trained(small_run):
    opened = checkpoint.open_checkpoint(small_run.checkpoint)
    assert opened.training["provenance"]["recipe"]["name"] == "convolution"
    assert opened.training["metrics"] == small_run.metrics
    assert opened.model.output_shape == (None, 10)


def test_a_checkpoint_on_its_own_opens_and_nothing_is_known(model_file):
    assert checkpoint.open_checkpoint(model_file).training is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"checkpoint_sha256": "0", "training": 1}'])
def test_a_card_of_something_else_is_not_believed(model_file, text):
    model_file.with_name("card.json").write_text(text)
    assert checkpoint.open_checkpoint(model_file).training is None


def test_the_card_of_this_very_checkpoint_is_believed(model_file):
    sha256 = checkpoint.open_checkpoint(model_file).sha256
    training = {"provenance": {"recipe": {"name": "x"}}, "metrics": {"best_epoch": {"epoch": 1}}}
    card = {"checkpoint_sha256": sha256, "training": training}
    model_file.with_name("card.json").write_text(json.dumps(card))
    assert checkpoint.open_checkpoint(model_file).training == training


@pytest.mark.parametrize("part", ["recipe.json", "metrics.json"])
def test_a_run_folder_without_what_a_card_needs_tells_nothing(small_run, tmp_path, part):
    folder = shutil.copytree(small_run.path, tmp_path / "run")
    (folder / part).write_text("{}")
    assert checkpoint.open_checkpoint(folder / "model.keras").training is None


def _text(path):
    path.write_text("a model, they said")


def _truncated(path):
    path.write_bytes(path.read_bytes()[:5000])


def _empty(path):
    path.write_bytes(b"")


def _another_archive(path):
    shutil.make_archive(path.with_suffix(""), "zip", path.parent)
    path.with_suffix(".zip").rename(path)


def _flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [_text, _truncated, _empty, _another_archive, _flipped])
def test_a_damaged_file_is_one_line_that_names_it(model_file, damage):
    damage(model_file)
    with pytest.raises(UserError, match=f"{model_file} is not a Keras 3 checkpoint") as error:
        checkpoint.open_checkpoint(model_file)
    assert "\n" not in str(error.value)


def test_another_keras_model_is_one_line(tmp_path):
    path = tmp_path / "other.keras"
    keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten()]).save(path)
    with pytest.raises(UserError, match="is not a checkpoint of edgecifar: it needs a layer"):
        checkpoint.open_checkpoint(path)


def test_code_inside_a_checkpoint_does_not_run(tmp_path):
    image = keras.Input((32, 32, 3), dtype="uint8")
    path = tmp_path / "lambda.keras"
    keras.Model(image, keras.layers.Lambda(lambda x: x, output_shape=(10,))(image)).save(path)
    with pytest.raises(UserError, match="is not a Keras 3 checkpoint that opens") as error:
        checkpoint.open_checkpoint(path)
    assert "\n" not in str(error.value)
