"""Files that are no models, each made in a folder: what a command has to refuse in one line."""

import tiny_models


def missing(folder):
    return folder / "missing.tflite"


def directory(folder):
    return folder


def empty(folder):
    (folder / "empty.tflite").touch()
    return folder / "empty.tflite"


def text(folder):
    (folder / "text.tflite").write_text("a model, they said\n")
    return folder / "text.tflite"


def truncated_tflite(folder):
    path = tiny_models.write_tflite(folder / "cut.tflite")
    path.write_bytes(path.read_bytes()[:5000])
    return path


def truncated_onnx(folder):
    path = tiny_models.write_onnx(folder / "cut.onnx")
    path.write_bytes(path.read_bytes()[:5000])
    return path


def truncated_keras(folder):
    path = tiny_models.write_keras(folder / "cut.keras")
    path.write_bytes(path.read_bytes()[:5000])
    return path


BAD_FILES = [missing, directory, empty, text, truncated_tflite, truncated_onnx]
