"""`edgecifar data`."""

import os
import re

import pytest
import typer

from edgecifar.cli.data import app
from edgecifar.data import shipped


def test_the_help_names_every_command_and_no_other(edgecifar):
    group = typer.main.get_command(app)
    assert set(re.findall(r"`(\w+)`", group.help.lower())) == set(group.commands)
    code, out, _ = edgecifar("data", "--help")
    assert code == 0
    for name in group.commands:
        assert re.search(rf"^│ {name} ", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data", "download", "--source", "nowhere"], "no CIFAR-10 source 'nowhere'"),
    ],
)
def test_a_wrong_argument_is_one_line(refused, arguments, words):
    assert words in refused(*arguments)


def test_data_verify_names_the_flipped_file_and_fails(edgecifar, official):
    code, out, err = edgecifar("data", "verify")
    assert (code, err) == (0, "")
    assert out.count("ok\n") == 6
    flipped = official / "data_batch_3.bin"
    content = bytearray(flipped.read_bytes())
    content[1234] ^= 1
    flipped.write_bytes(content)
    code, out, err = edgecifar("data", "verify")
    assert code == 1
    assert "data_batch_3.bin  damaged\n" in out
    assert err.startswith("edgecifar: data_batch_3.bin is damaged in ")
    assert "edgecifar data download" in err
    assert err.count("\n") == 1


def test_data_verify_reads_the_decoded_sample_too_and_download_repairs_it(edgecifar, official):
    shipped.calibration_set()
    code, out, _ = edgecifar("data", "verify")
    assert code == 0
    assert "train_shipped.bin  ok\n" in out
    sample = official / "train_shipped.bin"
    before = sample.stat()
    with sample.open("rb+") as file:
        file.write(bytes(1_500_000))
    os.utime(sample, ns=(before.st_atime_ns, before.st_mtime_ns))  # as failing disks do it
    code, out, err = edgecifar("data", "verify")
    assert code == 1
    assert "train_shipped.bin  damaged\n" in out
    assert err.startswith("edgecifar: train_shipped.bin is damaged in ")
    code, out, _ = edgecifar("data", "download")
    assert (code, out) == (0, f"already there: all 6 files, in {official}\n")
    assert edgecifar("data", "verify")[0] == 0


def test_data_info_shows_what_there_is(edgecifar, official):
    code, out, _ = edgecifar("data", "info")
    assert code == 0
    assert str(official) in out
    assert "50,000 for training, 10,000 for testing" in out
    assert out.count("present") == 6
