"""A run that was cut short, however it was, goes on to the same end."""

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_training
from listing import names_in

from edgecifar.data import shipped
from edgecifar.errors import UserError
from edgecifar.models import networks
from edgecifar.training import recipes, trainer
from edgecifar.training.run_folder import RunFolder

# Both stages, dropout, a batch norm and an average of the weights: all that has a state.
PLACE = ("epoch", "stage", "size")
ASSIGNMENTS = ("head.epochs=2", "dropout=0.3", "finetune.average=0.9", "finetune.epochs=3")
TRAIN = """
import sys, time
from pathlib import Path
sys.path.append({tests!r})
import tiny_training
from edgecifar.data import shipped
from edgecifar.models import networks
from edgecifar.training import recipes, trainer
networks.NETWORKS["mobilenetv2"] = tiny_training.convolution_network
recipe = recipes.override(tiny_training.CONVOLUTION, {assignments!r})
trainer.train(recipe, shipped.calibration_set(), Path({out!r}), tiny_training.no_progress,
              lambda epoch: (print(epoch.epoch, flush=True), time.sleep(epoch.epoch == 3 and 600)))
"""


def train(out, on_epoch=tiny_training.ignore):
    recipe = recipes.override(tiny_training.CONVOLUTION, ASSIGNMENTS)
    data = shipped.calibration_set()
    return trainer.train(recipe, data, out, tiny_training.no_progress, on_epoch)


def resume(path, on_epoch=tiny_training.ignore):
    data = shipped.calibration_set()
    return trainer.resume(path, data, tiny_training.no_progress, on_epoch)


def weights(run):
    return keras.saving.load_model(run.checkpoint, compile=False).get_weights()


def figures(run):
    """The history without what a clock says."""
    with (run.path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {name: value for name, value in row.items() if name not in ("images_per_s", "seconds")}
        for row in rows
    ]


def assert_same_end(run, whole):
    for one, two in zip(weights(run), weights(whole), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-6)
    for one, two in zip(figures(run), figures(whole), strict=True):
        assert (one["epoch"], one["stage"], one["size"]) == (
            two["epoch"],
            two["stage"],
            two["size"],
        )
        for name in ("learning_rate", "loss", "validation_loss", "validation_top1"):
            assert float(one[name]) == pytest.approx(float(two[name]), abs=1e-5), name
    assert names_in(run.path) == names_in(whole.path)
    assert run.metrics["best_epoch"]["epoch"] == whole.metrics["best_epoch"]["epoch"]


@pytest.fixture(autouse=True)
def small(small_network, few_test_images):
    """Every test here trains one convolution and reads few test images."""


@pytest.fixture(scope="module")
def whole(first_test_images, tmp_path_factory):
    """The run that nothing cut short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.NETWORKS, "mobilenetv2", tiny_training.convolution_network)
        patch.setattr(shipped, "test_set", lambda: first_test_images)
        return train(tmp_path_factory.mktemp("runs") / "whole")


@pytest.mark.parametrize("last", [1, 2, 4])
def test_a_run_that_ctrl_c_ended_comes_to_the_same(tmp_path, whole, last):
    """In the first stage, between both, and in the second."""

    def stop(epoch):
        if epoch.epoch == last:
            raise KeyboardInterrupt

    train(tmp_path / "run", stop)
    further = []
    resumed = resume(tmp_path / "run", lambda epoch: further.append(epoch.epoch))
    assert further == list(range(last + 1, 6))
    assert_same_end(resumed, whole)


def test_a_run_that_was_killed_comes_to_the_same(tmp_path, whole):
    """Killed with -9, with what a half-written file leaves beside."""
    out = tmp_path / "run"
    script = TRAIN.format(
        tests=str(Path(__file__).parents[1] / "support"), assignments=ASSIGNMENTS, out=str(out)
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        for line in process.stdout:
            if line.startswith("3"):
                break
        with pytest.raises(UserError, match="is in use by another run"):
            resume(out)
        with pytest.raises(UserError, match="is in use by another run"):
            train(out)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    leftover = out / f".partial-{process.pid}-x"
    leftover.mkdir()
    (leftover / "model.keras").write_bytes(b"half")
    assert_same_end(resume(out), whole)


def test_what_has_ended_is_not_resumed(whole):
    with pytest.raises(UserError, match="nothing to resume, it has ended"):
        resume(whole.path)


def interrupted_in_its_first_epoch(out, *assignments):
    def stop(label, total):
        raise KeyboardInterrupt

    recipe = recipes.override(tiny_training.CONVOLUTION, [*ASSIGNMENTS, *assignments])
    run = trainer.train(recipe, shipped.calibration_set(), out, stop, tiny_training.ignore)
    assert run.metrics["interrupted"] is True
    assert names_in(out) == ["metrics.json", "recipe.json"]


def test_a_run_without_a_whole_epoch_starts_from_the_beginning(tmp_path, whole):
    interrupted_in_its_first_epoch(tmp_path / "run")
    epochs = []
    resumed = resume(tmp_path / "run", lambda epoch: epochs.append(epoch.epoch))
    assert epochs == [1, 2, 3, 4, 5]
    assert_same_end(resumed, whole)


def test_a_run_that_was_killed_in_its_first_epoch_starts_from_the_beginning(tmp_path, whole):
    interrupted_in_its_first_epoch(tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    assert_same_end(resume(tmp_path / "run"), whole)


def test_it_starts_from_the_same_weights_or_not_at_all(tmp_path, small_run):
    start = tmp_path / "start.keras"
    start.write_bytes(small_run.checkpoint.read_bytes())
    interrupted_in_its_first_epoch(tmp_path / "run", f"weights={start}")
    model = keras.saving.load_model(start, compile=False)
    model.set_weights([weight + 1 for weight in model.get_weights()])
    model.save(start)
    for _ in range(2):  # the folder is free again after a refusal
        with pytest.raises(UserError, match=r"was started with other weights than .*start\.keras"):
            resume(tmp_path / "run")


def test_a_run_without_its_state_is_not_started_again(tmp_path, cut_short):
    (cut_short / "state.npz").unlink()
    with pytest.raises(UserError, match=r"cannot be resumed: state\.npz is missing"):
        resume(cut_short)


def test_what_is_no_run_is_not_resumed(tmp_path):
    with pytest.raises(UserError, match="is not a run folder: it has no recipe"):
        resume(tmp_path)
    with pytest.raises(UserError, match="is not a run folder"):
        resume(tmp_path / "nowhere")


@pytest.fixture
def cut_short(tmp_path):
    def stop(epoch):
        raise KeyboardInterrupt

    return train(tmp_path / "cut", stop).path


def test_a_damaged_state_is_one_line(cut_short):
    (cut_short / "state.npz").write_bytes(b"PK not a state")
    with pytest.raises(UserError, match=r"cannot be resumed: state\.npz") as error:
        resume(cut_short)
    assert "\n" not in str(error.value)


def test_another_recipe_or_version_is_refused(cut_short):
    path = cut_short / "recipe.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps(known | {"keras": "2.0"}))
    with pytest.raises(UserError, match="started with other images or versions"):
        resume(cut_short)
    path.write_text(json.dumps(known | {"backend": "jax"}))
    with pytest.raises(UserError, match="started with jax: resume it with `backend=jax`"):
        resume(cut_short)
    del known["recipe"]["size"], known["recipe"]["stages"]
    path.write_text(json.dumps(known))
    with pytest.raises(UserError, match=r"cannot be resumed: recipe\.json"):
        resume(cut_short)


def test_a_recipe_of_wrong_types_is_one_line(cut_short):
    path = cut_short / "recipe.json"
    whole = path.read_text()
    for damage in (
        lambda known: known["recipe"].update(seed="one"),
        lambda known: known["recipe"].update(stages="many"),
        lambda known: known["recipe"].update({"\x1b[31m": 1}),
        lambda known: known.update(precision="float8"),
        lambda known: known.update(backend=["jax"]),
        lambda known: known.update(recipe="a text"),
        lambda known: known.clear(),
    ):
        known = json.loads(whole)
        damage(known)
        path.write_text(json.dumps(known))
        with pytest.raises(UserError, match=r"cannot be resumed: .*recipe\.json: ") as error:
            resume(cut_short)
        assert str(error.value).isprintable()


def test_a_damaged_recipe_is_one_line_and_leaves_the_folder_free(cut_short):
    path = cut_short / "recipe.json"
    whole = path.read_bytes()
    for content in (b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"cannot be resumed: .*recipe\.json: ") as error:
            resume(cut_short)
        assert "\n" not in str(error.value)
    path.write_bytes(whole)
    RunFolder.reopen(cut_short)[0].close()


def test_a_folder_is_free_again_when_its_run_was_refused(cut_short):
    path = cut_short / "recipe.json"
    known = path.read_text()
    path.write_text(json.dumps(json.loads(known) | {"keras": "2.0"}))
    with pytest.raises(UserError, match="other images"):
        resume(cut_short)
    path.write_text(known)
    assert resume(cut_short).metrics["interrupted"] is False


def test_a_run_begun_before_a_field_existed_is_resumed(cut_short):
    recipe = json.loads((cut_short / "recipe.json").read_text())
    del recipe["recipe"]["distillation"]
    for stage in recipe["recipe"]["stages"]:
        del stage["first_layer_rate"]
    (cut_short / "recipe.json").write_text(json.dumps(recipe))
    assert resume(cut_short).metrics["interrupted"] is False
