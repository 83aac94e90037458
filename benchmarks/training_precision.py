"""What bfloat16 gains or loses in training on this machine, for each kind of network.

Every network trains in both precisions in a process of its own each, several times in turns; prints
the median images/s of the trainer's own step and their ratio.

    python benchmarks/training_precision.py [--rounds 3] [--steps 10]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import numpy as np

RECIPES = ("resnet", "resnet-wide", "cnn-dropout", "mobilenetv2")
PRECISIONS = ("float32", "mixed_bfloat16")
WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--one", nargs=2, help="the recipe and the precision of a worker")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(rates(*arguments.one, arguments.steps)))
        return
    from edgecifar.hardware import summary

    found = {recipe: {precision: [] for precision in PRECISIONS} for recipe in RECIPES}
    for _ in range(arguments.rounds):
        for recipe in RECIPES:
            for precision in PRECISIONS:
                command = [sys.executable, __file__, "--one", recipe, precision]
                command += ["--steps", str(arguments.steps)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found[recipe][precision] += json.loads(done.stdout.splitlines()[-1])
    medians = {
        recipe: {precision: statistics.median(values) for precision, values in one.items()}
        for recipe, one in found.items()
    }
    result = {
        "machine": summary(),
        "steps_each": arguments.rounds * arguments.steps,
        "images_per_s": {
            recipe: {precision: round(rate) for precision, rate in one.items()}
            for recipe, one in medians.items()
        },
        "bfloat16_over_float32": {
            recipe: round(one["mixed_bfloat16"] / one["float32"], 2)
            for recipe, one in medians.items()
        },
    }
    print(json.dumps(result, indent=2))


def rates(name: str, precision: str, steps: int) -> list[float]:
    """Images/s of each step of the trainer on a recipe's last stage."""
    from edgecifar.data import shipped
    from edgecifar.training import recipe_book
    from edgecifar.training.devices import dtype_policy, jit_compile
    from edgecifar.training.optimizers import optimizer
    from edgecifar.training.stage_network import build
    from edgecifar.training.trainee import image_trainee, training_network

    recipe = recipe_book.find(name)
    stage = recipe.stages[-1]
    data = shipped.calibration_set()
    with dtype_policy(precision):
        network = training_network(build(recipe, stage, "none"))
    trainee = image_trainee(
        network, data.images(), data.labels, recipe.augmentation, recipe.label_smoothing, 1
    )
    made = optimizer(stage, 1000, recipe.weight_decay)
    trainee.compile(optimizer=made, loss=None, jit_compile=jit_compile())
    rows = np.arange(stage.batch, dtype=np.int32)
    found = []
    for step in range(WARM_UP + steps):
        started = time.perf_counter()
        trainee.train_on_batch(rows)
        if step >= WARM_UP:
            found.append(stage.batch / (time.perf_counter() - started))
    return found


if __name__ == "__main__":
    main()
