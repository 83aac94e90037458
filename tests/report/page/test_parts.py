"""The parts of a page."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from edgecifar.report.page.parts import Matrix, data_table, facts_table, picture_uri
from edgecifar.report.page.pictures import tile_of_test_image
from edgecifar.report.tables import Column, Table, where_present


def test_a_cell_of_a_matrix_is_darker_the_larger_its_share_of_the_row():
    counts = [[0, 5, 10, 50, 935], [0, 0, 0, 0, 0]] + 3 * [[1, 0, 0, 0, 0]]
    matrix = Matrix("", "abcde", counts)
    assert [matrix.shade(0, column) for column in range(5)] == [0, 1, 2, 3, 4]
    assert matrix.shade(1, 0) == 0


def test_a_table_of_the_command_line_keeps_every_column_that_has_values():
    columns = [
        Column("name", lambda entry: entry[0]),
        Column("size", lambda entry: entry[1], unit="MB"),
        Column("error", lambda entry: None, shown=where_present),
    ]
    found = data_table(Table(columns, [("a", 1), ("b", None)]), "sizes")
    assert found.headings == ["name", "size MB"]
    assert found.rows == [("a", "1"), ("b", "-")]
    assert found.left == [True, False]


def test_facts_have_the_names_of_the_objects_that_they_are_in():
    facts = {"a": 1, "b": {"c": [1, 2], "d": None, "e": {"f": True}}, "g": []}
    assert facts_table(facts, "").rows == [
        ("a", "1"),
        ("b.c", "1, 2"),
        ("b.e.f", "True"),
        ("g", "-"),
    ]


def test_a_picture_keeps_its_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    kind, _, content = picture_uri(pixels).partition(";base64,")
    assert kind == "data:image/png"
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert (np.asarray(picture) == pixels).all()


@pytest.mark.parametrize("index", [-1, 10_000])
def test_there_is_no_picture_outside_the_test_set(index):
    with pytest.raises(IndexError, match=f"no test image {index}"):
        tile_of_test_image(index, "", [])
