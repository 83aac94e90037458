"""What oneDNN's kernels and the layers of `training.fast_layers` do to the time of a training step.

Three processes take turns, a block of steps each: TensorFlow's own kernels, oneDNN's kernels with
Keras's depthwise layers, and what edgecifar trains with. Prints the median time of a step of each,
and its ratio to the first.

    python benchmarks/training_kernels.py [--rounds 5] [--steps 3] > training_kernels.json
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np

from edgecifar.data import shipped
from edgecifar.hardware import summary
from edgecifar.models.keras_loader import ONEDNN
from edgecifar.training import fast_layers, recipe_book
from edgecifar.training.devices import jit_compile
from edgecifar.training.optimizers import optimizer
from edgecifar.training.stage_network import build
from edgecifar.training.trainee import image_trainee, training_network

# What TF_ENABLE_ONEDNN_OPTS is, and whether the depthwise layers are edgecifar's.
WAYS = {
    "TensorFlow's kernels": ("0", False),
    "oneDNN": ("1", False),
    "oneDNN, edgecifar's depthwise layers": ("1", True),
}
NETWORKS = (("efficientnet-lite0", 64), ("efficientnet-lite0", 96), ("mobilenetv2", 64))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(*arguments.worker, arguments.steps)
        return
    found = {
        f"{recipe}, {size} px": compared(recipe, size, arguments.rounds, arguments.steps)
        for recipe, size in NETWORKS
    }
    print(json.dumps({"machine": summary(), "batch": 64, "step_ms": found}, indent=2))


def compared(recipe: str, size: int, rounds: int, steps: int) -> dict:
    """The median time of a step of each way in ms, and the ratio of each to the first."""
    command = [sys.executable, __file__, "--steps", str(steps), "--worker", recipe, str(size)]
    workers = {
        name: subprocess.Popen(
            [*command, str(int(ours))],
            env=os.environ | {ONEDNN: onednn},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, (onednn, ours) in WAYS.items()
    }
    times: dict[str, list[float]] = {name: [] for name in workers}
    for turn in range(rounds + 1):
        for name, worker in workers.items():
            worker.stdin.write("\n")
            worker.stdin.flush()
            block = json.loads(worker.stdout.readline())
            times[name] += block if turn else []  # the first block compiles
    for worker in workers.values():
        worker.communicate()
    medians = {name: statistics.median(values) for name, values in times.items()}
    first = next(iter(medians.values()))
    return {
        name: {"median": round(1e3 * median, 1), "ratio": round(median / first, 3)}
        for name, median in medians.items()
    }


def work(recipe_name: str, size: str, ours: str, steps: int) -> None:
    """Time a block of steps for every line on stdin."""
    if ours == "0":
        fast_layers._uses_onednn = lambda: False
    recipe = dataclasses.replace(recipe_book.find(recipe_name), size=int(size))
    stage = dataclasses.replace(recipe.stages[-1], size=int(size))
    data = shipped.calibration_set()
    model = image_trainee(
        training_network(build(recipe, stage, "none")),
        data.images(),
        data.labels,
        recipe.augmentation,
        recipe.label_smoothing,
        1,
    )
    made = optimizer(stage, 1000, recipe.weight_decay)
    model.compile(optimizer=made, loss=None, jit_compile=jit_compile())
    rows = np.arange(stage.batch, dtype=np.int32)
    for _ in sys.stdin:
        times = []
        for _ in range(steps):
            started = time.perf_counter()
            model.train_on_batch(rows)
            times.append(time.perf_counter() - started)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
