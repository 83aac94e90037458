"""Processes that share a training: the same run as of one, and one line when one is lost."""

import csv
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from listing import names_in

from edgecifar.errors import UserError
from edgecifar.training.batches import own_part
from edgecifar.training.processes import Place, place

SCRIPT = Path(__file__).with_name("train_together.py")
TIMEOUT_S = 600
needs_jax = pytest.mark.skipif(
    not importlib.util.find_spec("jax"), reason="the JAX backend is not installed"
)


@pytest.fixture
def start(session_cache, tmp_path):
    """Starts a process of `train_together.py` that leads a session of its own."""
    started = []
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiles faster
        "TMPDIR": str(scratch),
    }

    def start(*arguments, **more):
        process = subprocess.Popen(
            [sys.executable, SCRIPT, *map(str, arguments)],
            env=os.environ | environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def start_pair(start, tmp_path):
    """Starts two processes; gives them, and the run folder that the first keeps."""

    def start_pair(*arguments, first=()):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        out = tmp_path / "run"
        one = start(0, 2, port, out, *arguments, *first)
        return one, start(1, 2, port, tmp_path / "other", *arguments), out

    return start_pair


def wait_for(process, line):
    """Read what a process prints until it prints that line."""
    for printed in process.stdout:
        if printed.strip() == line:
            return
    raise AssertionError(process.stderr.read())


def end_of(process):
    """The exit code of a process, and what it printed to stderr."""
    _, said = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, said


def history(run: Path) -> list[dict]:
    with (run / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights(run: Path) -> list[np.ndarray]:
    return keras.saving.load_model(run / "model.keras", compile=False).get_weights()


@needs_jax
def test_a_run_of_two_processes_that_lost_one_continues_to_the_same_as_of_one(
    start, start_pair, tmp_path
):
    whole = start(0, 1, 0, tmp_path / "whole")
    first, second, run = start_pair(first=["wait=2"])
    wait_for(first, "2")
    second.kill()
    began = time.monotonic()
    code, said = end_of(first)
    assert time.monotonic() - began < 90
    assert (code, said) == (
        2,
        "another of the 2 processes is lost: it ended, did not answer for 30 s, or did not come "
        f"within 300 s; continue with `resume={run}` in all of them\n",
    )
    assert "state.npz" in names_in(run)
    assert [row["epoch"] for row in history(run)] == ["1", "2"]
    for process in start_pair("resume=1")[:2]:
        assert end_of(process) == (0, "")
    assert end_of(whole)[0] == 0
    assert names_in(run) == names_in(tmp_path / "whole")
    assert not (tmp_path / "other").exists()
    for row, expected in zip(history(run), history(tmp_path / "whole"), strict=True):
        assert row["stage"] == expected["stage"]
        for figure in ("loss", "validation_loss", "learning_rate"):
            assert float(row[figure]) == pytest.approx(float(expected[figure]), rel=1e-3), figure
    for one, other in zip(weights(run), weights(tmp_path / "whole"), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


@needs_jax
def test_process_0_that_is_killed_ends_the_others_in_one_line(start_pair):
    first, second, _ = start_pair("only=idle", "heartbeat=10")
    wait_for(first, "idle")
    wait_for(second, "idle")
    first.kill()
    code, said = end_of(second)
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("another of the 2 processes is lost: ")
    assert said.endswith("; start all of them again, with the `resume` that process 0 names\n")


@needs_jax
def test_a_process_that_does_not_answer_is_lost_after_the_heartbeat(start_pair):
    first, second, _ = start_pair("only=idle", "heartbeat=5")
    wait_for(first, "idle")
    wait_for(second, "idle")
    (child,) = map(int, Path(f"/proc/{second.pid}/task/{second.pid}/children").read_text().split())
    os.kill(child, signal.SIGSTOP)
    began = time.monotonic()
    try:
        code, said = end_of(first)
    finally:
        os.kill(child, signal.SIGCONT)
    assert time.monotonic() - began < 60
    assert (code, said.count("\n")) == (2, 1)
    assert said.endswith(
        "did not answer for 5 s, or did not come within 300 s; start all of them again\n"
    )


@needs_jax
def test_processes_with_different_recipes_do_not_train(start_pair):
    first, second, run = start_pair("only=check", "seed=2", first=["seed=1"])
    expected = (
        "process 1 was started with another recipe, other images, files, versions or precision "
        "than process 0\n"
    )
    assert end_of(first) == end_of(second) == (2, expected)
    assert not run.exists()


@needs_jax
def test_processes_with_different_numbers_of_devices_do_not_train(start, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    two = "--xla_force_host_platform_device_count=2"
    first = start(0, 2, port, tmp_path / "run", "only=idle", XLA_FLAGS=two)
    second = start(1, 2, port, tmp_path / "other", "only=idle")
    ends = [end_of(first), end_of(second)]
    assert [(code, said.count("\n")) for code, said in ends] == [(2, 1), (2, 1)]
    # The first that ends may take the other with it.
    expected = ["process 0 has 2 of the 3 devices: each", "process 1 has 1 of the 3 devices: each"]
    assert any(said.startswith(line) for (_, said), line in zip(ends, expected, strict=True))


@needs_jax
def test_a_process_that_does_not_come_is_one_line(start, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code, said = end_of(start(0, 2, port, tmp_path / "run", "meeting=2"))
    assert (code, said.count("\n")) == (2, 1)
    assert "did not come within 2 s; start all of them again" in said
    assert not (tmp_path / "run").exists()


def test_the_parts_of_the_processes_make_up_each_batch():
    order = np.arange(24, dtype=np.int32)
    parts = [own_part(order, 6, index, 3) for index in range(3)]
    assert parts[1].tolist() == [2, 3, 8, 9, 14, 15, 20, 21]
    batches = np.concatenate([part.reshape(4, 2) for part in parts], axis=1)
    np.testing.assert_array_equal(batches, order.reshape(4, 6))
    np.testing.assert_array_equal(own_part(order, 6, 0, 1), order)


def test_a_place_needs_all_of_its_parts():
    assert place(None, None, None, 30) is None
    assert place("node0:1234", 2, 1, 30) == Place("node0:1234", 2, 1, 30)
    for given in [("a:1", 2, None), ("a:1", None, 0), (None, 2, 0)]:
        with pytest.raises(UserError, match=r"^`coordinator`, `processes` and `process` go toget"):
            place(*given, 30)


@pytest.mark.parametrize("coordinator", ["", "node0", ":1", "node0:", "node0:x", "node0:65536"])
def test_a_coordinator_without_host_or_port_is_one_line(coordinator):
    with pytest.raises(UserError) as error:
        place(coordinator, 2, 0, 30)
    assert str(error.value) == f"`coordinator={coordinator}`: expected HOST:PORT of process 0"


@pytest.mark.parametrize("process", [-1, 2])
def test_a_process_has_a_number_below_their_count(process):
    with pytest.raises(UserError) as error:
        place("node0:1", 2, process, 30)
    assert str(error.value) == f"`process={process}`: expected 0 to 1"
