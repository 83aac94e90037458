"""`edgecifar bench`."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import tiny_models
from bad_files import BAD_FILES, text, truncated_keras

from edgecifar.data import cifar10


@pytest.mark.parametrize("make", [*BAD_FILES, truncated_keras])
def test_bench_of_a_bad_file_is_one_line_that_names_it(refused, tmp_path, make):
    path = make(tmp_path)
    assert str(path) in refused("bench", path, "--samples", 10)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
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
        (["bench", "TINY", "--on", "ssh://a", "--on", "ssh://a"], "--on ssh://a: is given twice"),
        (["bench", "TINY", "--max-regression", "5%"], "needs a --baseline"),
        (["bench", "TINY", "--max-p90-ms", "nan"], "--max-p90-ms nan: give a number above 0"),
        (["bench", "TINY", "--min-top1", ""], "--min-top1 : expected a percentage"),
        (["bench", "TINY", "--labels", "nowhere.txt"], "--labels nowhere.txt: cannot be read"),
        (["bench", "TINY", "--labels", "TINY"], "is not a text file with one name on each line"),
        (["bench", "TINY", "--labels", ""], "--labels"),
        (["bench", "TINY", "--json", "."], "cannot write '.': it is a folder"),
        (["bench", "TINY", "--csv", ""], "cannot write '': it is not a file name"),
        (["bench", "TINY", "--json", "a", "--csv", "./a"], "--json and --csv: both would write"),
        (["bench", "TINY", "--json", "-", "--md", "-"], "--json and --md: both would write"),
        (["bench", "TINY", "--baseline", "nowhere.json"], "nowhere.json: cannot be read"),
        (["bench", "TINY", "--min-top1", "high"], "expected a percentage"),
    ],
)
def test_a_wrong_argument_is_one_line(refused, tiny_tflite, arguments, words):
    assert words in refused(*(tiny_tflite if word == "TINY" else word for word in arguments))


def test_an_unwritable_cache_is_one_line(refused, tiny_tflite, monkeypatch):
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tiny_tflite / "cache"))
    assert str(tiny_tflite / "cache") in refused("bench", tiny_tflite, "--samples", 10)


def test_an_unwritable_json_file_is_one_line(edgecifar, tiny_tflite):
    code, _, err = edgecifar(
        *("bench", tiny_tflite, "--runtime", "litert", "--samples", 10, "--max-seconds", 0.1),
        *("--json", tiny_tflite / "x"),
    )
    assert code == 2
    assert err.startswith(f"edgecifar: cannot write in {tiny_tflite}: ")
    assert err.count("\n") == 1


def test_bench_prints_the_result_as_json_and_the_table_beside_it(edgecifar, tiny_tflite):
    code, out, err = edgecifar(
        *("bench", tiny_tflite, "--runtime", "litert", "--samples", 20, "--max-seconds", 0.1),
        *("--json", "-"),
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
        *("bench", tiny_tflite, "--runtime", "litert", "--samples", 20, "--max-seconds", 0.1),
        *("--json", file),
    )
    assert (code, err) == (0, f"made the folder {file.parent} for result.json\n")
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
    assert err.endswith("edgecifar: 2 checks failed\n")
    assert err.count("\n") == 3
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
    broken = text(tmp_path)
    quick = ("--runtime", "litert", "--samples", 20, "--max-seconds", 0.1)
    code, out, err = edgecifar("bench", broken, tiny_tflite, *quick)
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


@pytest.mark.parametrize("encoding", ["ascii", "koi8-r"])
def test_what_was_measured_is_written_whatever_the_names_and_the_encoding(
    start, tiny_tflite, tmp_path, encoding
):
    strange = tiny_tflite.rename(tmp_path / "a\n\x1b[31m.tflite")
    not_utf8 = tmp_path / os.fsdecode(b"\xff.tflite")
    not_utf8.write_bytes(strange.read_bytes())
    files = {name: tmp_path / f"rows.{name}" for name in ("json", "csv", "md")}
    process = start(
        *("bench", strange, not_utf8, "--runtime", "litert", "--samples", 20),
        *("--max-seconds", 0.1, *(word for name in files for word in (f"--{name}", files[name]))),
        PYTHONIOENCODING=encoding,
    )
    out, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (0, "")
    assert out.replace("\n", "").isprintable()
    rows = json.loads(files["json"].read_text(encoding="utf-8"))["rows"]
    assert [row["model"] for row in rows] == [str(strange), str(not_utf8)]
    assert [row["error"] for row in rows] == [None, None]
    assert rf"{tmp_path}/\udcff.tflite" in files["csv"].read_text(encoding="utf-8")
    table = files["md"].read_text(encoding="utf-8")
    assert r"| a\\n\\x1b\[31m.tflite |" in table.splitlines()[2]
    assert " · " in table


def test_a_path_that_onnx_runtime_cannot_open_is_said_to_be_one(edgecifar, tmp_path):
    pytest.importorskip("onnxruntime")
    path = tiny_models.write_onnx(tmp_path / os.fsdecode(b"\xff.onnx"))
    code, _, err = edgecifar("bench", path, "--runtime", "onnxruntime", "--samples", 10)
    assert code == 2
    assert err.startswith(rf"edgecifar: {tmp_path}/\udcff.onnx: ")
    assert "opens only files whose path is UTF-8: rename it" in err
    assert err.count("\n") == 1


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
