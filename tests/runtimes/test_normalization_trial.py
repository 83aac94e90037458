"""The trial takes the best normalization, and says whether that one is clearly better."""

import numpy as np
import pytest

from edgecifar.runtimes.normalization_trial import SCREENED, TRIED, Trial, result_of, try_each

LABELS = (np.arange(1000) % 10).astype(np.uint8)
# Each image holds its own number.
IMAGES = np.zeros((1000, 32, 32, 3), np.uint8)
IMAGES[:, 0, 0, 0], IMAGES[:, 0, 0, 1] = np.divmod(np.arange(1000), 250)


def trial_of(
    top1: dict[str, float], sureness: dict[str, float] | None = None, bgr: bool = False
) -> Trial:
    """Try a network that is right on this share of the images, by normalization."""

    def classify(name, images):
        numbers = images[:, 0, 0, 0].astype(int) * 250 + images[:, 0, 0, 1]
        right = numbers % 100 < 100 * top1[name]
        sure = (sureness or {}).get(name, 0.9)
        rows = np.full((len(images), 10), (1 - sure) / 9, np.float32)
        rows[np.arange(len(images)), (LABELS[numbers] + ~right) % 10] = sure
        return rows

    names = [name for name in top1 if not name.endswith("-bgr")]
    return try_each(names, classify, IMAGES, LABELS, bgr)


def test_the_best_is_chosen_and_those_far_behind_are_left_early():
    trial = trial_of({"raw": 0.1, "unit": 0.8, "cifar10": 0.9})
    assert (trial.chosen, trial.top1) == ("cifar10", pytest.approx(0.9))
    images = {row["normalization"]: row["images"] for row in trial.tried}
    assert images == {"raw": SCREENED, "unit": TRIED, "cifar10": TRIED}
    assert result_of("cifar10", trial.tried)["top1"] == trial.top1
    assert result_of("imagenet", trial.tried) is result_of("raw", None) is None


def test_of_equal_ones_the_lowest_cross_entropy_is_chosen():
    trial = trial_of({"raw": 0.9, "unit": 0.9}, {"raw": 0.5, "unit": 0.8})
    assert trial.chosen == "unit"


@pytest.mark.parametrize(("top1", "knows"), [(0.1, False), (0.29, False), (0.3, True)])
def test_a_network_knows_cifar10_from_three_images_in_ten(top1, knows):
    assert trial_of({"raw": 0.1, "unit": top1}).knows_cifar10 == knows


@pytest.mark.parametrize(
    ("raw", "unit", "prefers"), [(0.5, 0.55, False), (0.5, 0.62, True), (0.1, 0.9, True)]
)
def test_a_lead_that_may_be_chance_is_not_preferred(raw, unit, prefers):
    trial = trial_of({"raw": raw, "unit": unit})
    assert (trial.chosen, trial.objection_to("raw") is not None) == ("unit", prefers)
    assert trial.objection_to("unit") is None


def test_an_objection_names_both_normalizations():
    assert trial_of({"raw": 0.1, "unit": 0.9}).objection_to("raw") == (
        "is right on 10% of 100 training images with the normalization raw, and on 90% of 100 "
        "with unit: use that one"
    )


def test_swapped_channels_are_tried_beside_the_best_and_have_to_be_clearly_better():
    for swapped, chosen in (0.6, "unit-bgr"), (0.51, "unit"), (0.2, "unit"):
        trial = trial_of({"raw": 0.1, "unit": 0.45, "unit-bgr": swapped}, bgr=True)
        assert trial.chosen == chosen
        assert {row["normalization"] for row in trial.tried} == {"raw", "unit", "unit-bgr"}


def test_a_network_of_one_class_is_called_collapsed():
    def classify(name, images):
        rows = np.full((len(images), 10), 0.05, np.float32)
        rows[:, 3] = 0.5
        rows[0, 4] = 0.9
        return rows

    trial = try_each(["raw", "unit"], classify, IMAGES, LABELS)
    assert trial.predicted == 1
    assert "predicts 1 of 10 classes: it is not trained, collapsed" in trial.doubt
    assert "classes are in another order" in trial_of({"raw": 0.1, "unit": 0.1}).doubt
    assert trial_of({"raw": 0.1, "unit": 0.9}).doubt is None


def test_values_that_are_no_numbers_are_wrong_answers():
    def classify(name, images):
        return np.full((len(images), 10), np.nan if name == "raw" else 0.1, np.float32)

    trial = try_each(["raw", "unit"], classify, IMAGES, LABELS)
    assert not trial.knows_cifar10
