"""A small labelled folder of pictures to play with: drawn shapes, or MNIST's digits as files.

The shapes vary in size, place, turn, colour, ground, noise, and in the size of the picture, as
photographs do; nothing but the outline tells the class.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from convnetlab.datasets import load
from convnetlab.errors import LabError
from convnetlab.handoff import write_folder

SIDES = (96, 160)  # pixels: the least and the greatest width or height of a drawn picture
FINER = 3  # times finer than the picture is drawn, so that outlines come out smooth
TEST_SHARE = 0.25
FEWEST, MOST = 4, 5_000  # pictures a class
LEAST_CONTRAST = 50  # grey levels between a shape and the mean of its ground


def write(
    folder: Path,
    kind: str = "shapes",
    images: int = 40,
    seed: int = 1,
    parts: bool = False,
    flawed: bool = False,
) -> dict[str, int]:
    """Write a labelled folder: a sub-folder a class, a file a picture.

    Args:
        folder: made if it is missing; must be empty otherwise.
        kind: one of `KINDS`.
        images: pictures a class.
        seed: the same seed writes the same pictures.
        parts: divide the pictures into `train/` and `test/`, above the classes.
        flawed: put in some of what goes wrong in collected pictures (see `spoil`).

    Returns:
        How many pictures each class has, before the flaws.

    Raises:
        LabError: an argument is not what it must be, the folder is not empty, or it could not be
            written. Nothing has been written then.
    """
    check(kind, images, seed)
    counts: dict[str, int] = {}

    def fill(beside: Path) -> None:
        counts.update(KINDS[kind](beside, images, seed, parts))
        if flawed:
            spoil(beside, parts)

    write_folder(folder, fill)
    return counts


def check(kind: str, images: int, seed: int) -> None:
    """Refuse what cannot be written, before anything is.

    Raises:
        LabError: see `write`.
    """
    if kind not in KINDS:
        raise LabError(f"kind is {kind!r}; it must be one of: {', '.join(KINDS)}.")
    if not FEWEST <= images <= MOST:
        raise LabError(f"images is {images}; it must be a number from {FEWEST} to {MOST} a class.")
    if not 0 <= seed < 2**32:
        raise LabError(f"seed is {seed}; it must be a whole number from 0 to {2**32 - 1}.")


def write_shapes(folder: Path, images: int, seed: int, parts: bool) -> dict[str, int]:
    """Write drawn shapes as JPEG files of many sizes, a class an outline."""
    for label, shape in enumerate(SHAPES):
        for number in range(images):
            random = np.random.default_rng((seed, label, number))
            path = place(folder, shape, number, images, parts) / f"{shape}-{number:04}.jpg"
            draw(shape, random).save(path, quality=90)
    return dict.fromkeys(SHAPES, images)


def write_digits(folder: Path, images: int, seed: int, parts: bool) -> dict[str, int]:
    """Write MNIST's digits as PNG files, white on black, 28×28.

    Each is named by its place in the data set; those of `test/` come from MNIST's test set.
    """
    data = load("mnist")
    kept = tested(images) if parts else 0
    for label, name in enumerate(data.classes):
        random = np.random.default_rng((seed, label))
        for pictures, labels, count, first in (
            (data.test_images, data.test_labels, kept, 0),
            (data.train_images, data.train_labels, images - kept, kept),
        ):
            there = np.flatnonzero(labels == label)
            if count > len(there):
                raise LabError(f"images is {images}; MNIST has too few of the digit {name}.")
            for number, index in enumerate(random.choice(there, count, replace=False), first):
                path = place(folder, name, number, images, parts) / f"{index:05}.png"
                Image.fromarray(pictures[index, ..., 0]).save(path)
    return dict.fromkeys(data.classes, images)


def tested(images: int) -> int:
    """Return how many of a class's pictures go to the test part."""
    return max(1, round(TEST_SHARE * images))


def place(folder: Path, name: str, number: int, images: int, parts: bool) -> Path:
    """Return the folder, made if it is missing, of a class's picture with this number."""
    part = ("test" if number < tested(images) else "train") if parts else ""
    chosen = folder / part / name
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen


def draw(shape: str, random: np.random.Generator) -> Image.Image:
    """Return an RGB picture of one shape; everything but its outline is drawn by lot.

    Args:
        shape: one of `SHAPES`.
        random: where the lots come from.
    """
    width, height = (int(side) for side in random.integers(*SIDES, size=2, endpoint=True))
    ground = background(width, height, random)
    colour = contrasting(np.asarray(ground).mean(axis=(0, 1)), random)
    ground.paste(colour, mask=stencil(shape, width, height, random))
    noise = random.normal(0, random.uniform(2, 14), (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(ground) + noise, 0, 255).astype(np.uint8))


def stencil(shape: str, width: int, height: int, random: np.random.Generator) -> Image.Image:
    """Return a grey picture, 255 inside a shape of any size, place and turn that fits in."""
    radius = random.uniform(0.22, 0.42) * min(width, height)
    x, y = (random.uniform(1.05 * radius, side - 1.05 * radius) for side in (width, height))
    turned = SHAPES[shape] * np.exp(1j * random.uniform(0, 2 * np.pi))
    corners = FINER * (complex(x, y) + radius * turned)
    drawn = Image.new("L", (width * FINER, height * FINER))
    ImageDraw.Draw(drawn).polygon([(float(c.real), float(c.imag)) for c in corners], fill=255)
    return drawn.resize((width, height), Image.Resampling.BOX)


def background(width: int, height: int, random: np.random.Generator) -> Image.Image:
    """Return a picture that goes from one colour to another, with blotches and a few lines."""
    first, last = random.uniform(0, 255, (2, 3))
    direction = np.exp(1j * random.uniform(0, 2 * np.pi))
    across = np.linspace(-0.5, 0.5, width) * direction.real
    down = np.linspace(-0.5, 0.5, height) * direction.imag
    share = 0.5 + 0.7 * (down[:, None] + across)[..., None]
    blotches = Image.fromarray(random.integers(0, 256, (6, 6), np.uint8))
    rough = np.asarray(blotches.resize((width, height), Image.Resampling.BICUBIC), float) - 128
    colours = first + share * (last - first) + random.uniform(0, 0.4) * rough[..., None]
    ground = Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))
    pencil = ImageDraw.Draw(ground)
    for _ in range(random.integers(0, 5)):
        ends = random.uniform(0, 1, (2, 2)) * (width, height)
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        pencil.line([(float(x), float(y)) for x, y in ends], colour, int(random.integers(1, 4)))
    return ground


def contrasting(ground: NDArray[np.float64], random: np.random.Generator) -> tuple[int, int, int]:
    """Return an RGB colour that can be told from the ground's mean colour (3,), in grey too."""
    grey = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow makes grey
    while True:
        red, green, blue = (int(value) for value in random.integers(0, 256, 3))
        if abs(grey @ (ground - (red, green, blue))) > LEAST_CONTRAST:
            return red, green, blue


def spoil(folder: Path, parts: bool) -> None:
    """Put in what goes wrong in collected pictures, under names that tell.

    In the first class: a file cut short, a text called a picture, a note, a copy of a picture of
    the second class, and a picture saved again, smaller (from the test part, where there is one).
    In the second: a blank picture, and a dark, a tiny and a blurred one in place of what they were.
    """
    learn = folder / "train" if parts else folder
    first, second = sorted(path for path in learn.iterdir() if path.is_dir())[:2]
    here, there = sorted(first.iterdir()), sorted(second.iterdir())
    suffix = here[0].suffix
    (first / f"cut-short{suffix}").write_bytes(here[0].read_bytes()[: here[0].stat().st_size // 2])
    (first / f"no-picture{suffix}").write_text("This is no picture.\n", encoding="utf-8")
    (first / "notes.txt").write_text("Where the pictures are from.\n", encoding="utf-8")
    shutil.copyfile(there[0], first / f"copy-of-{there[0].name}")
    twice = sorted((folder / "test" / first.name).iterdir())[0] if parts else here[1]
    with Image.open(twice) as picture:
        shorter = 2 if min(picture.size) > SIDES[0] // 2 else 1
        picture.reduce(shorter).save(first / "saved-again.jpg", quality=80)
        Image.new(picture.mode, picture.size, "white").save(second / f"blank{suffix}")
    for source, (name, change) in zip(there[1:], CHANGES.items(), strict=False):
        with Image.open(source) as picture:
            change(picture).save(second / f"{name}{suffix}")
        source.unlink()


def polygon(corners: int, inner: float = 1.0) -> NDArray[np.complex128]:
    """Return the corners of a regular polygon, or of a star, on the unit circle as complex numbers.

    Args:
        corners: how many, those of a star that point inwards among them.
        inner: how far every second corner is from the middle.
    """
    numbers = np.arange(corners)
    turned: NDArray[np.complex128] = np.exp(2j * np.pi * numbers / corners)
    return np.where(numbers % 2, inner, 1.0) * turned


# How `spoil` changes a picture, by the name that it gets.
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "dark": lambda picture: picture.point([level // 6 for level in range(256)] * len(picture.mode)),
    "tiny": lambda picture: picture.resize((6, 6)),
    "blurred": lambda picture: picture.filter(ImageFilter.GaussianBlur(picture.width / 16)),
}
SHAPES = {
    "circle": polygon(90),
    "square": polygon(4),
    "star": polygon(10, inner=0.45),
    "triangle": polygon(3),
}
KINDS: dict[str, Callable[[Path, int, int, bool], dict[str, int]]] = {
    "shapes": write_shapes,
    "digits": write_digits,
}
