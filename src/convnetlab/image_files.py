"""One picture file as an array: Pillow is the only decoder and resizer.

The content decides what a file is, never its name's ending. Colour profiles (ICC) are not
applied; an animation or a file of several pages gives its first picture.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from convnetlab.errors import LabError

FITS = ("pad", "crop", "stretch")
COLOURS = ("rgb", "grey")
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
GROUND = "white"  # behind transparent pixels, as a browser's page
MARGIN = "black"  # around a padded picture
# A JPEG is decoded at 1/2, 1/4 or 1/8 of its size as long as so many times the wanted one is left;
# any other picture is averaged by a whole number first, down to `GAP` times. Both leave pictures
# nearer to the ideal filter's (Lanczos) than a bilinear filter would that took its time.
SPARE, GAP = 1.25, 1.5
# What a pixel value may be the largest of, where the file does not say: 1, a byte's, 16 bits'.
TOPS = (1, 255, 65_535)


class UnreadableImage(LabError):  # noqa: N818
    """A file that gives no picture, and why (`reason`, in plain words)."""

    def __init__(self, path: Path, reason: str) -> None:
        """Take the file and the reason, a clause without a full stop."""
        super().__init__(f"{path} cannot be read as a picture: {reason}.")
        self.reason = reason


def read_image(path: Path, size: int, fit: str = "pad", colour: str = "rgb") -> NDArray[np.uint8]:
    """Read a picture file, upright, as a square of pixels.

    Grey levels of 16 bits are divided by 257; whole numbers and floats without a stated range by
    the smallest of 1 (floats only), 255 and 65,535 that holds them, else stretched from their
    least to their greatest. Transparent pixels lie on white. Shrinking averages (bicubic, with
    antialiasing).

    Args:
        path: a JPEG, PNG, GIF, BMP, WebP or TIFF file, whatever its name.
        size: height and width of the result, in pixels.
        fit: `pad` keeps the whole picture and its shape, between black bars; `crop` keeps the
            shape and cuts the longer side, from the middle; `stretch` keeps the whole picture.
        colour: `rgb` (3 channels) or `grey` (1 channel).

    Returns:
        uint8, 0..255, (size, size, 3 or 1).

    Raises:
        UnreadableImage: the file is none of these, or damaged.
        ValueError: size, fit or colour is out of range.
    """
    if size < 1 or fit not in FITS or colour not in COLOURS:
        raise ValueError(f"size {size}, fit {fit!r} or colour {colour!r} is out of range")
    with opened(path) as image:
        # The size wanted follows from the whole picture's, so that `draft` cannot change it.
        wanted = target(image.size, size, fit)
        image.draft("L" if colour == "grey" else None, scaled(wanted, SPARE))
        before = image.size
        image.load()
        turn_upright(image)
        if image.size != before:
            wanted = wanted[::-1]
        flat = flatten(image, colour)
        return framed(flat, wanted, size).reshape(size, size, -1)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture file: its size, format and mode are known, its pixels not yet decoded.

    Raises:
        UnreadableImage: it is no picture; or what is done with it meanwhile fails.
    """
    try:
        if not path.is_file():  # to open a pipe would wait for ever
            raise UnreadableImage(path, "there is no such file")
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(path, what_else(path)) from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise UnreadableImage(path, f"it has more than {most} million pixels") from None
    except PermissionError:
        raise UnreadableImage(path, "you have no permission to read it") from None
    except Exception as error:  # damaged bytes raise nearly anything, from every plug-in
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise UnreadableImage(path, f"it is damaged or of a rare kind ({reason})") from None


def what_else(path: Path) -> str:
    """Return, as a clause, what a file that is no picture seems to be."""
    with path.open("rb") as stream:
        start = stream.read(16)
    if not start:
        return "it is empty (0 bytes)"
    if start[4:8] == b"ftyp":
        return "it is a HEIC or AVIF picture or a film; export it as JPEG or PNG"
    if start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
        return "it is a page or a drawing in text (HTML, SVG, XML)"
    return "it is no JPEG, PNG, GIF, BMP, WebP or TIFF, whatever its name says"


def target(whole: tuple[int, int], size: int, fit: str) -> tuple[int, int]:
    """Return the width and height to which a whole picture is resized, before bars or cuts.

    >>> target((400, 300), 100, "pad"), target((400, 300), 100, "crop")
    ((100, 75), (133, 100))
    """
    if fit == "stretch":
        return size, size
    return scaled(whole, size / (max(whole) if fit == "pad" else min(whole)))


def scaled(sides: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return a width and a height times `scale`, in whole pixels, at least 1."""
    return max(1, round(sides[0] * scale)), max(1, round(sides[1] * scale))


def turn_upright(image: Image.Image) -> None:
    """Turn a decoded picture, in place, as its EXIF orientation says."""
    # A broken EXIF block is no reason to refuse the pixels; they stay as they are.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def flatten(image: Image.Image, colour: str) -> Image.Image:
    """Return a decoded picture of any mode as `L` (grey) or `RGB`, transparent pixels on white."""
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(to_bytes(np.asarray(image)))
    if image.has_transparency_data:
        above = image.convert("RGBA")
        image = Image.new("RGBA", above.size, GROUND)
        image.alpha_composite(above)
    wanted = "L" if colour == "grey" else "RGB"
    if image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")
    return image if image.mode == wanted else image.convert(wanted)


def to_bytes(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return grey levels of any type as uint8, 0..255, scaled as `read_image` says.

    >>> to_bytes(np.array([[0, 257, 65535]], np.uint16)).tolist()
    [[0, 1, 255]]
    """
    levels = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    low, high = levels.min(), levels.max()
    tops = {"u": TOPS[2:], "i": TOPS[1:], "f": TOPS}[values.dtype.kind]
    top = next((top for top in tops if low >= 0 and high <= top), None)
    if top is None:
        levels, top = levels - low, max(high - low, 1e-300)  # a flat picture is black
    return np.rint(levels * (255 / top)).astype(np.uint8)


def framed(image: Image.Image, wanted: tuple[int, int], size: int) -> NDArray[np.uint8]:
    """Resize a whole picture to `wanted` (width, height); fill or cut it to a square, centred."""
    if min(wanted) >= size:  # what is cut off need not be resized
        across, down = (image.width * size / wanted[0], image.height * size / wanted[1])
        left, top = (image.width - across) / 2, (image.height - down) / 2
        box = (left, top, left + across, top + down)
        return np.asarray(resized(image, (size, size), box))
    square = Image.new(image.mode, (size, size), MARGIN)
    square.paste(resized(image, wanted), ((size - wanted[0]) // 2, (size - wanted[1]) // 2))
    return np.asarray(square)


def resized(
    image: Image.Image,
    wanted: tuple[int, int],
    box: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    """Return a picture, or a box of it, resized to (width, height)."""
    return image.resize(wanted, Image.Resampling.BICUBIC, box, reducing_gap=GAP)
