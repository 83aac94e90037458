"""`edgecifar train`."""

import importlib.util
import json
import re
import signal
import socket

import pytest

PROCESS = ("--processes", "2", "--process", "1")
HEAD_ONLY = ("--set", "alpha=0.35", "--set", "size=32", "--set", "validation_images=100")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "mobilnetv2"], "did you mean mobilenetv2?"),
        (["train", "--set", "dropuot=0.3"], "no field 'dropuot'"),
        (["train", "--set", "size=big"], "expected a whole number"),
        (["train", "--set", "size=0"], "expected 1 to"),
        (["train", "--set", "head.batch=0"], "expected 1 or more"),
        (["train", "--set", "dropout=2"], "expected 0 to 1"),
        (["train", "--set", "dropout"], "expected field=value"),
        (["train", "--epochs", "many"], "--epochs"),
        (["train", "--epochs", "0"], "--epochs"),
        (["train", "--seed", "99999999999"], "expected 0 to 4294967295"),
    ],
)
def test_a_wrong_argument_is_one_line(refused, arguments, words):
    assert words in refused(*arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--resume", "nowhere"), "nowhere is not a run folder"),
        (("mobilenetv2", "--resume", "nowhere"), "mobilenetv2 and --resume: give only one of them"),
        (("--qat", "a", "--prune", "0.5"), "--qat and --prune: give only one of them"),
        (("--from", "a"), "--from goes with --prune or --cluster"),
        (("--prune", "0.5", "--from", "nowhere"), "no checkpoint nowhere"),
        (("--backend", "theano"), "--backend theano: expected tensorflow or jax"),
        (("--devices", "none"), "--devices none: expected a number of devices or all"),
        (("--devices", "2"), "--devices 2: several devices need --backend jax"),
        (
            ("--processes", "2", "--process", "0"),
            "--coordinator, --processes and --process go toget",
        ),
        (("--processes", "1"), "--processes"),
        (("--heartbeat", "4"), "--heartbeat"),
        (
            (*PROCESS, "--coordinator", "node"),
            "--coordinator node: expected HOST:PORT of process 0",
        ),
        (
            (*PROCESS, "--coordinator", "a:1", "--devices", "1"),
            "--devices 1: several processes use",
        ),
        (("--qat", "a", *PROCESS, "--coordinator", "a:1"), "--qat: a compression runs in one proc"),
        (("--precision", "int4"), "--precision int4: expected float32, mixed_bfloat16, auto"),
        (("resnet", "--set", "schedule=mine"), "expected ours or source"),
        (("quick", "--set", "schedule=source"), "quick has no other schedule than its own"),
    ],
)
def test_a_wrong_training_option_is_one_line(refused, little_data, arguments, words):
    assert words in refused("train", *arguments)


def test_a_width_without_imagenet_weights_trains_from_scratch_and_says_so(
    edgecifar, little_data, few_test_images, tmp_path
):
    fields = ("alpha=0.2", "size=32", "validation_images=100", "batch_norm_momentum=0.9")
    sets = [part for field in fields for part in ("--set", field)]
    code, out, err = edgecifar("train", "quick", *sets, "--epochs", 1, "--out", tmp_path / "run")
    assert code == 0
    assert "no ImageNet weights of width 0.2: it trains from scratch" in err
    assert "test top-1" in out
    known = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert known["recipe"]["weights"] == "none"


def test_one_epoch_of_a_recipe_with_a_warm_up_shortens_and_records_it(
    edgecifar, little_data, few_test_images, tmp_path
):
    sets = ("--set", "validation_images=100", "--set", "alpha=0.1", "--epochs", 1)
    code, out, err = edgecifar("train", "cnn", *sets, "--out", tmp_path / "run")
    assert code == 0, err
    assert out.startswith("epoch 1, all at 32 px: loss ")
    assert re.search(r"^trains on \S+ \(.+\) with TensorFlow in \S+$", err, re.M)
    (stage,) = json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["stages"]
    assert (stage["epochs"], stage["warmup_epochs"]) == (1, 0.5)


def test_tensorboard_gets_the_figures_of_each_epoch(
    edgecifar, little_data, few_test_images, small_network, tmp_path
):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    sets = ("--set", "size=32", "--set", "validation_images=100", "--set", "weights=none")
    out = tmp_path / "run"
    assert edgecifar("train", "quick", *sets, "--epochs", 2, "--tensorboard", "--out", out)[0] == 0
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    logged = [make_ndarray(each.tensor_proto) for each in events.Tensors("validation_top1")]
    rows = (out / "history.csv").read_text().splitlines()
    column = rows[0].split(",").index("validation_top1")
    assert logged == pytest.approx([float(row.split(",")[column]) for row in rows[1:]])
    assert len(logged) == 2


def test_a_compressed_run_is_exported_beside_its_parent(
    edgecifar, small_run, little_data, few_test_images, tmp_path
):
    out = tmp_path / "pruned"
    code, said, err = edgecifar(
        "train", "--prune", 0.5, "--from", small_run.path, "--epochs", 1, "--out", out
    )
    assert code == 0, err
    before, after = json.loads((out / "comparison.json").read_text())
    assert (before["name"], after["name"]) == ("post-training", "pruning")
    assert after["tflite_compressed_bytes"] < before["tflite_compressed_bytes"]
    table = said.splitlines()[-2:]
    assert [line.split()[0] for line in table] == ["post-training", "pruning"]
    assert f"{100 * after['tflite_top1']:.2f}" in table[1]


def test_training_without_the_images_says_how_to_get_them(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path / "none"))
    assert "edgecifar data download" in refused("train", "--out", tmp_path / "run")


def test_an_unwritable_run_folder_is_one_line(refused, little_data, tiny_tflite):
    line = refused("train", *HEAD_ONLY, "--weights", "none", "--out", tiny_tflite / "run")
    assert str(tiny_tflite / "run") in line


def test_ctrl_c_in_a_training_keeps_the_best_epoch_and_says_where(start, little_data, tmp_path):
    run = tmp_path / "run"
    process = start(
        *("train", "--weights", "none", "--out", run, *HEAD_ONLY),
        *("--set", "head.batch=50", "--set", "head.epochs=500", "--set", "head.learning_rate=0.1"),
        EDGECIFAR_CACHE=little_data,
    )
    assert process.stdout.readline().startswith("epoch 1, head at 32 px: loss ")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    where, said, advice, stopped = err.splitlines()
    assert where.startswith("trains on ")
    assert advice == f"continue with `edgecifar train --resume {run}`"
    assert said.startswith(f"the best epoch so far is in {run / 'model.keras'}: epoch ")
    assert stopped == "edgecifar: stopped"
    assert (run / "model.keras").stat().st_size > 100_000
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["interrupted"] is True
    assert metrics["epochs"] >= 1


@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="JAX is not installed")
def test_ctrl_c_in_process_0_of_several_keeps_its_run_and_ends_the_others(
    start, little_data, tmp_path
):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    run = tmp_path / "run"
    sets = ("--set", "alpha=0.1", "--set", "validation_images=100", "--epochs", 500)
    environment = {
        "EDGECIFAR_CACHE": little_data,
        "EDGECIFAR_COORDINATOR": address,
        "EDGECIFAR_PROCESSES": 2,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    first, second = (
        start(
            *("train", "cnn", "--backend", "jax", "--process", index, "--out", run, *sets),
            **environment,
        )
        for index in (0, 1)
    )
    assert first.stdout.readline().startswith("epoch 1, all at 32 px: loss ")
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=300)
    assert first.returncode == 130
    where, said, advice, stopped = err.splitlines()
    assert re.match(r"trains on cpu:0, cpu:\d+ \(.+\) with JAX in float32$", where)
    assert said.startswith(f"the best epoch so far is in {run / 'model.keras'}: epoch ")
    assert advice == f"continue with `edgecifar train --resume {run}`"
    assert stopped == "edgecifar: stopped"
    out, err = second.communicate(timeout=300)
    assert (second.returncode, out) == (2, "")
    role, lost = err.splitlines()
    assert role == (
        f"process 1 of 2: process 0, at {address}, keeps the run folder and shows the epochs"
    )
    assert lost.startswith("edgecifar: another of the 2 processes is lost: it ended, ")
    assert lost.endswith("; start all of them again, with the --resume that process 0 names")


def test_without_imagenet_weights_or_a_network_the_run_says_what_to_do(
    start, little_data, tmp_path
):
    process = start(
        *("train", "--out", tmp_path / "run", *HEAD_ONLY),
        EDGECIFAR_CACHE=little_data,
        KERAS_HOME=tmp_path / "keras",
        https_proxy="http://127.0.0.1:1",
        no_proxy="",
    )
    _, line = process.communicate(timeout=120)
    assert process.returncode == 2
    assert line.startswith("edgecifar: the ImageNet weights cannot be downloaded: put ")
    assert "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5" in line
    assert str(tmp_path / "keras" / "models") in line
    assert line.count("\n") == 1
    assert not (tmp_path / "run").exists()
