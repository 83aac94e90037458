"""What `edgecifar recipes` claims is what the shipped files say."""

import json
from pathlib import Path

import pytest

from edgecifar import files
from edgecifar.training import recipe_results
from edgecifar.training.recipe_book import RECIPES

EXPORTED = Path(__file__).parents[2] / "exported"
FOLDERS = {"mobilenetv2": EXPORTED} | {path.name: path for path in (EXPORTED / "zoo").iterdir()}


def test_every_result_is_of_a_recipe_and_has_its_files():
    assert set(recipe_results.results()) == set(FOLDERS)
    assert set(FOLDERS) <= set(RECIPES)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_result_is_that_of_the_shipped_files(name):
    folder, result = FOLDERS[name], recipe_results.results()[name]
    card = json.loads((folder / "card.json").read_text())
    int8 = next(row for row in card["files"] if row["file"] == "model.tflite")
    trained = card["training"]["metrics"]
    assert files.sha256(folder / "model.tflite") == int8["sha256"]
    assert result["int8_top1"] == int8["top1"]
    assert result["test_top1"] == trained["test_top1"] == trained["test"]["top1"]
    assert trained["test_images"] == card["test_images"] == 10_000
    assert card["training"]["provenance"]["recipe"]["name"] == name
    assert card["training"]["provenance"]["training_images"] == 45_000


def test_the_zoo_is_small_enough_to_ship():
    sizes = [path.stat().st_size for path in (EXPORTED / "zoo").rglob("*") if path.is_file()]
    assert sum(sizes) < 60_000_000
