import hashlib

import pytest

from edgecifar.graphs.parts import sha256


def test_the_hash_of_a_file_is_that_of_its_content(tmp_path):
    file = tmp_path / "model.tflite"
    file.write_bytes(b"content")
    assert sha256(file) == hashlib.sha256(b"content").hexdigest()


@pytest.mark.parametrize("changed", ["saved_model.pb", "variables/variables.index"])
def test_the_hash_of_a_folder_depends_on_each_file_and_not_on_its_place(tmp_path, changed):
    for name in ("here", "there"):
        (tmp_path / name / "variables").mkdir(parents=True)
        (tmp_path / name / "saved_model.pb").write_bytes(b"graph")
        (tmp_path / name / "variables" / "variables.index").write_bytes(b"weights")
    here, there = (sha256(tmp_path / name) for name in ("here", "there"))
    assert here == there
    (tmp_path / "there" / changed).write_bytes(b"other")
    assert sha256(tmp_path / "there") != here
