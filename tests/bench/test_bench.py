import dataclasses
import importlib.util
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import foreign_files
import numpy as np
import psutil
import pytest
import tiny_models
from showing import showing

from edgecifar import hardware, runtimes
from edgecifar.bench import runner
from edgecifar.bench.hosts.local import Local
from edgecifar.bench.hosts.process import WorkerFailed, WorkerProcess
from edgecifar.bench.monitor import Monitor
from edgecifar.bench.plan import plan
from edgecifar.bench.results.result import unmeasured
from edgecifar.bench.runner import bench
from edgecifar.bench.settings import BenchSettings, Timing
from edgecifar.bench.task import prepare
from edgecifar.bench.worker import wire
from edgecifar.bench.worker.commands import run_once
from edgecifar.data import cifar10, shipped
from edgecifar.errors import UserError
from edgecifar.graphs import overflow
from edgecifar.runtimes import Options

LONG_S = 120.0
needs_onnx = pytest.mark.skipif(
    not (importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime")),
    reason="onnx and onnxruntime are not installed",
)


def workers_of(pid: int | None = None) -> list[psutil.Process]:
    """The workers of a process, this one by default, the first started first."""
    children = psutil.Process(pid).children(recursive=True)
    found = [child for child in children if "edgecifar.bench.worker" in child.cmdline()]
    return sorted(found, key=lambda child: child.create_time())


def quick(**changes) -> BenchSettings:
    """BenchSettings that a test has the time for."""
    return BenchSettings(**{"max_seconds": 0.2, **changes})


def loaded(runtime: str, model: Path, images: list[int], **options) -> WorkerProcess:
    """A worker that has loaded a model."""
    task = dataclasses.replace(prepare(Local(), BenchSettings(), LONG_S), images=images)
    worker = WorkerProcess(Local())
    task.load(worker, runtimes.named(runtime), model, Options(**options))
    return worker


def timed(worker: WorkerProcess, begin: int, limit_s: float) -> dict:
    """What a worker replies that times its model as in a bench, one image a call."""
    timing = Timing()
    return worker.ask(
        "time",
        LONG_S,
        begin=begin,
        batch=1,
        limit_s=limit_s,
        wake_s=timing.wake_s,
        chunk_images=timing.chunk_images,
    )


def write_endless_onnx(path: Path) -> Path:
    """A file whose one inference goes on for ages, for all that its parser can tell."""
    from onnx import TensorProto, helper, numpy_helper, save

    def value(name, dtype, shape):
        return helper.make_tensor_value_info(name, dtype, shape)

    turn = helper.make_graph(
        [
            helper.make_node("Identity", ["more"], ["again"]),
            helper.make_node("Add", ["before", "before"], ["after"]),
        ],
        "turn",
        [
            value("turn", TensorProto.INT64, []),
            value("more", TensorProto.BOOL, []),
            value("before", TensorProto.FLOAT, [1, 10]),
        ],
        [value("again", TensorProto.BOOL, []), value("after", TensorProto.FLOAT, [1, 10])],
    )
    constants = {"turns": np.int64(2**50), "go": np.array(True), "ten": np.ones((1, 10), "f4")}
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "ten"], ["first"]),
            helper.make_node("Loop", ["turns", "go", "first"], ["probabilities"], body=turn),
        ],
        "endless",
        [value("image", TensorProto.FLOAT, [1, 32, 32, 3])],
        [value("probabilities", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(np.asarray(held), name) for name, held in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return path


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, dict, dict]]:
    """What workers are asked for while the test runs: (command, arguments, reply)."""
    told, ask = [], WorkerProcess.ask

    def telling(process, do, timeout_s, **arguments):
        reply = ask(process, do, timeout_s, **arguments)
        told.append((do, arguments, reply))
        return reply

    monkeypatch.setattr(WorkerProcess, "ask", telling)
    return told


@pytest.fixture
def worker(tiny_tflite):
    process = loaded("litert", tiny_tflite, [9_999, 0, 123])
    yield process
    process.close()


def known_top1(count: int) -> float:
    test_set = shipped.test_set()
    chosen = cifar10.balanced(test_set.labels, count)
    predicted = tiny_models.probabilities(test_set.images(chosen)).argmax(axis=1)
    return float(np.mean(predicted == test_set.labels[chosen]))


def test_accuracy_is_that_of_the_model(tiny_tflite):
    made = bench([tiny_tflite], ["litert"], quick())
    (row,) = made["rows"]
    assert row["error"] is None
    assert row["images"] == 10_000
    assert row["top1"] == pytest.approx(known_top1(10_000), abs=2e-4)
    low, high = row["top1_interval"]
    assert low < row["top1"] < high
    assert row["top1"] < row["top5"] < 1
    assert np.sum(row["confusion"]) == 10_000
    assert json.loads(json.dumps(made)) == made
    assert not workers_of()


@pytest.mark.timing
def test_latency_is_told_with_its_parts_and_its_tail(tiny_tflite):
    (row,) = bench([tiny_tflite], ["litert"], quick(samples=10))["rows"]
    latency = row["latency_ms"]
    assert 0 < latency["min"] <= latency["p50"] <= latency["p90"] <= latency["p99"]
    assert latency["p99"] <= latency["p999"]
    low, high = row["latency_interval_ms"]["p50"]
    assert low <= latency["p50"] <= high
    assert sum(row["parts_ms"].values()) == pytest.approx(latency["p50"], rel=0.5)
    assert row["parts_ms"]["invoke"] > 0
    assert len(row["block_p50_ms"]) > 1
    assert row["images_per_s"] == pytest.approx(1e3 / latency["mean"])
    assert 10 < row["runtime_rss_mib"] < row["peak_rss_mib"] < 1000
    assert row["model_rss_mib"] == pytest.approx(row["peak_rss_mib"] - row["runtime_rss_mib"])
    assert row["load_ms"] > 0
    assert row["first_ms"] > 0
    assert row["size_bytes"] == tiny_tflite.stat().st_size
    assert row["warm_up"]["inferences"] > 0


@pytest.mark.timing
def test_timing_ends_when_the_median_is_known_or_the_time_is_over(tiny_tflite):
    soon = BenchSettings(samples=10, precision=0.9, timing=Timing(min_s=0.3))
    (sure,) = bench([tiny_tflite], ["litert"], soon)["rows"]
    assert sure["settled"]
    assert 0.3 <= sure["timed_s"] < 1
    (unsure,) = bench([tiny_tflite], ["litert"], quick(samples=10, precision=1e-6))["rows"]
    assert not unsure["settled"]
    assert 0.2 <= unsure["timed_s"] < 0.5


@pytest.mark.timing
def test_few_samples_are_timed_often_and_counted_once(tiny_tflite):
    (row,) = bench([tiny_tflite], ["litert"], quick(samples=30))["rows"]
    assert row["images"] == 30
    assert row["top1"] == pytest.approx(known_top1(30), abs=1e-9)
    assert row["timed_inferences"] > 1_000


def test_models_take_turns_in_an_order_that_the_seed_decides(tiny_tflite):
    def first_round(seed: int) -> list[str]:
        told = []
        settings = quick(max_seconds=0.01, samples=10, threads=(1, 2, 3), seed=seed)
        bench(
            [tiny_tflite], ["litert"], settings, progress=showing(lambda *said: told.append(said))
        )
        done = [share for _, share in told]
        assert done == sorted(done)
        assert done[-1] == 1
        return [doing for doing, _ in told if doing.startswith(tiny_tflite.name)][:3]

    orders = [first_round(0), first_round(1)]
    assert orders[0] != orders[1]
    assert set(orders[0]) == set(orders[1])
    assert len(set(orders[0])) == 3


@pytest.mark.timing
def test_two_rows_of_a_bench_are_put_beside_each_other(tiny_tflite):
    made = bench([tiny_tflite] * 2, ["litert"], quick(samples=100, max_seconds=0.5))
    (pair,) = made["pairs"]
    assert (pair["a"], pair["b"]) == (0, 1)
    low, high = pair["ratio_interval"]
    assert low <= pair["ratio"] <= high
    assert 0.5 < pair["ratio"] < 2
    assert pair["agreement"] == 1
    assert pair["mcnemar_p"] == 1


def test_a_row_for_each_number_of_threads(tiny_tflite):
    made = bench([tiny_tflite], ["litert"], quick(samples=10, threads=(1, 2)))
    assert [row["threads"] for row in made["rows"]] == [1, 2]


@needs_onnx
def test_a_free_batch_is_timed_alone_and_the_rest_in_batches(tmp_path):
    path = tiny_models.write_onnx(tmp_path / "tiny.onnx", batch="n")
    (row,) = bench([path], ["onnxruntime"], quick(max_seconds=0.01))["rows"]
    assert row["batch"] == 1
    assert row["timed_inferences"] < row["images"] == 10_000
    assert row["top1"] == pytest.approx(known_top1(10_000), abs=1e-3)


@needs_onnx
def test_threads_reach_the_runtime(tmp_path):
    path = tiny_models.write_onnx(tmp_path / "tiny.onnx")
    counts = []
    for threads in (1, 4):
        worker = loaded("onnxruntime", path, [0], threads=threads)
        counts.append(psutil.Process(worker.pid).num_threads())
        worker.close()
    assert counts[1] - counts[0] == 3


def test_offline_takes_batches(tiny_tflite, tmp_path):
    settings = quick(scenario="offline", samples=100)
    (row,) = bench([tiny_tflite], ["litert"], settings)["rows"]
    assert row["scenario"] == "offline"
    assert row["top1"] == pytest.approx(known_top1(100), abs=1e-9)
    assert row["images_per_s"] > 0


@pytest.mark.parametrize("jobs", [1, 3])
def test_workers_share_the_images_that_are_left(tiny_tflite, jobs):
    most = []
    timing = Timing(block_s=0.01, helper_min_s=1e-4)
    settings = quick(max_seconds=0.01, jobs=jobs, timing=timing)
    made = bench(
        [tiny_tflite],
        ["litert"],
        settings,
        progress=showing(lambda *_: most.append(len(workers_of()))),
    )
    (row,) = made["rows"]
    assert row["top1"] == pytest.approx(known_top1(10_000), abs=2e-4)
    assert max(most) == 1 + jobs  # and the monitor
    assert not workers_of()


def test_a_file_that_crashes_the_interpreter_is_a_row(tmp_path, tiny_tflite):
    # LiteRT 2.3.0 dies inside allocate_tensors of a QUANTIZE to a scale of zero.
    fatal = tiny_models.write_tflite(tmp_path / "fatal.tflite", output_dtype="UINT8", scale=0.0)
    crashed, healthy = bench([fatal, tiny_tflite], ["litert"], quick(samples=10))["rows"]
    assert crashed["error"]
    assert healthy["error"] is None


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_is_a_row_and_the_rest_goes_on(tiny_tflite, number):
    def crash_first(doing, done):
        if doing.startswith(tiny_tflite.name) and len(workers_of()) == 3:
            _, first, _ = workers_of()  # the monitor came before it
            os.kill(first.pid, number)

    settings = quick(samples=1_000)
    made = bench([tiny_tflite] * 2, ["litert"], settings, progress=showing(crash_first))
    crashed, healthy = made["rows"]
    assert number.name in crashed["error"]
    assert crashed["top1"] is crashed["latency_ms"]["p50"] is None
    assert healthy["error"] is None
    assert healthy["top1"] == pytest.approx(known_top1(1_000), abs=1e-3)
    assert not workers_of()


def test_a_worker_that_hangs_is_stopped(worker):
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(WorkerFailed, match=r"`warm_up` within 0\.5 s"):
        worker.ask("warm_up", 0.5, batch=1, limit_s=0.0, check_s=0.0)
    assert not psutil.pid_exists(worker.pid)


@pytest.mark.timing
@needs_onnx
def test_a_file_that_never_ends_is_a_row(tmp_path):
    endless = write_endless_onnx(tmp_path / "endless.onnx")
    healthy = tiny_models.write_onnx(tmp_path / "tiny.onnx")
    made = bench([endless, healthy], ["onnxruntime"], quick(samples=10), timeout_s=5.0)
    stopped, measured = made["rows"]
    assert stopped["error"] == "gave no answer to `load` within 5 s, and was stopped"
    assert measured["error"] is None
    assert not workers_of()


@pytest.mark.skipif(sys.platform != "linux", reason="a file of Linux")
def test_when_memory_runs_out_the_system_takes_a_worker_first(worker):
    assert Path(f"/proc/{worker.pid}/oom_score_adj").read_text().strip() == "1000"
    assert Path("/proc/self/oom_score_adj").read_text().strip() != "1000"


def test_what_a_runtime_prints_does_not_break_the_conversation(worker):
    warm = worker.ask("warm_up", LONG_S, batch=1, limit_s=0.01, check_s=0.05)
    assert warm["inferences"] > 0
    with pytest.raises(WorkerFailed, match="AttributeError"):
        worker.ask("dance", LONG_S)
    assert worker.ask("classify", LONG_S, begin=0, count=2)["probabilities"]["shape"] == [2, 10]


@pytest.mark.timing
def test_images_are_read_where_they_are_and_again_from_the_first(worker):
    images = shipped.test_set().images(np.array([0, 123, 9_999, 0]))
    reply = worker.ask("classify", LONG_S, begin=1, count=4)
    found = wire.unpack(reply["probabilities"])
    np.testing.assert_allclose(found, tiny_models.probabilities(images), atol=1e-4)
    reply = timed(worker, begin=1, limit_s=0.05)
    parts_ns, found = wire.unpack(reply["parts_ns"]), wire.unpack(reply["probabilities"])
    assert 0 < parts_ns.shape[1] < len(found)  # the first calls wake the caches
    assert (parts_ns > 0).all()
    np.testing.assert_allclose(found[:4], tiny_models.probabilities(images), atol=1e-4)
    assert wire.unpack(timed(worker, begin=0, limit_s=0)["parts_ns"]).size == 3


def test_a_worker_needs_numpy_and_its_runtime_only(tiny_tflite):
    heavy = "platformdirs", "psutil", "PIL", "rich", "typer", "onnxruntime", "tensorflow"
    program = f"import sys, edgecifar.bench.worker; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_probabilities_that_are_not_numbers_are_an_error(tmp_path):
    weights = np.full((10, 3072), np.nan, np.float32)
    path = tiny_models.write_tflite(tmp_path / "nan.tflite", weights=weights)
    (row,) = bench([path], ["litert"], quick(samples=10))["rows"]
    assert "not finite" in row["error"]


def test_stopping_leaves_no_worker(tiny_tflite):
    def interrupt(doing, done):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench([tiny_tflite], ["litert"], quick(), progress=showing(interrupt))
    assert not workers_of()


@pytest.mark.timing
def test_a_killed_parent_leaves_no_worker(tiny_tflite):
    program = f"""
import os, signal, sys, time
from pathlib import Path
from edgecifar.bench.runner import bench
from edgecifar.bench.settings import BenchSettings, Timing
bench([Path({str(tiny_tflite)!r})], ["litert"], BenchSettings(timing=Timing(block_s=600.0)))
"""
    parent = subprocess.Popen([sys.executable, "-c", program])
    end = time.monotonic() + 60
    # One that has worked for a while: it is inside a command, reading nothing.
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
    made = bench([text, tiny_tflite, cut], ["litert"], quick(samples=10))
    assert [bool(row["error"]) for row in made["rows"]] == [True, False, True]
    assert [model for model, _ in unmeasured(made)] == [str(text), str(cut)]
    for _, (error,) in unmeasured(made):
        assert "\n" not in error
        assert str(tmp_path) not in error


@pytest.mark.parametrize(
    ("suffix", "install"),
    [(".tflite", "pip install ai-edge-litert"), (".onnx", "pip install onnxruntime")],
)
def test_nothing_installed_is_one_row_that_says_what_to_install(tmp_path, suffix, install):
    model = tmp_path / f"model{suffix}"
    model.write_bytes(b"anything")
    ((planned, _, error),) = plan([model], None, [], Options())
    assert planned == model
    assert re.search(rf"not installed.*{re.escape(install)}", error)


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
    for timeout_s in (0.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"`timeout_s=\S+`: give"):
            bench([tiny_tflite], timeout_s=timeout_s)


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0},
        {"samples": 10_001},
        {"threads": (1, 0)},
        {"jobs": 0},
        {"precision": 0.0},
        {"max_seconds": 0.0},
        {"options": Options(batch=0)},
        {"scenario": "multi-stream"},
    ],
)
def test_a_number_out_of_its_range_is_refused(wrong):
    with pytest.raises(UserError, match=r"give \S+"):
        BenchSettings(**wrong)


@pytest.mark.parametrize(
    ("wrong", "least"),
    [
        ({"block_s": 0.0}, "more than 0"),
        ({"helper_min_s": float("nan")}, "more than 0"),
        ({"min_s": float("inf")}, "0 or more"),
        ({"energy_turns": -1}, "0 or more"),
    ],
)
def test_a_timing_out_of_its_range_is_refused(wrong, least):
    (name,) = wrong
    with pytest.raises(UserError, match=rf"`timing\.{name}=\S+`: give {least}"):
        Timing(**wrong)
    assert Timing(energy_turns=0, min_calls=0, min_s=0.0, wake_s=0.0).min_calls == 0


def test_what_shapes_a_measurement_reaches_the_workers_and_is_recorded(tiny_tflite, asked):
    timing = Timing(
        warm_up_limit_s=0.04,
        settle_check_s=0.01,
        block_s=0.02,
        wake_s=0.0,
        chunk_images=4,
        power_poll_s=0.2,
        idle_power_s=0.3,
        sensors_interval_s=1e-6,
        clock_work_s=0.001,
    )
    made = bench([tiny_tflite], ["litert"], quick(samples=10, timing=timing))
    given = {do: arguments for do, arguments, _ in asked}
    assert given["warm_up"] == {"batch": 1, "limit_s": 0.04, "check_s": 0.01}
    assert given["energy_source"] == {"power_poll_s": 0.2, "idle_s": 0.3}
    assert given["sensors"]["work_s"] == 0.001
    turns = [arguments for do, arguments, _ in asked if do == "time"]
    assert {(turn["limit_s"], turn["wake_s"], turn["chunk_images"]) for turn in turns} >= {
        (0.02, 0.0, 4)
    }
    rounds = len(made["rows"][0]["block_p50_ms"])
    assert len(made["machine"]["conditions"]["during"]) == rounds > 1  # one reading after each
    assert made["settings"]["timing"] == dataclasses.asdict(timing)


def test_a_file_is_checked_before_any_worker_starts(tmp_path, tiny_tflite, asked):
    other = tmp_path / "model.pt"
    other.write_bytes(b"x")
    with pytest.raises(UserError, match="edgecifar opens"):
        bench([tiny_tflite, other])
    assert asked == []


def test_a_model_of_other_classes_is_timed_without_an_accuracy(tmp_path):
    path = tiny_models.write_tflite(tmp_path / "seven.tflite", weights=tiny_models.WEIGHTS[:7])
    (row,) = bench([path], ["litert"], quick(samples=10))["rows"]
    assert row["error"] is None
    assert row["latency_ms"]["p50"] > 0
    assert row["images"] is row["top1"] is row["top1_interval"] is None


@needs_onnx
def test_a_foreign_file_is_read_as_its_training_was(tmp_path):
    """What floats it takes is found out on training images, and said."""
    training = shipped.calibration_set()
    network = foreign_files.fitted(training.images() / 127.5 - 1, training.labels)
    path = foreign_files.write_onnx(tmp_path / "foreign.onnx", network)
    (row,) = bench([path], ["onnxruntime"], quick(samples=500))["rows"]
    assert row["error"] is row["warning"] is None
    assert row["top1"] > 0.18  # by guessing 0.1, to within 0.04
    assert row["normalization"] == "symmetric"
    assert row["input"]["layout"] == "NCHW"
    assert row["output"] == "logits"
    tried = {one["normalization"]: one["top1"] for one in row["normalization_tried"]}
    assert tried[row["normalization"]] == max(tried.values())


def test_of_other_classes_nothing_is_asked_but_the_time(tmp_path, asked):
    path = tiny_models.write_tflite(tmp_path / "seven.tflite", weights=tiny_models.WEIGHTS[:7])
    (row,) = bench([path], ["litert"], quick(max_seconds=0.01))["rows"]
    assert row["error"] is None
    shapes = [reply["probabilities"]["shape"] for do, _, reply in asked if do == "time"]
    assert [0] in [shape[1:] for shape in shapes]
    assert "classify" not in [do for do, _, _ in asked]


@needs_onnx
def test_a_model_of_several_images_a_time_is_timed_so(tmp_path):
    path = tiny_models.write_onnx(tmp_path / "four.onnx", batch=4)
    (row,) = bench([path], ["onnxruntime"], quick(samples=10))["rows"]
    assert row["batch"] == 4
    assert row["top1"] == pytest.approx(known_top1(10), abs=1e-9)
    assert row["images_per_s"] == pytest.approx(4e3 / row["latency_ms"]["mean"])


@pytest.mark.timing
@needs_onnx
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core cannot show it")
def test_preparing_pixels_takes_no_core_but_its_own(tmp_path):
    large = tiny_models.write_means_onnx(tmp_path / "large.onnx", (1, 3, 224, 224))
    worker = loaded("onnxruntime", large, list(range(100)), threads=1)
    try:
        watched, begin = psutil.Process(worker.pid), time.perf_counter()
        before = watched.cpu_times()
        timed(worker, begin=0, limit_s=1.0)
        after, wall_s = watched.cpu_times(), time.perf_counter() - begin
    finally:
        worker.close()
    assert after.user + after.system - before.user - before.system < 1.2 * wall_s


@needs_onnx
def test_the_first_call_is_of_as_many_images_as_the_others(tmp_path, monkeypatch):
    path = tiny_models.write_onnx(tmp_path / "tiny.onnx", batch="n")
    session = runtimes.named("onnxruntime").session(path, Options())
    shapes, set_input = [], session.set_input
    monkeypatch.setattr(session, "set_input", lambda v: (shapes.append(v.shape), set_input(v)))
    run_once(session, 8)
    assert shapes == [(8, 32, 32, 3)]


@needs_onnx
def test_a_file_that_leaves_all_sides_open_is_measured(tmp_path):
    path = tiny_models.write_means_onnx(tmp_path / "open.onnx", ("n", "c", "y", "x"))
    (row,) = bench([path], ["onnxruntime"], quick(samples=10))["rows"]
    assert row["error"] is None
    assert row["input"] == {"dtype": "float32", "shape": [None] * 4, "layout": "NCHW"}


@pytest.mark.timing
def test_a_median_may_be_known_before_there_was_enough_of_anything_else(tiny_tflite):
    (row,) = bench([tiny_tflite], ["litert"], quick(samples=10, precision=0.9))["rows"]
    assert row["settled"]
    assert row["timed_s"] < Timing().min_s


def test_a_helper_that_dies_is_done_without(tiny_tflite):
    killed = []

    def kill_the_helper(doing, done):
        if len(workers_of()) == 3 and not killed:
            *_, helper = workers_of()
            os.kill(helper.pid, signal.SIGKILL)
            killed.append(helper.pid)

    timing = Timing(block_s=0.01, helper_min_s=1e-4)
    settings = quick(max_seconds=0.01, jobs=2, timing=timing)
    (row,) = bench([tiny_tflite], ["litert"], settings, progress=showing(kill_the_helper))["rows"]
    assert killed
    assert row["error"] is None
    assert row["top1"] == pytest.approx(known_top1(10_000), abs=2e-4)


def test_without_its_monitor_a_row_is_measured_and_marked(tiny_tflite):
    killed = []

    def kill_the_monitor(doing, done):
        if doing.startswith("warming up") and not killed:
            os.kill(workers_of()[0].pid, signal.SIGKILL)
            killed.append(doing)

    (row,) = bench(
        [tiny_tflite], ["litert"], quick(samples=10), progress=showing(kill_the_monitor)
    )["rows"]
    assert row["error"] is None
    assert row["latency_ms"]["p50"] > 0
    assert row["marks"] == ["unobserved"]


def test_slow_models_are_asked_for_less_at_a_time(tiny_tflite, asked):
    timing = Timing(classify_s=1e-3, block_calls=10**9, longest_block_s=0.02, block_s=0.01)
    settings = quick(samples=10_000, max_seconds=0.01, jobs=1, timing=timing)
    bench([tiny_tflite], ["litert"], settings)
    assert {given["limit_s"] for do, given, _ in asked if do == "time"} == {0.02}
    counts = [given["count"] for do, given, _ in asked if do == "classify"]
    assert 0 < max(counts) < timing.classify_images


def test_what_a_file_expects_of_pixels_is_found_out_once(tmp_path, asked):
    foreign = tiny_models.write_tflite(tmp_path / "foreign.tflite", input_dtype="FLOAT32")
    rows = bench([foreign], ["litert"], quick(samples=10, threads=(1, 2)))["rows"]
    wanted = [given["normalization"] for do, given, _ in asked if do == "load"]
    assert wanted == ["auto", rows[0]["normalization"]]
    assert rows[0]["normalization_tried"] == rows[1]["normalization_tried"] != []


@needs_onnx
def test_weights_that_overflow_on_this_processor_are_marked(tmp_path):
    """On x86-64 without VNNI, and nowhere else."""
    import tiny_graphs

    model = tmp_path / "foreign.onnx"
    model.write_bytes(tiny_graphs.onnx("int8", reduce_range=False))
    result = bench([model], ["onnxruntime"], quick(samples=20))
    (row,), machine = result["rows"], result["machine"]
    x86 = machine["architecture"] in hardware.X86
    vnni = any("vnni" in feature for feature in machine["features"])
    assert row["error"] is None
    assert ("overflow" in row["marks"]) == (x86 and not vnni)
    assert (row["overflow"] is not None) == x86
    assert ("reduce_range" in (row["warning"] or "")) == (x86 and not vnni)


@needs_onnx
@pytest.mark.skipif(platform.machine() not in hardware.X86, reason="only x86-64 overflows")
def test_the_weights_of_a_file_are_read_once_for_all_its_cases(tmp_path, monkeypatch):
    import tiny_graphs

    read, may_overflow = [], overflow.may_overflow
    monkeypatch.setattr(
        overflow, "may_overflow", lambda file: read.append(len(file)) or may_overflow(file)
    )
    model = tmp_path / "foreign.onnx"
    model.write_bytes(tiny_graphs.onnx("int8", reduce_range=False))
    rows = bench([model], ["onnxruntime"], quick(samples=20, threads=(1, 2)))["rows"]
    assert [row["overflow"] is None for row in rows] == [False, False]
    assert read == [model.stat().st_size]


@pytest.mark.timing
def test_energy_is_counted_in_turns_of_its_own(tiny_tflite, monkeypatch):
    class Metered(Monitor):
        """As on a machine that counts: two joules whatever is done."""

        energy_source = property(lambda self: "meter", lambda self, value: None)
        idle_w = property(lambda self: 1.5, lambda self, value: None)

        def begin_energy(self):
            pass

        def end_energy(self):
            return 2.0, 0.5

    monkeypatch.setattr(runner, "Monitor", Metered)
    settings = quick(samples=10, timing=Timing(energy_s=0.05))
    (row,) = bench([tiny_tflite], ["litert"], settings)["rows"]
    assert row["power_w"] == pytest.approx(4.0)
    assert row["idle_power_w"] == 1.5
    assert row["energy_source"] == "meter"
    assert row["energy_mj_per_image"] > 0
    assert row["timed_s"] < 0.5
