"""Train one convolution under JAX, on one device and on two: a process of its own.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python train_under_jax.py OUT

Each run goes to OUT/DEVICES, with the checkpoint's answers to `IMAGES` test images beside it. Where
TensorFlow is installed Keras imports it under any backend, so it is made not to be there.
"""

import dataclasses
import json
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import numpy as np

IMAGES = 20
DEVICES = (1, 2)


class WithoutTensorFlow(PathFinder):
    """Finds what Python finds, but for TensorFlow."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "tensorflow" else super().find_spec(name, path, target)


def main(out: Path) -> None:
    sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTensorFlow
    sys.path.append(str(Path(__file__).parents[1] / "support"))
    import tiny_training

    from edgecifar.data import shipped
    from edgecifar.models import networks
    from edgecifar.models.keras_loader import load_keras
    from edgecifar.training import trainer
    from edgecifar.training.devices import choose_backend, device_count, use_devices

    choose_backend("jax")
    networks.NETWORKS["convolution"] = tiny_training.convolution_network
    head, finetune = tiny_training.CONVOLUTION.stages
    recipe = dataclasses.replace(
        tiny_training.CONVOLUTION,
        network="convolution",
        stages=(head, dataclasses.replace(finetune, epochs=2, average=0.9)),
    )
    for devices in DEVICES:
        use_devices(str(devices))
        assert device_count() == devices
        run = trainer.train(
            recipe,
            shipped.calibration_set(),
            out / str(devices),
            tiny_training.no_progress,
            tiny_training.ignore,
        )
        model = load_keras().saving.load_model(run.checkpoint, compile=False)
        images = shipped.test_set().images(slice(IMAGES))
        np.save(out / f"answers_{devices}.npy", model.predict(images, verbose=0))
    print(json.dumps({"tensorflow": "tensorflow" in sys.modules}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
