"""What a fine-tuning step costs beyond the network itself, and what the fused batch norm saves.

Four ways take turns, a block of steps each, in one process: the trainer's own step (images looked
up and augmented on the way); the same network fed one constant batch from memory; and both with
Keras's batch norm. Prints the median time of a step and the ratios of the medians.

    python benchmarks/training_step.py [--rounds 9] [--steps 8]
"""

import argparse
import json
import statistics
import time

import numpy as np

from edgecifar.data import shipped
from edgecifar.hardware import summary
from edgecifar.models import contract
from edgecifar.models.keras_loader import load_keras
from edgecifar.training import recipe_book
from edgecifar.training.batches import one_hot
from edgecifar.training.devices import jit_compile
from edgecifar.training.optimizers import optimizer
from edgecifar.training.stage_network import build
from edgecifar.training.trainee import image_trainee, training_network


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()
    keras = load_keras()
    recipe = recipe_book.find("mobilenetv2")
    stage = recipe.stages[-1]
    data = shipped.calibration_set()
    images, labels = data.images(), data.labels
    rows = np.arange(stage.batch, dtype=np.int32)

    def compiled(model, loss):
        made = optimizer(stage, 1000, recipe.weight_decay)
        model.compile(optimizer=made, loss=loss, jit_compile=jit_compile())
        return model

    def keras_network():
        network = build(recipe, stage, "none")
        network.get_layer(contract.OUTPUT).activation = keras.activations.linear
        return network

    def fused_network():
        return training_network(build(recipe, stage, "none"))

    ways = {}
    for name, make in (("fused", fused_network), ("keras", keras_network)):
        trainee = compiled(
            image_trainee(make(), images, labels, recipe.augmentation, recipe.label_smoothing, 1),
            None,
        )
        ways[f"trainer, {name} batch norm"] = (trainee, (rows,))
        loss = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=recipe.label_smoothing
        )
        batch = (images[: stage.batch], one_hot(labels[: stage.batch]))
        ways[f"constant batch, {name} batch norm"] = (compiled(make(), loss), batch)

    times = {name: [] for name in ways}
    for turn in range(arguments.rounds + 1):
        for name, (model, batch) in ways.items():
            for _ in range(arguments.steps):
                started = time.perf_counter()
                model.train_on_batch(*batch)
                if turn:  # the first round compiles
                    times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in times.items()}
    own, constant, own_keras, constant_keras = medians.values()
    result = {
        "machine": summary(),
        "backend": keras.backend.backend(),
        "batch": stage.batch,
        "size": recipe.stage_size(stage),
        "steps_each": arguments.rounds * arguments.steps,
        "median_ms": {name: round(1e3 * value, 1) for name, value in medians.items()},
        "trainer_over_constant_batch": round(own / constant, 3),
        "keras_over_fused_batch_norm": round(constant_keras / constant, 3),
        "trainer_over_constant_batch_keras": round(own_keras / constant_keras, 3),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
