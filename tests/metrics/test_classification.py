"""Every figure of an assessment, beside its value worked out by hand."""

import json
import math

import numpy as np
import pytest

from edgecifar.data.cifar10 import CLASSES
from edgecifar.errors import UserError
from edgecifar.metrics.classification import (
    agreement,
    assess,
    confusion,
    mcnemar,
    per_class_top1,
    places,
)
from edgecifar.metrics.share_intervals import wilson_interval

AIRPLANE, AUTOMOBILE, BIRD, CAT = range(4)


def answer(given: dict[int, float]) -> np.ndarray:
    """Probabilities of one image: those given, the rest shared by the other classes."""
    rest = (1 - sum(given.values())) / max(1, 10 - len(given))
    return np.array([given.get(label, rest) for label in range(10)], np.float32)


def assessed(*answers: tuple[int, dict[int, float]]) -> dict:
    """The assessment of images, each its label and the probabilities given to some classes."""
    labels = np.array([label for label, _ in answers], np.uint8)
    return assess(np.stack([answer(given) for _, given in answers]), labels)


@pytest.fixture
def four_answers() -> dict:
    """Two airplanes, one of them taken for a bird; two birds, one taken for an automobile."""
    return assessed(
        (AIRPLANE, {AIRPLANE: 0.8}),
        (AIRPLANE, {BIRD: 0.7, AIRPLANE: 0.2}),
        (BIRD, {BIRD: 0.6}),
        (BIRD, {AUTOMOBILE: 0.5, BIRD: 0.0}),
    )


def test_the_shares_of_right_answers(four_answers):
    assert four_answers["images"] == 4
    assert four_answers["top1"] == 0.5
    assert four_answers["top5"] == 0.75  # the last bird ranks tenth
    # Wilson for 2 of 4: 0.5 -+ z sqrt(1/16 + z^2/64) / (1 + z^2/4), z = 1.96.
    assert four_answers["top1_interval"] == pytest.approx([0.1500, 0.8500], abs=5e-5)


def test_the_fifth_place_counts_and_the_sixth_does_not():
    descending = dict(enumerate([0.3, 0.2, 0.15, 0.1, 0.09, 0.08, 0.04, 0.02, 0.01, 0.01]))
    assert assessed((4, descending))["top5"] == 1
    assert assessed((5, descending))["top5"] == 0


def test_of_equal_probabilities_the_first_class_ranks_highest():
    assert [assessed((label, {}))["top1"] for label in (0, 1)] == [1, 0]
    assert [assessed((label, {}))["top5"] for label in (4, 5)] == [1, 0]


def test_the_loss_is_the_mean_cross_entropy_with_zero_clipped(four_answers):
    by_hand = -(math.log(0.8) + math.log(0.2) + math.log(0.6) + math.log(1e-7)) / 4
    assert four_answers["loss"] == pytest.approx(by_hand, rel=1e-6)


def test_confusion_has_true_rows_and_predicted_columns(four_answers):
    expected = np.zeros((10, 10), int)
    expected[AIRPLANE, AIRPLANE] = expected[AIRPLANE, BIRD] = 1
    expected[BIRD, BIRD] = expected[BIRD, AUTOMOBILE] = 1
    assert four_answers["confusion"] == expected.tolist()


def test_each_class_has_its_precision_recall_and_f1(four_answers):
    rows = four_answers["per_class"]
    assert [row["class"] for row in rows] == list(CLASSES)
    figures = [tuple(row[key] for key in ("images", "precision", "recall", "f1")) for row in rows]
    assert figures[AIRPLANE] == (2, 1.0, 0.5, pytest.approx(2 / 3))
    assert figures[BIRD] == (2, 0.5, 0.5, 0.5)
    assert figures[AUTOMOBILE] == (0, 0.0, None, 0.0)  # predicted, never there
    assert figures[CAT] == (0, None, None, None)  # neither


def test_a_class_never_predicted_has_no_precision_and_an_f1_of_zero():
    row = assessed((CAT, {BIRD: 0.9}))["per_class"][CAT]
    assert row == {"class": "cat", "precision": None, "recall": 0.0, "f1": 0.0, "images": 1}


def test_the_calibration_error_of_two_bins():
    assessment = assessed(
        (AIRPLANE, {AIRPLANE: 0.95}),
        (AIRPLANE, {AIRPLANE: 0.97}),
        (AIRPLANE, {BIRD: 0.99}),
        (AIRPLANE, {AIRPLANE: 0.5}),
    )
    # The last of 15 bins begins at 14/15 = 0.933; 0.5 lies in the eighth, of 7/15 to 8/15.
    filled = {i: row for i, row in enumerate(assessment["reliability"]) if row["count"]}
    assert set(filled) == {7, 14}
    assert filled[7] == {"confidence": 0.5, "accuracy": 1.0, "count": 1}
    assert filled[14]["count"] == 3
    assert filled[14]["confidence"] == pytest.approx(0.97)
    assert filled[14]["accuracy"] == pytest.approx(2 / 3)
    by_hand = (3 * (0.97 - 2 / 3) + 1 * (1.0 - 0.5)) / 4
    assert assessment["expected_calibration_error"] == pytest.approx(by_hand, rel=1e-6)


def test_bins_hold_their_upper_end_and_the_empty_ones_say_so():
    bins = assessed((AIRPLANE, {AIRPLANE: 0.2}), (AIRPLANE, {AIRPLANE: 0.21}))["reliability"]
    assert [row["count"] for row in bins] == [0, 0, 1, 1] + [0] * 11
    assert bins[0] == {"confidence": None, "accuracy": None, "count": 0}


def test_a_softmax_rounded_above_one_is_in_the_last_bin():
    probabilities = np.zeros((1, 10), np.float32)
    probabilities[0, CAT] = np.nextafter(np.float32(1), np.float32(2))
    assessment = assess(probabilities, np.array([CAT], np.uint8))
    assert assessment["reliability"][-1]["count"] == 1
    assert assessment["loss"] == 0


def test_mistakes_come_with_the_most_confident_first(four_answers):
    assert four_answers["confident_mistakes"] == [
        {
            "index": 1,
            "true": "airplane",
            "predicted": "bird",
            "confidence": pytest.approx(0.7),
        },
        {
            "index": 3,
            "true": "bird",
            "predicted": "automobile",
            "confidence": pytest.approx(0.5),
        },
    ]


def test_the_36_most_confident_mistakes_are_kept():
    confidences = np.random.default_rng(0).permutation(np.linspace(0.3, 0.9, 50))
    answers = [(CAT, {BIRD: confidence}) for confidence in confidences]
    mistakes = assessed(*answers)["confident_mistakes"]
    assert [row["index"] for row in mistakes] == np.argsort(-confidences)[:36].tolist()


def test_perfect_answers_are_perfect_in_every_figure():
    labels = np.repeat(np.arange(10, dtype=np.uint8), 3)
    assessment = assess(np.eye(10, dtype=np.float32)[labels], labels)
    assert (assessment["top1"], assessment["top5"]) == (1, 1)
    assert assessment["top1_interval"][1] == 1
    assert assessment["loss"] == 0
    assert assessment["expected_calibration_error"] == 0
    assert assessment["confident_mistakes"] == []
    assert assessment["confusion"] == (3 * np.eye(10, dtype=int)).tolist()
    for row in assessment["per_class"]:
        assert (row["precision"], row["recall"], row["f1"]) == (1, 1, 1)


def test_one_class_for_every_image_is_right_on_a_tenth():
    labels = np.repeat(np.arange(10, dtype=np.uint8), 4)
    always_cat = np.tile(np.eye(10, dtype=np.float32)[CAT], (40, 1))
    assessment = assess(always_cat, labels)
    assert assessment["top1"] == 0.1
    assert assessment["loss"] == pytest.approx(0.9 * -math.log(1e-7))
    assert assessment["expected_calibration_error"] == pytest.approx(0.9)
    precisions = [row["precision"] for row in assessment["per_class"]]
    assert precisions == [0.1 if label == CAT else None for label in range(10)]


def test_an_assessment_is_plain_json(four_answers):
    assert json.loads(json.dumps(four_answers, allow_nan=False)) == four_answers


@pytest.mark.parametrize("not_a_number", [np.nan, np.inf])
def test_probabilities_that_are_not_numbers_are_refused(not_a_number):
    probabilities = np.full((2, 10), 0.1, np.float32)
    probabilities[1, 3] = not_a_number
    with pytest.raises(UserError, match="not finite numbers"):
        assess(probabilities, np.zeros(2, np.uint8))


def test_any_number_of_classes_has_an_assessment_by_their_names():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], np.float32)
    assessment = assess(probabilities, np.array([0, 1]), ("dog", "fox", "owl"))
    assert assessment["confusion"] == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert [row["class"] for row in assessment["per_class"]] == ["dog", "fox", "owl"]
    assert [(row["true"], row["predicted"]) for row in assessment["confident_mistakes"]] == [
        ("fox", "owl")
    ]


def test_places_rank_as_a_stable_sort_does():
    """Quantized probabilities: nearly every row has ties."""
    rng = np.random.default_rng(0)
    probabilities = (rng.integers(0, 5, (300, 12)) / 256).astype(np.float32)
    labels = rng.integers(0, 12, 300).astype(np.uint8)
    ranked = np.argsort(-probabilities, axis=1, kind="stable")
    found = places(probabilities, labels)
    assert (found == np.argmax(ranked == labels[:, None], axis=1)).all()
    assert ((found == 0) == (probabilities.argmax(axis=1) == labels)).all()


def test_each_class_has_its_share_of_right_answers_with_its_interval():
    counts = confusion(np.array([0, 0, 1, 0]), np.array([0, 0, 0, 1]), 3)
    assert per_class_top1(counts, ("dog", "fox", "owl")) == [
        {
            "label": "dog",
            "images": 3,
            "top1": pytest.approx(2 / 3),
            "top1_interval": list(wilson_interval(2, 3)),
        },
        {
            "label": "fox",
            "images": 1,
            "top1": 0,
            "top1_interval": list(wilson_interval(0, 1)),
        },
        {"label": "owl", "images": 0, "top1": None, "top1_interval": None},
    ]


def test_agreement_is_the_share_of_equal_predictions():
    assert agreement(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 0])) == 0.75


def discordant(only_a: int, only_b: int, both: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Who is right: both on some images, none on some, one of the two on the others."""
    a = [True] * only_a + [False] * only_b + [True] * both + [False] * both
    b = [False] * only_a + [True] * only_b + [True] * both + [False] * both
    return np.array(a), np.array(b)


def test_few_discordant_images_have_the_exact_p_value():
    # Fagerland, Lydersen and Laake 2013, the study of airway hyper-responsiveness.
    assert mcnemar(*discordant(1, 7)) == pytest.approx(0.0703, abs=5e-5)
    assert mcnemar(*discordant(7, 1)) == mcnemar(*discordant(1, 7))
    assert mcnemar(*discordant(0, 5)) == 2 / 2**5
    assert mcnemar(*discordant(3, 3)) == 1
    assert mcnemar(*discordant(0, 0)) == 1


def test_many_discordant_images_have_the_mid_p_value():
    ways = [math.comb(40, k) for k in range(41)]
    by_hand = (2 * sum(ways[:12]) + ways[12]) / 2**40
    assert mcnemar(*discordant(12, 28)) == pytest.approx(by_hand, rel=1e-12)
    assert mcnemar(*discordant(20, 20)) == 1
    assert mcnemar(*discordant(24, 0)) == 2 / 2**24
    assert mcnemar(*discordant(25, 0)) == 1 / 2**25


def test_thousands_of_discordant_images_neither_overflow_nor_vanish():
    # The normal approximation: z = 100 / sqrt(5000).
    assert mcnemar(*discordant(2450, 2550)) == pytest.approx(
        math.erfc(100 / math.sqrt(5000) / math.sqrt(2)), rel=0.01
    )
    assert 0 <= mcnemar(*discordant(0, 5000)) < 1e-300


def test_the_test_errs_as_seldom_as_it_says():
    rng = np.random.default_rng(0)
    for images in (10, 24, 25, 60):
        draws = [rng.random(images) < 0.5 for _ in range(2_000)]
        rejected = sum(mcnemar(a, ~a) < 0.05 for a in draws)
        assert rejected <= 0.06 * len(draws), images
