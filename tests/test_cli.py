"""The command line: results, and for everything a user can cause one line and its exit code."""

import hashlib
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
from listing import names_in

from edgecifar import cli
from edgecifar.data import cifar10, shipped
from edgecifar.runtimes import RUNTIMES, environments
from edgecifar.runtimes import normalization as normalizations
from edgecifar.training import recipe_book, recipes

RECORDED_BENCH = Path(__file__).parents[1] / "benchmarks" / "shipped_model.json"
HEAD_ONLY = ("--set", "alpha=0.35", "--set", "size=32", "--set", "validation_images=100")


@pytest.fixture
def edgecifar(monkeypatch, capfd):
    """Runs a command line in this process: (exit code, stdout, stderr)."""

    def edgecifar(*arguments):
        monkeypatch.setattr(sys, "argv", ["edgecifar", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capfd.readouterr()
        return end.value.code, said.out, said.err

    return edgecifar


@pytest.fixture
def refused(edgecifar):
    """Runs a command line that must end in one line on stderr and exit code 2; gives the line."""

    def refused(*arguments):
        code, out, err = edgecifar(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert err.startswith("edgecifar: ")
        assert "Traceback" not in err
        return err

    return refused


@pytest.fixture
def start(session_cache):
    """Starts a command line in a process of its own."""
    started = []
    # Keras, imported by other tests, has TensorFlow log more than it does for a user.
    inherited = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}

    def start(*arguments, **environment):
        process = subprocess.Popen(
            [sys.executable, "-m", "edgecifar", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=inherited | {key: str(value) for key, value in environment.items()},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def tiny_tflite(tmp_path):
    return tiny_models.write_tflite(tmp_path / "tiny.tflite")


@pytest.fixture
def little_data(tmp_path, monkeypatch):
    """A cache whose training files hold 200 images each."""
    data = shipped.calibration_set()
    cache = tmp_path / "cache"
    cache.mkdir()
    for i, name in enumerate(cifar10.TRAIN_FILES):
        chosen = np.arange(i, 1000, 5)
        records = cifar10.records_of(data.images(chosen), data.labels[chosen])
        (cache / name).write_bytes(records.tobytes())
    monkeypatch.setenv("EDGECIFAR_CACHE", str(cache))
    return cache


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A cache of six small files that are taken for the official ones."""
    cache = tmp_path / "cache"
    cache.mkdir()
    content = bytes(range(10)) + bytes(10 * cifar10.RECORD_BYTES - 10)
    for name in cifar10.SHA256:
        (cache / name).write_bytes(content)
    hashes = dict.fromkeys(cifar10.SHA256, hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(cifar10, "SHA256", hashes)
    monkeypatch.setattr(cifar10, "FILE_BYTES", len(content))
    monkeypatch.setenv("EDGECIFAR_CACHE", str(cache))
    return cache


# Help


COMMANDS = [
    "data download",
    "train",
    "recipes",
    "export",
    "info",
    "bench",
    "compare",
    "run",
    "runtimes",
    "runtimes install",
    "runtimes remove",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples_of_the_command(edgecifar, command):
    code, out, err = edgecifar(*command.split(), "--help")
    assert code == 0
    assert err == ""
    assert "Examples" in out
    assert out.count(f"edgecifar {command}") >= 2


def test_help_lists_every_command(edgecifar):
    code, out, _ = edgecifar("--help")
    assert code == 0
    for command in ("data", "train", "export", "info", "bench", "compare", "run"):
        assert command in out


# What a user gets wrong


def _missing(folder):
    return folder / "missing.tflite"


def _directory(folder):
    return folder


def _empty(folder):
    (folder / "empty.tflite").touch()
    return folder / "empty.tflite"


def _text(folder):
    (folder / "text.tflite").write_text("a model, they said\n")
    return folder / "text.tflite"


def _truncated_tflite(folder):
    path = tiny_models.write_tflite(folder / "cut.tflite")
    path.write_bytes(path.read_bytes()[:5000])
    return path


def _truncated_onnx(folder):
    path = tiny_models.write_onnx(folder / "cut.onnx")
    path.write_bytes(path.read_bytes()[:5000])
    return path


def _truncated_keras(folder):
    path = tiny_models.write_keras(folder / "cut.keras")
    path.write_bytes(path.read_bytes()[:5000])
    return path


BAD_FILES = [_missing, _directory, _empty, _text, _truncated_tflite, _truncated_onnx]


@pytest.mark.parametrize("make", [*BAD_FILES, _truncated_keras])
def test_bench_of_a_bad_file_is_one_line_that_names_it(refused, tmp_path, make):
    path = make(tmp_path)
    assert str(path) in refused("bench", path, "--samples", 10)


@pytest.mark.parametrize("make", [_missing, _directory, _empty, _text, _truncated_keras])
def test_export_of_a_bad_file_is_one_line_that_names_it(refused, tmp_path, make):
    path = make(tmp_path)
    assert str(path) in refused("export", path, "--out", tmp_path / "out")


@pytest.mark.parametrize("make", BAD_FILES)
def test_info_of_a_bad_file_is_one_line_that_names_it(refused, tmp_path, make):
    path = make(tmp_path)
    assert str(path) in refused("info", path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--precision", "int4"], "--precision int4: expected float32, float16"),
        (["--format", "pt"], "--format pt: expected tflite, onnx"),
        (["--precision", "int16x8", "--format", "onnx"], "there is none in ONNX"),
        (["--calibration", "guess"], "--calibration guess: expected auto, minmax"),
        (["--int8", "--calibration-images", "0"], "--calibration-images 0: expected 1 to 900"),
        (["--batch", "many"], "--batch many: expected a number of images or dynamic"),
        (["--batch", "0"], "--batch 0: expected 1 or more"),
        (["--c-array"], "--c-array goes with --int8"),
        (["--int8", "--keep-float", "auto:many"], "expected names, or auto:N alone"),
        (["--int8", "--keep-float", "auto:2,conv"], "expected names, or auto:N alone"),
        (["--normalization", "unit"], "leave --normalization unit out"),
    ],
)
def test_a_wrong_export_option_is_one_line(refused, small_run, tmp_path, options, words):
    assert words in refused("export", small_run.path, "--out", tmp_path / "out", *options)


def test_a_layer_that_is_not_there_is_named_beside_some_that_are(edgecifar, small_run, tmp_path):
    options = ("--out", tmp_path / "out", "--int8", "--keep-float", "seconds")
    code, _, err = edgecifar("export", small_run.path, *options)
    assert code == 2
    last = err.splitlines()[-1]
    assert last.startswith("edgecifar: --keep-float seconds: no such layer; there is second")


def test_quick_and_another_recipe_together_are_one_line(refused):
    assert "leave out mobilenetv2 or --quick" in refused("run", "--quick", "mobilenetv2")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "mobilnetv2"], "did you mean mobilenetv2?"),
        (["run", "nothing"], "no recipe 'nothing'"),
        (["train", "--set", "dropuot=0.3"], "no field 'dropuot'"),
        (["train", "--set", "size=big"], "expected a whole number"),
        (["train", "--set", "size=0"], "expected 1 to"),
        (["train", "--set", "head.batch=0"], "expected 1 or more"),
        (["train", "--set", "dropout=2"], "expected 0 to 1"),
        (["train", "--set", "dropout"], "expected field=value"),
        (["train", "--epochs", "many"], "--epochs"),
        (["train", "--epochs", "0"], "--epochs"),
        (["train", "--seed", "99999999999"], "expected 0 to 4294967295"),
        (["bench"], "edgecifar bench --help"),
        (["bench", "TINY", "--runtime", "fast"], "no runtime 'fast': choose from litert"),
        (["bench", "TINY", "--runtime", "onnxruntime"], "onnxruntime opens .onnx files"),
        (["bench", "TINY", "--samples", "ten"], "expected a whole number or all"),
        (["bench", "TINY", "--samples", "10001"], "give 1 to 10000"),
        (["bench", "TINY", "--threads", "0"], "0 threads: give 1 to 1,024"),
        (["bench", "TINY", "--threads", "99999"], "99999 threads: give 1 to 1,024"),
        (["bench", "TINY", "--threads", "²"], "--threads ²: expected whole numbers"),
        (["bench", "TINY", "--threads", ""], "--threads : expected whole numbers"),
        (["bench", "TINY", "--samples", "²"], "--samples ²: expected a whole number or all"),
        (["bench", "TINY", "--seed", "-1"], "--seed -1: give 0 or more"),
        (["bench", "TINY", "--batch", "8"], "--batch 8: is for --scenario offline"),
        (["bench", "TINY", "--threads", "1,two"], "expected whole numbers, as in 1,2,4"),
        (["bench", "TINY", "--thread", "1"], "--thread"),
        (["bench", "TINY", "--ci", "0%"], "give more than 0"),
        (["bench", "TINY", "--ci", "abc"], "--ci abc: expected a percentage"),
        (["bench", "TINY", "--max-seconds", "0"], "give more than 0"),
        (["bench", "TINY", "--max-seconds", "inf"], "give more than 0"),
        (["bench", "TINY", "--timeout", "0"], "give seconds, more than 0"),
        (["bench", "TINY", "--scenario", "server"], "give single-stream or offline"),
        (["bench", "TINY", "--normalization", "vgg"], "vgg"),
        (["bench", "TINY", "--on", "raspberrypi"], "ssh://[user@]host[:port]"),
        (["bench", "TINY", "--bootstrap"], "say which with --on"),
        (["bench", "TINY", "--on", "ssh://a", "--on", "ssh://a"], "--on ssh://a: is there twice"),
        (["bench", "TINY", "--max-regression", "5%"], "needs a --baseline"),
        (["bench", "TINY", "--max-p90-ms", "nan"], "--max-p90-ms nan: give a number above 0"),
        (["bench", "TINY", "--min-top1", ""], "--min-top1 : expected a percentage"),
        (["bench", "TINY", "--labels", "nowhere.txt"], "--labels nowhere.txt: cannot be read"),
        (["bench", "TINY", "--labels", "TINY"], "is no text of one name a line"),
        (["bench", "TINY", "--labels", ""], "--labels"),
        (["bench", "TINY", "--json", "."], "cannot write '.': it is a folder"),
        (["bench", "TINY", "--csv", ""], "cannot write '': it is no name"),
        (["bench", "TINY", "--json", "a", "--csv", "./a"], "--json and --csv: both would write"),
        (["bench", "TINY", "--json", "-", "--md", "-"], "--json and --md: both would write"),
        (["bench", "TINY", "--baseline", "nowhere.json"], "nowhere.json: cannot be read"),
        (["bench", "TINY", "--min-top1", "high"], "expected a percentage"),
        (["nonsense"], "nonsense"),
        (["data", "download", "--source", "nowhere"], "no CIFAR-10 source 'nowhere'"),
    ],
)
def test_a_wrong_argument_is_one_line(refused, tiny_tflite, arguments, words):
    assert words in refused(*(tiny_tflite if word == "TINY" else word for word in arguments))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--resume", "nowhere"), "nowhere is no run folder"),
        (("mobilenetv2", "--resume", "nowhere"), "mobilenetv2 and --resume: one at a time"),
        (("--qat", "a", "--prune", "0.5"), "--qat and --prune: one at a time"),
        (("--from", "a"), "--from goes with --prune or --cluster"),
        (("--prune", "0.5", "--from", "nowhere"), "no checkpoint nowhere"),
        (("--backend", "theano"), "--backend theano: expected tensorflow or jax"),
        (("--devices", "none"), "--devices none: expected a number of devices or all"),
        (("--devices", "2"), "--devices 2: several devices need --backend jax"),
        (("--precision", "int4"), "--precision int4: expected float32, mixed_bfloat16, auto"),
        (("resnet", "--set", "schedule=mine"), "expected ours or source"),
        (("quick", "--set", "schedule=source"), "quick has no other schedule than its own"),
    ],
)
def test_a_wrong_training_option_is_one_line(refused, little_data, arguments, words):
    assert words in refused("train", *arguments)


def test_recipes_lists_every_recipe_with_its_target(edgecifar):
    code, out, err = edgecifar("recipes")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    for recipe in recipe_book.RECIPES.values():
        target = f"{100 * recipe.target:.2f}" if recipe.target else "-"
        assert f" {target} " in lines[recipe.name]


def test_recipes_prints_one_whole(edgecifar, refused):
    code, out, _ = edgecifar("recipes", "resnet")
    printed = json.loads(out)
    measured = printed.pop("measured")
    assert code == 0
    assert recipes.from_dict(printed) == recipe_book.find("resnet")
    assert measured is None or 0 < measured["test_top1"] < 1
    assert "did you mean resnet?" in refused("recipes", "resnett")


def test_a_width_without_imagenet_weights_trains_from_scratch_and_says_so(
    edgecifar, little_data, few_test_images, tmp_path
):
    fields = ("alpha=0.2", "size=32", "validation_images=100", "batch_norm_momentum=0.9")
    sets = [part for field in fields for part in ("--set", field)]
    code, out, err = edgecifar("train", "quick", *sets, "--epochs", 1, "--out", tmp_path / "run")
    assert code == 0
    assert "no ImageNet weights of width 0.2: it trains from scratch" in err
    assert "test top-1" in out
    known = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert known["recipe"]["weights"] == "none"


def test_tensorboard_gets_the_figures_of_each_epoch(
    edgecifar, little_data, few_test_images, small_network, tmp_path
):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    sets = ("--set", "size=32", "--set", "validation_images=100", "--set", "weights=none")
    out = tmp_path / "run"
    assert edgecifar("train", "quick", *sets, "--epochs", 2, "--tensorboard", "--out", out)[0] == 0
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    logged = [make_ndarray(each.tensor_proto) for each in events.Tensors("validation_top1")]
    rows = (out / "history.csv").read_text().splitlines()
    column = rows[0].split(",").index("validation_top1")
    assert logged == pytest.approx([float(row.split(",")[column]) for row in rows[1:]])
    assert len(logged) == 2


def test_a_compressed_run_is_exported_beside_its_parent(
    edgecifar, small_run, little_data, tmp_path
):
    out = tmp_path / "pruned"
    code, said, err = edgecifar(
        "train", "--prune", 0.5, "--from", small_run.path, "--epochs", 1, "--out", out
    )
    assert code == 0, err
    before, after = json.loads((out / "comparison.json").read_text())
    assert (before["name"], after["name"]) == ("post-training", "pruning")
    assert after["tflite_compressed_bytes"] < before["tflite_compressed_bytes"]
    table = said.splitlines()[-2:]
    assert [line.split()[0] for line in table] == ["post-training", "pruning"]
    assert f"{100 * after['tflite_top1']:.2f}" in table[1]


def test_training_without_the_images_says_how_to_get_them(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path / "none"))
    assert "edgecifar data download" in refused("train", "--out", tmp_path / "run")


def test_an_unwritable_run_folder_is_one_line(refused, little_data, tiny_tflite):
    line = refused("train", *HEAD_ONLY, "--weights", "none", "--out", tiny_tflite / "run")
    assert str(tiny_tflite / "run") in line


def test_an_unwritable_export_folder_is_one_line(refused, small_run, tiny_tflite):
    line = refused("export", small_run.path, "--out", tiny_tflite / "out")
    assert f"cannot write in {tiny_tflite / 'out'}: Not a directory" in line


def test_an_unwritable_cache_is_one_line(refused, tiny_tflite, monkeypatch):
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tiny_tflite / "cache"))
    assert str(tiny_tflite / "cache") in refused("bench", tiny_tflite, "--samples", 10)


def test_an_unwritable_json_file_is_one_line(edgecifar, tiny_tflite):
    code, _, err = edgecifar(
        "bench", tiny_tflite, "--runtime", "litert", "--samples", 10, "--json", tiny_tflite / "x"
    )
    assert code == 2
    assert err.startswith(f"edgecifar: cannot write in {tiny_tflite}: ")
    assert err.count("\n") == 1


# Results


def test_data_verify_names_the_flipped_file_and_fails(edgecifar, official):
    code, out, err = edgecifar("data", "verify")
    assert (code, err) == (0, "")
    assert out.count("ok\n") == 6
    flipped = official / "data_batch_3.bin"
    content = bytearray(flipped.read_bytes())
    content[1234] ^= 1
    flipped.write_bytes(content)
    code, out, err = edgecifar("data", "verify")
    assert code == 1
    assert "data_batch_3.bin  damaged\n" in out
    assert err.startswith("edgecifar: data_batch_3.bin is damaged in ")
    assert "edgecifar data download" in err
    assert err.count("\n") == 1


def test_data_info_shows_what_there_is(edgecifar, official):
    code, out, _ = edgecifar("data", "info")
    assert code == 0
    assert str(official) in out
    assert "50,000 for training, 10,000 for testing" in out
    assert out.count("present") == 6


def test_runtimes_lists_them_with_what_they_open_and_how_to_get_them(edgecifar):
    code, out, err = edgecifar("runtimes")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert list(rows)[1:] == [runtime.name for runtime in RUNTIMES]
    litert = RUNTIMES[0]
    assert rows["litert"].split()[1:4] == [environments.version_of(litert), "here", ".tflite"]
    assert rows["tflite-runtime"].endswith("edgecifar runtimes install tflite-runtime")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("install", "tflight"), r"no runtime 'tflight': choose from litert, "),
        (("install", "litert"), r"lives beside edgecifar: get it with `pip install ai-edge"),
        (("remove", "litert"), r"lives beside edgecifar: remove it with pip"),
        (("remove", "tflite-runtime"), r"tflite-runtime has no environment in "),
    ],
)
def test_a_runtime_that_cannot_be_installed_or_removed_is_one_line(
    refused, tmp_path, monkeypatch, command, words
):
    monkeypatch.setenv("EDGECIFAR_DATA", str(tmp_path))
    assert re.search(words, refused("runtimes", *command))


def test_bench_prints_the_result_as_json_and_the_table_beside_it(edgecifar, tiny_tflite):
    code, out, err = edgecifar(
        "bench", tiny_tflite, "--runtime", "litert", "--samples", 20, "--json", "-"
    )
    assert code == 0
    result = json.loads(out)
    assert result["schema_version"] == 1
    (row,) = result["rows"]
    assert (row["model"], row["runtime"], row["images"]) == (str(tiny_tflite), "litert", 20)
    assert row["error"] is None
    assert row["latency_ms"].keys() >= {"p50", "p90", "p99", "mean"}
    assert "tiny.tflite" in err


def test_bench_writes_the_result_beside_its_table(edgecifar, tiny_tflite, tmp_path):
    file = tmp_path / "new" / "result.json"
    code, out, err = edgecifar(
        "bench", tiny_tflite, "--runtime", "litert", "--samples", 20, "--json", file
    )
    assert (code, err) == (0, "")
    assert "tiny.tflite" in out
    assert "20 test images" in out
    (row,) = json.loads(file.read_text())["rows"]
    assert f"{100 * row['top1']:.2f}" in out


def test_bench_writes_tables_and_holds_the_result_against_limits(edgecifar, tiny_tflite, tmp_path):
    quick = ("bench", tiny_tflite, "--runtime", "litert", "--samples", 20, "--max-seconds", 0.1)
    files = {name: tmp_path / f"rows.{name}" for name in ("json", "csv", "md")}
    outputs = [word for name, file in files.items() for word in (f"--{name}", file)]
    code, _, err = edgecifar(*quick, *outputs, "--max-size-mb", 0.001, "--min-top1", "99%")
    assert code == 1
    assert "MB are above 0.001 MB" in err
    assert "is below 99 %" in err
    assert err.count("\n") == 1
    assert json.loads(files["json"].read_text())["rows"][0]["model"] == str(tiny_tflite)
    assert "latency_p50_ms" in files["csv"].read_text().splitlines()[0]
    assert "| tiny.tflite |" in files["md"].read_text()
    code, _, _ = edgecifar(*quick, "--baseline", files["json"], "--max-regression", "900%")
    assert code == 0


def test_a_reader_that_goes_costs_no_result(tiny_tflite, tmp_path):
    result = tmp_path / "result.json"
    command = [sys.executable, "-m", "edgecifar", "bench", tiny_tflite, "--runtime", "litert"]
    quick = ["--samples", "20", "--max-seconds", "0.1", "--json", result]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*command, *quick], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert "Traceback" not in done.stderr
    assert json.loads(result.read_text())["rows"][0]["error"] is None


def test_results_go_to_stdout_one_at_a_time(edgecifar, tiny_tflite):
    quick = ("bench", tiny_tflite, "--runtime", "litert", "--samples", 20, "--max-seconds", 0.1)
    code, out, err = edgecifar(*quick, "--csv", "-")
    assert code == 0
    assert out.startswith("started,")
    assert "20 test images" in err


def test_a_baseline_of_another_bench_is_said_to_be_one(edgecifar, tiny_tflite, tmp_path):
    quick = ("bench", tiny_tflite, "--runtime", "litert", "--max-seconds", 0.1)
    baseline = tmp_path / "baseline.json"
    assert edgecifar(*quick, "--samples", 20, "--json", baseline)[0] == 0
    against = ("--baseline", baseline, "--max-regression", "900%")
    _, _, err = edgecifar(*quick, "--samples", 10, *against)
    assert "images of tiny.tflite differs: 20 in the baseline, 10 in this result" in err
    old = json.loads(baseline.read_text())
    baseline.write_text(json.dumps(old | {"rows": [], "pairs": []}))
    code, _, err = edgecifar(*quick, "--samples", 10, *against)
    assert code == 1
    assert "the baseline has no row that was measured" in err


def test_saying_nothing_shows_the_help_and_no_more(edgecifar):
    code, out, err = edgecifar()
    assert code == 2
    assert "Commands" in out
    assert err == ""


def test_bench_takes_the_order_of_classes_from_a_file(edgecifar, tiny_tflite, tmp_path):
    quick = ("bench", tiny_tflite, "--runtime", "litert", "--samples", 20, "--max-seconds", 0.1)
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(reversed(cifar10.CLASSES)))
    found = []
    for options in ((), ("--labels", labels)):
        code, out, _ = edgecifar(*quick, *options, "--json", "-")
        assert code == 0
        found.append(json.loads(out)["rows"][0])
    assert found[1]["labels"] == list(reversed(cifar10.CLASSES))
    assert found[0]["confusion"] == [row[::-1] for row in found[1]["confusion"]]


def test_bench_measures_the_healthy_model_beside_a_broken_one(edgecifar, tiny_tflite, tmp_path):
    broken = _text(tmp_path)
    code, out, err = edgecifar("bench", broken, tiny_tflite, "--runtime", "litert", "--samples", 20)
    assert code == 2
    assert err.startswith(f"edgecifar: {broken}: ")
    assert err.count("\n") == 1
    rows = {line.split()[0]: line for line in out.splitlines() if line}
    assert "TFL3" in rows["text.tflite"]
    assert "litert" in rows["tiny.tflite"]


def test_names_in_a_file_do_not_steer_the_terminal(edgecifar, tmp_path):
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    path = tiny_models.write_onnx(tmp_path / "tiny.onnx")
    model = onnx.load(path)
    model.graph.node[0].input[0] = "\x1b[2J[/red]\x07"
    onnx.save(model, path)
    code, out, err = edgecifar("bench", path, "--runtime", "onnxruntime", "--samples", 10)
    assert code == 2
    assert "[2J[/red]" in err  # the runtime names it
    assert (out + err).replace("\n", "").isprintable()


def test_an_export_that_fails_its_check_ends_with_1_and_writes_nothing(
    edgecifar, small_run, tmp_path, monkeypatch
):
    monkeypatch.setattr("edgecifar.export.verification.FLOAT_MIN_AGREEMENT", 1.01)
    code, out, err = edgecifar("export", small_run.path, "--out", tmp_path / "out")
    assert code == 1
    last = err.splitlines()[-1]
    assert last.startswith(f"edgecifar: nothing was written to {tmp_path / 'out'}: model.float")
    assert "agreement 100.00% is below 101.0%" in last
    assert "model.float.onnx" in out
    assert names_in(tmp_path / "out") == ["export.log"]


@pytest.mark.parametrize(
    ("trained_with", "said", "noted"),
    [("cifar10", "--normalization cifar10 says: right on", False), ("unit", "", True)],
)
def test_an_export_says_which_normalization_it_found_out(
    edgecifar, tmp_path, few_test_images, trained_with, said, noted
):
    import keras

    keras.utils.set_random_seed(0)
    train, normalization = shipped.calibration_set(), normalizations.NAMED[trained_with]
    # Linear: a scale alone does not change its choices, and cannot be found out.
    network = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    pixels = (train.images() / 255 - normalization.mean) / normalization.deviation
    network.fit(pixels, train.labels, batch_size=100, epochs=10, verbose=0)
    # Large logits, as raw pixels give, differ by more than a float file may.
    network.set_weights([weight / 100 for weight in network.get_weights()])
    network.save(tmp_path / "theirs.keras")
    options = ("--format", "tflite", "--out", tmp_path / "out")
    code, out, err = edgecifar("export", tmp_path / "theirs.keras", *options)
    assert code == 0, err
    assert said in out
    assert ("its pixels go in as --normalization" in out) != noted
    assert ("its pixels go in as 0 to 255" in err) == noted


def test_an_export_shows_its_verification_and_where_the_files_are(edgecifar, small_run, tmp_path):
    code, out, _ = edgecifar("export", small_run.path, "--out", tmp_path)
    assert code == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line}
    for name in ("model.float.tflite", "model.float.onnx"):
        assert rows[name][1] == "float32"
        assert rows[name][-1] == "right"
        assert (tmp_path / name).exists()
    assert f"written to {tmp_path}" in out


def test_info_is_a_text_or_json(edgecifar, tiny_tflite):
    code, out, _ = edgecifar("info", tiny_tflite)
    assert code == 0
    assert "uint8 (1, 32, 32, 3)" in out
    code, out, _ = edgecifar("info", tiny_tflite, "--json")
    assert code == 0
    assert json.loads(out)["operators"]["FULLY_CONNECTED"] == 1


def test_compare_shows_a_recorded_result_beside_another_and_writes_it(edgecifar, tmp_path):
    found = json.loads(RECORDED_BENCH.read_text())
    for row in found["rows"]:
        row["block_p50_ms"] = [p50 and 2 * p50 for p50 in row["block_p50_ms"]]
    twice = tmp_path / "twice.json"
    twice.write_text(json.dumps(found))
    comparison, table, sheet = (
        tmp_path / f"out/comparison.{kind}" for kind in ("json", "md", "csv")
    )
    options = ["--json", comparison, "--md", table, "--csv", sheet]
    code, out, err = edgecifar("compare", RECORDED_BENCH, twice, *options)
    assert (code, err) == (0, "")
    assert "2.000" in out
    rows = json.loads(comparison.read_text())["rows"]
    assert {round(row["measured"][1]["ratio"], 9) for row in rows} == {2.0}
    assert len(sheet.read_bytes().split(b"\r\n")) == 2 * len(rows) + 2
    assert table.read_text().startswith("| model | runtime |")


def test_compare_gives_stdout_to_json_alone_on_request(edgecifar):
    code, out, err = edgecifar("compare", RECORDED_BENCH, "--json", "-")
    assert code == 0
    assert json.loads(out)["results"][0]["name"] == str(RECORDED_BENCH)
    assert "model.float.tflite" in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        ("no JSON", "is not JSON"),
        ('{"recipe": "quick"}', "is no result of `edgecifar bench`: it has no schema_version"),
        ('{"schema_version": 2}', "schema_version 2 is of a later edgecifar"),
        ('{"schema_version": 1, "machine": {}, "rows": []}', "no row of one is in another"),
    ],
)
def test_compare_of_what_is_no_result_is_one_line_that_names_it(refused, tmp_path, content, said):
    other = tmp_path / "other.json"
    if content is not None:
        other.write_text(content)
    line = refused("compare", RECORDED_BENCH, other)
    assert str(other) in line
    assert said in line


def test_compare_that_cannot_write_is_one_line(edgecifar, tiny_tflite):
    code, _, err = edgecifar("compare", RECORDED_BENCH, "--csv", tiny_tflite / "x.csv")
    assert code == 2
    assert err.startswith(f"edgecifar: cannot write in {tiny_tflite}")
    assert err.count("\n") == 1


# Ctrl-C


def test_ctrl_c_in_a_bench_is_one_line_and_leaves_no_process(start, tiny_tflite):
    process = start("bench", tiny_tflite, "--runtime", "litert")
    parent = psutil.Process(process.pid)
    end = time.monotonic() + 60
    while not (workers := parent.children()):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "edgecifar: stopped\n")
    assert not psutil.wait_procs(workers, timeout=5)[1]


def test_ctrl_c_in_a_training_keeps_the_best_epoch_and_says_where(start, little_data, tmp_path):
    run = tmp_path / "run"
    process = start(
        *("train", "--weights", "none", "--out", run, *HEAD_ONLY),
        *("--set", "head.batch=50", "--set", "head.epochs=500", "--set", "head.learning_rate=0.1"),
        EDGECIFAR_CACHE=little_data,
    )
    assert process.stdout.readline().startswith("epoch 1, head at 32 px: loss ")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    said, advice, stopped = err.splitlines()
    assert advice == f"go on with `edgecifar train --resume {run}`"
    assert said.startswith(f"the best epoch so far is in {run / 'model.keras'}: epoch ")
    assert stopped == "edgecifar: stopped"
    assert (run / "model.keras").stat().st_size > 100_000
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["interrupted"] is True
    assert metrics["epochs"] >= 1


def test_without_imagenet_weights_or_a_network_the_run_says_what_to_do(
    start, little_data, tmp_path
):
    process = start(
        *("train", "--out", tmp_path / "run", *HEAD_ONLY),
        EDGECIFAR_CACHE=little_data,
        KERAS_HOME=tmp_path / "keras",
        https_proxy="http://127.0.0.1:1",
        no_proxy="",
    )
    _, line = process.communicate(timeout=120)
    assert process.returncode == 2
    assert line.startswith("edgecifar: the ImageNet weights cannot be downloaded: put ")
    assert "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5" in line
    assert str(tmp_path / "keras" / "models") in line
    assert line.count("\n") == 1
    assert not (tmp_path / "run").exists()
