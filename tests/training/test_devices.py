"""What is asked of backends, devices and precision is checked, and the precision put back."""

import os

import keras
import pytest

from edgecifar.errors import UserError
from edgecifar.training.devices import (
    choose_backend,
    chosen_precision,
    device_count,
    dtype_policy,
    use_devices,
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
