"""How a network expects its pixels: each channel minus a mean, divided by a standard deviation.

A file rarely says which one it was trained with, and a wrong one costs accuracy without an error.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from edgecifar.errors import UserError

AUTO = "auto"
# Ends the name of a normalization whose channels go in as blue, green, red, as OpenCV reads them.
BGR = "-bgr"


@dataclass(frozen=True)
class Normalization:
    """Real values of pixels: `(pixel / 255 - mean) / deviation`, for red, green and blue.

    Attributes:
        name: as the user and the results write it.
        mean: of pixels in [0, 1].
        deviation: the standard deviation, likewise, above 0.
        bgr: whether the channels then go in as blue, green, red.
    """

    name: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    bgr: bool = False

    @property
    def scale(self) -> float | list[float]:
        """What a pixel of 0 to 255 is multiplied by: one number where the channels are the same."""
        return _one_or_all([1 / (255 * deviation) for deviation in self.deviation])

    @property
    def offset(self) -> float | list[float]:
        """What is added to that product: one number where the channels are the same."""
        channels = zip(self.mean, self.deviation, strict=True)
        return _one_or_all([0.0 - mean / deviation for mean, deviation in channels])

    @property
    def swapped(self) -> "Normalization":
        """The same with the channels in the order blue, green, red."""
        return dataclasses.replace(self, name=self.name + BGR, bgr=True)

    def values(self) -> np.ndarray:
        """The real value of each pixel value in each channel, float64 (256, 3)."""
        pixels = np.arange(256)[:, None] / 255
        return (pixels - self.mean) / self.deviation


def _one_or_all(channels: list[float]) -> float | list[float]:
    return channels[0] if len(set(channels)) == 1 else channels


def _same(name: str, mean: float, deviation: float) -> Normalization:
    return Normalization(name, (mean,) * 3, (deviation,) * 3)


# Into an input of integers goes the pixel itself, whatever its scale; see `preparation.values`.
RAW = _same("raw", 0, 1 / 255)

# In the order in which `auto` tries them.
NAMED = {
    normalization.name: normalization
    for normalization in (
        RAW,
        _same("unit", 0, 1),
        _same("symmetric", 0.5, 0.5),
        _same("centered", 0.5, 1),
        # Of torchvision's models.
        Normalization("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        # Of CIFAR-10's training set.
        Normalization(
            "cifar10",
            (0.49139968, 0.48215841, 0.44653091),
            (0.24703223, 0.24348513, 0.26158784),
        ),
        # The standard deviation within an image, averaged over the images, as in
        # https://github.com/kuangliu/pytorch-cifar, and in most of what was trained after it.
        Normalization("pytorch-cifar", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    )
}
# Other names of the same.
SYNONYMS = {"none": RAW}


def named(name: str) -> Normalization:
    """The normalization of a name in `NAMED`, which may end in `BGR`."""
    found = NAMED[name.removesuffix(BGR)]
    return found.swapped if name.endswith(BGR) else found


def parse(text: str) -> Normalization | None:
    """Read the name of a normalization, or its numbers.

    Args:
        text: a key of `NAMED` or `SYNONYMS`; or `M,S`, or `M1,M2,M3,S1,S2,S3` for red, green and
            blue: means and standard deviations of pixels in [0, 1]; each of them may end in
            "-bgr", see `Normalization.swapped`; or "auto".

    Returns:
        The normalization, None for "auto".

    Raises:
        UserError: it is none of these.
    """
    if text == AUTO:
        return None
    if text.endswith(BGR) and text != AUTO + BGR:
        found = parse(text.removesuffix(BGR))
        return found and found.swapped
    if named := NAMED.get(text) or SYNONYMS.get(text):
        return named
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 6) or not all(map(math.isfinite, numbers)):
        raise UserError(
            f"`normalization={text}`: expected {AUTO}, {', '.join(NAMED)}, or MEAN,STD of pixels "
            f"in [0, 1], for all channels or for each (M,S or M1,M2,M3,S1,S2,S3); add {BGR} "
            "for pixels in the order blue, green, red"
        )
    if len(numbers) == 2:
        numbers = [numbers[0]] * 3 + [numbers[1]] * 3
    if min(numbers[3:]) <= 0:
        raise UserError(f"`normalization={text}`: a standard deviation must be above 0")
    mean_r, mean_g, mean_b, deviation_r, deviation_g, deviation_b = numbers
    return Normalization(text, (mean_r, mean_g, mean_b), (deviation_r, deviation_g, deviation_b))
