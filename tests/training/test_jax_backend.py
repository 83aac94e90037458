"""Trained under JAX, on one device or two, a run is the same and its checkpoint opens anywhere."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from edgecifar.data import shipped

SCRIPT = Path(__file__).with_name("train_under_jax.py")

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("jax"), reason="the JAX backend is not installed"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, session_cache):
    """The folder of both runs, from a process whose Keras runs JAX and where no TensorFlow is."""
    out = tmp_path_factory.mktemp("jax")
    asked = {
        "JAX_PLATFORMS": "cpu",
        # Two devices of what is one CPU; less optimized, it compiles faster.
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",
    }
    ended = subprocess.run(
        [sys.executable, SCRIPT, out],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {"tensorflow": False}
    return out


def history(run: Path) -> list[dict]:
    with (run / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_two_devices_have_the_loss_curve_of_one(runs):
    one, two = (history(runs / devices) for devices in ("1", "2"))
    assert [row["stage"] for row in one] == ["head", "finetune", "finetune"]
    for figure in ("loss", "validation_loss"):
        alone, shared = ([float(row[figure]) for row in run] for run in (one, two))
        assert shared == pytest.approx(alone, rel=0.02)
        assert alone[2] < alone[1] < alone[0]


def test_a_run_says_what_it_was_computed_on(runs):
    for devices in (1, 2):
        known = json.loads((runs / str(devices) / "recipe.json").read_text())
        assert known["backend"] == "jax"
        assert known["devices"] == devices
        metrics = json.loads((runs / str(devices) / "metrics.json").read_text())
        assert metrics["test_images"] == 10_000


@pytest.mark.parametrize("devices", [1, 2])
def test_its_checkpoint_gives_the_same_answers_under_tensorflow(runs, devices):
    assert keras.backend.backend() == "tensorflow"
    model = keras.saving.load_model(runs / str(devices) / "model.keras", compile=False)
    answers = np.load(runs / f"answers_{devices}.npy")
    images = shipped.test_set().images(slice(len(answers)))
    assert np.ptp(answers) > 0.05
    np.testing.assert_allclose(model.predict(images, verbose=0), answers, atol=1e-4)
