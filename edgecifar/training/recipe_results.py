"""The measured results of the recipes, from the exports of the shipped models."""

import functools
import json
from pathlib import Path

FILE = Path(__file__).with_name("recipe_results.json")


@functools.cache
def results() -> dict[str, dict]:
    """The measured result of each recipe that was trained on the full set.

    Returns:
        For each recipe's name: `test_top1` of the float32 checkpoint and `int8_top1` of its int8
        TFLite file, shares of the 10,000 test images; `parameters`; `multiply_accumulates` of one
        inference; `training_seconds`; `machine`, where it was trained.
    """
    return json.loads(FILE.read_text())
