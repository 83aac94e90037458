"""Distillation: what the teachers answer, what the student sees, and the loss between them."""

import contextlib
import json

import keras
import numpy as np
import pytest
import tiny_training
from listing import names_in
from tiny_training import no_progress

from edgecifar.data import shipped
from edgecifar.errors import UserError
from edgecifar.models import contract
from edgecifar.training import distillation, recipes, trainer
from edgecifar.training.batches import one_hot
from edgecifar.training.distillation import Lesson, lesson, open_teachers
from edgecifar.training.recipes import Augmentation
from edgecifar.training.trainee import image_trainee, softened, training_network

COUNT = 300  # more than a batch of a prediction


def small_model(seed):
    keras.utils.set_random_seed(seed)
    network = tiny_training.convolution_network(32, 1.0, 0.0, 0, 0.8, "none")
    last = network.get_layer(contract.OUTPUT)
    last.kernel.assign(20 * last.kernel)  # so that the answers tell images apart
    return network


def recipe_of(*assignments):
    return recipes.override(tiny_training.CONVOLUTION, assignments)


@pytest.fixture(scope="module")
def images():
    return shipped.calibration_set().images(slice(COUNT))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "teachers"


def seen(images, view):
    """A view of images, by cutting it out of the mirrored and reflected images."""
    down, across, mirrored = view
    images = images[:, :, ::-1] if mirrored else images
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    return padded[:, 4 + down : 36 + down, 4 + across : 36 + across]


def test_the_views_are_a_fixed_set_of_crops_and_their_mirror_images():
    views = distillation.views(6, Augmentation(crop_padding=4))
    assert views.shape == (12, 3)
    assert views[:2].tolist() == [[0, 0, 0], [0, 0, 1]]
    assert len(np.unique(views, axis=0)) == 12
    assert np.abs(views[:, :2]).max() <= 4
    assert len(np.unique(views[:, :2], axis=0)) == 6
    np.testing.assert_array_equal(views, distillation.views(6, Augmentation(crop_padding=4)))


@pytest.mark.parametrize(
    ("crops", "fields", "count"),
    [
        (6, {"flip": False}, 6),
        (6, {"crop_padding": 0}, 2),
        (100, {"crop_padding": 1}, 18),
        (1, {}, 2),
    ],
)
def test_there_are_no_more_views_than_the_augmentation_has(crops, fields, count):
    assert len(distillation.views(crops, Augmentation(**fields))) == count


def test_the_answers_are_the_mean_of_the_teachers_for_each_view(images, cache):
    recipe = recipe_of("distillation.crops=3")
    teachers = [small_model(1), small_model(2)]
    taught = lesson(recipe, teachers, images, no_progress)
    assert isinstance(taught.answers, np.memmap)
    assert taught.answers.shape == (COUNT, 6, 10)
    for number, view in enumerate(taught.views):
        crops = seen(images, view)
        expected = np.mean([each.predict(crops, verbose=0) for each in teachers], axis=0)
        np.testing.assert_allclose(taught.answers[:, number], expected, atol=1e-5)
    assert len(names_in(cache)) == 1


def test_the_answers_are_computed_once_for_the_same_teachers_views_and_images(
    tmp_path, images, cache
):
    @contextlib.contextmanager
    def not_expected(label, total):
        pytest.fail("the answers are computed again")
        yield

    few = images[:20]
    small_model(1).save(tmp_path / "one.keras")
    small_model(2).save(tmp_path / "two.keras")

    def answers(name, crops=1, images=few, progress=no_progress):
        file = f"distillation.teachers={tmp_path / name}"
        recipe = recipe_of(file, f"distillation.crops={crops}")
        return lesson(recipe, open_teachers(recipe), images, progress).answers

    first = answers("one.keras")
    np.testing.assert_array_equal(first, answers("one.keras", progress=not_expected))
    answers("two.keras")
    answers("one.keras", images=few[::-1])
    answers("one.keras", crops=2)
    assert len(names_in(cache)) == 4


def test_a_higher_temperature_softens_as_it_does_the_logits():
    logits = np.float32([[3.0, 1.0, -2.0], [0.0, 9.0, 0.0]])
    soft = np.asarray(softened(keras.ops.softmax(logits), 4.0))
    np.testing.assert_allclose(soft, keras.ops.softmax(logits / 4), rtol=1e-4)
    assert np.isfinite(softened(np.float32([[1.0, 0.0]]), 0.1)).all()


def cross_entropy(logits, targets):
    surprise = np.log(np.exp(logits).sum(axis=1, keepdims=True)) - logits
    return (targets * surprise).sum(axis=1).mean()


@pytest.mark.parametrize("mixup", [0.0, 1.0])
def test_the_loss_mixes_labels_and_teachers(images, mixup):
    """One image in one view, so that the loss is known whatever is drawn, mixed with itself too."""
    image, label = images[:1], np.uint8([3])
    answer = np.float32(np.random.default_rng(0).dirichlet(np.ones(10), (1, 1)))
    taught = Lesson(np.int32([[2, -3, 1]]), answer, weight=0.7, temperature=3.0)
    network = training_network(small_model(1))
    fields = Augmentation(mixup=mixup)
    trainee = image_trainee(network, image, label, fields, 0.1, 1, taught)
    trainee.compile(keras.optimizers.SGD(0.0))
    rows = np.zeros(4, np.int32)
    history = trainee.fit(rows, batch_size=4, shuffle=False, verbose=0).history["loss"]
    crop = seen(image, taught.views[0])
    logits = np.asarray(network(np.repeat(crop, 4, axis=0), training=True), np.float64)
    labels = cross_entropy(logits, one_hot(label) * 0.9 + 0.01)
    soft = answer[0] ** (1 / 3) / (answer[0] ** (1 / 3)).sum()
    teachers = 9 * cross_entropy(logits / 3, soft)
    assert history == [pytest.approx(0.3 * labels + 0.7 * teachers, rel=1e-4)]


def test_each_view_is_met_with_the_answer_to_it(images):
    """The answers are the numbers of image and view; the student is given them with its crop."""
    few = images[:5]
    views = distillation.views(2, Augmentation())
    answers = np.zeros((5, 4, 10), np.float32)
    answers[..., 0] = 1 + 4 * np.arange(5)[:, None] + np.arange(4)
    taught = Lesson(views, answers, 0.5, 1.0)
    network = keras.Sequential([keras.Input((32, 32, 3), dtype="uint8"), keras.layers.Flatten()])
    trainee = image_trainee(network, few, np.zeros(5, np.uint8), Augmentation(), 0.0, 1, taught)
    taken = []

    def kept(probabilities, temperature):
        taken.append(np.asarray(probabilities))
        return probabilities

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgecifar.training.trainee.softened", kept)
        crops, _ = trainee(np.arange(5, dtype=np.int32).repeat(20))
    numbers = taken[0][:, 0].astype(int) - 1
    answered = np.asarray(crops).reshape(-1, 32, 32, 3)
    assert set(numbers) == set(range(20))
    for crop, number in zip(answered, numbers, strict=True):
        image, view = divmod(number, 4)
        np.testing.assert_array_equal(crop, seen(few[image : image + 1], views[view])[0])


def test_a_file_that_is_no_such_classifier_is_no_teacher(tmp_path):
    keras.Sequential([keras.Input((32, 32, 3)), keras.layers.GlobalMaxPooling2D()]).save(
        tmp_path / "other.keras"
    )
    recipe = recipe_of(f"distillation.teachers={tmp_path / 'other.keras'}")
    with pytest.raises(UserError, match=r"other\.keras cannot be a teacher: expected images of"):
        open_teachers(recipe)
    with pytest.raises(UserError, match=r"missing\.keras"):
        open_teachers(recipe_of(f"distillation.teachers={tmp_path / 'missing.keras'}"))


@pytest.mark.parametrize("field", ["rotation", "shift", "cutout"])
def test_what_changes_the_view_is_refused(tmp_path, field):
    recipe = recipe_of("distillation.teachers=some.keras", f"augmentation.{field}=1")
    with pytest.raises(UserError, match=f"augmentation.{field}=1.*: expected 0 with a distill"):
        trainer.train(
            recipe, shipped.calibration_set(), tmp_path / "run", no_progress, tiny_training.ignore
        )


def test_a_student_is_trained_and_resumed_with_the_same_teachers_only(
    tmp_path, small_network, few_test_images, cache
):
    teacher = tmp_path / "teacher.keras"
    small_model(1).save(teacher)
    data = shipped.calibration_set()
    recipe = recipe_of(
        f"distillation.teachers={teacher}",
        "distillation.crops=2",
        "distillation.weight=1",
        "finetune.epochs=2",
        "finetune.first_layer_rate=0.1",
    )

    def stop(epoch):
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    path = tmp_path / "run"
    run = trainer.train(recipe, data, path, no_progress, stop)
    assert run.metrics["interrupted"] is True
    known = json.loads((path / "recipe.json").read_text())
    assert [sorted(origin) for origin in known["teachers"]] == [["metrics", "provenance", "sha256"]]
    assert len(names_in(cache)) == 1
    whole = teacher.read_bytes()
    small_model(2).save(teacher)
    with pytest.raises(
        UserError, match=r"started with another teacher than .*teacher\.keras holds"
    ):
        trainer.resume(path, data, no_progress, tiny_training.ignore)
    teacher.write_bytes(whole)
    resumed = trainer.resume(path, data, no_progress, tiny_training.ignore)
    assert [epoch.stage for epoch in resumed.epochs] == ["head", "finetune", "finetune"]
    assert resumed.metrics["interrupted"] is False
    assert len(names_in(cache)) == 1
