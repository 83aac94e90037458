"""All recipes: those of published small projects, and our own."""

import dataclasses
import difflib
from typing import Any

from edgecifar.errors import UserError
from edgecifar.training.recipes import Augmentation, Recipe, Stage

BEGINNERS = "github.com/galax19ksh/CIFAR-10-Classification"
# What the recipes of EfficientNet-Lite share. An epoch at 64 px needs less than half of the
# computation of one at 96 px.
EFFICIENTNET_LITE: dict[str, Any] = {
    "source": "Tan and Le 2019, arXiv:1905.11946; progressive resizing after Howard 2018",
    "weight_decay": 0.05,
    "augmentation": Augmentation(cutout=8),
    "stages": (
        Stage("head", "head", epochs=6, batch=256, learning_rate=3e-3, size=64),
        Stage(
            "finetune-small",
            "all",
            epochs=12,
            batch=64,
            learning_rate=1e-3,
            final_learning_rate=1e-4,
            warmup_epochs=1,
            size=64,
        ),
        Stage("finetune", "all", epochs=24, batch=64, learning_rate=5e-4, warmup_epochs=0.5),
    ),
}
# What the recipes of the small networks share; they differ in the size, which sets the latency.
# benchmarks/small_networks.json has the latencies of these and of others. Nothing in the
# augmentation keeps teachers from answering (`--set distillation.teachers=FILE`).
EFFICIENTNET_LITE0_SHORT: dict[str, Any] = {
    "source": "the first eleven blocks of Tan and Le 2019, arXiv:1905.11946",
    "network": "efficientnet_lite0_short",
    "hidden": 256,
    "weight_decay": 0.05,
}
SHORT_HEAD = Stage("head", "head", epochs=6, batch=256, learning_rate=3e-3)
SHORT_FINETUNE = Stage("finetune", "all", epochs=40, batch=64, learning_rate=1e-3, warmup_epochs=1)
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="mobilenetv2",
            summary="ImageNet MobileNetV2, every layer, at 64 px and at 96 px, with warm restarts",
            source="Sandler et al. 2018, arXiv:1801.04381; progressive resizing after Howard 2018; "
            "warm restarts of Loshchilov and Hutter 2017, arXiv:1608.03983",
            target=0.955,
            weight_decay=0.05,
            augmentation=Augmentation(cutout=8),
            stages=(
                Stage("head", "head", epochs=6, batch=256, learning_rate=3e-3, size=64),
                Stage(
                    "finetune-small",
                    "all",
                    epochs=5,
                    batch=64,
                    learning_rate=1e-3,
                    final_learning_rate=3e-4,
                    warmup_epochs=0.5,
                    size=64,
                ),
                Stage("finetune", "all", epochs=5, batch=64, learning_rate=4e-4, warmup_epochs=0.2),
                Stage("restart", "all", epochs=10, batch=64, learning_rate=5e-4, warmup_epochs=0.2),
                Stage(
                    "second-restart",
                    "all",
                    epochs=8,
                    batch=64,
                    learning_rate=4e-4,
                    warmup_epochs=0.2,
                ),
            ),
        ),
        Recipe(
            name="middle",
            summary="EfficientNet-Lite0's first blocks at 72 px: half of the default's time",
            target=0.953,
            size=72,
            stages=(SHORT_HEAD, dataclasses.replace(SHORT_FINETUNE, epochs=30)),
            **EFFICIENTNET_LITE0_SHORT,
        ),
        Recipe(
            name="small",
            summary="EfficientNet-Lite0's first blocks at 56 px: a third of the default's time",
            target=0.936,
            size=56,
            stages=(SHORT_HEAD, SHORT_FINETUNE),
            **EFFICIENTNET_LITE0_SHORT,
        ),
        Recipe(
            name="tiny",
            summary="EfficientNet-Lite0's first blocks at 40 px: as fast as ResNet-8",
            target=0.911,
            size=40,
            stages=(SHORT_HEAD, dataclasses.replace(SHORT_FINETUNE, epochs=60)),
            **EFFICIENTNET_LITE0_SHORT,
        ),
        Recipe(
            name="efficientnet-lite0",
            summary="ImageNet EfficientNet-Lite0, every layer, at 64 px and at 96 px",
            target=0.968,
            network="efficientnet_lite0",
            **EFFICIENTNET_LITE,
        ),
        Recipe(
            name="efficientnet-lite1",
            summary="ImageNet EfficientNet-Lite1, deeper: every layer, at 64 px and at 96 px",
            target=0.97,
            network="efficientnet_lite1",
            **EFFICIENTNET_LITE,
        ),
        Recipe(
            name="efficientnet-lite2",
            summary="ImageNet EfficientNet-Lite2, deeper and wider: at 64 px and at 96 px",
            target=0.972,
            network="efficientnet_lite2",
            **EFFICIENTNET_LITE,
        ),
        Recipe(
            name="mobilenetv2-staged",
            summary="ImageNet MobileNetV2: a linear head, a dense head, then every layer a little",
            source="a four-stage report: 70, 75, 78 and 82 %",
            target=0.82,
            dropout=0.3,
            hidden=512,
            stages=(
                Stage("linear", "head", epochs=5, batch=256, learning_rate=1e-3, hidden=0),
                Stage("linear-longer", "head", epochs=5, batch=256, learning_rate=1e-3, hidden=0),
                Stage("dense", "head", epochs=10, batch=256, learning_rate=1e-3),
                Stage("finetune", "all", epochs=1, batch=64, learning_rate=1e-5),
            ),
            source_stages=(
                Stage("linear", "head", epochs=5, batch=32, learning_rate=1e-3, hidden=0),
                Stage("linear-longer", "head", epochs=5, batch=32, learning_rate=1e-3, hidden=0),
                Stage("dense", "head", epochs=10, batch=32, learning_rate=1e-3),
                Stage(
                    "finetune",
                    "all",
                    epochs=5,
                    batch=32,
                    learning_rate=1e-5,
                    final_learning_rate=1e-5,
                ),
            ),
        ),
        Recipe(
            name="mobilenetv2-frozen",
            summary="frozen ImageNet MobileNetV2 under a dense head on the feature map",
            source="github.com/andricoc/cifar10-classification",
            target=0.82,
            network="mobilenetv2_flat",
            dropout=0.5,
            hidden=1000,
            label_smoothing=0.0,
            stages=(Stage("head", "head", epochs=4, batch=128, learning_rate=3e-4),),
            source_stages=(
                Stage(
                    "head",
                    "head",
                    epochs=10,
                    batch=8,
                    learning_rate=1e-3,
                    final_learning_rate=1e-3,
                    optimizer="adam",
                ),
            ),
        ),
        Recipe(
            name="resnet-wide",
            summary="residual blocks of 64 to 512 channels, batch norm after the sum, dense head",
            source="github.com/the2roock/Cifar10-Classification",
            target=0.8874,
            network="resnet_wide",
            size=32,
            hidden=256,
            dropout=0.2,
            weights="none",
            weight_decay=0.05,
            batch_norm_momentum=0.9,
            augmentation=Augmentation(crop_padding=0, flip=True, rotation=15, shift=0.1),
            stages=(Stage("all", "all", epochs=25, batch=64, learning_rate=1e-3, warmup_epochs=1),),
            source_stages=tuple(
                Stage(
                    name,
                    "all",
                    epochs=epochs,
                    batch=64,
                    learning_rate=rate,
                    final_learning_rate=rate,
                    optimizer="adam",
                )
                for name, epochs, rate in (
                    ("fast", 20, 3e-4),
                    ("medium", 10, 1e-4),
                    ("slow", 5, 5e-5),
                )
            ),
        ),
        Recipe(
            name="resnet",
            summary="ResNet-20, the CIFAR ResNet with skip connections",
            source="He et al. 2015, arXiv:1512.03385; a report of 90.35 % after 130 epochs",
            target=0.9035,
            network="resnet",
            size=32,
            dropout=0.0,
            weights="none",
            weight_decay=5e-3,
            label_smoothing=0.0,
            batch_norm_momentum=0.9,
            stages=(
                Stage(
                    "all",
                    "all",
                    epochs=36,
                    batch=64,
                    learning_rate=0.1,
                    warmup_epochs=2,
                    optimizer="sgd",
                ),
            ),
            source_stages=(
                Stage(
                    "all",
                    "all",
                    epochs=130,
                    batch=128,
                    learning_rate=0.1,
                    optimizer="sgd",
                ),
            ),
        ),
        Recipe(
            name="resnet8",
            summary="ResNet-8, the image classifier of MLPerf Tiny",
            source="Banbury et al. 2021, arXiv:2106.07597; github.com/mlcommons/tiny, 87.19 %",
            target=0.8719,
            network="resnet8",
            size=32,
            dropout=0.0,
            weights="none",
            weight_decay=2e-3,
            label_smoothing=0.0,
            batch_norm_momentum=0.9,
            stages=(
                Stage(
                    "all",
                    "all",
                    epochs=60,
                    batch=64,
                    learning_rate=0.1,
                    warmup_epochs=2,
                    optimizer="sgd",
                ),
            ),
            # The source lowers the rate by 1 % an epoch; here a cosine has the same ends.
            source_stages=(
                Stage(
                    "all",
                    "all",
                    epochs=500,
                    batch=32,
                    learning_rate=1e-3,
                    final_learning_rate=6.6e-6,
                    optimizer="adam",
                ),
            ),
        ),
        Recipe(
            name="cnn-deep",
            summary="a deeper plain CNN without skip connections",
            source=BEGINNERS,
            target=0.813,
            network="cnn_deep",
            size=32,
            dropout=0.2,
            weights="none",
            batch_norm_momentum=0.9,
            stages=(Stage("all", "all", epochs=6, batch=64, learning_rate=2e-3, warmup_epochs=1),),
        ),
        Recipe(
            name="cnn-dropout",
            summary="the plain convolution stack with batch norm and dropout",
            source=BEGINNERS,
            target=0.83,
            network="cnn_dropout",
            size=32,
            dropout=0.2,
            hidden=128,
            weights="none",
            batch_norm_momentum=0.9,
            stages=(Stage("all", "all", epochs=25, batch=64, learning_rate=2e-3, warmup_epochs=1),),
        ),
        Recipe(
            name="cnn",
            summary="a plain convolution stack for 32 x 32, the beginners' model",
            source=BEGINNERS,
            target=0.79,
            network="cnn",
            size=32,
            dropout=0.0,
            hidden=64,
            weights="none",
            label_smoothing=0.0,
            stages=(Stage("all", "all", epochs=8, batch=64, learning_rate=1e-3, warmup_epochs=1),),
        ),
        Recipe(
            name="quick",
            summary="a head on frozen ImageNet MobileNetV2, a first try of a few minutes",
            source="Sandler et al. 2018, arXiv:1801.04381",
            hidden=512,
            stages=(Stage("head", "head", epochs=15, batch=256, learning_rate=1e-3),),
        ),
    )
}


def find(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UserError: there is no such recipe; the message lists them all.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"no recipe {name!r}: there are {', '.join(RECIPES)}{hint}")
    return RECIPES[name]
