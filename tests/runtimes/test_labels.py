"""Names of classes, as users give them and as CIFAR-10 writes them."""

import re

import pytest

from edgecifar.data.cifar10 import CLASSES
from edgecifar.errors import UserError
from edgecifar.runtimes import labels


def test_names_are_read_from_the_command_line_or_a_file_of_one_a_line(tmp_path):
    assert labels.read("cat, Dog ,deer,") == ("cat", "Dog", "deer")
    path = tmp_path / "labels.txt"
    path.write_bytes(b"cat\r\n  pick-up, truck\n\nd\xc3\xa9er")
    assert labels.read(str(path)) == ("cat", "pick-up, truck", "déer")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file"),
        (b"", "has no names"),
        (b" \n\n", "has no names"),
        (b"\xff\xfe\x00", "is not a text file with one name on each line"),
    ],
)
def test_a_file_without_names_is_one_line(tmp_path, content, complaint):
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=complaint) as caught:
        labels.read(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [",", " , "])
def test_commas_with_nothing_between_are_refused(text):
    with pytest.raises(UserError, match=re.escape(f"`labels={text}`: has no names")):
        labels.read(text)


def test_a_folder_is_no_file_of_names(tmp_path):
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        labels.read(str(tmp_path))


def test_the_names_of_others_are_known_in_any_case():
    given = ["Plane", "CAR", "bird", "cat", "deer", "dog", "frog", "horse", "boat", " lorry "]
    assert labels.canonical(given) == list(CLASSES)
    assert labels.canonical(given[::-1]) == list(CLASSES[::-1])


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ([*CLASSES[:9], "tree"], "'tree' is not a class of CIFAR-10: airplane, "),
        ([*CLASSES[:9], "car"], "automobile is there 2 times"),
        (CLASSES[:8], "ship, truck is missing"),
    ],
)
def test_names_that_are_not_the_ten_classes_are_refused(given, complaint):
    with pytest.raises(UserError, match=complaint):
        labels.canonical(given)
