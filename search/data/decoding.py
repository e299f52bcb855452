"""One image file: opened by the formats that are wanted, and decoded to 8-bit pixels by one rule for the whole data set."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps

from spaces.sizes import Size

FORMATS = (
    *("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000", "QOI", "DIB", "ICO", "PSD", "DDS"),
    *("SGI", "SUN", "XPM", "XBM", "PCX", "DCX", "TGA"),
)
"""Pillow's raster formats, those without a signature last; no other is tried: EPS would start Ghostscript."""

WHITE, BLACK = 255, 0

GRAY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}

ORIENTATION = 0x0112
"""The EXIF tag that tells how a camera was held."""


@cache
def suffixes() -> frozenset[str]:
    """Endings of file names, in lower case, that belong to `FORMATS`."""
    wanted = (*FORMATS, "MPO")  # several JPEG images in one file, of which the JPEG reader takes the first
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in wanted)


class Depth(NamedTuple):
    """The range of pixel values that is mapped to 0..255, where images have more than 8 bits a pixel."""

    floats: bool
    """Whether the values are floating-point numbers; else they are integers."""
    low: float
    """The value that becomes 0; lower values do too."""
    high: float
    """The value that becomes 255; higher values do too."""

    def scale(self, values: np.ndarray) -> np.ndarray:
        """(H, W) pixel values of a file as uint8.

        Raises:
            ValueError: floats where the range was found among integers, or the reverse.
        """
        if (values.dtype.kind == "f") != self.floats:
            theirs, ours = ("integers", "floats") if self.floats else ("floats", "integers")
            raise ValueError(f"its pixels are {ours}, those of the training images {theirs}")
        scaled = (values.astype(np.float64) - self.low) * (255 / (self.high - self.low))
        return np.floor(np.clip(scaled, 0, 255) + 0.5).astype(np.uint8)

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class Form:
    """The shape and the ranges that every image of a data set is brought to when it is decoded."""

    channels: int
    """1 (grey) or 3 (RGB)."""
    size: Size
    """(height, width) in pixels."""
    depth: Depth | None = None
    """The range of pixel values of images with more than 8 bits; None: no training image has more."""
    backdrop: int = WHITE
    """The grey level behind transparent pixels."""

    def to_json(self) -> list[Any]:
        """Plain data that `from_json` takes."""
        return [self.channels, list(self.size), self.depth and list(self.depth), self.backdrop]

    @classmethod
    def from_json(cls, note: list[Any]) -> Form:
        """The form that `to_json` noted."""
        channels, (height, width), depth, backdrop = note
        return cls(channels, (height, width), depth and Depth(*depth), backdrop)


def open_picture(content: bytes) -> Image.Image:
    """An image, opened but not decoded.

    Raises:
        Exception: anything that Pillow raises at content that it cannot read.
    """
    picture = Image.open(io.BytesIO(content), formats=FORMATS)
    if picture.format == "PNG" and "exif" not in picture.info and b"eXIf" in content:
        picture.load()  # the chunk lies behind the pixels
    return picture


def is_deep(picture: Image.Image) -> bool:
    """Whether an image has one channel of more than 8 bits."""
    return picture.mode[0] == "I" or picture.mode == "F"


def is_plain(picture: Image.Image) -> bool:
    """Whether an image decodes in the same way whatever the rest of the data set holds."""
    return not (is_deep(picture) or picture.has_transparency_data)


def loses_depth(picture: Image.Image) -> bool:
    """Whether an opened image has several channels of 16 bits, of which Pillow reads the upper 8."""
    tiles = picture.tile if isinstance(picture, ImageFile.ImageFile) else []
    return picture.mode in ("RGB", "RGBA", "LA") and any(";16" in str(tile[3]) for tile in tiles)


def upright_size(picture: Image.Image) -> Size:
    """(height, width) of an opened image once it is upright."""
    width, height = picture.size
    return (width, height) if _orientation(picture) >= 5 else (height, width)


def _orientation(picture: Image.Image) -> int:
    """The orientation that an image file states (1: upright); Pillow itself turns TIFF images."""
    tags = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
    if picture.format == "TIFF" or not any(tag in picture.info for tag in tags):
        return 1
    # the method of PNG images would decode them
    return int(Image.Image.getexif(picture).get(ORIENTATION, 1))


def deep_values(picture: Image.Image) -> np.ndarray:
    """(H, W) values of a deep image, as in its file.

    Raises:
        ValueError: values that are not finite.
    """
    values = np.asarray(picture)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("it has pixels that are not finite numbers")
    return values


def over(picture: Image.Image, backdrop: int) -> Image.Image:
    """A transparent image as RGB, laid over a grey level."""
    coloured = picture.convert("RGBA")
    ground = Image.new("RGB", coloured.size, (backdrop,) * 3)
    return Image.composite(coloured.convert("RGB"), ground, coloured.getchannel("A"))


def pixels(picture: Image.Image, form: Form) -> np.ndarray:
    """(channels, *size) uint8 of one image; an image of another shape is scaled to cover it and cut centrally.

    Raises:
        ValueError: more than 8 bits a pixel where no training image has more.
    """
    if _orientation(picture) != 1:
        picture = ImageOps.exif_transpose(picture)
    if is_deep(picture):
        if form.depth is None:
            raise ValueError("it has more than 8 bits a pixel, and no training image has; save it with 8 bits")
        picture = Image.fromarray(form.depth.scale(deep_values(picture)))
    elif picture.has_transparency_data:
        picture = over(picture, form.backdrop)
    mode = "L" if form.channels == 1 else "RGB"
    if picture.mode != mode:
        picture = picture.convert(mode)
    if picture.size != form.size[::-1]:
        picture = ImageOps.fit(picture, form.size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(*form.size, form.channels).transpose(2, 0, 1)
