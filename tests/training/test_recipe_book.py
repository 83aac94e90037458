"""Every recipe is whole: it says where it comes from, fits CIFAR-10, and its networks are built."""

import json
import math
from pathlib import Path

import pytest

from edgecifar.errors import UserError
from edgecifar.models import contract, networks
from edgecifar.training import recipes
from edgecifar.training.conditions import check
from edgecifar.training.recipe_book import RECIPES, find
from edgecifar.training.stage_network import build

IMAGES = 50_000
SMALL_NETWORKS = Path(__file__).parents[2] / "benchmarks" / "small_networks.json"
WITH_SOURCE = [name for name, recipe in RECIPES.items() if recipe.source_stages]


def test_an_unknown_recipe_lists_the_known_and_suggests_the_nearest():
    with pytest.raises(UserError) as error:
        find("mobilnet2")
    known = ", ".join(RECIPES)
    assert str(error.value) == (
        f"no recipe 'mobilnet2': there are {known}; did you mean mobilenetv2?"
    )
    with pytest.raises(UserError) as error:
        find("xyz")
    assert str(error.value) == f"no recipe 'xyz': there are {known}"


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_is_found_by_its_name_and_says_what_it_is(name):
    recipe = find(name)
    assert recipe.name == name
    assert recipe.network in networks.NETWORKS
    assert recipe.schedule == "ours"
    for text in (recipe.summary, recipe.source):
        assert len(text) > 10
        assert "\n" not in text


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "quick"])
def test_each_recipe_but_the_quick_one_has_a_target(name):
    assert 0.5 < find(name).target < 1


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_is_read_back_from_json_as_it_was(name):
    fields = json.loads(json.dumps(recipes.as_dict(find(name))))
    assert recipes.from_dict(fields) == find(name)


@pytest.mark.parametrize("name", RECIPES)
def test_stages_have_names_that_set_can_tell_apart(name):
    for stages in (find(name).stages, find(name).source_stages):
        names = [stage.name for stage in stages]
        assert len({*names, "augmentation"}) == len(names) + 1


# Every recipe with its own schedule, and with its source's where that is another.
SCHEDULES = [pytest.param(recipe, id=name) for name, recipe in RECIPES.items()] + [
    pytest.param(recipes.override(find(name), ["schedule=source"]), id=f"{name} as its source")
    for name in WITH_SOURCE
]


@pytest.mark.parametrize("recipe", SCHEDULES)
def test_each_schedule_can_be_trained_on_the_training_images(recipe):
    check(recipe, IMAGES)
    assert recipe.planned == recipe.stages
    for stage in recipe.stages:
        assert 0 <= stage.final_learning_rate <= stage.learning_rate


@pytest.mark.parametrize("recipe", SCHEDULES)
def test_every_field_is_one_that_set_would_take(recipe):
    parts = [("", recipe), ("augmentation.", recipe.augmentation)]
    parts += [(f"{stage.name}.", stage) for stage in recipe.stages]
    for prefix, part in parts:
        for field, value in vars(part).items():
            if field in recipes.FIXED or not isinstance(value, int | float | str):
                continue
            assert recipes.override(recipe, [f"{prefix}{field}={value}"]) == recipe, field


@pytest.mark.parametrize("recipe", SCHEDULES)
def test_its_network_is_built_at_every_stage(recipe):
    distinct = {
        (recipe.stage_size(stage), recipe.stage_hidden(stage)): stage for stage in recipe.stages
    }
    for (size, hidden), stage in distinct.items():
        network = build(recipe, stage, "none")
        layers = {layer.name: layer for layer in network.layers}
        assert network.input_shape == (None, 32, 32, 3)
        assert network.output_shape == (None, 10)
        assert contract.FEATURES in layers
        seen = layers[contract.SCALE if size == 32 else contract.RESIZE]
        assert seen.output.shape == (None, size, size, 3)
        if hidden:
            assert layers["hidden"].units == hidden
        assert network.count_params() < 10e6


@pytest.mark.parametrize("name", RECIPES)
def test_weights_are_imagenets_where_a_head_is_trained_first_and_none_elsewhere(name):
    recipe = find(name)
    frozen = any(stage.trains == "head" for stage in recipe.stages)
    assert recipe.weights == ("imagenet" if frozen else "none")


@pytest.mark.parametrize("name", WITH_SOURCE)
def test_our_schedule_is_the_shorter_one(name):
    """Counted in steps."""
    recipe = find(name)
    ours, theirs = (
        sum(stage.epochs * math.ceil(IMAGES / stage.batch) for stage in stages)
        for stages in (recipe.stages, recipe.source_stages)
    )
    assert ours < theirs


@pytest.mark.parametrize("name", ["middle", "small", "tiny"])
def test_a_small_recipe_needs_no_more_than_a_teacher_to_be_distilled(name):
    check(recipes.override(find(name), ["distillation.teachers=teacher.keras"]), IMAGES)


@pytest.mark.parametrize(
    ("name", "slowest"),
    [("middle", 0.55), ("small", 0.35), ("tiny", "resnet8 32")],
)
def test_a_small_recipe_was_measured_to_be_fast_enough(name, slowest):
    """Its share of the default's latency is at most a number, or that of another network."""
    recipe = find(name)
    measured = json.loads(SMALL_NETWORKS.read_text())["networks"]
    found = measured[f"{recipe.network} {recipe.size}"]
    network = build(recipe, recipe.stages[-1], "none")
    assert found["multiply_accumulates"] == networks.multiply_accumulates(network)
    if isinstance(slowest, str):
        slowest = measured[slowest]["litert"]["share_of_default"]
    assert found["litert"]["share_of_default"] <= slowest
