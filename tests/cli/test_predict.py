"""`edgecifar predict`: what it prints and writes, and how it ends."""

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import camera_double
import numpy as np
import pytest
from PIL import Image

from edgecifar.data import shipped
from edgecifar.data.cifar10 import CLASSES
from edgecifar.predict import images as reader
from edgecifar.predict.classifier import Classifier

SHIPPED = Path(__file__).parents[2] / "exported" / "model.tflite"


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """One photograph of each class, larger than what the model takes, in folders of their names."""
    folder = tmp_path_factory.mktemp("photos")
    test = shipped.test_set()
    for number, name in enumerate(CLASSES):
        (index, *_) = np.flatnonzero(test.labels == number)
        photo = Image.fromarray(test.images()[index]).resize((300, 300), Image.Resampling.BICUBIC)
        (folder / name).mkdir()
        photo.save(folder / name / "1.jpg", quality=95)
    return folder


@pytest.fixture
def predict(edgecifar):
    """Runs `edgecifar predict` with the shipped model: (exit code, stdout, stderr)."""
    return lambda *arguments: edgecifar("predict", *arguments, "--model", SHIPPED)


def test_a_photograph_is_one_plain_line(predict, photos):
    code, out, err = predict(photos / "cat" / "1.jpg")
    assert (code, err) == (0, "")
    assert re.fullmatch(r".*/cat/1\.jpg  cat \d+\.\d\d %(  \w+ \d+\.\d\d %){2}  right\n", out), out


def test_predictions_are_those_of_the_classifier(predict, photos):
    path = photos / "ship" / "1.jpg"
    _, out, _ = predict(path, "--top", 10, "--json", "-")
    with Classifier(SHIPPED) as classifier:
        expected = classifier.top(path, 10)
    found = json.loads(out)
    assert [(one["label"], one["probability"]) for one in found["top"]] == expected


def test_a_folder_is_classified_whole_and_judged_by_the_names_of_its_folders(predict, photos):
    code, out, err = predict(photos, "--top", 1)
    lines = out.splitlines()
    assert (code, len(lines)) == (0, 10)
    assert [Path(line.split("  ")[0]).parent.name for line in lines] == sorted(CLASSES)
    right = sum(line.endswith("  right") for line in lines)
    assert err.startswith(f"10 images · {right} of 10 right ({10 * right}.00 %) · on average ")
    assert err.count("\n") == 1


def test_a_wrong_prediction_names_the_true_class(predict, photos, tmp_path):
    (tmp_path / "Dog").mkdir()
    (tmp_path / "Dog" / "1.jpg").write_bytes((photos / "cat" / "1.jpg").read_bytes())
    _, out, _ = predict(tmp_path / "Dog" / "1.jpg")
    assert out.endswith("  wrong, true: dog\n")


def test_csv_and_json_have_a_line_for_each_picture_and_each_error(predict, photos, tmp_path):
    (tmp_path / "bad\x1b.jpg").write_bytes(b"no image")
    tables = tmp_path / "new" / "all.csv", tmp_path / "all.jsonl"
    code, _, err = predict(
        photos / "cat",
        tmp_path / "bad\x1b.jpg",
        "--csv",
        tables[0],
        "--json",
        tables[1],
        "--top",
        2,
    )
    assert code == 1
    assert "bad\\x1b.jpg: is not an image that can be read" in err
    assert f"made the folder {tmp_path / 'new'} for all.csv" in err
    rows = list(csv.DictReader(io.StringIO(tables[0].read_text(), newline="")))
    objects = [json.loads(line) for line in tables[1].read_text().splitlines()]
    assert len(rows) == len(objects) == 2
    assert rows[0]["label_1"] == objects[0]["top"][0]["label"] == "cat"
    assert float(rows[0]["probability_2"]) == objects[0]["top"][1]["probability"]
    assert (rows[0]["true"], rows[0]["correct"], rows[0]["error"]) == ("cat", "True", "")
    assert objects[0]["predict_ms"] > 0
    assert rows[1]["label_1"] == ""
    assert rows[1]["error"].startswith("is not an image that can be read: give AVIF")
    assert objects[1]["top"] == []
    assert objects[1]["image"] == str(tmp_path / "bad\x1b.jpg")


def test_there_are_no_more_columns_than_classes(predict, photos):
    _, out, _ = predict(photos / "cat", "--csv", "-", "--top", 1_000_000)
    assert out.splitlines()[0].count("label_") == len(CLASSES)


def test_any_file_name_is_printed_and_written(predict, photos, tmp_path):
    for name in (b"\xff.jpg", b"a\nb\x1b[2J.jpg"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.write_bytes((photos / "cat" / "1.jpg").read_bytes())
    code, out, _ = predict(tmp_path, "--csv", tmp_path / "all.csv", "--save", tmp_path / "grid.png")
    assert (code, out.count("\n")) == (0, 2)
    assert "\\udcff.jpg" in out
    assert "a\\nb\\x1b[2J.jpg" in out
    assert lines_of(tmp_path / "all.csv") == 3


def test_a_reader_of_stdout_that_goes_away_is_no_traceback(start, photos):
    names = [photos] * 3
    process = start("predict", *names, "--model", SHIPPED, "--json", "-")
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=60) != 0
    assert "Traceback" not in err


def test_a_full_disk_is_one_line(edgecifar, photos, tmp_path):
    code, _, err = edgecifar("predict", photos / "cat", "--model", SHIPPED, "--csv", "/dev/full")
    assert code == 2
    assert err.splitlines()[-1] == "edgecifar: cannot write /dev/full: No space left on device"


def test_a_result_on_stdout_is_alone_there(predict, photos):
    _, out, err = predict(photos / "cat", "--csv", "-")
    assert [line.partition(",")[0] for line in out.splitlines()] == [
        "image",
        str(photos / "cat" / "1.jpg"),
    ]
    assert "right" in err


def test_an_old_result_is_kept_until_there_is_a_new_one(edgecifar, tmp_path, photos):
    (tmp_path / "all.csv").write_text("old")
    edgecifar("predict", photos, "--model", tmp_path / "none.tflite", "--csv", tmp_path / "all.csv")
    assert (tmp_path / "all.csv").read_text() == "old"


@pytest.mark.parametrize("name", ["no-such.jpg", "no-such-*.jpg", "broken.png", "."])
def test_a_picture_that_cannot_be_read_is_one_line(edgecifar, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    (tmp_path / "broken.png").rename(tmp_path / ("broken.png" if name != "." else "a.txt"))
    code, out, err = edgecifar("predict", name, "--model", SHIPPED)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"edgecifar: {name}: ")


def test_the_others_are_classified_when_some_cannot_be_read(predict, photos, tmp_path):
    whole = (photos / "cat" / "1.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    code, out, err = predict(tmp_path / "half.jpg", photos / "cat" / "1.jpg")
    assert (code, out.count("\n")) == (1, 1)
    first, last = err.splitlines()
    assert first.startswith(
        f"edgecifar: {tmp_path / 'half.jpg'}: cannot be read: it may be damaged"
    )
    assert last.startswith("1 image · 1 more could not be read · 1 of 1 right")


def test_a_bomb_is_one_line(predict, tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    code, _, err = predict(tmp_path / "bomb.png")
    assert (code, err.count("\n")) == (2, 1)
    assert "has more than 89,478,485 pixels" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name images or folders, or a folder to watch with --watch"),
        (["a.jpg"], "exported/model.tflite: there is no such file: name a model with --model"),
        (["a.jpg", "--top", "0"], "--top"),
        (["a.jpg", "--model", SHIPPED, "--threads", "0"], "threads"),
        (["a.jpg", "--model", SHIPPED, "--json", "a", "--csv", "a"], "both would write a"),
        (["a.jpg", "--camera"], "--camera classifies its frames only"),
        (["a.jpg", "--every", "3"], "--every is for --camera"),
        (["a.jpg", "--device", "3"], "--device is for --camera"),
        (["--watch", "no-such", "--model", SHIPPED], "no-such: cannot be watched: No such file"),
    ],
)
def test_what_cannot_be_done_is_one_line(refused, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert words in refused("predict", *arguments)


def test_standard_input_is_a_picture(start, photos):
    run = subprocess.run(
        [sys.executable, "-m", "edgecifar", "predict", "-", "--model", SHIPPED, "--top", "1"],
        input=(photos / "frog" / "1.jpg").read_bytes(),
        capture_output=True,
        timeout=60,
    )
    assert run.returncode == 0
    assert re.fullmatch(rb"standard input  frog \d+\.\d\d %\n", run.stdout)
    assert run.stderr == b""


def test_a_terminal_shows_bars(screen, photos):
    code, lines = screen(80, "predict", photos / "cat" / "1.jpg", "--model", SHIPPED)
    assert code == 0
    assert lines[0].endswith("cat/1.jpg  right")
    assert re.fullmatch(r"  cat +\d+\.\d\d %  █+", lines[1])
    assert len(lines) == 4


def test_a_terminal_without_blocks_shows_other_signs(screen, photos):
    _, lines = screen(
        80, "predict", photos / "cat" / "1.jpg", "--model", SHIPPED, PYTHONIOENCODING="ascii"
    )
    assert re.fullmatch(r"  cat +\d+\.\d\d %  #+", lines[1])


def test_a_bar_on_stderr_takes_nothing_from_a_piped_stdout(start, photos):
    reading, writing = pty.openpty()
    process = start(
        "predict", photos, photos, photos, "--model", SHIPPED, stderr=writing, TERM="xterm"
    )
    out, _ = process.communicate(timeout=120)
    os.close(writing)
    shown = os.read(reading, 1 << 16).decode(errors="replace")  # it may end within a character
    os.close(reading)
    assert out.count("\n") == 30
    assert "predict" in shown
    assert "/30" in shown


def test_pictures_are_printed_above_the_bar(screen, photos):
    code, lines = screen(80, "predict", photos, photos, photos, "--model", SHIPPED, "--top", "1")
    assert code == 0
    headings = [
        line for line in lines if re.search(r"/\w+/1\.jpg  (right|wrong, true: \w+)$", line)
    ]
    assert len(headings) == 30


def test_no_color_is_respected(start, photos):
    reading, writing = pty.openpty()
    process = start(
        "predict", photos / "cat" / "1.jpg", "--model", SHIPPED,
        stdout=writing, stderr=writing, TERM="xterm", NO_COLOR="1",
    )  # fmt: skip
    process.wait(timeout=60)
    os.close(writing)
    printed = os.read(reading, 1 << 16).decode(errors="replace")
    os.close(reading)
    assert "cat" in printed
    assert not re.search(r"\x1b\[[\d;]*3\dm", printed)


def test_what_was_classified_is_kept_when_it_is_stopped(start, photos, tmp_path):
    """By Ctrl-C in the middle of a folder; a pipe that nobody writes to keeps it waiting."""
    os.mkfifo(tmp_path / "pipe")
    names = photos / "cat" / "1.jpg", photos / "dog" / "1.jpg", tmp_path / "pipe"
    process = start("predict", *names, "--model", SHIPPED, "--csv", tmp_path / "all.csv")
    until(lambda: lines_of(tmp_path / "all.csv") == 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out.count("\n") == 2
    assert err.splitlines()[-1] == "edgecifar: stopped"
    assert lines_of(tmp_path / "all.csv") == 3


def test_watching_classifies_what_is_written_and_ends_with_ctrl_c(start, photos, tmp_path):
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    whole = (photos / "cat" / "1.jpg").read_bytes()
    (incoming / "old.jpg").write_bytes(whole)
    process = start("predict", "--watch", incoming, "--model", SHIPPED, "--top", 1)
    assert process.stderr.readline() == f"waiting for images in {incoming}; Ctrl-C ends this\n"
    with (incoming / "new.jpg").open("wb", buffering=0) as file:
        file.write(whole[: len(whole) // 2])
        time.sleep(0.8)
        file.write(whole[len(whole) // 2 :])
    assert process.stdout.readline().startswith(f"{incoming / 'new.jpg'}  cat ")
    (incoming / "broken.jpg").write_bytes(b"no image")
    assert process.stderr.readline().startswith(f"edgecifar: {incoming / 'broken.jpg'}: is not an")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert err.startswith("1 image · 1 more could not be read · on average")


def test_many_pictures_take_no_more_memory_than_few(edgecifar, photos, monkeypatch):
    """Each is read after the one before was classified."""
    alive = []
    read = reader.read

    def counted(source, side, name, max_pixels):
        alive.append(name)
        return read(source, side, name, max_pixels)

    monkeypatch.setattr(reader, "read", counted)
    from edgecifar.predict import prediction

    classify_pixels = prediction.classify_pixels

    def one_at_a_time(*arguments):
        assert len(alive) == 1
        alive.clear()
        return classify_pixels(*arguments)

    monkeypatch.setattr(prediction, "classify_pixels", one_at_a_time)
    code, out, _ = edgecifar("predict", photos, "--model", SHIPPED)
    assert (code, out.count("\n")) == (0, 10)


def test_a_grid_is_drawn_and_says_what_it_shows(predict, photos, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    grid = tmp_path / "new" / "grid.png"
    code, out, err = predict(photos, tmp_path / "bad.jpg", "--save", grid)
    assert (code, out.count("\n")) == (1, 10)
    assert err.splitlines()[-1] == f"{grid} shows 10 images"
    with Image.open(grid) as image:
        assert image.width > 4 * 144


def test_a_grid_of_nothing_is_not_written(predict, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    predict(tmp_path / "bad.jpg", "--save", tmp_path / "grid.png")
    assert not (tmp_path / "grid.png").exists()


def test_a_grid_of_an_unknown_format_is_refused_first(refused):
    assert "grid.xyz: give a file name that ends in .jpg" in refused(
        "predict", "a.jpg", "--model", SHIPPED, "--save", "grid.xyz"
    )


def test_a_camera_is_classified_until_ctrl_c(start, tmp_path):
    path = f"{camera_double.write_picamera2(tmp_path / 'lib')}:{os.environ.get('PYTHONPATH', '')}"
    table = tmp_path / "seen.csv"
    process = start("predict", "--camera", "--model", SHIPPED, "--csv", table, PYTHONPATH=path)
    until(lambda: lines_of(table) > 5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.count("\n") == lines_of(table) - 1
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d  \w+ ", out)
    first, rate, last = err.splitlines()
    assert first == "showing frames of camera 0 (picamera2); Ctrl-C ends this"
    assert re.fullmatch(r"\d+\.\d frames/s", rate)
    assert re.fullmatch(r"\d+ images · on average .* ms in the model and .* ms to read", last)


def test_a_terminal_shows_the_newest_frame_with_its_rate(screen, tmp_path):
    pytest.importorskip("cv2", reason="OpenCV is not installed: pip install opencv-python-headless")
    for number in range(5):
        Image.new("RGB", (64, 48), (number, 2, 3)).save(tmp_path / f"frame{number}.png")
    code, lines = screen(
        80, "predict", "--camera", "--device", tmp_path / "frame%d.png", "--model", SHIPPED
    )
    assert code == 0
    assert any(re.search(r"\d frames/s · \d+\.\d\d ms in the model", line) for line in lines)
    assert lines[-1].startswith("5 images · on average")


def test_one_photograph_starts_no_package_that_takes_long_to_import(photos):
    """A photograph takes less than a second from a cold start only without these."""
    program = """
import sys
from edgecifar import cli
sys.argv = ["edgecifar", "predict", *sys.argv[1:]]
try:
    cli.main()
finally:
    print("imported", *sys.modules, file=sys.stderr)
"""
    run = subprocess.run(
        [sys.executable, "-c", program, photos / "cat" / "1.jpg", "--model", SHIPPED],
        check=True,
        capture_output=True,
        text=True,
    )
    imported = set(run.stderr.splitlines()[-1].split())
    assert {"ai_edge_litert.interpreter", "PIL.JpegImagePlugin"} <= imported
    slow = {"tensorflow", "keras", "onnx", "onnxruntime", "matplotlib", "PIL.AvifImagePlugin"}
    assert not imported & slow


def lines_of(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def until(is_so) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)
