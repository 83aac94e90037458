"""Images of any kind and size become the square pixels that a model takes."""

import io
import logging
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecifar.errors import UserError
from edgecifar.predict.images import pixels_of

ORIENTATION = 0x0112
MODES = (
    *("1", "L", "P", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"),
    *("LA", "La", "PA", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"),
)


def photo(width: int, height: int) -> np.ndarray:
    """Noise with a smooth background, uint8 (height, width, 3)."""
    generator = np.random.default_rng(0)
    slope = np.linspace(0, 200, width)[None, :, None]
    return (slope + generator.integers(0, 55, (height, width, 3))).astype(np.uint8)


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG file of 9 pixels whose header says that size."""
    file = io.BytesIO()
    Image.new("RGB", (3, 3)).save(file, "PNG")
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = file.getvalue()
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def test_pixels_of_the_right_size_stay_as_they_are():
    one, several = photo(32, 32), np.stack([photo(32, 32)] * 3)
    np.testing.assert_array_equal(pixels_of(one, 32), one[None])
    np.testing.assert_array_equal(pixels_of(several, 32), several)
    np.testing.assert_array_equal(pixels_of(Image.fromarray(one), 32), one[None])


def test_a_file_is_read_by_its_path(tmp_path):
    Image.fromarray(photo(32, 32)).save(tmp_path / "photo.png")
    path = tmp_path / "photo.png"
    for given in (path, str(path), [path], (str(path),)):
        np.testing.assert_array_equal(pixels_of(given, 32), photo(32, 32)[None])


def test_a_list_may_mix_all_kinds_and_sizes_and_keeps_their_order(tmp_path):
    Image.new("RGB", (40, 50), (1, 1, 1)).save(tmp_path / "one.png")
    given = [
        np.zeros((32, 32, 3), np.uint8),
        tmp_path / "one.png",
        Image.new("L", (9, 7), 2),
        np.full((2, 100, 80, 3), 3, np.uint8),
    ]
    found = pixels_of(given, 32)
    assert (found.shape, found.dtype) == ((5, 32, 32, 3), np.uint8)
    assert found.flags.c_contiguous
    assert [len(np.unique(image)) for image in found] == [1] * 5
    assert found[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 3]


@pytest.mark.parametrize(
    "nothing", [[], np.empty((0, 32, 32, 3), np.uint8), np.empty((0, 9, 8, 3), np.uint8)]
)
def test_no_image_is_no_error(nothing):
    assert pixels_of(nothing, 32).shape == (0, 32, 32, 3)


@pytest.mark.parametrize(("width", "height"), [(96, 32), (32, 96), (97, 33)])
def test_the_centre_square_is_taken(width, height):
    pixels = np.zeros((height, width, 3), np.uint8)
    side = min(width, height)
    top, left = (height - side) // 2, (width - side) // 2
    pixels[top : top + side, left : left + side] = 200
    found = pixels_of(pixels, 32)
    assert found.min() == found.max() == 200


def test_a_larger_image_is_averaged_and_not_sampled():
    """Stripes one pixel wide become gray; every second pixel alone would be black or white."""
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    found = pixels_of(stripes, 32)
    assert np.abs(found.astype(int) - 127).max() <= 2


def test_a_large_jpeg_is_reduced_as_its_pixels_are(tmp_path):
    Image.fromarray(photo(1600, 1200)).save(tmp_path / "photo.jpg", quality=95)
    with Image.open(tmp_path / "photo.jpg") as decoded:
        expected = pixels_of(np.asarray(decoded), 32)
    found = pixels_of(tmp_path / "photo.jpg", 32)
    assert np.abs(found.astype(int) - expected).max() <= 4


def test_a_smaller_image_is_enlarged():
    found = pixels_of(np.full((5, 5, 3), 77, np.uint8), 32)
    assert (found == 77).all()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff", ".webp"])
@pytest.mark.parametrize(
    ("orientation", "where"), [(1, "top"), (3, "bottom"), (6, "right"), (8, "left")]
)
def test_rotation_noted_in_exif_is_applied(tmp_path, halves, orientation, where, suffix):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    halves.save(tmp_path / f"photo{suffix}", exif=exif)
    (found,) = pixels_of(tmp_path / f"photo{suffix}", 32)
    edges = {"top": found[0], "bottom": found[-1], "left": found[:, 0], "right": found[:, -1]}
    assert all((edge[:, 0] > 128).all() == (name == where) for name, edge in edges.items())


def test_rotation_leaves_the_callers_image_as_it_was(halves):
    halves.getexif()[ORIENTATION] = 3
    (found,) = pixels_of(halves, 32)
    assert found[0, 0, 2] > 128
    assert halves.getpixel((0, 0))[0] > 128


@pytest.mark.parametrize("mode", MODES)
def test_any_mode_becomes_rgb(mode):
    (found,) = pixels_of(Image.new(mode, (50, 40)), 32)
    assert (found.shape, found.dtype) == ((32, 32, 3), np.uint8)


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    Image.fromarray(np.full((40, 40), 40_000, np.uint16)).save(tmp_path / "deep.png")
    assert (pixels_of(tmp_path / "deep.png", 32) == 40_000 >> 8).all()


def test_sixteen_bits_of_a_pgm_are_scaled_too(tmp_path):
    """Pillow gives them as 32 bits."""
    pixels = np.full((40, 40), 40_000, ">u2")
    (tmp_path / "deep.pgm").write_bytes(b"P5 40 40 65535\n" + pixels.tobytes())
    assert (pixels_of(tmp_path / "deep.pgm", 32) == 40_000 >> 8).all()


def test_what_bicubic_interpolation_enlarges_comes_back(tmp_path):
    small = Image.fromarray(photo(32, 32))
    for side in (33, 40, 64, 500, 1000):
        small.resize((side, side), Image.Resampling.BICUBIC).save(tmp_path / "large.png")
        found = pixels_of(tmp_path / "large.png", 32)[0]
        assert np.abs(found.astype(int) - np.asarray(small)).mean() < 2, side


def test_what_pillow_logs_is_not_printed(capfd):
    logging.getLogger("PIL.TiffImagePlugin").error("odd")
    assert capfd.readouterr().err == ""


def test_a_palette_with_transparency_is_no_warning(tmp_path):
    image = Image.new("P", (32, 32))
    image.putpalette([9, 8, 7] * 256)
    image.save(tmp_path / "palette.png", transparency=bytes([0] * 256))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pixels_of(tmp_path / "palette.png", 32)
    assert (found == (9, 8, 7)).all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((32, 32, 3), np.float32), "the images are float32: give uint8"),
        (np.zeros((32, 32), np.uint8), r"the shape \(32, 32\)"),
        (np.zeros((1, 3, 32, 32), np.uint8), r"the shape \(1, 3, 32, 32\)"),
        (np.zeros((32, 32, 4), np.uint8), r"the shape \(32, 32, 4\)"),
        (np.zeros((0, 32, 3), np.uint8), r"the shape \(0, 32, 3\)"),
        (np.zeros((1, 1, 32, 32, 3), np.uint8), r"the shape \(1, 1, 32, 32, 3\)"),
        (Image.new("RGB", (0, 5)), "has no pixels"),
        (7, "cannot read a int as an image"),
        ([None], "cannot read a NoneType as an image"),
        (b"photo.jpg", "cannot read a bytes as an image"),
        ("no-such.jpg", "no-such.jpg: cannot be read: No such file"),
        (Path("/"), "/: cannot be read: Is a directory"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(given, words):
    with pytest.raises(UserError, match=words) as refused:
        pixels_of(given, 32)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".gif", ".bmp", ".tiff", ".jp2"])
@pytest.mark.parametrize("part", [0.02, 0.5])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, suffix, part):
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(photo(200, 200)).save(path)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(UserError, match=f"photo{suffix}: ") as refused:
        pixels_of(path, 32)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    """PostScript among them, for which Pillow would start a program."""
    (tmp_path / "photo.png").write_bytes(content)
    with pytest.raises(
        UserError, match=r"photo.png: is not an image that can be read: give AVIF, BMP"
    ):
        pixels_of(tmp_path / "photo.png", 32)


@pytest.mark.parametrize("side", [10_000, 14_000, 60_000])
def test_a_file_that_claims_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, side):
    """More than the limit, where Pillow warns, and more than twice that, where it refuses."""
    (tmp_path / "bomb.png").write_bytes(png_that_claims(side, side))
    with (
        warnings.catch_warnings(record=True) as warned,
        pytest.raises(UserError, match=r"bomb.png: has more than 89,478,485 pixels"),
    ):
        pixels_of(tmp_path / "bomb.png", 32)
    assert not warned


def test_the_limit_is_pillows_and_holds_for_its_images_too(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99)
    with pytest.raises(UserError, match="the image: has more than 99 pixels"):
        pixels_of(Image.new("RGB", (10, 10)), 32)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert len(pixels_of(Image.new("RGB", (10, 10)), 32)) == 1
