"""What a file is, by its first bytes."""

import pickle
import struct
import zipfile

import pytest

from edgecifar.errors import UserError
from edgecifar.graphs import kinds


def zip_of(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return path


def written(path, content):
    path.write_bytes(content)
    return path


def test_what_others_make_is_named_for_what_it_is(tmp_path):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    header = b'{"conv.weight": {}}'
    # What torch.save writes, before and since PyTorch 1.6, begins with this number.
    old_torch = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
    files = {
        kinds.LFS_POINTER: written(tmp_path / "a.tflite", pointer),
        kinds.TORCH: zip_of(tmp_path / "b.pth", "archive/data.pkl", "archive/data/0"),
        kinds.TORCHSCRIPT: zip_of(tmp_path / "c.pt", "net/constants.pkl", "net/data.pkl"),
        kinds.TORCH_PROGRAM: zip_of(tmp_path / "d.pt2", "net/models/model.json"),
        kinds.PICKLE: written(tmp_path / "e.pkl", pickle.dumps({"a": 1}, protocol=4)),
        kinds.WEB_PAGE: written(tmp_path / "f.onnx", b"\n<!DOCTYPE html><html></html>"),
        kinds.SAFETENSORS: written(tmp_path / "g.bin", struct.pack("<Q", len(header)) + header),
        kinds.TF_CHECKPOINT: written(tmp_path / "h.ckpt.index", b"\0\0"),
        kinds.SAVED_MODEL_GRAPH: written(tmp_path / "saved_model.pb", b"\x08\x01"),
        kinds.KERAS: zip_of(tmp_path / "i.anything", "config.json", "metadata.json"),
        kinds.KERAS_H5: written(tmp_path / "j.keras", kinds.HDF5_MAGIC),
        kinds.ONNX: written(tmp_path / "k.onnx", b"\x08\x0a"),
    }
    for kind, path in files.items():
        assert kinds.of(path) is kind
    old = written(tmp_path / "old.pth", old_torch)
    assert kinds.of(old) is kinds.TORCH
    assert kinds.of(tmp_path) is kinds.SAVED_MODEL
    assert kinds.of(written(tmp_path / "l.bin", b"anything")) is None
    (tmp_path / "folder").mkdir()
    assert kinds.of(tmp_path / "folder") is None


def test_another_kind_is_refused_with_the_way_forward(tmp_path):
    torch = zip_of(tmp_path / "b.onnx", "archive/data.pkl")
    with pytest.raises(UserError, match=r"b\.onnx: is a PyTorch checkpoint: .*torch\.onnx\.export"):
        kinds.refuse_others(torch, kinds.ONNX)
    keras = zip_of(tmp_path / "c.tflite", "config.json")
    with pytest.raises(UserError, match=r"c\.tflite: is a \.keras file, not a TFLite file"):
        kinds.refuse_others(keras, kinds.TFLITE)
    with pytest.raises(UserError, match=r"cannot be read: No such file"):
        kinds.refuse_others(tmp_path / "none.onnx", kinds.ONNX)
    kinds.refuse_others(keras, kinds.TFLITE, kinds.KERAS)


def test_a_file_of_the_edge_tpu_is_known_by_its_operator():
    assert kinds.is_for_edge_tpu(b"...edgetpu-custom-op...")
    assert not kinds.is_for_edge_tpu(b"CONV_2D")
