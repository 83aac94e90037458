"""`edgecifar run`."""

import tiny_training
from listing import names_in

from edgecifar.bench import runner
from edgecifar.bench.settings import BenchSettings
from edgecifar.training import recipe_book


def test_quick_and_another_recipe_together_are_one_line(refused):
    assert "leave out mobilenetv2 or --quick" in refused("run", "--quick", "mobilenetv2")


def test_a_recipe_that_does_not_exist_is_one_line(refused):
    assert "no recipe 'nothing'" in refused("run", "nothing")


def test_a_run_shows_every_step(
    edgecifar, little_archive, few_test_images, small_network, tmp_path, monkeypatch
):
    bench, settings = runner.bench, BenchSettings(samples=20, max_seconds=0.1)
    monkeypatch.setattr(
        runner, "bench", lambda models, **given: bench(models, **given | {"settings": settings})
    )
    out = tmp_path / "run"
    monkeypatch.setitem(recipe_book.RECIPES, "convolution", tiny_training.CONVOLUTION)
    code, said, err = edgecifar("run", "convolution", "--out", out)
    assert code == 0, err
    steps = [
        f"fetched 6 of 6 files, in {little_archive}\n",
        "epoch 1, ",
        "test top-1 ",
        f"written to {out}, ",
        "20 test images",
    ]
    places = [said.index(step) for step in steps]
    assert places == sorted(places)
    assert {"model.tflite", "model.onnx", "model.float.tflite"} <= set(names_in(out))
