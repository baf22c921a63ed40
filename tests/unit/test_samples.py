"""The small folders to play with."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageStat

from convnetlab import datasets, samples
from convnetlab.errors import LabError


def content(folder):
    """Every file's name and SHA-256."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_shapes_are_there_in_many_sizes_and_the_seed_decides(tmp_path):
    told = samples.write(tmp_path / "Fünf Bilder", images=5, seed=3)
    samples.write(tmp_path / "again", images=5, seed=3)
    samples.write(tmp_path / "other", images=5, seed=4)
    files = content(tmp_path / "Fünf Bilder")
    assert Counter(name.split("/")[0] for name in files) == told == dict.fromkeys(samples.SHAPES, 5)
    assert files == content(tmp_path / "again") != content(tmp_path / "other")
    pictures = [Image.open(tmp_path / "Fünf Bilder" / name) for name in files]
    assert len({picture.size for picture in pictures}) > 10
    assert {(picture.format, picture.mode) for picture in pictures} == {("JPEG", "RGB")}
    assert len(set(files.values())) == len(files)


@pytest.mark.parametrize("shape", samples.SHAPES)
def test_a_shape_lies_inside_its_picture_and_has_its_area(shape):
    """Against the area of the regular polygon or star that is meant, by the shoelace formula."""
    for seed in range(20):
        stencil = samples.stencil(shape, 120, 150, np.random.default_rng(seed))
        levels = np.asarray(stencil)
        assert not levels[0].any() and not levels[:, 0].any() and not levels[-1].any()
        radius = np.random.default_rng(seed).uniform(0.22, 0.42) * 120
        corners = {"circle": 360, "square": 4, "star": 10, "triangle": 3}[shape]
        lengths = radius * np.where(np.arange(corners) % 2, 0.45 if shape == "star" else 1, 1)
        sine = np.sin(2 * np.pi / corners)
        area = 0.5 * sine * (lengths * np.roll(lengths, 1)).sum()
        assert levels.sum() / 255 == pytest.approx(area, rel=0.04, abs=30)


def test_a_shape_can_be_told_from_its_ground_in_grey():
    for seed in range(30):
        random = np.random.default_rng(seed)
        ground = samples.background(100, 120, random)
        colour = samples.contrasting(np.asarray(ground).mean(axis=(0, 1)), random)
        grey = ImageStat.Stat(Image.new("RGB", (1, 1), colour).convert("L")).mean[0]
        assert abs(grey - ImageStat.Stat(ground.convert("L")).mean[0]) > 45


def test_digits_are_mnists_and_the_parts_do_not_mix(tmp_path):
    samples.write(tmp_path / "digits", "digits", images=8, parts=True)
    data = datasets.load("mnist")
    sources = {"train": (data.train_images, data.train_labels)}
    sources["test"] = (data.test_images, data.test_labels)
    files = content(tmp_path / "digits")
    assert Counter(name.split("/")[0] for name in files) == {"train": 60, "test": 20}
    for name in files:
        part, label, file = name.split("/")
        images, labels = sources[part]
        index = int(file.removesuffix(".png"))
        assert labels[index] == int(label)
        assert (np.asarray(Image.open(tmp_path / "digits" / name)) == images[index, ..., 0]).all()


def test_only_a_new_or_empty_folder_is_written(tmp_path):
    (tmp_path / "empty").mkdir()
    samples.write(tmp_path / "empty", images=4)
    assert len(content(tmp_path / "empty")) == 16
    before = content(tmp_path)
    with pytest.raises(LabError, match="not empty"):
        samples.write(tmp_path / "empty", images=4)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LabError, match="is a file"):
        samples.write(tmp_path / "file", images=4)
    assert content(tmp_path) == before | content(tmp_path) and len(content(tmp_path)) == 17


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "photos"}, "kind is 'photos'; it must be one of: shapes, digits"),
        ({"images": 3}, "images is 3"),
        ({"images": 10**6}, "images is 1000000"),
        ({"seed": -1}, "seed is -1"),
        ({"kind": "digits", "images": 4_990, "parts": True}, "too few of the digit"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_is_left(tmp_path, change, message):
    with pytest.raises(LabError, match=message):
        samples.write(tmp_path / "new", **change)
    assert not list(tmp_path.iterdir())


def test_a_failure_half_way_leaves_nothing(tmp_path, monkeypatch):
    def full(shape, random):
        if shape == "star":
            raise OSError(28, "No space left on device")
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(samples, "draw", full)
    with pytest.raises(LabError, match="could not be written: No space left"):
        samples.write(tmp_path / "new", images=4)
    assert not list(tmp_path.iterdir())
