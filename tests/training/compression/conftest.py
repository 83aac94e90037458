"""A small run that has ended, and what each method makes of it; each made once."""

import keras
import pytest
from tiny_training import ignore, no_progress

from edgecifar.data import shipped
from edgecifar.training.batches import hold_out
from edgecifar.training.compression.finetuning import finetune
from edgecifar.training.compression.methods import Clustering, Pruning, QuantizationAware
from edgecifar.training.run_folder import Epoch, RunFolder

METHODS = {
    "quantization-aware": QuantizationAware(epochs=2, learning_rate=1e-3, batch=50),
    "pruning": Pruning(sparsity=0.6, epochs=2, batch=50),
    "clustering": Clustering(clusters=8, epochs=2, batch=50),
}


@pytest.fixture(scope="session")
def parent(tmp_path_factory):
    """The run folder of a convolution, a depthwise one and a dense layer, trained for seconds."""
    import small_networks

    recipe = small_networks.RECIPE
    split = hold_out(shipped.calibration_set(), recipe["validation_images"], recipe["seed"])
    keras.utils.set_random_seed(1)
    model = small_networks.depthwise_network()
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    trained = split.training
    model.fit(split.images[trained], split.labels[trained], 50, epochs=4, verbose=0)
    provenance = {"recipe": recipe, "training_images": len(trained)}
    run = RunFolder(tmp_path_factory.mktemp("parent"), provenance)
    run.add(Epoch(1, "all", 24, 5e-3, 2.0, 2.0, 0.2, 500.0, 1.0), model)
    run.finish(interrupted=False)
    run.close()
    return run


@pytest.fixture(scope="session")
def finetuned(parent, tmp_path_factory):
    """Gives the run folder that a method made of the parent, by the method's name."""
    made = {}

    def finetuned(name):
        if name not in made:
            made[name] = finetune(
                parent.path,
                METHODS[name],
                shipped.calibration_set(),
                tmp_path_factory.mktemp(name),
                no_progress,
                ignore,
            )
        return made[name]

    return finetuned
