"""PyTorch's files are read as data: the right numbers, or one line and no code run."""

import os
import pickle
import zipfile

import numpy as np
import pytest
import torch_files

from edgecifar.errors import UserError
from edgecifar.models import state_dict

ARRAYS = {
    "stem.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "half": np.float16([1.5, -2]),
    "double": np.float64([[0.1]]),
    "steps": np.array(7),
    "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
}


def check(tensors):
    assert list(tensors) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(tensors[name], array)


def _write_wheel(path, content):
    torch_files.write_wheel(path, {"net/__init__.py": b"1 / 0", "net/models/net.pth": content})


def test_a_zip_archive_has_the_tensors(tmp_path):
    check(state_dict.read(torch_files.write_zip(tmp_path / "net.pth", ARRAYS)))


def test_a_file_of_before_zip_archives_has_the_tensors(tmp_path):
    (tmp_path / "net.pth").write_bytes(torch_files.legacy_bytes(ARRAYS))
    check(state_dict.read(tmp_path / "net.pth"))


@pytest.mark.parametrize("content", [torch_files.zip_bytes, torch_files.legacy_bytes])
def test_a_wheel_has_the_tensors_of_its_file(tmp_path, content):
    path = tmp_path / "net-1.0-py3-none-any.whl"
    _write_wheel(path, content(ARRAYS))
    check(state_dict.read(path))


def test_the_tensors_cannot_be_written(tmp_path):
    tensors = state_dict.read(torch_files.write_zip(tmp_path / "net.pth", ARRAYS))
    assert not any(tensor.flags.writeable for tensor in tensors.values())


class _Command:
    """Unpickled, it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, protocol):
    table = pickle.dumps({"weight": _Command(tmp_path / "made")}, protocol)
    path = tmp_path / "net.pth"
    path.write_bytes(torch_files.zip_bytes({}, table))
    with pytest.raises(UserError, match=r"net\.pth is not a state dict of PyTorch, or damaged"):
        state_dict.read(path)
    assert not (tmp_path / "made").exists()


def test_a_call_is_named_in_the_message(tmp_path):
    table = pickle.dumps(_Command(tmp_path / "made"), 2)
    path = tmp_path / "net.pth"
    path.write_bytes(torch_files.zip_bytes({}, table))
    with pytest.raises(UserError, match=r"it would call posix mkdir$"):
        state_dict.read(path)


ONE = np.float32([1, 2, 3, 4])
FOUR = {"four": ONE}


def _table(entry):
    return b"\x80\x02}" + torch_files.text("four") + entry + b"s."


def _of_storage(**changes):
    """A tensor whose storage or view is not that of four numbers."""
    return torch_files.zip_bytes(FOUR, _table(torch_files.tensor(ONE, "0", **changes)))


def _strided(shape, strides):
    right = torch_files.integers((4,)) + torch_files.integers((1,))
    wrong = torch_files.integers(shape) + torch_files.integers(strides)
    return torch_files.zip_bytes(
        FOUR, _table(torch_files.tensor(ONE, "0").replace(right, wrong, 1))
    )


def _replaced(old, new):
    table = torch_files.pickled_table(FOUR)
    assert old in table
    return torch_files.zip_bytes(FOUR, table.replace(old, new))


DAMAGED = {
    "empty": b"",
    "text": b"weights, they said",
    "cut": torch_files.zip_bytes(FOUR)[:-30],
    "a legacy file cut in its numbers": torch_files.legacy_bytes(FOUR)[:-4],
    "a legacy file cut in its table": torch_files.legacy_bytes(FOUR)[:60],
    "a legacy file of another machine": torch_files.legacy_bytes(FOUR).replace(
        b"\x88s.", b"\x89s."
    ),
    "no table": torch_files.zip_bytes(FOUR, b"\x80\x02]."),
    "no end": torch_files.zip_bytes(FOUR, b"\x80\x02}"),
    "an empty stack": torch_files.zip_bytes(FOUR, b"\x80\x02."),
    "a list as a key": torch_files.zip_bytes(FOUR, b"\x80\x02}]]s."),
    "appended to a dict": torch_files.zip_bytes(FOUR, b"\x80\x02}Na."),
    "another storage": torch_files.zip_bytes({}, _table(torch_files.tensor(ONE, "0"))),
    "an unknown type": _replaced(b"FloatStorage", b"QuantStorage"),
    "behind the storage": _of_storage(offset=1),
    "a negative offset": _of_storage(offset=-1),
    "too large": _strided((5,), (1,)),
    "huge of one number": _strided((2**31 - 1, 2**31 - 1), (0, 0)),
    "negative strides": _strided((4,), (-1,)),
    "a stride too few": _strided((2, 2), (1,)),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_one_line(tmp_path, content):
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"net\.pth is not a state dict of PyTorch, or ") as error:
        state_dict.read(path)
    assert "\n" not in str(error.value)


def test_control_characters_of_a_file_are_not_printed(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(torch_files.zip_bytes({}, b"\x80\x02c\x1b[31m\nred\n)R."))
    with pytest.raises(UserError, match="it would call") as error:
        state_dict.read(path)
    assert "\x1b" not in str(error.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"^cannot read .*missing\.pth: No such file"):
        state_dict.read(tmp_path / "missing.pth")


def test_a_file_that_is_too_large_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = torch_files.write_zip(tmp_path / "net.pth", ARRAYS)
    monkeypatch.setattr(state_dict, "LARGEST_BYTES", path.stat().st_size - 1)
    with pytest.raises(UserError, match="larger than 256 MB"):
        state_dict.read(path)


@pytest.mark.parametrize("name", ["net.pth", "net-1.0-py3-none-any.whl"])
def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, name):
    inner = "models/net.pth" if name.endswith(".whl") else "net/data.pkl"
    with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(inner, bytes(1_000_000))
    monkeypatch.setattr(state_dict, "LARGEST_BYTES", 100_000)
    with pytest.raises(UserError, match="256 MB"):
        state_dict.read(tmp_path / name)


@pytest.mark.parametrize("count", [0, 2])
def test_a_wheel_without_exactly_one_file_of_tensors_is_refused(tmp_path, count):
    path = tmp_path / "net-1.0-py3-none-any.whl"
    torch_files.write_wheel(path, {f"models/{i}.pth": b"" for i in range(count)})
    with pytest.raises(UserError, match=rf"it holds {count} \.pth files, not one$"):
        state_dict.read(path)
