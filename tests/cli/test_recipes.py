"""`edgecifar recipes`."""

import json

import pytest

from edgecifar.training import recipe_book, recipes


def test_recipes_lists_every_recipe_with_its_target(edgecifar):
    code, out, err = edgecifar("recipes")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    for recipe in recipe_book.RECIPES.values():
        target = f"{100 * recipe.target:.2f}" if recipe.target else "-"
        assert f" {target} " in lines[recipe.name]


@pytest.mark.parametrize("width", [80, 120])
def test_recipes_fit_a_terminal_and_break_no_word(screen, width):
    code, lines = screen(width, "recipes")
    assert code == 0
    assert max(map(len, lines)) <= width
    assert "recipe" in " ".join(lines[:2])
    table = "\n".join(lines)
    for recipe in recipe_book.RECIPES.values():
        for word in (recipe.name, *recipe.summary.split()):
            assert word in table
    left_out = next((line for line in lines if line.startswith("left out for width: ")), "")
    assert left_out.endswith(" (--wide shows them)")


def test_recipes_shows_every_column_with_wide(screen):
    code, lines = screen(80, "recipes", "--wide")
    assert code == 0
    assert "left out" not in "\n".join(lines)
    assert all(word in " ".join(lines[:2]) for word in ("parameters", "MMACs", "trained", "on"))


def test_recipes_prints_one_whole(edgecifar, refused):
    code, out, _ = edgecifar("recipes", "resnet")
    printed = json.loads(out)
    measured = printed.pop("measured")
    assert code == 0
    assert recipes.from_dict(printed) == recipe_book.find("resnet")
    assert measured is None or 0 < measured["test_top1"] < 1
    assert "did you mean resnet?" in refused("recipes", "resnett")
