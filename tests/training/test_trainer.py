"""A run: what its folder holds, which epoch is kept, and what becomes of one that is cut short."""

import contextlib
import csv
import dataclasses
import json
import signal
import time

import keras
import numpy as np
import pytest
import tiny_training
from listing import names_in

from edgecifar import files
from edgecifar.data import shipped
from edgecifar.errors import UserError
from edgecifar.models import contract
from edgecifar.training import recipes, stage_network, stage_training, trainee, trainer
from edgecifar.training.batches import hold_out
from edgecifar.training.run_folder import Epoch, RunFolder

RUN_FILES = [
    "confusion.png",
    "curves.png",
    "history.csv",
    "metrics.json",
    "mistakes.png",
    "model.keras",
    "recipe.json",
    "reliability.png",
]
CUT_SHORT = ["curves.png", "history.csv", "metrics.json", "model.keras", "recipe.json", "state.npz"]


@pytest.fixture
def fit(small_network, few_test_images, tmp_path):
    """Trains one convolution by CONVOLUTION with some fields replaced."""

    def fit(*assignments, out=tmp_path / "run", on_epoch=tiny_training.ignore, **options):
        recipe = recipes.override(tiny_training.CONVOLUTION, assignments)
        progress = options.get("progress", tiny_training.no_progress)
        return trainer.train(recipe, shipped.calibration_set(), out, progress, on_epoch)

    return fit


def load(run):
    return keras.saving.load_model(run.checkpoint, compile=False)


def history(run):
    with (run.path / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def metrics(run):
    return json.loads((run.path / "metrics.json").read_text())


def weights(run, *skipped):
    return [
        weight
        for layer in load(run).layers
        if layer.name not in skipped
        for weight in layer.get_weights()
    ]


def same(these, those):
    return all(np.array_equal(a, b) for a, b in zip(these, those, strict=True))


def test_the_run_folder_holds_all_of_its_files_and_nothing_else(tiny_run):
    assert names_in(tiny_run.path) == RUN_FILES
    assert (tiny_run.path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_recipe_json_holds_everything_that_decided_the_run(tiny_run):
    known = json.loads((tiny_run.path / "recipe.json").read_text())
    expected = recipes.as_dict(tiny_training.MOBILENETV2)
    assert known["recipe"] == json.loads(json.dumps(expected))
    assert known["training_images"] == 900
    assert len(known["data_sha256"]) == 5
    assert known["keras"] == keras.__version__
    assert known["backend"] == "tensorflow"


def test_the_history_has_a_row_an_epoch(tiny_run):
    rows = history(tiny_run)
    assert list(rows[0]) == [field.name for field in dataclasses.fields(Epoch)]
    assert [int(row["epoch"]) for row in rows] == list(range(1, 13))
    assert [row["stage"] for row in rows] == ["all"] * 10 + ["head"] * 2
    assert {row["size"] for row in rows} == {"48"}
    assert all(float(row["images_per_s"]) > 0 for row in rows)
    assert float(rows[9]["loss"]) < float(rows[0]["loss"])


def test_the_learning_rate_rises_and_then_falls_to_its_end(tiny_run):
    rates = [float(row["learning_rate"]) for row in history(tiny_run)]
    assert rates[:10] == sorted(rates[:10], reverse=True)
    assert 1e-3 < rates[0] < 2e-3
    assert rates[9] == pytest.approx(0, abs=1e-9)
    assert 1e-3 < rates[10] < 3e-3


def test_test_accuracy_is_that_of_the_kept_checkpoint(tiny_run):
    test = shipped.test_set()
    predicted = load(tiny_run).predict(test.images(), batch_size=500, verbose=0).argmax(axis=1)
    found = metrics(tiny_run)
    assert found["test_images"] == 10_000
    assert found["test_top1"] == pytest.approx(np.mean(predicted == test.labels), abs=2e-4)
    assert found["test_top1"] > 0.12
    assert found["interrupted"] is False
    assert found["epochs"] == 12
    assert found["parameters"] == load(tiny_run).count_params()
    assert found == tiny_run.metrics


def test_the_kept_epoch_is_the_best_on_what_was_held_out(tiny_run):
    recipe = tiny_training.MOBILENETV2
    split = hold_out(shipped.calibration_set(), recipe.validation_images, recipe.seed)
    images, labels = split.images[split.validation], split.labels[split.validation]
    top1 = np.mean(load(tiny_run).predict(images, verbose=0).argmax(axis=1) == labels)
    scores = [float(row["validation_top1"]) for row in history(tiny_run)]
    best = metrics(tiny_run)["best_epoch"]
    assert best["validation_top1"] == max(scores) == pytest.approx(top1, abs=1e-6)
    assert best["epoch"] == scores.index(max(scores)) + 1


def test_a_later_epoch_that_is_worse_or_equal_does_not_overwrite(tmp_path):
    run = RunFolder(tmp_path, {})
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    for number, top1 in enumerate((0.3, 0.5, 0.4, 0.5), 1):
        model.set_weights([np.full((1, 1), number, np.float32)])
        run.add(Epoch(number, "all", 32, 1e-3, 1.0, 1.0, top1, 100.0, 1.0), model)
    assert load(run).get_weights()[0].item() == 2
    assert run.best.epoch == 2
    assert [row["validation_top1"] for row in history(run)] == ["0.3", "0.5", "0.4", "0.5"]


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(fit, tmp_path):
    short = ("finetune.epochs=1", "dropout=0.3")
    first, again, other = (
        fit(*short, f"seed={seed}", out=tmp_path / name)
        for name, seed in (("first", 3), ("again", 3), ("other", 4))
    )
    for one, two in zip(weights(first), weights(again), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-6)
    assert not same(weights(first), weights(other))


def test_the_head_stage_trains_the_head_and_leaves_the_backbone(fit):
    run = fit("finetune.epochs=0", "head.epochs=2")
    keras.utils.set_random_seed(tiny_training.CONVOLUTION.seed)
    start = stage_network.build(
        tiny_training.CONVOLUTION, tiny_training.CONVOLUTION.stages[-1], "none"
    )
    kept = load(run)
    for layer in start.layers:
        if before := layer.get_weights():
            untouched = same(before, kept.get_layer(layer.name).get_weights())
            assert untouched == (layer.name != contract.OUTPUT), layer.name


def test_a_network_without_pretrained_weights_goes_on_from_a_checkpoint(few_test_images, tmp_path):
    recipe = dataclasses.replace(tiny_training.CONVOLUTION, network="cnn", alpha=0.1)
    runs = []
    for changes in (["finetune.epochs=1"], ["finetune.epochs=1", "finetune.learning_rate=1e-9"]):
        weights = [f"weights={runs[-1].checkpoint}"] if runs else []
        runs.append(
            trainer.train(
                recipes.override(recipe, ["head.epochs=0", *changes, *weights]),
                shipped.calibration_set(),
                tmp_path / str(len(runs)),
                tiny_training.no_progress,
                tiny_training.ignore,
            )
        )
    for one, other in zip(*(load(run).get_weights() for run in runs), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def started_from(fit, checkpoint):
    run = fit("head.epochs=0", "finetune.epochs=1", f"weights={checkpoint}")
    return json.loads((run.path / "recipe.json").read_text())["started_from"]


def test_the_card_of_an_export_names_the_parent(fit, small_run, tmp_path):
    checkpoint = tmp_path / "exported" / "model.keras"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(small_run.checkpoint.read_bytes())
    training = {"provenance": small_run.provenance, "metrics": small_run.metrics}
    card = {"checkpoint_sha256": files.sha256(checkpoint), "training": training}
    (checkpoint.parent / "card.json").write_text(json.dumps(card))
    found = started_from(fit, checkpoint)
    assert found["sha256"] == card["checkpoint_sha256"]
    assert found["provenance"]["recipe"]["name"] == "convolution"
    assert found["metrics"] == small_run.metrics


def test_a_run_folder_names_the_parent(fit, small_run):
    found = started_from(fit, small_run.checkpoint)
    assert found["provenance"]["recipe"]["name"] == "convolution"
    assert found["metrics"] == small_run.metrics


def test_damaged_files_beside_the_weights_are_ignored_and_named(fit, small_run, tmp_path, caplog):
    checkpoint = tmp_path / "start" / "model.keras"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(small_run.checkpoint.read_bytes())
    (checkpoint.parent / "card.json").write_bytes(b"\xff")
    (checkpoint.parent / "recipe.json").write_text("[]")
    found = started_from(fit, checkpoint)
    known = {"sha256": files.sha256(checkpoint), "provenance": None, "metrics": None}
    assert found == known
    for name in ("card.json", "recipe.json"):
        assert f"ignored: {checkpoint.with_name(name)}: it is not" in caplog.text


def test_a_checkpoint_of_another_network_is_refused(fit, tmp_path):
    image = keras.Input((4,))
    keras.Model(image, keras.layers.Dense(2, name="other")(image)).save(tmp_path / "other.keras")
    with pytest.raises(UserError, match="none of its layers fits mobilenetv2"):
        fit(f"weights={tmp_path / 'other.keras'}")


@pytest.mark.timing
def test_the_time_of_a_head_stage_has_its_features_in_it(fit, monkeypatch):
    real = stage_training.cached_features

    def slow(*given):
        time.sleep(1.0)
        return real(*given)

    monkeypatch.setattr(stage_training, "cached_features", slow)
    run = fit("finetune.epochs=0", "head.epochs=2")
    first, second = run.epochs
    assert first.seconds > 1.0
    assert metrics(run)["seconds"] == pytest.approx(first.seconds + second.seconds)
    assert first.images_per_s > 100  # the rate is that of the steps
    assert first.setup_s > 1.0
    assert f"setup took {first.setup_s:.0f} s of it" in str(first)


def test_the_rate_and_the_seconds_of_an_epoch_belong_together(fit):
    """A first step that takes long, as one that compiles, is in the seconds and named as setup."""

    @contextlib.contextmanager
    def slow_first_step(label, total):
        steps = []
        yield lambda done, **_: (steps.append(done), len(steps) == 1 and time.sleep(1.0))

    run = fit("head.epochs=0", "finetune.epochs=1", progress=slow_first_step)
    (epoch,) = run.epochs
    assert epoch.setup_s > 1.0
    assert (900 - 50) / epoch.images_per_s + epoch.setup_s < epoch.seconds


def test_a_short_setup_is_not_shown():
    epoch = Epoch(2, "all", 32, 1e-3, 1.0, 1.0, 0.5, 100.0, seconds=50.0, setup_s=1.0)
    assert str(epoch).endswith("100 images/s, 50 s")


def test_the_other_stage_trains_every_layer(fit):
    run = fit("head.epochs=0", "finetune.epochs=1")
    keras.utils.set_random_seed(tiny_training.CONVOLUTION.seed)
    start = stage_network.build(
        tiny_training.CONVOLUTION, tiny_training.CONVOLUTION.stages[-1], "none"
    )
    for before, after in zip(start.get_weights(), load(run).get_weights(), strict=True):
        assert not np.array_equal(before, after)


def test_a_stage_at_another_size_hands_its_weights_on(fit, tmp_path, monkeypatch):
    trained = []
    add = RunFolder.add

    def watched(run, epoch, model, state):
        resizes = contract.RESIZE in [layer.name for layer in model.layers]
        trained.append((epoch.size, resizes, model.get_layer("convolution").get_weights()[0]))
        add(run, epoch, model, state)

    monkeypatch.setattr(RunFolder, "add", watched)
    fit("head.epochs=0", "finetune.epochs=1", out=tmp_path / "first")
    fit("finetune.epochs=1", "finetune.learning_rate=1e-12")
    (_, _, moved), (size, resizes, first), (next_size, next_resizes, second) = trained
    assert (size, resizes, next_size, next_resizes) == (24, True, 32, False)
    np.testing.assert_allclose(second, first, atol=1e-6)
    assert not np.allclose(moved, first, atol=1e-3)


def test_a_size_that_a_later_stage_cannot_take_is_found_before_any_training(tmp_path):
    recipe = recipes.override(tiny_training.MOBILENETV2, ["head.size=16"])
    with pytest.raises(UserError, match="at least 32x32"):
        trainer.train(
            recipe,
            shipped.calibration_set(),
            tmp_path / "run",
            tiny_training.no_progress,
            tiny_training.ignore,
        )
    assert names_in(tmp_path) == []


def test_ctrl_c_keeps_the_best_epoch_so_far(fit):
    def stop_at_the_second(epoch):
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    run = fit(on_epoch=stop_at_the_second)
    assert names_in(run.path) == CUT_SHORT
    assert len(history(run)) == 2
    found = metrics(run)
    assert found["interrupted"] is True
    assert found["best_epoch"] == dataclasses.asdict(run.best)
    assert "test_top1" not in found
    assert load(run).output_shape == (None, 10)


def test_ctrl_c_stops_the_step_that_reports_next_and_is_never_lost(fit):
    steps = []

    @contextlib.contextmanager
    def press_in_the_second_step(label, total):
        yield lambda done, **_: (
            steps.append(done),
            len(steps) == 2 and signal.raise_signal(signal.SIGINT),
        )

    run = fit("head.epochs=0", progress=press_in_the_second_step)
    assert len(steps) == 2
    assert metrics(run)["interrupted"] is True
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait(fit):
    def press_twice(label, total):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("goes on")

    assert metrics(fit(progress=press_twice))["interrupted"] is True


def test_ctrl_c_before_an_epoch_has_ended_keeps_nothing_and_says_so(fit):
    def stop(label, total):
        raise KeyboardInterrupt

    run = fit(progress=stop)
    assert names_in(run.path) == ["metrics.json", "recipe.json"]
    assert run.best is None
    assert metrics(run)["interrupted"] is True
    assert metrics(run)["best_epoch"] is None


def test_a_folder_with_something_in_it_is_refused_and_left_as_it_is(fit, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=f"{tmp_path} is not empty: name a new folder"):
        fit(out=tmp_path)
    with pytest.raises(UserError, match=r"notes\.txt is not a folder"):
        fit(out=tmp_path / "notes.txt")
    assert names_in(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize(
    ("assignments", "complaint"),
    [
        (["head.epochs=0", "finetune.epochs=0"], "no stage has an epoch to train"),
        (["finetune.batch=901"], r"finetune\.batch=901: there are 900 training images"),
        (["finetune.warmup_epochs=3"], r"finetune\.warmup_epochs=3: expected less than .* 3$"),
        (["finetune.learning_rate=0"], r"finetune\.learning_rate=0: expected more than zero"),
        (["validation_images=1000"], "validation_images=1000: expected 1 to 999"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_trained(
    fit, tmp_path, assignments, complaint
):
    with pytest.raises(UserError, match=complaint) as error:
        fit(*assignments)
    assert "\n" not in str(error.value)
    assert names_in(tmp_path) == []


def test_a_stage_without_epochs_is_skipped_and_not_checked(fit):
    run = fit("head.epochs=0", "head.batch=5000", "finetune.epochs=1")
    assert [row["stage"] for row in history(run)] == ["finetune"]


def test_a_full_disk_is_one_line_and_leaves_no_half_checkpoint(fit, tmp_path, file_size_limit):
    refused = pytest.raises(UserError, match=r"cannot write in .*: File too large")
    with refused, file_size_limit(20_000):
        fit("finetune.epochs=0")
    assert names_in(tmp_path / "run") == ["recipe.json"]


def test_a_stage_of_all_layers_is_traced_once(fit, monkeypatch):
    """Tracing takes tens of seconds in a network of many layers on a small machine."""
    traced = []
    look_up = trainee.look_up

    def counted(*arguments):
        traced.append(True)
        return look_up(*arguments)

    monkeypatch.setattr(trainee, "look_up", counted)
    fit()
    assert len(traced) == 1
