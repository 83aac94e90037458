"""Recipes are complete data: found by name, changed a field at a time, never in place."""

import dataclasses
import json

import pytest

from edgecifar.errors import UserError
from edgecifar.training import recipes
from edgecifar.training.recipes import RECIPES, find, override


@pytest.fixture
def recipe():
    return find("mobilenetv2")


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_is_found_by_its_name_and_is_json(name):
    as_dict = recipes.as_dict(find(name))
    assert json.loads(json.dumps(as_dict))["stages"][0]["name"] == "head"
    assert as_dict["name"] == name
    assert as_dict["source"]


@pytest.mark.parametrize("name", RECIPES)
def test_stages_have_names_that_set_can_tell_apart(name):
    names = [stage.name for stage in find(name).stages]
    assert len({*names, "augmentation"}) == len(names) + 1


def test_an_unknown_recipe_lists_the_known_and_suggests_the_nearest():
    with pytest.raises(UserError, match="mobilenetv2, quick; did you mean mobilenetv2"):
        find("mobilnet2")
    with pytest.raises(UserError, match=r"mobilenetv2, quick$"):
        find("xyz")


@pytest.mark.parametrize(
    ("assignment", "read", "value"),
    [
        ("size=64", lambda r: r.size, 64),
        ("alpha=0.35", lambda r: r.alpha, 0.35),
        ("dropout=0", lambda r: r.dropout, 0.0),
        ("weights=my=file.h5", lambda r: r.weights, "my=file.h5"),
        ("augmentation.flip=False", lambda r: r.augmentation.flip, False),
        ("augmentation.crop_padding=2", lambda r: r.augmentation.crop_padding, 2),
        (" finetune.epochs = 2 ", lambda r: r.stages[-1].epochs, 2),
        ("head.learning_rate=1e-2", lambda r: r.stages[0].learning_rate, 0.01),
        ("finetune-small.size=48", lambda r: r.stages[1].size, 48),
    ],
)
def test_one_field_is_replaced_and_keeps_its_type(recipe, assignment, read, value):
    changed = override(recipe, [assignment])
    assert read(changed) == value
    assert type(read(changed)) is type(value)
    assert recipe == find("mobilenetv2")
    assert read(recipe) != value


def test_the_rest_of_the_recipe_stays(recipe):
    changed = override(recipe, ["finetune.epochs=2"])
    assert changed.stages[:-1] == recipe.stages[:-1]
    back = dataclasses.replace(changed.stages[-1], epochs=recipe.stages[-1].epochs)
    assert back == recipe.stages[-1]
    assert dataclasses.replace(changed, stages=recipe.stages) == recipe


def test_the_last_of_two_assignments_holds(recipe):
    assert override(recipe, ["size=64", "size=80"]).size == 80


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("dropout", "expected field=value"),
        ("=3", "no field ''"),
        ("dropuot=0.3", "no field 'dropuot': there are size, alpha, dropout"),
        ("stages=2", "no field 'stages'"),
        ("name=x", "no field 'name'"),
        ("network=resnet", "no field 'network'"),
        ("finetune.trains=head", "no field 'trains'"),
        ("finetune.name=x", "no field 'name'"),
        ("tuning.epochs=2", "no part 'tuning': there are augmentation, head, finetune-small"),
        ("a.b.c=2", "no part 'a.b'"),
        ("size=big", "expected a whole number"),
        ("size=64.0", "expected a whole number"),
        ("dropout=much", "expected a number"),
        ("augmentation.flip=1", "expected true or false"),
        ("head.epochs=-1", "expected"),
        ("alpha=-0.5", "expected"),
        ("alpha=nan", "expected"),
        ("alpha=inf", "expected"),
    ],
)
def test_a_wrong_assignment_is_one_line_that_names_it(recipe, assignment, complaint):
    with pytest.raises(UserError) as error:
        override(recipe, [assignment])
    assert complaint in str(error.value)
    assert assignment.partition("=")[0] in str(error.value)
    assert "\n" not in str(error.value)


def test_a_recipe_cannot_be_changed_in_place(recipe):
    for part in (recipe, recipe.stages[0], recipe.augmentation):
        field = dataclasses.fields(part)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, field, "x")


def test_a_stage_sees_its_own_size_but_never_more_than_the_recipe(recipe):
    head, _, finetune = recipe.stages
    assert recipe.stage_size(finetune) == 96
    assert recipe.stage_size(head) == 64
    assert override(recipe, ["size=48"]).stage_size(head) == 48
