import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tiny_models

from edgecifar.bench.process import WorkerFailed, WorkerProcess
from edgecifar.bench.result import unmeasured
from edgecifar.bench.schedule import bench
from edgecifar.data import cifar10, shipped
from edgecifar.errors import UserError

LONG_S = 120.0


def workers_of(pid: int | None = None) -> list[psutil.Process]:
    """The workers of a process, this one by default, the first started first."""
    children = psutil.Process(pid).children(recursive=True)
    found = [child for child in children if "edgecifar.bench.worker" in child.cmdline()]
    return sorted(found, key=lambda child: child.create_time())


@pytest.fixture
def records() -> str:
    shipped.test_set()
    return str(cifar10.cache_folder() / cifar10.TEST_FILE)


@pytest.fixture
def worker(tiny_tflite, records):
    """A worker that has loaded the tiny model."""
    process = WorkerProcess()
    arguments = {"runtime": "litert", "model": str(tiny_tflite), "records": records}
    process.ask("load", LONG_S, threads=1, **arguments)
    yield process
    process.close()


def known_top1(count: int) -> float:
    test_set = shipped.test_set()
    chosen = cifar10.balanced(test_set.labels, count)
    predicted = tiny_models.probabilities(test_set.images(chosen)).argmax(axis=1)
    return float(np.mean(predicted == test_set.labels[chosen]))


def test_accuracy_is_that_of_the_model(tiny_tflite):
    made = bench([tiny_tflite], ["litert"])
    (row,) = made["rows"]
    assert row["error"] is None
    assert row["images"] == row["timed_inferences"] == 10_000
    assert row["top1"] == pytest.approx(known_top1(10_000), abs=2e-4)
    low, high = row["top1_interval"]
    assert low < row["top1"] < high
    latency = row["latency_ms"]
    assert 0 < latency["min"] <= latency["p50"] <= latency["p90"] <= latency["p99"]
    assert row["images_per_s"] == pytest.approx(1e3 / latency["mean"])
    assert 10 < row["runtime_rss_mib"] < row["peak_rss_mib"] < 1000
    assert row["load_ms"] > 0
    assert row["first_ms"] > 0
    assert row["size_bytes"] == tiny_tflite.stat().st_size
    assert json.loads(json.dumps(made)) == made
    assert not workers_of()


def test_few_samples_are_timed_often_and_counted_once(tiny_tflite):
    (row,) = bench([tiny_tflite], ["litert"], samples=30)["rows"]
    assert row["images"] == 30
    assert row["top1"] == pytest.approx(known_top1(30), abs=1e-9)
    assert 1_000 <= row["timed_inferences"] < 1_030


def test_progress_counts_up_to_all_images(tiny_tflite):
    told = []
    bench([tiny_tflite] * 2, ["litert"], samples=500, progress=lambda *said: told.append(said))
    done = [said[1] for said in told]
    assert done == sorted(done)
    assert told[-1][1:] == (2_000, 2_000)
    # The same file twice is two rows that take turns, block by block.
    assert [d for d in done if d] == list(range(250, 2_001, 250))


def test_a_free_batch_is_timed_alone_and_the_rest_in_batches(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = tiny_models.write_onnx(tmp_path / "tiny.onnx", batch="n")
    (row,) = bench([path], samples=2_100)["rows"]
    assert row["timed_inferences"] == 1_000
    assert row["images"] == 2_100
    assert row["top1"] == pytest.approx(known_top1(2_100), abs=1e-3)


def test_threads_reach_the_runtime(tmp_path, records):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = tiny_models.write_onnx(tmp_path / "tiny.onnx")
    counts = []
    for threads in (1, 4):
        worker = WorkerProcess()
        arguments = {"runtime": "onnxruntime", "model": str(path), "records": records}
        worker.ask("load", LONG_S, threads=threads, **arguments)
        counts.append(psutil.Process(worker.pid).num_threads())
        worker.close()
    assert counts[1] - counts[0] == 3


def test_a_file_that_crashes_the_interpreter_is_a_row(tmp_path, tiny_tflite):
    # LiteRT 2.3.0 dies inside allocate_tensors of a QUANTIZE to a scale of zero.
    fatal = tiny_models.write_tflite(tmp_path / "fatal.tflite", output_dtype="UINT8", scale=0.0)
    crashed, healthy = bench([fatal, tiny_tflite], ["litert"], samples=10)["rows"]
    assert crashed["error"]
    assert healthy["error"] is None


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_is_a_row_and_the_rest_goes_on(tiny_tflite, number):
    def crash_first(doing, done, total):
        if done == 500 and len(workers_of()) == 2:
            first, _ = workers_of()
            os.kill(first.pid, number)

    made = bench([tiny_tflite] * 2, ["litert"], samples=1_000, progress=crash_first)
    crashed, healthy = made["rows"]
    assert number.name in crashed["error"]
    assert crashed["top1"] is crashed["latency_ms"]["p50"] is None
    assert healthy["error"] is None
    assert healthy["top1"] == pytest.approx(known_top1(1_000), abs=1e-3)
    assert not workers_of()


def test_a_worker_that_hangs_is_stopped(worker):
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(WorkerFailed, match=r"`warm_up` within 0\.5 s"):
        worker.ask("warm_up", 0.5, seconds=0.0)
    assert not psutil.pid_exists(worker.pid)


def test_what_a_runtime_prints_does_not_break_the_conversation(worker):
    assert worker.ask("warm_up", LONG_S, seconds=0.0)["done"] == 1
    with pytest.raises(WorkerFailed, match="AttributeError"):
        worker.ask("dance", LONG_S)
    assert worker.ask("classify", LONG_S, indices=[5, 3, 5])["predicted"][0] in range(10)


def test_images_are_read_where_they_are(worker):
    indices = [9_999, 0, 123]
    expected = tiny_models.probabilities(shipped.test_set().images(np.array(indices)))
    timed = worker.ask("time", LONG_S, indices=indices, limit_s=60)
    assert timed["predicted"] == expected.argmax(axis=1).tolist()
    assert len(timed["latency_ns"]) == 3
    assert len(worker.ask("time", LONG_S, indices=indices, limit_s=0)["latency_ns"]) == 1


def test_probabilities_that_are_not_numbers_are_an_error(tmp_path):
    weights = np.full((10, 3072), np.nan, np.float32)
    path = tiny_models.write_tflite(tmp_path / "nan.tflite", weights=weights)
    (row,) = bench([path], ["litert"], samples=10)["rows"]
    assert "not finite" in row["error"]


def test_stopping_leaves_no_worker(tiny_tflite):
    def interrupt(doing, done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench([tiny_tflite], ["litert"], progress=interrupt)
    assert not workers_of()


def test_a_killed_parent_leaves_no_worker(tiny_tflite):
    program = f"""
import os, signal, sys, time
from pathlib import Path
from edgecifar.bench import schedule
schedule.WARM_UP_S = 600.0
schedule.bench([Path({str(tiny_tflite)!r})], ["litert"], samples=10)
"""
    parent = subprocess.Popen([sys.executable, "-c", program])
    end = time.monotonic() + 60
    # One that has warmed up for a while: it is inside a command, reading nothing.
    while not any(w.cpu_times().user > 0.5 for w in workers_of(parent.pid)):
        assert time.monotonic() < end
        assert parent.poll() is None
        time.sleep(0.1)
    workers = workers_of(parent.pid)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert not alive


def test_damaged_files_are_rows_and_the_healthy_one_is_measured(tmp_path, tiny_tflite):
    text = tmp_path / "text.tflite"
    text.write_text("a model, they said\n")
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(tiny_tflite.read_bytes()[:5_000])
    made = bench([text, tiny_tflite, cut], ["litert"], samples=10)
    assert [bool(row["error"]) for row in made["rows"]] == [True, False, True]
    assert [model for model, _ in unmeasured(made)] == [str(text), str(cut)]
    for _, (error,) in unmeasured(made):
        assert "\n" not in error
        assert str(tmp_path) not in error


@pytest.mark.parametrize(
    ("suffix", "install"),
    [(".tflite", "pip install ai-edge-litert"), (".onnx", "pip install onnxruntime")],
)
def test_nothing_installed_is_one_row_that_says_what_to_install(
    tmp_path, monkeypatch, suffix, install
):
    real = importlib.util.find_spec
    absent = {"ai_edge_litert", "tensorflow", "onnxruntime"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name in absent else real(name)
    )
    model = tmp_path / f"model{suffix}"
    model.write_bytes(b"anything")
    made = bench([model])
    assert len(made["rows"]) == 1
    assert re.search(rf"not installed.*{re.escape(install)}", made["rows"][0]["error"])
    assert unmeasured(made)


def test_an_asked_runtime_that_opens_other_files_is_a_row(tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"anything")
    (row,) = bench([model], ["litert"])["rows"]
    assert row["error"] == "litert opens .tflite files, not .onnx"


def test_what_the_user_gets_wrong_is_said_before_anything_runs(tmp_path, tiny_tflite):
    empty = tmp_path / "empty.tflite"
    empty.touch()
    other = tmp_path / "model.pt"
    other.write_bytes(b"x")
    missing = tmp_path / "missing.tflite"
    for path, complaint in (
        (missing, "No such file"),
        (tmp_path, "not a file"),
        (empty, "empty"),
        (other, "edgecifar opens .tflite, .onnx, .keras"),
        (Path("x" * 300 + ".tflite"), "too long"),
    ):
        with pytest.raises(UserError, match=complaint) as caught:
            bench([tiny_tflite, path])
        assert str(path) in str(caught.value)
    with pytest.raises(UserError, match="no runtime 'fast'"):
        bench([tiny_tflite], ["fast"])
    for wrong in ({"samples": 0}, {"samples": 10_001}, {"threads": 0}):
        with pytest.raises(UserError, match=r"give 1"):
            bench([tiny_tflite], **wrong)


def test_a_model_of_other_classes_is_timed_without_an_accuracy(tmp_path):
    path = tiny_models.write_tflite(tmp_path / "seven.tflite", weights=tiny_models.WEIGHTS[:7])
    (row,) = bench([path], ["litert"], samples=10)["rows"]
    assert row["error"] is None
    assert row["latency_ms"]["p50"] > 0
    assert row["images"] is row["top1"] is row["top1_interval"] is None


@pytest.mark.skipif(not importlib.util.find_spec("onnx"), reason="onnx is not installed")
def test_a_model_of_several_images_a_time_is_a_row_that_says_so(tmp_path):
    path = tiny_models.write_onnx(tmp_path / "four.onnx", batch=4)
    (row,) = bench([path], ["onnxruntime"], samples=10)["rows"]
    assert row["error"] == "takes 4 images at a time, and bench gives it one"
