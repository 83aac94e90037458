"""A loss that runs away and memory that runs out end in one line that says what to try."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgecifar.errors import CheckFailed, UserError
from edgecifar.training import step_watch
from edgecifar.training.run_folder import Epoch, RunFolder
from edgecifar.training.step_watch import Diverged, StepWatch, advice_when_out_of_memory


class Line:
    """A learner that fits a line to targets."""

    name, batch, steps, highest_learning_rate, learning_rate = "finetune", 4, 0, 0.02, 0.02

    def advice(self, field, value):
        return f"`{self.name}.{field}={value:.3g}`"


LINE = Line()


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "run", {})
    yield run
    run.close()


@pytest.fixture
def fit(run):
    """Fits a line to targets, four a batch, under watch; returns what the bar showed."""

    def fit(targets, label="epoch 7/9 finetune"):
        shown = []

        def update(done, total=None, label=None):
            shown.append((done, label))

        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
        model.set_weights([np.zeros((1, 1))])
        model.compile(keras.optimizers.SGD(LINE.learning_rate), "mse")
        targets = np.float32(targets)
        learner = Line()
        learner.steps = len(targets) // learner.batch
        watch = keras.callbacks.LambdaCallback(
            on_train_batch_end=StepWatch(update, label, learner, 7, run)
        )
        batches = {"batch_size": 4, "shuffle": False, "callbacks": [watch], "verbose": 0}
        history = model.fit(np.zeros((len(targets), 1)), targets, **batches)
        return shown, history.history["loss"][-1]

    return fit


def test_the_bar_shows_the_images_and_the_running_loss(fit, monkeypatch):
    monkeypatch.setattr(step_watch, "READ_EVERY_S", 0)
    shown, loss = fit([1] * 4 + [2] * 4 + [0] * 4)
    assert shown == [
        (4, "epoch 7/9 finetune, loss 1.000"),
        (8, "epoch 7/9 finetune, loss 2.500"),
        (12, "epoch 7/9 finetune, loss 1.667"),
    ]
    assert loss == pytest.approx(5 / 3)


def test_between_the_first_step_and_the_last_the_loss_is_read_now_and_then(fit, monkeypatch):
    monkeypatch.setattr(step_watch, "READ_EVERY_S", 1e6)
    for _ in range(2):
        shown, _ = fit([1] * 40)
        assert [done for done, _ in shown] == [4, 40]


@pytest.mark.parametrize(
    ("runs_away", "shown"), [([np.nan] * 4, "nan"), ([np.inf] * 4, "inf"), ([30] * 4, "450")]
)
def test_a_loss_that_runs_away_is_one_line_that_names_the_place(fit, monkeypatch, runs_away, shown):
    monkeypatch.setattr(step_watch, "READ_EVERY_S", 0)
    with pytest.raises(Diverged) as error:
        fit([0] * 4 + runs_away + [0] * 4)
    assert str(error.value) == (
        f"the loss is {shown} by batch 2 of epoch 7, at learning rate 0.02: "
        "try `finetune.learning_rate=0.002`; no epoch is kept"
    )
    assert isinstance(error.value, CheckFailed)


def test_it_is_seen_at_the_last_step_at_the_latest(fit, monkeypatch):
    monkeypatch.setattr(step_watch, "READ_EVERY_S", 1e6)
    with pytest.raises(Diverged, match="is nan by batch 5 of epoch 7"):
        fit([0] * 8 + [np.nan] * 4 + [0] * 8)


def test_it_says_where_the_best_epoch_is(fit, run):
    run.epochs.append(Epoch(1, "head", 32, 1e-3, 2.0, 2.0, 0.3, 100.0, 1.0))
    with pytest.raises(Diverged) as error:
        fit([np.nan] * 4)
    assert str(error.value).endswith(f"; the best epoch is in {run.checkpoint}")


def test_a_high_loss_that_is_still_a_loss_goes_on(fit):
    assert fit([7] * 40)[1] == pytest.approx(49)


def as_numpy_says_it():
    np.zeros(1 << 60, np.uint8)


def as_tensorflow_says_it():
    raise tf.errors.ResourceExhaustedError(None, None, "failed to allocate memory")


def as_jax_says_it():
    raise RuntimeError("RESOURCE_EXHAUSTED: Failed to allocate 4.00GiB on device ordinal 0")


def as_cuda_says_it():
    raise RuntimeError("CUDA error: out of memory")


def as_python_says_it():
    raise MemoryError


@pytest.mark.parametrize(
    "run_out",
    [
        as_numpy_says_it,
        as_tensorflow_says_it,
        as_jax_says_it,
        as_cuda_says_it,
        as_python_says_it,
    ],
)
def test_memory_that_runs_out_names_a_smaller_batch(run_out):
    with pytest.raises(UserError) as error, advice_when_out_of_memory(LINE):
        run_out()
    assert str(error.value) == (
        "out of memory in stage finetune with batches of 4: try `finetune.batch=2`"
    )
    assert error.value.__cause__ is not None


@pytest.mark.parametrize(
    "other",
    [
        ValueError("shapes do not fit"),
        tf.errors.InvalidArgumentError(None, None, "not a matrix"),
        KeyboardInterrupt(),
        Diverged("the loss is nan; the GPU is not out of memory"),
        UserError("cannot write: the disk is out of memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_else_is_raised_passes(other):
    with pytest.raises(type(other)) as error, advice_when_out_of_memory(LINE):
        raise other
    assert error.value is other


def test_nothing_raised_is_nothing_said():
    with advice_when_out_of_memory(LINE):
        done = True
    assert done
