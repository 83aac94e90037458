"""Files are written whole or not at all, and what is killed is cleared."""

import hashlib
import json
import os
import signal
import subprocess
import sys

import pytest
from listing import names_in

from edgecifar import files
from edgecifar.errors import UserError

HELD_OPEN = """
import sys, time
from pathlib import Path
from edgecifar import files
with files.written_whole(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")
    return path


@pytest.fixture
def writer(path):
    """A process in the middle of writing `path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HELD_OPEN, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "writing\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_old_file_stands_until_the_new_one_is_whole(path):
    with files.written_whole(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert partial.suffix == ".keras"
        assert partial.stat().st_dev == path.stat().st_dev
    assert path.read_text() == "new"
    assert names_in(path.parent) == [path.name]


def test_missing_folders_are_made(tmp_path):
    files.write_json(tmp_path / "a" / "b" / "c.json", {"é": [1, None]})
    assert json.loads((tmp_path / "a" / "b" / "c.json").read_text("utf-8")) == {"é": [1, None]}


@pytest.mark.parametrize("reason", [ValueError, KeyboardInterrupt])
def test_what_is_raised_inside_leaves_the_old_file_and_nothing_beside(path, reason):
    def write_half():
        with files.written_whole(path) as partial:
            partial.write_text("half")
            raise reason

    with pytest.raises(reason):
        write_half()
    assert path.read_text() == "old"
    assert names_in(path.parent) == [path.name]


def test_a_killed_writer_leaves_the_old_file_and_its_leftovers_are_cleared(path, writer):
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert path.read_text() == "old"
    assert len(names_in(path.parent)) == 2
    files.clear_leftovers(path.parent)
    assert names_in(path.parent) == [path.name]


def test_a_writer_still_at_work_keeps_its_own(path, writer):
    files.clear_leftovers(path.parent)
    (scratch,) = path.parent.glob(f".partial-{writer.pid}-*")
    assert (scratch / path.name).read_text() == "half"


def test_what_a_process_of_the_same_number_left_is_cleared_and_nothing_else(path, writer):
    """In a container every run has the number that a killed one had."""
    folder = path.parent
    for name in (f".partial-{os.getpid()}-ours", ".partial-of-nobody", ".hidden", "plain"):
        (folder / name).mkdir()
        (folder / name / "half").touch()
    files.clear_leftovers(folder)
    (at_work,) = folder.glob(f".partial-{writer.pid}-*")
    assert names_in(folder) == sorted([at_work.name, ".hidden", "plain", path.name])


def test_what_a_finished_process_left_is_cleared(path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (path.parent / f".partial-{ended.pid}-x").mkdir()
    files.clear_leftovers(path.parent)
    assert names_in(path.parent) == [path.name]


def test_a_folder_below_a_file_is_one_line(path):
    with pytest.raises(UserError, match="Not a directory") as error:
        files.write_text(path / "below" / "x.txt", "text")
    assert str(path / "below") in str(error.value)


def test_a_folder_in_the_place_of_the_file_is_one_line(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*/x: Is a directory"):
        files.write_text(tmp_path / "x", "text")
    assert names_in(tmp_path) == ["x"]


def test_a_full_disk_is_one_line_and_leaves_the_old_file(path, file_size_limit):
    refused = pytest.raises(UserError, match=f"cannot write in {path.parent}: File too large")
    with refused, file_size_limit(1000):
        files.write_text(path, "x" * 2000)
    assert path.read_text() == "old"
    assert names_in(path.parent) == [path.name]


def test_other_errors_inside_keep_their_own_words(path):
    with pytest.raises(FileNotFoundError), files.scratch_folder(path.parent) as scratch:
        (scratch / "missing").read_bytes()
    assert names_in(path.parent) == [path.name]


def test_sha256_is_that_of_the_bytes(path):
    assert files.sha256(path) == hashlib.sha256(b"old").hexdigest()


def test_a_folder_that_can_be_made_is_not_made_by_checking_it(tmp_path):
    files.check_writable(tmp_path / "new" / "deep")
    assert names_in(tmp_path) == []


def test_a_folder_below_a_file_is_found_before_anything_is_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/out: .*file is not a folder"):
        files.check_writable(tmp_path / "file" / "out")


def test_a_link_stays_and_its_target_is_written(tmp_path):
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    files.write_json(link, [1])
    assert link.is_symlink()
    assert json.loads(target.read_text()) == [1]


def test_a_pipe_is_written_to_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True)
    files.check_file_writable(str(pipe))
    files.write_text(pipe, "words")
    assert reader.communicate(timeout=10)[0] == "words"
    assert pipe.is_fifo()
