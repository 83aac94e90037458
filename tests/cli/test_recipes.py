"""`edgecifar recipes`."""

import json

from edgecifar.training import recipe_book, recipes


def test_recipes_lists_every_recipe_with_its_target(edgecifar):
    code, out, err = edgecifar("recipes")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    for recipe in recipe_book.RECIPES.values():
        target = f"{100 * recipe.target:.2f}" if recipe.target else "-"
        assert f" {target} " in lines[recipe.name]


def test_recipes_prints_one_whole(edgecifar, refused):
    code, out, _ = edgecifar("recipes", "resnet")
    printed = json.loads(out)
    measured = printed.pop("measured")
    assert code == 0
    assert recipes.from_dict(printed) == recipe_book.find("resnet")
    assert measured is None or 0 < measured["test_top1"] < 1
    assert "did you mean resnet?" in refused("recipes", "resnett")
