"""What stands beside a checkpoint: which file is believed, and what becomes of a damaged one."""

import json
import os
from pathlib import Path

import pytest

from edgecifar import files, provenance
from edgecifar.errors import UserError

EXPORTED = Path(__file__).parents[1] / "exported"
CARDS = sorted(EXPORTED.rglob(provenance.CARD))
SHA256 = "a" * 64
RECIPE = {"recipe": {"name": "tiny"}, "training_images": 900}
METRICS = {"best_epoch": {"epoch": 3}, "epochs": 4}
CARD = {
    "checkpoint_sha256": SHA256,
    "rounding": {"images": 100},
    "training": {"provenance": {"recipe": {"name": "exported"}}, "metrics": METRICS},
}
READERS = {
    provenance.RECIPE: provenance.read_recipe,
    provenance.METRICS: provenance.read_metrics,
    provenance.CARD: provenance.read_card,
}
GOOD = {provenance.RECIPE: RECIPE, provenance.METRICS: METRICS, provenance.CARD: CARD}
# Of each kind, how a file can be damaged or another program's, and what is said of it.
DAMAGED = {
    b"": "it is not JSON in UTF-8",
    b"{": "it is not JSON in UTF-8",
    b'\xff\xfe{"recipe": {}}': "it is not JSON in UTF-8",
    b'{"recipe": {"name": "\\ud800"}}': "it is not JSON in UTF-8",
    b"1" * 5000: "it is not JSON in UTF-8",
    b"[" * 100_000: "it has more than 200 levels",
    b"[" * 201 + b"]" * 201: "it has more than 200 levels",
    b" " * (provenance.LARGEST_BYTES + 1): "it has more than 8 MiB",
    b"[]": "that edgecifar writes",
    b"7": "that edgecifar writes",
    b"null": "that edgecifar writes",
    b"{}": "that edgecifar writes",
    b'{"recipe": {"name": 5}, "best_epoch": 3, "checkpoint_sha256": []}': "that edgecifar writes",
}


@pytest.fixture
def beside(tmp_path):
    """Writes files beside a checkpoint, and gives what is known of it then."""

    def beside(*names, checkpoint=provenance.CHECKPOINT, **replaced):
        for name in names:
            files.write_json(tmp_path / name, GOOD[name])
        for name, content in replaced.items():
            (tmp_path / f"{name}.json").write_bytes(content)
        return provenance.of_checkpoint(tmp_path / checkpoint, SHA256)

    return beside


def test_with_nothing_beside_it_nothing_is_known(beside):
    assert beside() == provenance.Provenance()


def test_a_run_folder_says_how_its_checkpoint_was_made(beside, tmp_path):
    known = beside(provenance.RECIPE, provenance.METRICS)
    assert (known.recipe, known.metrics, known.rounding) == (RECIPE, METRICS, None)
    assert (known.source, known.ignored) == (tmp_path / provenance.RECIPE, ())


def test_a_run_that_has_not_ended_has_no_metrics(beside):
    known = beside(provenance.RECIPE)
    assert (known.recipe, known.metrics, known.ignored) == (RECIPE, None, ())


def test_the_metrics_of_no_known_run_are_not_believed(beside):
    assert beside(provenance.METRICS) == provenance.Provenance()


def test_a_run_folder_says_nothing_of_another_file_in_it(beside):
    known = beside(provenance.RECIPE, provenance.METRICS, checkpoint="other.keras")
    assert known == provenance.Provenance()


@pytest.mark.parametrize("checkpoint", [provenance.CHECKPOINT, "renamed.keras"])
def test_the_card_of_this_very_checkpoint_is_believed_first(beside, tmp_path, checkpoint):
    known = beside(*GOOD, checkpoint=checkpoint)
    assert known.recipe["recipe"]["name"] == "exported"
    assert (known.metrics, known.rounding) == (METRICS, CARD["rounding"])
    assert (known.source, known.ignored) == (tmp_path / provenance.CARD, ())


def test_the_card_of_another_checkpoint_is_ignored_and_named(beside, tmp_path):
    other = json.dumps(CARD | {"checkpoint_sha256": "b" * 64}).encode()
    known = beside(provenance.RECIPE, provenance.METRICS, card=other)
    assert (known.recipe, known.metrics, known.rounding) == (RECIPE, METRICS, None)
    line = f"{tmp_path / provenance.CARD}: it is the card of another checkpoint"
    assert known.ignored == (line,)


@pytest.mark.parametrize(
    "training",
    [None, 5, [], "text", {}, {"provenance": []}, {"provenance": {"recipe": "tiny"}}],
    ids=str,
)
def test_a_card_without_a_run_says_that_none_is_known(beside, training):
    """The run folder that it stands in made another checkpoint."""
    card = json.dumps(CARD | {"training": training}).encode()
    known = beside(provenance.RECIPE, provenance.METRICS, card=card)
    assert (known.recipe, known.metrics, known.source) == (None, None, None)
    assert known.rounding == CARD["rounding"]


def test_parts_of_a_card_of_other_types_are_not_believed(beside):
    training = CARD["training"] | {"metrics": ["a list"]}
    card = json.dumps(CARD | {"training": training, "rounding": 3}).encode()
    known = beside(card=card)
    assert known.recipe["recipe"]["name"] == "exported"
    assert (known.metrics, known.rounding) == (None, None)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(("content", "reason"), DAMAGED.items(), ids=lambda value: str(value[:20]))
def test_a_damaged_file_is_one_line_that_names_it(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        READERS[name](tmp_path)
    assert str(error.value).startswith(f"{tmp_path / name}: ")
    assert reason in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("content", DAMAGED, ids=lambda content: str(content[:20]))
def test_a_damaged_file_beside_a_checkpoint_is_ignored_and_named(beside, tmp_path, content):
    known = beside(recipe=content, card=content)
    assert (known.recipe, known.metrics, known.source) == (None, None, None)
    names = [line.partition(": ")[0] for line in known.ignored]
    assert names == [str(tmp_path / name) for name in (provenance.CARD, provenance.RECIPE)]


def test_a_recipe_is_known_where_the_metrics_are_damaged(beside, tmp_path):
    known = beside(provenance.RECIPE, metrics=b"{")
    assert (known.recipe, known.metrics) == (RECIPE, None)
    assert known.ignored[0].startswith(f"{tmp_path / provenance.METRICS}: ")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_opened(tmp_path, make):
    make(tmp_path / provenance.RECIPE)
    with pytest.raises(UserError, match="there is no such file"):
        provenance.read_recipe(tmp_path)
    assert provenance.of_checkpoint(tmp_path / provenance.CHECKPOINT, SHA256).ignored


def test_a_file_at_the_limits_is_read(tmp_path):
    nested = 0
    for _ in range(provenance.DEEPEST - 1):
        nested = [nested]
    text = json.dumps(RECIPE | {"nested": nested})
    padded = text + " " * (provenance.LARGEST_BYTES - len(text))
    (tmp_path / provenance.RECIPE).write_text(padded)
    assert provenance.read_recipe(tmp_path)["nested"] == nested


def test_what_is_written_is_read_back(tmp_path):
    folder = tmp_path / "new"
    provenance.write_recipe(folder, RECIPE)
    provenance.write_metrics(folder, METRICS)
    provenance.write_card(folder, CARD)
    assert sorted(path.name for path in folder.iterdir()) == sorted(GOOD)
    assert {name: read(folder) for name, read in READERS.items()} == GOOD


@pytest.mark.skipif(not CARDS, reason="the shipped exports are not in this checkout")
def test_the_cards_of_earlier_releases_are_read_as_before():
    for path in CARDS:
        card = json.loads(path.read_text("utf-8"))
        checkpoint = path.with_name(card["checkpoint"])
        known = provenance.of_checkpoint(checkpoint, card["checkpoint_sha256"])
        training = {"provenance": known.recipe, "metrics": known.metrics}
        assert training == card["training"], path
        assert (known.rounding, known.ignored) == (card.get("rounding"), ())


@pytest.mark.skipif(not CARDS, reason="the shipped exports are not in this checkout")
def test_the_shipped_checkpoint_is_that_of_its_card():
    checkpoint = EXPORTED / provenance.CHECKPOINT
    known = provenance.of_checkpoint(checkpoint, files.sha256(checkpoint))
    assert known.recipe["recipe"]["name"] == "mobilenetv2"


@pytest.mark.parametrize("named", [None, {}, [None, {"file": 1, "sha256": 2}, {"file": "../x"}]])
def test_a_card_that_names_no_files_contradicts_none(tmp_path, named):
    (tmp_path / "model.tflite").write_bytes(b"model")
    content = {"checkpoint_sha256": "0", "files": named}
    (tmp_path / "card.json").write_text(json.dumps(content))
    assert provenance.contradiction(tmp_path / "model.tflite") is None
    assert provenance.contradictions(tmp_path) == []


def test_the_shipped_files_are_those_of_their_cards():
    folder = Path(__file__).parents[1] / "exported"
    cards = [path.parent for path in folder.rglob("card.json")]
    assert folder in cards
    assert [line for found in cards for line in provenance.contradictions(found)] == []
