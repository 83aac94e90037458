"""`mobilenetv2-frozen` beside the way that its notebook trains the same model.

The notebook's way (github.com/andricoc/cifar10-classification): every image divided by 255 and
resized to 96 px as float32, all in memory; the frozen MobileNetV2 and the dense head together in
one Keras model; batches of 8; ten epochs, and so ten passes through the backbone. It makes the
arrays of all 60,000 images, and trains on a share of them; the time of the epochs is scaled to all.
Ours: `edgecifar train mobilenetv2-frozen` with an empty feature cache, until its last epoch ended.

Each way is a process of its own, and they take turns. Needs the ImageNet weights and the training
images.

    python benchmarks/frozen_backbone.py [--rounds 3] [--share 0.1]
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

EPOCHS, BATCH, SIDE = 10, 8, 96


def notebook(share: float) -> dict:
    """Train as the notebook does, one epoch on a share of the images."""
    import keras
    from PIL import Image

    from edgecifar.data import cifar10, shipped

    def resized(images: np.ndarray) -> np.ndarray:
        made = np.empty((len(images), SIDE, SIDE, 3), np.float32)
        for target, image in zip(made, images, strict=True):
            target[:] = np.asarray(Image.fromarray(image).resize((SIDE, SIDE))) / 255.0
        return made

    started = time.monotonic()
    data, test = cifar10.training_set(), shipped.test_set()
    images = resized(data.images())
    kept_as_well = resized(test.images())
    backbone = keras.applications.MobileNetV2(
        input_shape=(SIDE, SIDE, 3), include_top=False, weights="imagenet"
    )
    backbone.trainable = False
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            backbone,
            layers.Dense(1000, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(50),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    prepared = time.monotonic() - started
    count = int(share * len(images))
    labels = data.labels
    model.fit(images[: 20 * BATCH], labels[: 20 * BATCH], BATCH, epochs=1, verbose=0)
    started = time.monotonic()
    model.fit(images[:count], labels[:count], BATCH, epochs=1, verbose=0)
    epoch = (time.monotonic() - started) / share
    assert len(kept_as_well) == len(test)
    return {"seconds": prepared + EPOCHS * epoch, "epoch_s": epoch}


def ours(share: float) -> dict:
    """Train the recipe with an empty feature cache, the test images not counted."""
    from edgecifar.data import cifar10
    from edgecifar.training import recipe_book, trainer

    cache = cifar10.cache_folder()
    with tempfile.TemporaryDirectory(dir=cache) as fresh:
        for path in cache.glob("*.bin"):
            (Path(fresh) / path.name).symlink_to(path)
        os.environ["EDGECIFAR_CACHE"] = fresh
        started = time.monotonic()
        ended = []
        run = trainer.train(
            recipe_book.find("mobilenetv2-frozen"),
            cifar10.training_set(),
            Path(fresh) / "run",
            no_progress,
            lambda epoch: ended.append(time.monotonic() - started),
        )
    return {"seconds": ended[-1], "test_top1": run.metrics["test_top1"]}


def no_progress(label, total):
    import contextlib

    return contextlib.nullcontext(lambda *_, **__: None)


def anonymous_peak_mib(pid: int) -> float:
    """The memory that a process holds now and that no file backs."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return 0.0


def in_a_process(way: str, share: float) -> dict:
    command = [sys.executable, __file__, "--way", way, "--share", str(share)]
    peak = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            try:
                peak = max(peak, anonymous_peak_mib(process.pid))
            except OSError:
                break
            time.sleep(0.2)
        said = process.stdout.read()
    return json.loads(said.splitlines()[-1]) | {"peak_anonymous_mib": round(peak)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--way", choices=("notebook", "ours"))
    arguments = parser.parse_args()
    if arguments.way:
        measured = {"notebook": notebook, "ours": ours}[arguments.way](arguments.share)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(measured | {"peak_rss_mib": round(peak)}))
        return
    from edgecifar.hardware import summary

    rounds = []
    for _ in range(arguments.rounds):
        rounds.append({way: in_a_process(way, arguments.share) for way in ("ours", "notebook")})
    result = {
        "machine": summary(),
        "share_timed_of_the_notebooks_way": arguments.share,
        "rounds": rounds,
        "median_ratio": {
            name: round(
                statistics.median(each["notebook"][name] / each["ours"][name] for each in rounds), 2
            )
            for name in ("seconds", "peak_rss_mib", "peak_anonymous_mib")
        },
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
