"""Folders of pictures as users have them: every file is made here, by Pillow or byte by byte."""

import hashlib
import os
import shutil
import signal
import struct
import subprocess
import sys
import unicodedata
import zlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convnetlab import datasets, image_arrays, image_files, preprocess
from convnetlab.errors import LabError
from convnetlab.image_files import UnreadableImage, read_image
from convnetlab.image_folders import scan

WHITE = (255, 255, 255)


def silent(line):
    pass


def scene(width=64, height=64):
    """A smooth picture, different in each corner and channel, uint8 (H, W, 3)."""
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    planes = np.stack([across, down, 1 - across * down], axis=-1)
    return np.rint(20 + 200 * planes).astype(np.uint8)


def save(path, pixels=None, **options):
    """Save an array (or the scene) as a picture; its format follows the name, or `format`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = pixels if isinstance(pixels, Image.Image) else None
    picture = picture or Image.fromarray(scene() if pixels is None else pixels)
    picture.save(path, **options)
    return path


def means(pixels, side):
    """A picture shrunk by the mean of its blocks: what a good filter gives for a smooth one."""
    step = len(pixels) // side
    return pixels.reshape(side, step, side, step, -1).mean(axis=(1, 3))


def write_folder(folder, counts, parts=("",), side=16):
    """Small PNGs, each of its own colour: `counts` pictures of each class in each part."""
    number = 0
    for part in parts:
        for name, count in counts.items():
            for index in range(count):
                number += 1
                colour = np.array([number * 5 % 256, number * 77 % 256, number % 256], np.uint8)
                pixels = np.broadcast_to(colour, (side, side, 3))
                save(folder / part / name / f"{index}.png", np.ascontiguousarray(pixels))
    return folder


def load(folder, say=silent, **options):
    query = "&".join(f"{name}={value}" for name, value in {"size": 16, **options}.items())
    return datasets.load(f"folder:{folder}?{query}", say)


def snapshot(folder):
    """Everything that there is to know of a folder's entries: names, bytes, times, rights."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            path.lstat().st_mode,
            str(path.readlink()) if path.is_symlink() else "",
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(folder.rglob("*"))
    }


# One file


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [("JPEG", 6), ("PNG", 2), ("GIF", 30), ("BMP", 2), ("WEBP", 8), ("TIFF", 2)],
)
def test_every_format_is_read_whatever_the_name_says(tmp_path, kind, tolerance):
    path = save(tmp_path / "picture.txt", format=kind)
    found = read_image(path, 16)
    assert found.shape == (16, 16, 3) and found.dtype == np.uint8
    assert np.abs(found - means(scene(), 16)).max() <= tolerance
    grey = read_image(path, 16, colour="grey")
    weights = np.array([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow documents for L
    assert grey.shape == (16, 16, 1)
    assert np.abs(grey[..., 0] - means(scene(), 16) @ weights).max() <= tolerance


def test_the_first_picture_of_an_animation_is_taken(tmp_path):
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    for name in ("moving.gif", "pages.tiff", "moving.webp"):
        options = {"lossless": True} if name.endswith("webp") else {}
        first.save(tmp_path / name, save_all=True, append_images=[second], **options)
        assert (read_image(tmp_path / name, 8) == (255, 0, 0)).all(), name


def test_grey_levels_of_every_depth_map_to_bytes(tmp_path):
    ramp = np.arange(256).reshape(16, 16)
    bits = (ramp % 2).astype(bool)
    cases = {
        "8.png": (Image.fromarray(ramp.astype(np.uint8)), ramp),
        "1.png": (Image.fromarray(bits), 255 * bits),
        "16.png": (Image.fromarray((257 * ramp).astype(np.uint16)), ramp),
        "16.tiff": (Image.fromarray((257 * ramp).astype(np.uint16)), ramp),
        "32.tiff": (Image.fromarray((257 * ramp).astype(np.int32)), ramp),
        "huge.tiff": (Image.fromarray((1_000_000 * ramp - 7).astype(np.int32)), ramp),
        "unit.tiff": (Image.fromarray((ramp / 255).astype(np.float32)), ramp),
        "bytes.tiff": (Image.fromarray(ramp.astype(np.float32)), ramp),
        "signed.tiff": (Image.fromarray((ramp / 100 - 1).astype(np.float32)), ramp),
    }
    for name, (picture, expected) in cases.items():
        found = read_image(save(tmp_path / name, picture), 16, colour="grey")[..., 0]
        assert np.array_equal(found, expected), name
    holes = np.where(ramp == 3, np.nan, ramp / 255).astype(np.float32)
    found = read_image(save(tmp_path / "holes.tiff", holes), 16, colour="grey")[0, :, 0]
    assert found[:5].tolist() == [0, 1, 2, 0, 4]
    flat = read_image(save(tmp_path / "flat.tiff", np.full((4, 4), -5, np.float32)), 16)
    assert (flat == 0).all()


def test_big_endian_16_bits(tmp_path):
    ramp = np.arange(0, 65_536, 257, dtype=np.uint16).reshape(16, 16)
    tags = [(256, 16), (257, 16), (258, 16), (259, 1), (262, 1), (273, 8 + 512), (277, 1)]
    tags += [(278, 16), (279, 512)]
    tags[5] = (273, 8)
    content = struct.pack(">2sHI", b"MM", 42, 8 + 512) + ramp.astype(">u2").tobytes()
    content += struct.pack(">H", len(tags))
    content += b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    (tmp_path / "big.tif").write_bytes(content + b"\0\0\0\0")
    found = read_image(tmp_path / "big.tif", 16, colour="grey")
    assert found.ravel().tolist() == list(range(256))


def test_transparent_pixels_lie_on_white(tmp_path):
    half_red = np.full((8, 8, 4), (255, 0, 0, 128), np.uint8)
    clear = np.zeros((8, 8, 4), np.uint8)
    path = save(tmp_path / "a.png", half_red)
    assert np.abs(read_image(path, 8) - np.array([255, 127, 127])).max() <= 1
    assert (read_image(save(tmp_path / "b.webp", clear, lossless=True), 8) == 255).all()
    grey = Image.merge("LA", [Image.new("L", (8, 8), 0), Image.new("L", (8, 8), 51)])
    assert (read_image(save(tmp_path / "c.png", grey), 8) == 204).all()
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 255, 0, 0, 0, 255])
    palette.paste(0, (0, 0, 4, 8))
    found = read_image(save(tmp_path / "d.gif", palette, transparency=0), 8)
    assert (found[:, :3] == WHITE).all() and (found[:, 5:] == (0, 0, 255)).all()
    keyed = Image.fromarray(np.full((8, 8, 3), (1, 2, 3), np.uint8))
    found = read_image(save(tmp_path / "e.png", keyed, transparency=(1, 2, 3)), 8)
    assert (found == WHITE).all(), "one colour may stand for transparent"


def test_a_palette_and_cmyk_become_the_colours_that_they_mean(tmp_path):
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 255, 0, 10, 20, 200])
    assert (read_image(save(tmp_path / "a.png", palette), 8) == (10, 20, 200)).all()
    for name, ink, colour in (
        ("cyan", (255, 0, 0, 0), (0, 255, 255)),
        ("red", (0, 255, 255, 0), (255, 0, 0)),
        ("black", (0, 0, 0, 255), (0, 0, 0)),
    ):
        for ending, tolerance in (("tiff", 0), ("jpg", 3)):
            picture = Image.new("CMYK", (8, 8), ink)
            found = read_image(save(tmp_path / f"{name}.{ending}", picture), 8).astype(int)
            assert np.abs(found - colour).max() <= tolerance, (name, ending)


# How the pixels of an upright picture are stored under each EXIF orientation (TIFF 6.0, tag 274:
# where the first row and the first column lie).
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright.swapaxes(0, 1)[::-1],
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: upright.swapaxes(0, 1)[:, ::-1],
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("ending", ["png", "tiff", "webp", "jpg"])
def test_a_picture_taken_sideways_is_read_upright(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(STORED[orientation](scene(48, 32)))
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}
    save(tmp_path / f"a.{ending}", stored, exif=exif, **options.get(ending, {}))
    upright = save(tmp_path / "b.png", scene(48, 32))
    for fit in image_files.FITS:
        found = read_image(tmp_path / f"a.{ending}", 12, fit).astype(int)
        expected = read_image(upright, 12, fit)
        assert np.abs(found - expected).max() <= (4 if ending == "jpg" else 0), fit


def test_a_broken_exif_block_does_not_cost_the_picture(tmp_path):
    path = save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(20))
    assert np.abs(read_image(path, 16) - means(scene(), 16)).max() <= 6


def png_of(width, height, body=b""):
    """The bytes of a PNG whose header promises so many grey pixels."""

    def chunk(name, content):
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body)


def cut(kind, share=0.6, **options):
    """The beginning of a file in a format, made of noise so that every part of it counts."""

    def make(path):
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
        content = save(path, noise, format=kind, **options).read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return make


BROKEN = {
    "empty.jpg": (lambda path: path.write_bytes(b""), "empty"),
    "page.jpg": (lambda path: path.write_text("<!DOCTYPE html><p>404"), "HTML"),
    "words.png": (lambda path: path.write_text("not a picture"), "it is no JPEG"),
    "phone.heic": (lambda path: path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(99)), "HEIC"),
    "cut.jpg": (cut("JPEG"), "truncated"),
    "cut.png": (cut("PNG"), "truncated"),
    "cut.gif": (cut("GIF"), "truncated"),
    "cut.bmp": (cut("BMP"), "truncated"),
    "cut.webp": (cut("WEBP"), "damaged"),
    "cut.tif": (cut("TIFF"), "damaged"),
    "header.jpg": (lambda path: path.write_bytes(b"\xff\xd8\xff\xe0"), "damaged|no JPEG"),
    "bomb.png": (lambda path: path.write_bytes(png_of(60_000, 60_000)), "million pixels"),
    "nothing.png": (lambda path: path.write_bytes(png_of(9, 9)), "damaged"),
    "folder.jpg": (lambda path: path.mkdir(), "no such file"),
    "pipe.jpg": (os.mkfifo, "no such file"),
    "missing.jpg": (lambda path: None, "no such file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_whole_picture_is_refused_with_its_reason(tmp_path, name):
    make, reason = BROKEN[name]
    make(tmp_path / name)
    with pytest.raises(UnreadableImage, match=reason) as caught:
        read_image(tmp_path / name, 16)
    assert isinstance(caught.value, LabError)
    assert str(caught.value).startswith(f"{tmp_path / name} cannot be read as a picture: ")
    assert caught.value.reason and not caught.value.reason.endswith(".")


@given(width=st.integers(1, 300), height=st.integers(1, 300), size=st.integers(1, 40))
def test_padding_keeps_all_of_the_picture_and_its_shape(tmp_path_factory, width, height, size):
    path = tmp_path_factory.getbasetemp() / "padded.png"
    Image.new("L", (width, height), 255).save(path)
    found = read_image(path, size, "pad", "grey")[..., 0]
    assert ((found == 0) | (found >= 254)).all()  # Pillow's weights are whole numbers: 254 may be
    rows, columns = found.any(axis=1), found.any(axis=0)
    for marked, side in ((rows, height), (columns, width)):
        exact = side * size / max(width, height)
        assert abs(marked.sum() - exact) <= 0.5 or marked.sum() == 1
        before, after = marked.argmax(), marked[::-1].argmax()
        assert abs(before - after) <= 1, "it lies in the middle"
    assert (found > 0).sum() == rows.sum() * columns.sum()
    assert max(rows.sum(), columns.sum()) == size


@given(width=st.integers(1, 300), height=st.integers(1, 300), size=st.integers(1, 40))
def test_crop_and_stretch_fill_the_square(tmp_path_factory, width, height, size):
    path = tmp_path_factory.getbasetemp() / "filled.png"
    Image.new("L", (width, height), 255).save(path)
    for fit in ("crop", "stretch"):
        found = read_image(path, size, fit, "grey")
        assert found.shape == (size, size, 1) and (found >= 254).all()


def test_crop_cuts_the_ends_and_stretch_and_pad_keep_them(tmp_path):
    pixels = np.full((40, 120, 3), 255, np.uint8)
    pixels[:, :30], pixels[:, 90:] = (255, 0, 0), (0, 0, 255)
    path = save(tmp_path / "wide.png", pixels)
    assert (read_image(path, 40, "crop") == WHITE).all()
    stretched = read_image(path, 40, "stretch")
    assert (stretched[:, 0] == (255, 0, 0)).all() and (stretched[:, -1] == (0, 0, 255)).all()
    padded = read_image(path, 40, "pad")
    assert (padded[20, 0] == (255, 0, 0)).all() and (padded[20, -1] == (0, 0, 255)).all()
    assert (padded[:13] == 0).all() and (padded[27:] == 0).all(), "between black bars"


@pytest.mark.parametrize("fit", image_files.FITS)
def test_a_large_jpeg_decoded_small_is_what_it_is_decoded_whole(tmp_path, fit):
    pixels = scene(800, 600)
    small = read_image(save(tmp_path / "a.jpg", pixels, quality=95), 48, fit).astype(int)
    whole = read_image(save(tmp_path / "a.png", pixels), 48, fit)
    assert np.abs(small - whole).max() <= 5


def test_fine_stripes_are_averaged_not_sampled(tmp_path):
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::2] = 255
    found = read_image(save(tmp_path / "a.png", stripes), 16)[2:-2, 2:-2]
    assert np.abs(found.astype(int) - 127).max() <= 3


def test_bad_arguments_are_refused(tmp_path):
    path = save(tmp_path / "a.png")
    for wrong in ({"size": 0}, {"size": 8, "fit": "x"}, {"size": 8, "colour": "red"}):
        with pytest.raises(ValueError, match="out of range"):
            read_image(path, **wrong)


# A folder


def test_a_hostile_folder_is_read_as_far_as_it_can_be(tmp_path):
    root, outside = tmp_path / "my pictures?", tmp_path / "outside"
    save(outside / "secret.png")
    good = ["a b.JPG", "c.PNG", "d.gif", "e.bmp", "f.WebP", "g.tiff", "λόγος.png", "deep/er/h.jpg"]
    for name in good:
        save(root / "κλάση 1" / name)
    noise = np.random.default_rng(0)
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"):
        if mode == "I;16":
            picture = Image.fromarray(noise.integers(0, 65_536, (20, 30), np.uint16))
        else:
            picture = Image.fromarray(scene(30, 20)).convert("L" if mode in "F1LA" else "RGB")
            picture = picture.convert(mode)
        save(root / "modes" / f"{mode}.tiff".replace(";", ""), picture)
        good.append(mode)
    save(root / "modes" / "no ending", format="PNG")
    broken = root / "κλάση 1" / "broken"
    broken.mkdir()
    for name, (make, _) in BROKEN.items():
        make(broken / name)
    (root / "κλάση 1" / "notes.txt").write_text("BMW and other words")
    for hidden in (".DS_Store", "._c.PNG", "Thumbs.db", "desktop.ini", ".hidden/x.png"):
        (root / "modes" / hidden).parent.mkdir(exist_ok=True)
        shutil.copy(outside / "secret.png", root / "modes" / hidden)
    shutil.copytree(root / "modes", root / "__MACOSX")
    save(root / "loose.png")
    (root / "modes" / "link.png").symlink_to(outside / "secret.png")
    (root / "modes" / "inside.png").symlink_to(root / "κλάση 1" / "c.PNG")
    (root / "modes" / "lost.png").symlink_to(tmp_path / "nowhere")
    (root / "modes" / "loop").symlink_to(root / "modes")
    (root / "modes" / "self.png").symlink_to(root / "modes" / "self.png")
    (root / "elsewhere").symlink_to(outside)
    (root / "empty").mkdir()
    before, before_outside = snapshot(root), snapshot(outside)

    listing = scan(root)
    assert listing.classes == ("modes", "κλάση 1")
    assert listing.files.columns.tolist() == ["file", "class", "label", "part"]
    assert set(listing.files["part"]) == {""}
    reasons = dict(zip(listing.ignored["file"], listing.ignored["reason"], strict=True))
    assert reasons == {
        "elsewhere": "a link to a folder; such links are not followed",
        "loose.png": "above the class folders, so of no class",
        "empty": "a folder without pictures",
        "modes/link.png": "a link out of the folder; such links are not followed",
        "modes/lost.png": "a link out of the folder; such links are not followed",
        "modes/loop": "a link to a folder; such links are not followed",
        "modes/self.png": "a link that leads nowhere",
        "κλάση 1/notes.txt": "no picture",
        "κλάση 1/broken/pipe.jpg": "no ordinary file",
    } | {"modes/lost.png": reasons["modes/lost.png"]}
    assert "link" in reasons["modes/lost.png"]

    told = []
    data = load(root, told.append)
    unreadable = {name for name in BROKEN if name not in ("folder.jpg", "pipe.jpg", "missing.jpg")}
    assert set(data.unreadable) == {f"κλάση 1/broken/{name}" for name in unreadable}
    assert str(len(unreadable)) in told[0]
    assert len(data.train_files) + len(data.test_files) == len(good) + len(["no ending", "inside"])
    assert data.image_shape == (16, 16, 3)
    for files, images, labels in (
        (data.train_files, data.train_images, data.train_labels),
        (data.test_files, data.test_images, data.test_labels),
    ):
        for file, image, label in zip(files, images, labels, strict=True):
            assert np.array_equal(image, read_image(root / file, 16)), file
            assert file.split("/")[0] == data.classes[label]
    cached = load(root, memory=0)
    assert cached.content_hash() == data.content_hash()
    assert cached.train_files == data.train_files and cached.unreadable == data.unreadable
    assert snapshot(root) == before and snapshot(outside) == before_outside


def test_what_is_unreadable_is_as_if_it_were_not_there(tmp_path):
    write_folder(tmp_path, {"a": 9, "b": 7})
    for name in ("0.jpg", "5b.png", "10.png"):
        (tmp_path / "a" / name).write_bytes(b"broken")
    broken = load(tmp_path), load(tmp_path, memory=0)
    for name in ("0.jpg", "5b.png", "10.png"):
        (tmp_path / "a" / name).unlink()
    whole = load(tmp_path)
    for data in broken:
        assert len(data.unreadable) == 3
        assert data.content_hash() == whole.content_hash()
        assert (data.train_files, data.test_files) == (whole.train_files, whole.test_files)


def test_the_order_is_natural_and_does_not_depend_on_the_disk(tmp_path, monkeypatch):
    write_folder(tmp_path, {"10": 12, "9": 3, "b": 3, "A": 3})
    files = scan(tmp_path).files
    assert scan(tmp_path).classes == ("9", "10", "A", "b")
    assert files["file"].tolist()[3:15] == [f"10/{number}.png" for number in range(12)]
    entries = os.scandir

    class Backwards:
        def __init__(self, folder):
            with entries(folder) as found:
                self.found = sorted(found, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.found)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    pd.testing.assert_frame_equal(scan(tmp_path).files, files)


@pytest.mark.parametrize("validation", ["validation", "Val", "VALID"])
def test_parts_are_taken_from_their_folders(tmp_path, validation):
    write_folder(tmp_path, {"a": 4, "b": 3}, ("Train", validation, "TEST"))
    (tmp_path / "extra").mkdir()
    data = load(tmp_path)
    assert data.train_files[:2] == ("Train/a/0.png", "Train/a/1.png")
    assert [data.train_files[index].split("/")[0] for index in data.validation] == [validation] * 7
    assert data.validation.dtype == np.int64 and len(data.train_files) == 14
    assert data.test_files == (
        *(f"TEST/a/{number}.png" for number in range(4)),
        *(f"TEST/b/{number}.png" for number in range(3)),
    )
    assert "extra" in scan(tmp_path).ignored["file"].tolist()
    split = preprocess.split(data, 0.5, 1)
    found, labels = preprocess.part_of(split, "validation")
    assert sorted(found) == sorted(data.validation)
    assert np.array_equal(data.train_labels[found], labels)
    learn, _ = preprocess.part_of(split, "train")
    assert sorted([*learn, *found]) == list(range(14))
    pd.testing.assert_frame_equal(split, preprocess.split(data, 0.1, 1))


def test_a_missing_test_part_is_made_of_the_training_pictures_only(tmp_path):
    write_folder(tmp_path, {"a": 10, "b": 5}, ("train", "val"))
    data = load(tmp_path, test=0.4)
    assert len(data.test_files) == 6 and np.bincount(data.test_labels).tolist() == [4, 2]
    assert all(file.startswith("train/") for file in data.test_files)
    assert len(data.validation) == 15
    assert load(tmp_path, test=0.4).test_files == data.test_files
    assert load(tmp_path, test=0.4, seed=1).test_files != data.test_files


def test_train_may_be_a_class(tmp_path):
    write_folder(tmp_path, {"train": 3, "bus": 3, "test": 3})
    assert scan(tmp_path).classes == ("bus", "test", "train")
    save(tmp_path / "train" / "night" / "0.png")
    write_folder(tmp_path, {"deeper": 3}, ("train",))
    shutil.rmtree(tmp_path / "test")
    assert scan(tmp_path).classes == ("bus", "train")


def test_one_class_spelt_in_two_ways(tmp_path):
    name = "Äpfel"
    for part, form in (("train", "NFC"), ("test", "NFD")):
        write_folder(tmp_path, {unicodedata.normalize(form, name): 3, "b": 3}, (part,))
    save(tmp_path / "val" / "äpfel" / "0.png")
    listing = scan(tmp_path)
    assert listing.classes == (name, "b") or listing.classes == ("b", name)
    assert set(listing.files.groupby("class").size()) == {7, 6}
    letters = write_folder(tmp_path / "letters", {"a": 3, "A": 3})
    assert scan(letters).classes == ("A", "a"), "beside each other they are two classes"


def test_names_that_are_no_text(tmp_path):
    write_folder(tmp_path, {"a": 3, "b": 3})
    shutil.copy(tmp_path / "a" / "0.png", os.fsencode(tmp_path / "a") + b"/\xff.png")
    listing = scan(tmp_path)
    assert len(listing.files) == 6 and "rename it" in listing.ignored["reason"][0]
    listing.ignored.to_csv(tmp_path / "ignored.csv", encoding="utf-8")
    (tmp_path / os.fsdecode(b"\xfe")).mkdir()
    with pytest.raises(LabError, match="no UTF-8"):
        scan(tmp_path)


def file_instead(folder):
    folder.write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "is missing; a folder of pictures is expected"),
        (file_instead, "is a file; a folder"),
        (lambda folder: folder.mkdir(), "no pictures in class folders.*one sub-folder a class"),
        (lambda folder: save(folder / "x.png"), "no pictures in class folders"),
        (lambda folder: write_folder(folder, {"cat": 9}), "one class only, 'cat'"),
        (lambda folder: write_folder(folder, {"a": 9, "b": 2}), "'b' 2.*at least 3"),
        (
            lambda folder: [
                write_folder(folder, {"a": 4, "b": 4}, ("train",)),
                write_folder(folder, {"c": 4}, ("test",)),
            ],
            r"test/ has a class 'c' that train/ lacks; train/ has a, b\. Add",
        ),
        (
            lambda folder: [
                write_folder(folder, {"a": 4, "b": 4}, ("train",)),
                save(folder / "test" / "1.png"),
            ],
            "test has no class folders with pictures",
        ),
        (
            lambda folder: write_folder(folder, {"a": 4, "b": 4}, ("train", "val", "valid")),
            "has val and valid, both for validation",
        ),
        (
            lambda folder: write_folder(folder, {"a": 4, "b": 4}, ("test",)),
            "has test/ and no train/",
        ),
        (
            lambda folder: [
                write_folder(folder, {"a": 4, "b": 4}),
                [path.write_bytes(b"x") for path in (folder / "b").iterdir()],
            ],
            "too few readable pictures.*'b' 0",
        ),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_with_what_to_do(tmp_path, make, message):
    make(tmp_path / "set")
    with pytest.raises(LabError, match=message):
        load(tmp_path / "set")


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write_folder(tmp_path, {"a": 3, "b": 3})
    entries = os.scandir

    def forbidden(folder):
        if folder == tmp_path / "b":
            raise PermissionError(13, "Permission denied")
        return entries(folder)

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(LabError, match=r"/b cannot be read: Permission denied\. Give yourself"):
        scan(tmp_path)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("size=7", "size is '7'; it must be a whole number from 8"),
        ("size=big", "size is 'big'"),
        ("fit=squash", "fit is 'squash'; it must be one of: pad, crop, stretch"),
        ("colour=gray", "colour is 'gray'; it must be one of: rgb, grey"),
        ("test=1", "test is '1'; it must lie between 0 and 1"),
        ("test=nan", "test is 'nan'"),
        ("seed=-1", "seed is '-1'"),
        ("memory=1.5", "memory is '1.5'"),
        ("say=1", "no option 'say'; folder has: size, fit, colour, test, seed, memory"),
    ],
)
def test_bad_options_are_refused(tmp_path, query, message):
    write_folder(tmp_path, {"a": 3, "b": 3})
    with pytest.raises(LabError, match=message):
        datasets.load(f"folder:{tmp_path}?{query}")


def test_a_source_says_all_that_decides_the_pixels(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "what?", {"a": 5, "b": 5})
    monkeypatch.chdir(tmp_path)
    data = datasets.load("folder:what??colour=grey&size=8", silent)
    assert data.image_shape == (8, 8, 1)
    assert datasets.load("folder:what?", silent).image_shape == (128, 128, 3)
    monkeypatch.chdir(root)
    again = datasets.load_specified(data.specification(), silent)
    assert again.content_hash() == data.content_hash()
    assert again.source == data.source


def test_any_change_of_pictures_or_parts_is_noticed(tmp_path):
    write_folder(tmp_path, {"a": 5, "b": 5}, ("train", "val"))
    specification = load(tmp_path).specification()
    path = tmp_path / "train" / "a" / "0.png"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0, 0] ^= 1
    save(path, pixels)
    with pytest.raises(LabError, match="has changed since the split"):
        datasets.load_specified(specification, silent)
    one = load(tmp_path)
    (tmp_path / "val" / "a" / "0.png").rename(tmp_path / "train" / "b" / "x.png")
    assert load(tmp_path).content_hash() != one.content_hash()


# The cache


@pytest.fixture
def pictures(tmp_path):
    return write_folder(tmp_path / "pictures", {"a": 20, "b": 12})


def caches(runs):
    return sorted(path.name for path in (runs / image_arrays.CACHE).iterdir() if path.is_dir())


@pytest.mark.parametrize("colour", image_files.COLOURS)
@pytest.mark.parametrize("chunk", [1, 5_000, 10**9])
def test_the_cache_and_the_memory_give_the_same_bits(runs, pictures, monkeypatch, colour, chunk):
    monkeypatch.setattr(image_arrays, "CHUNK", chunk)
    (pictures / "a" / "3.png").write_bytes(b"")
    told = []
    in_memory = load(pictures, colour=colour)
    assert not runs.exists(), "what fits into memory leaves nothing"
    cached = load(pictures, told.append, colour=colour, memory=0)
    assert "Decoding 32 pictures once into" in told[0] and "0 MB" in told[0]
    again = load(pictures, colour=colour, memory=0)
    for data in (cached, again):
        assert data.content_hash() == in_memory.content_hash()
        for name in ("train_images", "test_images"):
            assert np.array_equal(getattr(data, name), getattr(in_memory, name))
            assert type(getattr(data, name)) is np.ndarray
    with pytest.raises(ValueError, match="read-only"):
        cached.train_images[0] = 0
    batch = cached.train_batch(np.array([3, 1]))
    assert np.array_equal(batch, in_memory.train_batch(np.array([3, 1])))
    assert len(caches(runs)) == 1


def test_a_cache_is_not_decoded_again_and_a_stale_one_is_told(runs, pictures, monkeypatch):
    first = load(pictures, memory=0)
    with monkeypatch.context() as patched:
        patched.setattr(image_arrays, "read_image", None)
        assert load(pictures, memory=0).content_hash() == first.content_hash()
    old = caches(runs)
    save(pictures / "a" / "0.png", scene())
    told = []
    second = load(pictures, told.append, memory=0)
    assert second.content_hash() != first.content_hash()
    assert any("earlier" in line and old[0] in line for line in told)
    assert len(caches(runs)) == 2, "nothing is deleted unasked"
    shutil.rmtree(runs / image_arrays.CACHE)
    assert load(pictures, memory=0).content_hash() == second.content_hash()


def test_a_torn_cache_is_made_anew(runs, pictures):
    expected = load(pictures, memory=0).content_hash()
    place = runs / image_arrays.CACHE / caches(runs)[0]
    content = (place / "pixels.npy").read_bytes()
    (place / "pixels.npy").write_bytes(content[:-1])
    assert load(pictures, memory=0).content_hash() == expected
    (place / "record.json").write_text("{")
    assert load(pictures, memory=0).content_hash() == expected
    assert caches(runs) == [place.name]


def test_a_full_disk_is_refused_before_and_during(runs, pictures, monkeypatch):
    with monkeypatch.context() as patched:
        usage = shutil.disk_usage("/")
        patched.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        with pytest.raises(LabError, match=r"take 0\.0 GB on disk, and .* free. Free space"):
            load(pictures, memory=0)
    assert caches(runs) == []

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_arrays, "write_pixels", full)
    with pytest.raises(LabError, match="could not be written: No space left"):
        load(pictures, memory=0)
    assert caches(runs) == []


# Kills itself while a cache is being made: at the tenth picture, or when only the record is missing
# (or waits there for a line).
KILLED = """
import os, signal, sys
from convnetlab import datasets, image_arrays
read, write, count = image_arrays.read_image, image_arrays.write_json, []
def read_image(*arguments, **more):
    count.append(1)
    if sys.argv[2] == "reading" and len(count) == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(*arguments, **more)
def write_json(path, value):
    if sys.argv[2] == "record" and path.name == "record.json":
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[2] == "slow" and path.name == "record.json":
        print("slow", flush=True)
        sys.stdin.readline()
    return write(path, value)
image_arrays.read_image, image_arrays.write_json = read_image, write_json
data = datasets.load(sys.argv[1], lambda line: None)
print(data.content_hash())
"""


def child(pictures, how):
    source = f"folder:{pictures}?size=16&memory=0"
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", KILLED, source, how]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


@pytest.mark.parametrize("moment", ["reading", "record"])
def test_a_killed_cache_is_not_taken_for_whole(runs, pictures, moment):
    with child(pictures, moment) as killed:
        killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    left = caches(runs)
    assert len(left) == 1 and left[0].startswith(".")
    data = load(pictures, memory=0)
    assert data.content_hash() == load(pictures).content_hash()
    assert len(caches(runs)) == 1 and not caches(runs)[0].startswith("."), "what was left is gone"


def test_who_comes_second_waits_for_the_first(runs, pictures, monkeypatch):
    with child(pictures, "slow") as first:
        assert first.stdout.readline() == "slow\n"
        told = []

        def say(line):
            told.append(line)
            first.stdin.write("\n")
            first.stdin.flush()

        monkeypatch.setattr(image_arrays, "read_image", None)  # the second decodes nothing
        data = load(pictures, say, memory=0)
        assert first.stdout.readline().strip() == data.content_hash()
    assert len(told) == 1 and "waiting" in told[0]
    assert len(caches(runs)) == 1


# Few pictures


@given(
    counts=st.lists(st.integers(2, 30), min_size=2, max_size=5),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 100),
)
def test_small_sets_are_split_with_every_class_in_both_parts(counts, share, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.zeros((len(labels), 2, 2, 3), np.uint8)
    classes = tuple(map(str, range(len(counts))))
    data = datasets.Dataset("few", images, labels, images, labels, classes)
    split = preprocess.split(data, share, seed)
    parts = [preprocess.part_of(split, part)[0] for part in ("train", "validation")]
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    for part in parts:
        assert set(labels[part]) == set(range(len(counts)))


@given(
    counts=st.lists(st.integers(3, 40), min_size=2, max_size=5),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 100),
)
def test_the_test_pictures_are_a_share_of_each_class(counts, share, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    chosen = datasets.hold_out(labels, share, seed, spare=2)
    assert (np.diff(chosen) > 0).all()
    for label, count in enumerate(counts):
        found = (labels[chosen] == label).sum()
        assert 1 <= found <= count - 2
        assert abs(found - share * count) <= 0.5 or found in (1, count - 2)


@pytest.mark.parametrize("memory", [0, 100])
def test_the_baseline_learns_from_colour_pictures(runs, tmp_path, memory):
    for name, colour in (("red", 0), ("blue", 2)):
        for number in range(10):
            pixels = np.random.default_rng(number).integers(0, 99, (40, 50, 3), np.uint8)
            pixels[..., colour] += 120
            save(tmp_path / "set" / name / f"{number}.png", pixels)
    data = load(tmp_path / "set", size=64, memory=memory)
    split = preprocess.split(data, 0.2, 1)
    simple = preprocess.baseline(data, split, 1)
    assert simple.validation_accuracy == 1 and simple.name.endswith("shrunk pixels")
    test, labels = preprocess.part_of(split, "test")
    assert np.array_equal(simple.test_predictions, labels) and len(test) == 4
    halves = preprocess.resize(data.train_images[:2], 32, 16)
    assert halves.shape == (2, 32, 16, 3)


def test_rows_are_moved_in_place():
    for seed in range(50):
        random = np.random.default_rng(seed)
        rows = random.integers(0, 9, (int(random.integers(1, 12)), 2))
        sources = random.permutation(len(rows))[: random.integers(0, len(rows) + 1)].tolist()
        moved = rows.copy()
        image_arrays.move(moved, sources)
        assert np.array_equal(moved[: len(sources)], rows[sources])
