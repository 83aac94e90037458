"""From a checkpoint to files that keep the contract; all of them verified, or none published."""

import copy
import dataclasses
import hashlib
import json
import os
import shutil
from collections import Counter

import keras
import numpy as np
import onnx
import pytest
import tiny_training
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from listing import names_in

from edgecifar import files, provenance, runtimes
from edgecifar.data import cifar10, shipped
from edgecifar.errors import CheckFailed, UserError
from edgecifar.export import conversion, exporter, settings, tflite
from edgecifar.export.checkpoint import open_checkpoint
from edgecifar.export.exporter import export
from edgecifar.export.model_card import markdown
from edgecifar.export.quantization import quantizer, raw_pixels
from edgecifar.export.settings import ExportSettings
from edgecifar.export.tflite_to_onnx import converter as onnx_files
from edgecifar.export.verification import probabilities_of
from edgecifar.graphs.tflite import Graph
from edgecifar.metrics.divergence import divergence
from edgecifar.models import contract
from edgecifar.report.progress import on_stderr
from edgecifar.training import recipes, trainer

FLOAT = ["model.float.onnx", "model.float.tflite"]
INT8 = ["model.onnx", "model.tflite"]
BESIDE = ["card.json", "card.md", "export.log", "model.keras"]


def interpreter(path):
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(str(path), experimental_op_resolver_type=plain)


def operators(path):
    """The operators of either kind of file, in order."""
    if path.suffix == ".onnx":
        return [node.op_type for node in onnx.load(path).graph.node]
    return [operator["op_name"] for operator in interpreter(path)._get_ops_details()]


def metadata_in(path):
    if path.suffix == ".onnx":
        (entry,) = onnx.load(path).metadata_props
        assert entry.key == "edgecifar"
        return json.loads(entry.value)
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    (entry,) = [entry for entry in model.metadata if entry.name == b"edgecifar"]
    return json.loads(bytes(model.buffers[entry.buffer].data))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def card_in(folder):
    return json.loads((folder / "card.json").read_text())


def test_every_file_has_its_name_and_nothing_else_is_left(tiny_export):
    out, made = tiny_export
    assert names_in(out) == sorted(FLOAT + INT8 + BESIDE)
    assert made.published
    assert made.outdated == []
    assert [(row.file, row.precision) for row in made.verifications] == [
        ("model.float.tflite", "float32"),
        ("model.float.onnx", "float32"),
        ("model.tflite", "int8"),
        ("model.onnx", "int8"),
    ]


def test_float_files_agree_with_the_checkpoint_and_int8_files_nearly(tiny_export):
    for row in tiny_export[1].verifications:
        assert row.images == 10_000
        assert row.failure is None
        if row.precision == "float32":
            assert row.agreement >= 0.999
            assert row.largest_difference <= 1e-4
        else:
            assert 0.5 < row.agreement < 1
            assert row.top1 == pytest.approx(row.checkpoint_top1, abs=0.01)


def test_the_files_of_a_precision_are_compared_with_each_other(tiny_export):
    out, made = tiny_export
    rows = {row.file: row for row in made.verifications}
    assert rows["model.tflite"].counterpart is rows["model.float.tflite"].counterpart is None
    test = shipped.test_set().images()
    of_tflite, of_onnx = (probabilities_of(out / name, test) for name in reversed(INT8))
    counterpart = rows["model.onnx"].counterpart
    assert counterpart == divergence(of_tflite, of_onnx)
    assert 0.5 < counterpart.agreement < 1
    assert 0 < counterpart.kl_divergence < 0.03
    assert rows["model.float.onnx"].counterpart.agreement >= 0.999
    known = {row["file"]: row["twin"] for row in card_in(out)["files"]}
    assert known["model.onnx"] == dataclasses.asdict(counterpart)
    assert known["model.tflite"] is None
    text = (out / "card.md").read_text()
    assert f"`model.onnx` on {100 * counterpart.agreement:.2f} %" in text
    assert "No two weights of the same sign in an output channel add up to more than 128" in text


def test_verified_accuracy_is_what_the_published_file_does(tiny_export):
    out, made = tiny_export
    test = shipped.test_set()
    for row in made.verifications[2:]:
        session = runtimes.open_classifier(out / row.file, runtimes.Options(threads=2))
        predicted = session.classify(test.images()).argmax(axis=1)
        assert np.mean(predicted == test.labels) == pytest.approx(row.top1, abs=1e-9)


@pytest.mark.parametrize("name", ["model.tflite", "model.float.tflite"])
def test_tflite_files_keep_the_contract(tiny_export, name):
    opened = interpreter(tiny_export[0] / name)
    (image,), (probabilities,) = opened.get_input_details(), opened.get_output_details()
    assert (image["name"], probabilities["name"]) == ("image", "probabilities")
    assert image["dtype"] == np.uint8
    assert image["shape"].tolist() == image["shape_signature"].tolist() == [1, 32, 32, 3]
    assert probabilities["shape"].tolist() == [1, 10]
    if name == "model.tflite":
        assert image["quantization"] == (pytest.approx(1 / 127.5), 127)
        assert probabilities["dtype"] == np.uint8
        assert probabilities["quantization"] == (pytest.approx(1 / 256), 0)
    else:
        assert probabilities["dtype"] == np.float32


def test_the_int8_tflite_graph_is_clean(tiny_export):
    path = tiny_export[0] / "model.tflite"
    names = operators(path)
    assert names[:3] == ["QUANTIZE", "RESIZE_BILINEAR", "CONV_2D"]
    counts = Counter(names)
    # 52 convolutions, 10 shortcuts: every batch norm is folded into the convolution before it.
    assert counts["CONV_2D"] + counts["DEPTHWISE_CONV_2D"] == 52
    assert counts["ADD"] == 10
    assert not counts.keys() & {"CAST", "MUL", "DEQUANTIZE", "CUSTOM"}
    dtypes = {np.dtype(tensor["dtype"]).name for tensor in interpreter(path).get_tensor_details()}
    assert dtypes == {"uint8", "int8", "int32"}


def test_the_float_tflite_graph_has_only_the_scaling_more(tiny_export):
    names = operators(tiny_export[0] / "model.float.tflite")
    assert names[:4] == ["CAST", "MUL", "ADD", "RESIZE_BILINEAR"]
    assert Counter(names)["MUL"] == 1
    assert Counter(names)["ADD"] == 11


def test_int8_weights_are_per_channel(tiny_export):
    details = interpreter(tiny_export[0] / "model.tflite").get_tensor_details()
    kernels = [t for t in details if len(t["shape"]) == 4 and t["dtype"] == np.int8]
    scales = [len(t["quantization_parameters"]["scales"]) for t in kernels]
    assert sum(count > 1 for count in scales) >= 50


@pytest.mark.parametrize("name", ["model.onnx", "model.float.onnx"])
def test_onnx_files_keep_the_contract(tiny_export, name):
    model = onnx.load(tiny_export[0] / name)
    onnx.checker.check_model(model, full_check=True)
    (image,), (probabilities,) = model.graph.input, model.graph.output
    assert (image.name, probabilities.name) == ("image", "probabilities")
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_value for d in image.type.tensor_type.shape.dim] == [1, 32, 32, 3]
    assert probabilities.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [d.dim_value for d in probabilities.type.tensor_type.shape.dim] == [1, 10]
    assert {o.version for o in model.opset_import if o.domain in ("", "ai.onnx")} == {17}
    assert model.ir_version <= 8


@pytest.mark.parametrize(("name", "head"), [("model.onnx", 0), ("model.float.onnx", 1)])
def test_onnx_graphs_are_clean(tiny_export, name, head):
    counts = Counter(operators(tiny_export[0] / name))
    assert counts["Conv"] == 52
    assert counts["Add"] == 10 + head
    assert counts["Mul"] == counts["Cast"] == head  # the scaling of raw pixels, in float files
    assert not counts.keys() & {"BatchNormalization", "ReduceMean"}


def test_the_int8_onnx_file_is_quantized_all_through(tiny_export):
    model = onnx.load(tiny_export[0] / "model.onnx")
    kernels = [t for t in model.graph.initializer if len(t.dims) == 4]
    assert len(kernels) == 52
    assert {t.data_type for t in kernels} == {onnx.TensorProto.INT8}
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    inputs = [name for node in model.graph.node if node.op_type == "Conv" for name in node.input]
    assert {makers[name] for name in inputs} == {"DequantizeLinear"}


@pytest.mark.parametrize("name", FLOAT + INT8)
def test_what_is_known_travels_inside_the_file(tiny_export, name):
    out, made = tiny_export
    inside = metadata_in(out / name)
    (row,) = [row for row in made.verifications if row.file == name]
    assert inside["labels"] == list(cifar10.CLASSES)
    assert inside["input"]["name"] == "image"
    assert inside["input"]["shape"] == [1, 32, 32, 3]
    assert inside["input"]["dtype"] == "uint8"
    assert inside["recipe"] == "tiny"
    assert inside["top1"] == row.top1
    assert inside["test_images"] == 10_000
    checkpoint = (out / "model.keras").read_bytes()
    assert inside["checkpoint_sha256"] == hashlib.sha256(checkpoint).hexdigest()
    assert ("calibration" in inside) == (row.precision == "int8")


def test_the_card_is_of_these_very_files(tiny_export, tiny_run):
    out, made = tiny_export
    card = card_in(out)
    assert card["checkpoint_sha256"] == files.sha256(out / "model.keras")
    for row, verification in zip(card["files"], made.verifications, strict=True):
        content = (out / row["file"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert row["size_bytes"] == len(content)
        assert row["top1"] == verification.top1
        assert row["agreement"] == verification.agreement
    assert card["training"]["metrics"] == tiny_run.metrics
    assert card["training"]["provenance"]["recipe"]["name"] == "tiny"
    assert card["calibration"]["images"] == 500
    assert card["test_images"] == 10_000


def test_the_published_checkpoint_is_that_of_the_run_at_11_bits(tiny_export, tiny_run):
    out, _ = tiny_export
    compact, source = (open_checkpoint(path) for path in (out / "model.keras", tiny_run.checkpoint))
    assert compact.path.stat().st_size < 0.7 * source.path.stat().st_size
    for kept, whole in zip(compact.model.get_weights(), source.model.get_weights(), strict=True):
        np.testing.assert_allclose(kept, whole, rtol=2**-11, atol=0)
    assert compact.training == source.training
    rounding = card_in(out)["rounding"]
    few = shipped.test_set().images(slice(1000))
    answers = [one.model.predict_on_batch(few) for one in (source, compact)]
    right = [np.mean(rows.argmax(axis=1) == shipped.test_set().labels[:1000]) for rows in answers]
    assert rounding["source_sha256"] == files.sha256(tiny_run.checkpoint)
    assert [rounding["source_top1"], rounding["top1"]] == pytest.approx(right)
    assert rounding["agreement"] == pytest.approx(divergence(*answers).agreement)
    assert 0 < rounding["largest_difference"] < 0.05
    assert "is the checkpoint with its weights rounded to 11 bits" in (out / "card.md").read_text()


def test_a_checkpoint_that_rounding_changes_is_kept_whole(tmp_path, few_test_images):
    """Each class has one large weight and its own hundredth more, which 11 bits do not hold."""
    image, pixels = contract.image_input(32)
    features = keras.layers.GlobalAveragePooling2D(name="features")(pixels)
    model = keras.Model(image, contract.probabilities(features))
    kernel = 100 + np.random.default_rng(0).normal(0, 0.05, (3, 10))
    model.get_layer("probabilities").set_weights([kernel, np.zeros(10)])
    path = tmp_path / "delicate.keras"
    model.save(path)
    made = export(path, tmp_path / "out", ExportSettings())
    assert made.published
    assert (tmp_path / "out" / "model.keras").read_bytes() == path.read_bytes()
    card = card_in(tmp_path / "out")
    assert card["checkpoint_sha256"] == card["rounding"]["source_sha256"] == files.sha256(path)
    assert card["rounding"]["agreement"] < 0.99
    assert "is the checkpoint as it was" in (tmp_path / "out" / "card.md").read_text()


def test_what_rounding_did_is_still_known_of_a_copy(exported, tmp_path):
    known = card_in(exported)["rounding"]
    assert known["source_sha256"] != card_in(exported)["checkpoint_sha256"]
    export(exported / "model.keras", tmp_path / "again", ExportSettings(formats=("tflite",)))
    assert card_in(tmp_path / "again")["rounding"] == known


def test_the_card_for_people_has_the_figures(tiny_export):
    out, made = tiny_export
    text = (out / "card.md").read_text()
    for row in made.verifications:
        assert f"| `{row.file}` | {row.precision} |" in text
        assert f"| {100 * row.top1:.2f} % |" in text
    assert "all for 10 epochs at 48 px" in text
    assert "900 training images" in text
    assert "airplane, automobile" in text


def test_a_network_that_resizes_nothing_exports_too(small_export):
    out, made = small_export
    assert made.published
    assert operators(out / "model.tflite")[:2] == ["QUANTIZE", "CONV_2D"]
    assert "Resize" not in operators(out / "model.onnx")
    assert not {"Cast", "Mul"} & set(operators(out / "model.onnx"))


def test_an_export_again_keeps_what_is_known_and_names_what_is_outdated(exported):
    before = contents(exported)
    made = export(exported / "model.keras", exported, ExportSettings())
    assert [row.file for row in made.verifications] == ["model.float.tflite", "model.float.onnx"]
    assert sorted(path.name for path in made.outdated) == INT8
    after = contents(exported)
    assert all(after[name] == before[name] for name in ["model.keras", *INT8])
    card = card_in(exported)
    assert card["training"] == json.loads(before["card.json"])["training"]
    assert card["training"]["provenance"]["recipe"]["name"] == "convolution"
    assert [row["file"] for row in card["files"]] == ["model.float.tflite", "model.float.onnx"]
    assert card["calibration"] is None


def test_a_folder_in_the_place_of_a_file_leaves_the_earlier_files(exported):
    (exported / "model.float.onnx").unlink()
    (exported / "model.float.onnx").mkdir()
    before = {path.name: path.read_bytes() for path in exported.iterdir() if path.is_file()}
    with pytest.raises(UserError, match=r"model\.float\.onnx: it is a folder"):
        export(exported / "model.keras", exported, ExportSettings())
    assert before == {path.name: path.read_bytes() for path in exported.iterdir() if path.is_file()}


def test_the_card_of_a_run_that_was_stopped_says_so(exported):
    card = card_in(exported)
    assert "stopped" not in markdown(card)
    card["training"]["metrics"]["interrupted"] = True
    assert "The run was stopped before its end." in markdown(card)


def test_the_card_of_a_distilled_run_names_its_teachers(
    small_run, small_network, tmp_path, few_test_images
):
    unknown = tmp_path / "unknown.keras"
    shutil.copy(small_run.checkpoint, unknown)
    fields = ("head.epochs=0", "finetune.epochs=1", "distillation.crops=1")
    teachers = f"distillation.teachers={small_run.checkpoint},{unknown}"
    student = trainer.train(
        recipes.override(tiny_training.CONVOLUTION, [*fields, teachers]),
        shipped.calibration_set(),
        tmp_path / "run",
        tiny_training.no_progress,
        tiny_training.ignore,
    )
    export(student.checkpoint, tmp_path / "out", ExportSettings(formats=("tflite",)))
    text = (tmp_path / "out" / "card.md").read_text()
    checkpoint = f"checkpoint {files.sha256(unknown)[:12]}"
    assert (
        "It learned from the answers of 2 teachers, averaged, with 70 % of the loss at temperature "
        f"2: recipe `convolution`, {checkpoint}, {100 * small_run.metrics['test_top1']:.2f} % of "
        f"the test images; the {checkpoint}, of unknown origin.\n"
    ) in text
    card = card_in(tmp_path / "out")
    card["training"]["provenance"] = {
        **card["training"]["provenance"],
        "teachers": None,
        "started_from": {"sha256": "0" * 64, "provenance": card["training"]["provenance"]},
    }
    again = markdown(card)
    assert "learned from the answers" not in again
    assert ", augmented by a crop with 4 px of reflected border, a flip, distilled." in again


def test_a_license_is_stated_only_where_it_is_given(exported, tmp_path):
    """Whose a run's weights are, only its owner knows."""
    card, text = card_in(exported), (exported / "card.md").read_text()
    assert card["training"] is not None
    assert card["license"] is None
    assert "license:" not in text.partition("\n# ")[0]
    assert "library_name: edgecifar" in text
    assert "License: that of the checkpoint." in text
    wanted = ExportSettings(formats=("tflite",), license="Apache-2.0")
    export(exported / "model.keras", tmp_path, wanted)
    assert card_in(tmp_path)["license"] == "Apache-2.0"
    assert metadata_in(tmp_path / "model.float.tflite")["license"] == "Apache-2.0"
    text = (tmp_path / "card.md").read_text()
    assert "\nlicense: apache-2.0\n" in text
    assert "License: Apache-2.0." in text


def _paths_in(value, path=()):
    """The paths to everything in a JSON value, at any depth."""
    entries = value.items() if isinstance(value, dict) else ()
    entries = enumerate(value) if isinstance(value, list) else entries
    for key, inner in entries:
        yield (*path, key)
        yield from _paths_in(inner, (*path, key))


@pytest.mark.parametrize("how", ["missing", "a text", "none", "a list", "a huge number"])
def test_a_card_says_what_an_odd_run_says_and_leaves_out_the_rest(exported, how):
    whole = card_in(exported)
    sentences = markdown(whole)
    assert "Stages: " in sentences
    needed = {("provenance",), ("metrics",), ("provenance", "recipe")}
    needed |= {("provenance", "recipe", "name"), ("metrics", "best_epoch")}
    paths = [path for path in _paths_in(whole["training"]) if path not in needed]
    seen = [path for path in paths if "machine" not in path and len(path) < 6]
    assert len(seen) > 30
    for path in seen:
        card = copy.deepcopy(whole)
        *outer, last = path
        inside = card["training"]
        for key in outer:
            inside = inside[key]
        if how == "missing" and isinstance(inside, dict):
            del inside[last]
        else:
            odd = {"a text": "odd", "none": None, "a list": [], "a huge number": 10**400}
            inside[last] = odd.get(how, {})
        assert markdown(card).startswith("---"), path


def test_an_odd_run_is_exported(small_run, tmp_path, caplog, few_test_images):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(small_run.checkpoint, run / "model.keras")
    odd = {"recipe": {"name": "theirs", "stages": "many", "source": 3}}
    (run / "recipe.json").write_text(json.dumps(odd))
    (run / "metrics.json").write_text(json.dumps({"best_epoch": {"epoch": 3}}))
    (run / "card.json").write_text("[]")
    made = export(run / "model.keras", tmp_path / "out", ExportSettings(formats=("tflite",)))
    assert made.published
    assert f"ignored: {run / 'card.json'}: " in caplog.text
    assert metadata_in(tmp_path / "out" / "model.float.tflite")["recipe"] == "theirs"
    text = (tmp_path / "out" / "card.md").read_text()
    assert "# theirs, CIFAR-10" in text
    assert "Stages" not in text
    assert "All details are in `card.json`." in text


def test_what_a_killed_export_left_is_cleared_by_the_next(exported):
    left = exported / f".partial-{os.getpid()}-left"
    left.mkdir()
    (left / "model.tflite").write_bytes(b"half")
    export(exported / "model.keras", exported, ExportSettings(formats=("tflite",)))
    assert not left.exists()


def test_a_tool_under_another_name_is_left_out_of_the_card(
    small_run, tmp_path, monkeypatch, few_test_images
):
    monkeypatch.setattr("edgecifar.export.card.TOOLS", ("keras", "no-such-tool"))
    export(small_run.checkpoint, tmp_path, ExportSettings())
    assert list(card_in(tmp_path)["tools"]) == ["keras"]


def test_without_int8_only_float_files_are_made_and_the_card_says_nothing_unknown(
    small_run, tmp_path, few_test_images
):
    alone = shutil.copy(small_run.checkpoint, tmp_path / "alone.keras")
    made = export(alone, tmp_path / "out", ExportSettings())
    assert names_in(tmp_path / "out") == sorted(FLOAT + BESIDE)
    assert made.outdated == []
    assert card_in(tmp_path / "out")["training"] is None
    assert metadata_in(tmp_path / "out" / FLOAT[0])["recipe"] is None
    assert "is not known" in (tmp_path / "out" / "card.md").read_text()


def test_converters_print_into_the_log_and_not_onto_the_screen(
    small_run, tmp_path, capfd, monkeypatch, few_test_images
):
    real = tflite.float_tflite

    def talking(model):
        os.write(1, b"hundreds of lines")
        return real(model)

    monkeypatch.setattr(tflite, "float_tflite", talking)
    with on_stderr() as progress:
        export(small_run.checkpoint, tmp_path, settings.INT8, progress)
    screen = capfd.readouterr()
    assert screen.out == ""
    assert [line.partition(":")[0] for line in screen.err.splitlines()] == [
        "opening the checkpoint",
        "converting to TFLite float32",
        "converting to scaled pixels",
        "converting to int8 weights",
        "converting to int8 ranges",
        "converting to int8 by each calibration",
        "converting to int8 beside float, layer by layer",
        "converting to ONNX float32",
        "converting to TFLite int8",
        "converting to ONNX int8",
    ]
    assert "hundreds of lines" in (tmp_path / "export.log").read_text()
    os.write(1, b"the screen is back")
    assert capfd.readouterr().out == "the screen is back"


def _without_its_largest_weights(file):
    """The same TFLite file with zeros for its largest tensor."""
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    largest = max(model.buffers, key=lambda buffer: 0 if buffer.data is None else len(buffer.data))
    content = bytearray(file)
    start = content.find(bytes(largest.data))
    content[start : start + len(largest.data)] = bytes(len(largest.data))
    return bytes(content)


def test_when_one_file_fails_nothing_is_published(exported, monkeypatch):
    real = conversion.with_batch

    def damaging(file, batch):
        whole = real(file, batch)
        int8 = Graph(whole).outputs[0].dtype == "uint8"
        return _without_its_largest_weights(whole) if int8 else whole

    monkeypatch.setattr(conversion, "with_batch", damaging)
    before = contents(exported)
    made = export(exported / "model.keras", exported, settings.INT8)
    assert not made.published
    failures = {row.file: row.failure for row in made.verifications if row.failure}
    assert list(failures) == ["model.tflite", "model.onnx"]
    assert "points lower, more than 1" in failures["model.tflite"]
    assert "TFLite file" in failures["model.onnx"]  # one of both must be wrong
    after = contents(exported)
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] in ([], ["export.log"])


def _same_as(before):
    """What the folder holds but for the log."""
    return {name: content for name, content in before.items() if name != "export.log"}


def test_a_file_that_fails_as_it_runs_is_one_line_and_leaves_the_earlier_files(exported):
    """It looks at the second image of its batch, which Keras's many images have."""
    image, pixels = contract.image_input(32)
    features = keras.layers.GlobalAveragePooling2D(name="features")(pixels)
    features = features - keras.ops.take(features, np.array([1]), axis=0)
    path = exported.parent / "second.keras"
    keras.Model(image, contract.probabilities(features)).save(path)
    before = contents(exported)
    with pytest.raises(CheckFailed) as error:
        export(path, exported, ExportSettings(formats=("tflite",)))
    message = str(error.value)
    assert message.startswith("nothing was written: model.float.tflite does not run: ")
    assert "gather index out of bounds" in message
    assert "\n" not in message
    assert ".partial" not in message
    assert _same_as(contents(exported)) == _same_as(before)


def test_a_file_that_takes_one_image_only_is_not_published_for_any_number(
    tmp_path, few_test_images
):
    """A token that Keras repeats for every image is one constant in the file of a batch of 1."""
    image, pixels = contract.image_input(32)
    features = keras.layers.Reshape((16, 192), name="patches")(pixels)
    token = keras.layers.Dense(192, use_bias=True, name="token")
    first = token(keras.ops.zeros_like(features[:, :1]))
    joined = keras.layers.Concatenate(axis=1, name="joined")([first, features])
    features = keras.layers.GlobalAveragePooling1D(name="features")(joined)
    path = tmp_path / "token.keras"
    keras.Model(image, contract.probabilities(features)).save(path)
    with pytest.raises(CheckFailed) as error:
        export(path, tmp_path / "out", ExportSettings(formats=("tflite",), batch="dynamic"))
    message = str(error.value)
    assert message.startswith("nothing was written: model.float.tflite does not run")
    assert ".partial" not in message
    assert names_in(tmp_path / "out") == ["export.log"]
    assert export(path, tmp_path / "out", ExportSettings(formats=("tflite",))).published


def test_metadata_that_changes_what_a_file_computes_is_never_published(exported, monkeypatch):
    real = tflite.with_metadata

    def damaging(file, text):
        return real(_without_its_largest_weights(file) if "top1" in text else file, text)

    monkeypatch.setattr(tflite, "with_metadata", damaging)
    before = contents(exported)
    with pytest.raises(RuntimeError, match="metadata changed"):
        export(exported / "model.keras", exported, ExportSettings())
    assert {**contents(exported), "export.log": before["export.log"]} == before


def test_a_model_that_does_not_convert_is_one_line_that_names_the_log(
    small_run, tmp_path, few_test_images
):
    import keras

    model = open_checkpoint(small_run.checkpoint).model
    sorted_pixels = keras.ops.fft2((model.get_layer("scale").output,) * 2)[0]
    features = keras.layers.GlobalAveragePooling2D()(sorted_pixels)
    output = keras.layers.Dense(10, activation="softmax", name="probabilities")(features)
    path = tmp_path / "fourier.keras"
    keras.Model(model.input, output).save(path)
    with pytest.raises(UserError, match=f"{path} does not convert to ") as error:
        export(path, tmp_path / "out", ExportSettings())
    assert "\n" not in str(error.value)
    assert str(tmp_path / "out" / "export.log") in str(error.value)
    assert names_in(tmp_path / "out") == ["export.log"]


def test_a_damaged_checkpoint_leaves_the_earlier_files(exported):
    before = contents(exported)
    broken = exported.parent / "broken.keras"
    broken.write_bytes(b"PK")
    with pytest.raises(UserError, match="cannot be opened as a Keras checkpoint"):
        export(broken, exported, settings.INT8)
    assert {**contents(exported), "export.log": before["export.log"]} == before


def test_a_folder_below_a_file_is_one_line(small_run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write in .*file/out: Not a directory"):
        export(small_run.checkpoint, tmp_path / "file" / "out", ExportSettings())


def test_a_full_disk_is_one_line_and_leaves_the_earlier_files(exported, file_size_limit):
    before = contents(exported)
    smallest = min(len(before[name]) for name in FLOAT)
    with pytest.raises(UserError) as error, file_size_limit(smallest - 1000):
        export(exported / "model.keras", exported, ExportSettings())
    assert "\n" not in str(error.value)
    assert {**contents(exported), "export.log": before["export.log"]} == before


def test_a_name_that_cannot_be_given_puts_all_others_back(exported, monkeypatch):
    real = files.move_whole

    def failing(partial, path):
        if path.name == "model.float.onnx":
            raise UserError(f"cannot write {path}: no more")
        real(partial, path)

    monkeypatch.setattr(files, "move_whole", failing)
    before = contents(exported)
    with pytest.raises(UserError, match="no more"):
        export(
            exported / "model.keras", exported, ExportSettings(precisions=("float32", "float16"))
        )
    assert {**contents(exported), "export.log": before["export.log"]} == before


def test_the_same_checkpoint_gives_the_same_bytes(exported, tmp_path):
    made = export(exported / "model.keras", tmp_path / "again", settings.INT8)
    assert made.published
    again = contents(tmp_path / "again")
    for name in [*FLOAT, *INT8, "card.json", "card.md", "model.keras"]:
        if name != "model.keras":  # the checkpoint is rounded to 11 bits once more, to the same
            assert again[name] == contents(exported)[name], name


def test_every_precision_is_made_verified_and_named(exported, tmp_path):
    made = export(
        exported / "model.keras",
        tmp_path,
        ExportSettings(
            precisions=("float16", "dynamic", "int8", "int8-float-io", "int16x8"),
            calibration="percentile",
            keep_float=("probabilities",),
            c_array=True,
        ),
    )
    assert made.published, [row.failure for row in made.verifications]
    assert {row.file for row in made.verifications} == {
        "model.float16.tflite",
        "model.float16.onnx",
        "model.dynamic.tflite",
        "model.dynamic.onnx",
        "model.tflite",
        "model.onnx",
        "model.int8-float-io.tflite",
        "model.int8-float-io.onnx",
        "model.int16x8.tflite",
    }
    rows = {row.file: row for row in made.verifications}
    assert rows["model.int16x8.tflite"].kl_divergence < rows["model.tflite"].kl_divergence
    assert made.calibration["method"] == "percentile"
    assert made.calibration["tried"] == []
    assert made.calibration["kept_float"][-1] == "probabilities"
    assert "Kept in float" in (tmp_path / "card.md").read_text()
    assert metadata_in(tmp_path / "model.int8-float-io.tflite")["input"]["dtype"] == "float32"
    assert "alignas(16)" in (tmp_path / "model.cc").read_text()


def test_an_operator_that_nobody_asked_to_stay_float_keeps_the_export_back(
    exported, tmp_path, monkeypatch
):
    real = quantizer.quantize

    def leaving_one_more(file, scaling, precision, ranges=None, keep_float=()):
        (more,) = (
            operator.outputs[0].name
            for operator in Graph(file).operators
            if operator.outputs[0].name.startswith("second")
        )
        return real(file, scaling, precision, ranges, [*keep_float, more])

    monkeypatch.setattr(quantizer, "quantize", leaving_one_more)
    wanted = ExportSettings(
        precisions=("int8", "int16x8"), calibration="minmax", keep_float=("probabilities",)
    )
    made = export(exported / "model.keras", tmp_path, wanted)
    assert not made.published
    failures = {row.file: row.failure for row in made.verifications}
    assert list(failures) == ["model.tflite", "model.onnx", "model.int16x8.tflite"]
    assert "float tensors in a file of int8: second" in failures["model.tflite"]
    assert "products are not of int8: Conv of float32" in failures["model.onnx"]
    assert "float tensors in a file of int16x8: second" in failures["model.int16x8.tflite"]


@pytest.mark.parametrize("precision", ["dynamic", "float16"])
def test_a_file_that_silently_stayed_float32_keeps_the_export_back(
    exported, tmp_path, monkeypatch, precision
):
    with_scaling = raw_pixels.with_scaling
    monkeypatch.setattr(
        quantizer,
        "quantize",
        lambda file, scaling, precision: with_scaling(file, scaling, np.uint8),
    )
    monkeypatch.setattr(onnx_files, "float16_onnx", onnx_files.float_onnx)
    made = export(exported / "model.keras", tmp_path, ExportSettings(precisions=(precision,)))
    assert not made.published
    assert len(made.verifications) == 2
    for row in made.verifications:
        assert f"products are not of {precision}: C" in row.failure, row.file
        assert row.agreement == 1


@pytest.mark.parametrize("batch", [4, "dynamic"])
def test_files_of_another_batch_are_verified_at_it(exported, tmp_path, batch):
    wanted = ExportSettings(
        precisions=("int8", "dynamic", "float16"), calibration="minmax", batch=batch
    )
    made = export(exported / "model.keras", tmp_path, wanted)
    assert made.published, [row.failure for row in made.verifications]
    assert card_in(tmp_path)["input"]["shape"] == [batch, 32, 32, 3]
    (image,) = interpreter(tmp_path / "model.tflite").get_input_details()
    assert image["shape_signature"][0] == (-1 if batch == "dynamic" else batch)


def test_an_export_killed_between_its_files_leaves_a_card_that_contradicts_them(
    exported, tmp_path, monkeypatch, caplog
):
    """Wherever it is killed, old cards stand beside new files, which the next export notices."""
    scratch = tmp_path / "scratch"
    shutil.copytree(exported, scratch)
    for name in ("model.tflite", "model.float.tflite"):
        (scratch / name).write_bytes(b"another " + (scratch / name).read_bytes())
    order = []
    monkeypatch.setattr(files, "move_whole", lambda path, to: order.append(to.name))
    exporter._publish(scratch, exported)
    assert order[-2:] == ["card.md", "card.json"]
    assert len(order) > 4
    shutil.copy(scratch / "model.float.tflite", exported)  # as far as it got
    assert provenance.contradictions(exported) == [
        f"{exported / 'card.json'} describes another model.float.tflite: the file was replaced, "
        "or an export was interrupted; export again"
    ]
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"missing\.keras"):
        export(exported / "missing.keras", exported, ExportSettings())
    assert "describes another model.float.tflite" in caplog.text
