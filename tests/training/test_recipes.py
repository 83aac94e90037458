"""Recipes are complete data: changed a field at a time, never in place, read back as written."""

import dataclasses
import json

import pytest

from edgecifar.errors import UserError
from edgecifar.training import recipes
from edgecifar.training.recipes import Augmentation, Recipe, Stage, override

RECIPE = Recipe(
    name="ours",
    summary="a head, then all layers, small and large",
    source="the tests",
    target=0.9,
    hidden=64,
    stages=(
        Stage("head", "head", epochs=6, batch=256, learning_rate=3e-3, size=64, hidden=0),
        Stage("finetune-small", "all", epochs=5, batch=64, learning_rate=1e-3, size=64),
        Stage("finetune", "all", epochs=3, batch=64, learning_rate=4e-4, average=0.99),
    ),
    source_stages=(
        Stage("fast", "all", epochs=20, batch=32, learning_rate=1e-3, optimizer="sgd"),
        Stage("finetune", "all", epochs=10, batch=32, learning_rate=1e-4, optimizer="adam"),
    ),
    augmentation=Augmentation(cutout=8, mixup=0.2),
)
WITHOUT_SOURCE = dataclasses.replace(RECIPE, source_stages=())


@pytest.mark.parametrize(
    ("assignment", "read", "value"),
    [
        ("size=64", lambda r: r.size, 64),
        ("alpha=0.35", lambda r: r.alpha, 0.35),
        ("dropout=0", lambda r: r.dropout, 0.0),
        ("hidden=0", lambda r: r.hidden, 0),
        ("seed=7", lambda r: r.seed, 7),
        ("weights=my=file.h5", lambda r: r.weights, "my=file.h5"),
        ("augmentation.flip=False", lambda r: r.augmentation.flip, False),
        ("augmentation.crop_padding=2", lambda r: r.augmentation.crop_padding, 2),
        ("augmentation.rotation=15", lambda r: r.augmentation.rotation, 15.0),
        ("augmentation.shift=0.1", lambda r: r.augmentation.shift, 0.1),
        ("augmentation.mixup=0", lambda r: r.augmentation.mixup, 0.0),
        ("distillation.teachers=a.keras,b.keras", lambda r: len(r.distillation.paths), 2),
        ("distillation.temperature=4", lambda r: r.distillation.temperature, 4.0),
        (" finetune.epochs = 2 ", lambda r: r.stages[-1].epochs, 2),
        ("finetune.optimizer=sgd", lambda r: r.stages[-1].optimizer, "sgd"),
        ("finetune.average=0.999", lambda r: r.stages[-1].average, 0.999),
        ("head.learning_rate=1e-2", lambda r: r.stages[0].learning_rate, 0.01),
        ("head.hidden=-1", lambda r: r.stages[0].hidden, -1),
        ("finetune-small.size=48", lambda r: r.stages[1].size, 48),
    ],
)
def test_one_field_is_replaced_and_keeps_its_type(assignment, read, value):
    changed = override(RECIPE, [assignment])
    assert read(changed) == value
    assert type(read(changed)) is type(value)
    assert read(RECIPE) != value


def test_the_rest_of_the_recipe_stays():
    changed = override(RECIPE, ["finetune.epochs=2"])
    assert changed.stages[:-1] == RECIPE.stages[:-1]
    back = dataclasses.replace(changed.stages[-1], epochs=RECIPE.stages[-1].epochs)
    assert back == RECIPE.stages[-1]
    assert dataclasses.replace(changed, stages=RECIPE.stages) == RECIPE


@pytest.mark.parametrize(
    ("assignments", "warmup"),
    [
        (["warm.epochs=1"], 0.5),
        (["warm.epochs=3"], 1.5),
        (["warm.epochs=4"], 2),
        (["warm.epochs=20"], 2),
        (["warm.batch=32"], 2),
        (["warm.epochs=1", "warm.warmup_epochs=1"], 1),
        (["warm.warmup_epochs=0.1", "warm.epochs=1"], 0.1),
    ],
)
def test_fewer_epochs_shorten_a_warm_up_that_was_not_given(assignments, warmup):
    stage = Stage("warm", "all", epochs=8, batch=64, learning_rate=1e-3, warmup_epochs=2)
    recipe = dataclasses.replace(RECIPE, stages=(stage,))
    assert override(recipe, assignments).stages[0].warmup_epochs == warmup


def test_the_last_of_two_assignments_holds():
    assert override(RECIPE, ["size=64", "size=80"]).size == 80


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("dropout", "expected field=value"),
        ("=3", "no field ''"),
        ("dropuot=0.3", "no field 'dropuot': there are size, alpha, dropout"),
        ("stages=2", "no field 'stages'"),
        ("source_stages=2", "no field 'source_stages'"),
        ("augmentation=2", "no field 'augmentation'"),
        ("name=x", "no field 'name'"),
        ("target=1", "no field 'target'"),
        ("network=resnet", "no field 'network'"),
        ("finetune.trains=head", "no field 'trains'"),
        ("finetune.name=x", "no field 'name'"),
        ("tuning.epochs=2", "ours has no part 'tuning': there are augmentation, head, finetune-"),
        ("fast.epochs=2", "ours has no part 'fast'"),
        ("a.b.c=2", "no part 'a.b'"),
        ("size=big", "expected a whole number"),
        ("size=64.0", "expected a whole number"),
        ("dropout=much", "expected a number"),
        ("augmentation.flip=1", "expected true or false"),
        ("finetune.optimizer=lion", "expected adamw or adam or sgd"),
        ("finetune.optimizer=", "expected adamw or adam or sgd"),
        ("schedule=theirs", "expected ours or source"),
        ("schedule=Source", "expected ours or source"),
        ("head.epochs=-1", "expected zero or more"),
        ("head.batch=0", "expected 1 or more"),
        ("head.hidden=-2", "expected -1 to 65536"),
        ("finetune.average=1", "expected 0 to 0.99999"),
        ("augmentation.crop_padding=32", "expected 0 to 31"),
        ("augmentation.rotation=181", "expected 0 to 180"),
        ("augmentation.shift=1.1", "expected 0 to 1"),
        ("augmentation.cutout=33", "expected 0 to 32"),
        ("augmentation.mixup=-0.1", "expected zero or more"),
        ("size=0", "expected 1 to 1024"),
        ("alpha=-0.5", "expected 0.05 to 4"),
        ("alpha=nan", "expected 0.05 to 4"),
        ("alpha=inf", "expected 0.05 to 4"),
        ("weight_decay=inf", "expected zero or more"),
        ("head.learning_rate=nan", "expected zero or more"),
        ("seed=4294967296", "expected 0 to 4294967295"),
    ],
)
def test_a_wrong_assignment_is_one_line_that_names_it(assignment, complaint):
    with pytest.raises(UserError) as error:
        override(RECIPE, [assignment])
    assert complaint in str(error.value)
    assert f"`{'' if '=' in assignment else 'set='}{assignment}`" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_schedule_of_the_source_takes_the_place_of_the_stages():
    changed = override(RECIPE, ["schedule=source"])
    assert changed.stages == RECIPE.source_stages
    assert changed.schedule == "source"
    assert dataclasses.replace(changed, stages=RECIPE.stages, schedule="ours") == RECIPE
    assert RECIPE.schedule == "ours"
    assert override(RECIPE, ["schedule=ours"]) == RECIPE


@pytest.mark.parametrize("order", [1, -1])
def test_its_stages_can_be_changed_whatever_the_order(order):
    assignments = ["schedule=source", "fast.epochs=2", "finetune.batch=128"]
    fast, finetune = override(RECIPE, assignments[::order]).stages
    assert (fast.epochs, fast.learning_rate) == (2, 1e-3)
    assert (finetune.batch, finetune.epochs) == (128, 10)


def test_the_last_schedule_holds():
    assert override(RECIPE, ["schedule=source", "schedule=ours"]) == RECIPE
    assert override(RECIPE, ["schedule=ours", "schedule=source"]).schedule == "source"


def test_a_recipe_of_one_schedule_says_so():
    with pytest.raises(UserError) as error:
        override(WITHOUT_SOURCE, ["schedule=source"])
    assert str(error.value) == "`schedule=source`: ours has no other schedule than its own"
    assert override(WITHOUT_SOURCE, ["schedule=ours"]) == WITHOUT_SOURCE


def test_a_recipe_cannot_be_changed_in_place():
    for part in (RECIPE, RECIPE.stages[0], RECIPE.augmentation, RECIPE.distillation):
        field = dataclasses.fields(part)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, field, "x")


def test_a_stage_sees_its_own_size_but_never_more_than_the_recipe():
    head, _, finetune = RECIPE.stages
    assert RECIPE.stage_size(finetune) == 96
    assert RECIPE.stage_size(head) == 64
    assert override(RECIPE, ["size=48"]).stage_size(head) == 48


def test_a_stage_has_its_own_hidden_layer_or_the_recipes():
    head, _, finetune = RECIPE.stages
    assert RECIPE.stage_hidden(head) == 0
    assert RECIPE.stage_hidden(finetune) == 64


def test_stages_without_epochs_are_not_planned():
    changed = override(RECIPE, ["head.epochs=0"])
    assert changed.planned == RECIPE.stages[1:]
    assert len(changed.stages) == 3


@pytest.mark.parametrize("recipe", [RECIPE, WITHOUT_SOURCE, override(RECIPE, ["schedule=source"])])
def test_a_recipe_is_read_back_from_json_as_it_was(recipe):
    assert recipes.from_dict(json.loads(json.dumps(recipes.as_dict(recipe)))) == recipe


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.pop("stages"),
        lambda fields: fields.pop("name"),
        lambda fields: fields.update(momentum=0.9),
        lambda fields: fields["stages"][0].update(momentum=0.9),
        lambda fields: fields["augmentation"].update(zoom=0.9),
        lambda fields: fields.update(augmentation=None),
        lambda fields: fields.update(seed="1"),
        lambda fields: fields.update(seed=-1),
        lambda fields: fields.update(source=["a", "list"]),
        lambda fields: fields.update(dropout=float("nan")),
        lambda fields: fields.update(weight_decay=10**400),
        lambda fields: fields["stages"][0].update(epochs=1.5),
        lambda fields: fields["stages"][0].update(trains="nothing"),
        lambda fields: fields["augmentation"].update(flip=None),
    ],
)
def test_what_is_no_recipe_is_refused(change):
    fields = recipes.as_dict(RECIPE)
    change(fields)
    with pytest.raises((TypeError, KeyError)):
        recipes.from_dict(fields)


def test_a_recipe_of_before_there_was_distillation_has_none():
    fields = recipes.as_dict(RECIPE)
    del fields["distillation"]
    assert recipes.from_dict(fields) == RECIPE
    assert RECIPE.distillation.paths == []
