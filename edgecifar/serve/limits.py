"""How much the server accepts, so that no client can exhaust the machine."""

from dataclasses import dataclass

from edgecifar.errors import UserError

# Pillow refuses larger pictures, see PIL.Image.MAX_IMAGE_PIXELS.
MOST_MEGAPIXELS = 89
# A JPEG picture can be stored in many scans, and each one makes the decoder go over all pixels.
# Cameras write one, progressive files have about ten; a phone's file can hold several pictures.
MAX_SCANS = 40


@dataclass(frozen=True)
class Limits:
    """What the server accepts.

    Attributes:
        max_mb: size of a request's body, in MB.
        max_megapixels: of one picture.
        timeout_s: how long a body may take to arrive, and how long its answer may take then.
        max_requests: pictures that are received or classified at the same time; each one keeps up
            to `max_mb` of memory.
        max_per_client: the same for one client's address.
    """

    max_mb: float = 16.0
    max_megapixels: float = 32.0
    timeout_s: float = 30.0
    max_requests: int = 16
    max_per_client: int = 8

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: one of them is no limit.
        """
        for name in ("max_mb", "max_megapixels", "timeout_s", "max_requests", "max_per_client"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise UserError(f"`{name}={value:g}`: give more than 0")
        if self.max_megapixels > MOST_MEGAPIXELS:
            raise UserError(
                f"`max_megapixels={self.max_megapixels:g}`: give at most {MOST_MEGAPIXELS}"
            )

    @property
    def max_bytes(self) -> int:
        """Size of a request's body."""
        return round(self.max_mb * 1e6)

    @property
    def max_pixels(self) -> int:
        """Pixels of one picture."""
        return round(self.max_megapixels * 1e6)
