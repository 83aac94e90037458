"""A page that was parsed, and sources that are small."""

import html.parser
from dataclasses import dataclass, field

import pytest


@dataclass
class Parsed:
    """What a test asks of a page: its tags with their attributes, its ids, its text."""

    tags: list[tuple[str, dict]] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]

    def headings(self) -> str:
        return " ".join(self.text.split())


class _Parser(html.parser.HTMLParser):
    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self) -> None:
        super().__init__()
        self.page = Parsed()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.page.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # every element is closed, in order

    def handle_data(self, data):
        if "style" not in self.open:
            self.page.text += data


@pytest.fixture
def parsed():
    def parsed(page: str) -> Parsed:
        parser = _Parser()
        parser.feed(page)
        parser.close()
        assert parser.open == []
        return parser.page

    return parsed


@pytest.fixture
def card() -> dict:
    """The card of an export of two classes, with an int8 file that changed one picture."""
    change = {"kl_divergence": 0.5, "chosen": 1, "checkpoint_chosen": 0, "label": 0}
    per_class = [
        {"label": "cat", "top1": 0.8, "checkpoint_top1": 0.9},
        {"label": "dog", "top1": 0.7, "checkpoint_top1": 0.7},
    ]
    known = {"agreement": 0.999, "kl_divergence": 0.01, "size_bytes": 1_500_000}
    return {
        "checkpoint_sha256": "0" * 64,
        "labels": ["cat", "dog"],
        "test_images": 10_000,
        "checkpoint_top1": 0.8,
        "calibration": {"images": 500, "tried": []},
        "training": None,
        "files": [
            {"file": "a.float.tflite", "precision": "float32", "top1": 0.8, "per_class": per_class}
            | {"worst": [change | {"image": 7}]}
            | known,
            {"file": "a.tflite", "precision": "int8", "top1": 0.75, "per_class": per_class}
            | {"worst": [change | {"image": 3}, change | {"image": 4, "chosen": 0}]}
            | known,
        ],
    }


@pytest.fixture
def assessment() -> dict:
    """What a run's `metrics.json` says of its test images."""
    return {
        "images": 20,
        "top1": 0.8,
        "top1_interval": [0.6, 0.9],
        "top5": 1.0,
        "expected_calibration_error": 0.05,
        "reliability": [
            {"confidence": None, "accuracy": None, "count": 0},
            {"confidence": 0.8, "accuracy": 0.75, "count": 20},
        ],
        "per_class": [
            {"class": name, "precision": 0.8, "recall": 0.8, "f1": 0.8, "images": 10}
            for name in ("cat", "dog")
        ],
        "confusion": [[8, 2], [0, 10]],
        "confident_mistakes": [
            {"index": 5, "true": "cat", "predicted": "dog", "confidence": 0.97},
        ],
    }
