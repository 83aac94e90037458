"""What is asked of backends, devices and precision is checked, and the precision put back."""

import importlib.util
import os
import subprocess
import sys

import keras
import machines
import pytest

from edgecifar import hardware
from edgecifar.errors import UserError
from edgecifar.training.devices import (
    choose_backend,
    chosen_precision,
    device_count,
    dtype_policy,
    use_devices,
    where,
)

H100 = {
    "dev/nvidia0": "",
    "proc/driver/nvidia/gpus/0000:1a:00.0/information": "Model: \t NVIDIA H100 80GB HBM3\n",
}
no_gpu = pytest.mark.skipif(
    any(not name.lower().startswith("cpu") for name in keras.distribution.list_devices()),
    reason="there is an accelerator, and it is used",
)


@pytest.fixture(autouse=True)
def backend(monkeypatch):
    """The tests run with TensorFlow; what `choose_backend` sets is put back."""
    monkeypatch.setenv("KERAS_BACKEND", "as it was")
    assert keras.backend.backend() == "tensorflow"


@pytest.mark.parametrize("wanted", [None, "1"])
def test_one_device_needs_nothing(wanted):
    use_devices(wanted)
    assert keras.distribution.distribution() is None
    assert device_count() == 1


@pytest.mark.parametrize("wanted", ["0", "-1", "two", "1.5", "", "ALL", "2 "])
def test_a_number_of_devices_that_is_none_is_one_line(wanted):
    with pytest.raises(UserError) as error:
        use_devices(wanted)
    assert str(error.value) == f"`devices={wanted}`: expected a number of devices or all"


@pytest.mark.parametrize("wanted", ["2", "all"])
def test_several_devices_under_tensorflow_are_one_line(wanted):
    with pytest.raises(UserError) as error:
        use_devices(wanted)
    assert str(error.value) == f"`devices={wanted}`: several devices need `backend=jax`"
    assert device_count() == 1


def test_the_backend_is_left_to_the_environment_when_none_is_named():
    choose_backend(None)
    assert os.environ["KERAS_BACKEND"] == "as it was"


def test_the_backend_that_runs_already_can_be_named():
    choose_backend("tensorflow")
    assert os.environ["KERAS_BACKEND"] == "tensorflow"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("torch", "`backend=torch`: expected tensorflow or jax"),
        ("", "`backend=`: expected tensorflow or jax"),
        ("jax", "`backend=jax`: Keras already runs tensorflow"),
    ],
)
def test_a_backend_that_cannot_be_had_is_one_line_and_changes_nothing(name, complaint):
    with pytest.raises(UserError) as error:
        choose_backend(name)
    assert str(error.value) == complaint
    assert os.environ["KERAS_BACKEND"] == "as it was"


def test_auto_precision_is_float32_on_a_cpu_and_bfloat16_on_an_accelerator():
    devices = {name.split(":")[0].lower() for name in keras.distribution.list_devices()}
    expected = "float32" if devices == {"cpu"} else "mixed_bfloat16"
    assert chosen_precision("auto") == expected


@no_gpu
def test_a_training_says_that_it_computes_on_the_cpu(tmp_path):
    expected = f"trains on cpu:0 ({hardware.summary()}) with TensorFlow in float32"
    assert where("float32", tmp_path) == [expected]


@no_gpu
def test_a_gpu_that_tensorflow_cannot_use_is_named_with_the_command(tmp_path, monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)
    machine = machines.plant(tmp_path / "machine", H100)
    unused = "TensorFlow cannot use the NVIDIA H100 80GB HBM3 of this machine"
    assert where("float32", machine)[1:] == [
        f"{unused}: in edgecifar's clone, pip install -e '.[cuda]'"
    ]
    libraries = tmp_path / "site" / "nvidia" / "cuda_runtime"
    libraries.mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert where("float32", machine)[1:] == [
        f"{unused}, though its CUDA libraries are installed: `nvidia-smi` shows the driver"
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert len(where("float32", machine)) == 1


@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="JAX is not installed")
@no_gpu
def test_a_gpu_that_jax_cannot_use_is_named_with_the_command(tmp_path):
    """In a process of its own: Keras keeps its backend."""
    script = "import pathlib, sys; from edgecifar.training import devices; "
    script += "print(*devices.where('float32', pathlib.Path(sys.argv[1])), sep='\\n')"
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS")
    }
    ended = subprocess.run(
        [sys.executable, "-c", script, machines.plant(tmp_path, H100)],
        env=environment | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert ended.stdout.splitlines() == [
        f"trains on cpu:0 ({hardware.summary()}) with JAX in float32",
        "JAX cannot use the NVIDIA H100 80GB HBM3 of this machine: in edgecifar's clone, "
        "pip install -e '.[jax-cuda]'",
    ]
    assert ended.stderr == ""


@pytest.mark.parametrize("wanted", ["float32", "mixed_bfloat16"])
def test_a_precision_that_is_named_is_taken(wanted):
    assert chosen_precision(wanted) == wanted


@pytest.mark.parametrize("before", ["float32", "mixed_float16"])
def test_the_precision_is_of_the_layers_made_inside_and_put_back_whatever_happens(before):
    policy = keras.config.dtype_policy()
    with dtype_policy(before):
        with dtype_policy("mixed_bfloat16"):
            inside = keras.layers.Dense(1)
        assert keras.config.dtype_policy().name == before
        with pytest.raises(ValueError, match="whatever"), dtype_policy("mixed_bfloat16"):
            raise ValueError("whatever")
        assert keras.config.dtype_policy().name == before
    assert (inside.compute_dtype, inside.variable_dtype) == ("bfloat16", "float32")
    assert keras.config.dtype_policy() == policy
