"""The look over a folder of pictures: what it finds, and what it must not call a finding."""

import hashlib
import io
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from sklearn.datasets import load_sample_images

from convnetlab import audit, duplicates, handoff, image_folders, samples
from convnetlab.errors import LabError


def look(folder):
    return audit.audit(image_folders.scan(folder))


def found(folder):
    """What was found, with the files or classes, by what it is."""
    return {finding.what: finding for finding in look(folder).findings}


def photographs(side=160):
    """Twenty-four pieces of two photographs, no two of them overlapping by more than a fifth."""
    return [
        Image.fromarray(whole[top : top + side, left : left + side])
        for whole in load_sample_images().images
        for top in range(0, 427 - side + 1, 130)
        for left in range(0, 640 - side + 1, 160)
    ]


def saved(picture, quality):
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def cut(picture, share):
    width, height = picture.size
    box = (share * width, 0.4 * share * height, (1 - 0.5 * share) * width, (1 - share) * height)
    return picture.crop([round(edge) for edge in box])


def write(folder, pictures, name="{}.png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        picture.save(folder / name.format(number))


@pytest.fixture(scope="module")
def pieces():
    return photographs()


@pytest.fixture(scope="module")
def flawed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit") / "Fünf Sachen"
    samples.write(folder, images=24, parts=True, flawed=True)
    return folder


FEWER = "fewer than {} pictures of a class"

CHANGES = {
    "saved again": (lambda p: saved(p, 50), 24),
    "half the size": (lambda p: p.resize((80, 80)), 24),
    "cut by 5 %": (lambda p: cut(p, 0.05), 24),
    "darker": (lambda p: ImageEnhance.Brightness(p).enhance(0.6), 24),
    "more contrast": (lambda p: ImageEnhance.Contrast(p).enhance(1.4), 24),
    # Pieces of bright sky, which then are white, are no longer the same picture.
    "brighter": (lambda p: ImageEnhance.Brightness(p).enhance(1.3), 20),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_photograph_is_found_and_no_other(tmp_path, pieces, name):
    change, expected = CHANGES[name]
    write(tmp_path / "a", pieces)
    write(tmp_path / "b", [change(piece) for piece in pieces])
    twins = look(tmp_path).twins
    groups = [sorted(files) for _, files in twins.groupby("group")["file"]]
    assert all(files == [files[0], files[0].replace("a/", "b/")] for files in groups)
    assert len(groups) >= expected
    assert set(twins["how"]) == {duplicates.NEARLY}


def test_different_pictures_are_not_called_the_same(tmp_path):
    """Handwritten digits and drawn shapes have like hashes: 64 bits say too little of them."""
    samples.write(tmp_path / "digits", "digits", images=100, parts=True)
    samples.write(tmp_path / "shapes", "shapes", images=60, seed=5)
    for kind in ("digits", "shapes"):
        assert look(tmp_path / kind).findings == ()


def coarsely(one, other):
    """The correlation of two pictures' pixels."""
    return duplicates.seen(one) @ duplicates.seen(other)


def test_one_thing_in_two_colours_is_not_one_picture():
    things = []
    for colour in ((130, 100, 100), (100, 105, 130), (132, 101, 98)):
        things.append(Image.new("RGB", (192, 192), "white"))
        ImageDraw.Draw(things[-1]).ellipse((30, 30, 160, 160), fill=colour)
    assert coarsely(*things[:2]) > duplicates.LIKE
    assert not duplicates.is_nearly(*things[:2])
    assert duplicates.is_nearly(things[0], things[2])


def test_one_ground_with_other_spots_is_not_one_picture():
    rows, columns = np.indices((192, 192)) - 96
    glow = 200 * np.exp(-(rows**2 + (1.5 * columns) ** 2) / 5000)
    chance, shown = np.random.default_rng(0), []
    for _ in range(2):
        places = chance.integers(-50, 50, (8, 2))
        spots = sum(np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 12) for y, x in places)
        levels = np.asarray((glow + 60 * spots).clip(0, 255), np.uint8)
        shown.append(Image.fromarray(levels).convert("RGB"))
    assert coarsely(*shown) > duplicates.LIKE
    assert not duplicates.is_nearly(*shown)
    assert duplicates.is_nearly(shown[0], saved(shown[0], 80))


def test_exact_copies_are_told_by_how_they_are_the_same(tmp_path, pieces):
    write(tmp_path / "a", pieces[:2])
    write(tmp_path / "b", [pieces[0]], "copy.png")
    write(tmp_path / "b", [pieces[1]], "pixels.bmp")
    twins = look(tmp_path).twins.set_index("file")
    assert twins["how"].to_dict() == {
        "a/0.png": "the same file",
        "b/copy.png": "the same file",
        "a/1.png": "the same pixels",
        "b/pixels.bmp": "the same pixels",
    }
    assert twins["group"].nunique() == 2


def test_candidates_are_those_of_a_loop():
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**63, 60, dtype=np.uint64)
    hashes[20:40] = hashes[:20] ^ np.uint64(0b1011)
    small = random.random(60) < 0.5
    expected = {
        (i, j)
        for i in range(60)
        for j in range(i + 1, 60)
        if bin(int(hashes[i]) ^ int(hashes[j])).count("1")
        <= (duplicates.FAR_SMALL if small[i] or small[j] else duplicates.FAR)
    }
    pairs = duplicates.candidates(hashes, small)
    assert {(int(i), int(j)) for one in pairs for i, j in zip(*one, strict=True)} == expected
    assert len(expected) >= 20


def test_agreement_is_numpys_correlation():
    random = np.random.default_rng(1)
    one, other = random.integers(0, 256, (2, 3, 8, 8, 3), dtype=np.uint8)
    expected = [
        min(
            np.corrcoef(one[n].mean(axis=2).ravel(), other[n].mean(axis=2).ravel())[0, 1],
            np.corrcoef(one[n].ravel(), other[n].ravel())[0, 1],
        )
        for n in range(3)
    ]
    assert duplicates.agreement(one, other) == pytest.approx(expected, abs=1e-5)
    assert duplicates.agreement(one, 255 - one) == pytest.approx([-1] * 3, abs=1e-5)


def test_every_planted_flaw_is_found_and_nothing_else(flawed):
    findings = found(flawed)
    where = {what: finding.where for what, finding in findings.items()}
    twice = where.pop("nearly the same picture in two parts")
    assert twice == ("test/circle/circle-0000.jpg = train/circle/saved-again.jpg",)
    copied = where.pop("the same picture in two classes")
    assert copied == ("train/circle/copy-of-square-0006.jpg = train/square/square-0006.jpg",)
    unreadable = where.pop("not readable")
    assert [entry.split(" ")[0] for entry in unreadable] == [
        "train/circle/cut-short.jpg",
        "train/circle/no-picture.jpg",
    ]
    assert "truncated" in unreadable[0] and "no JPEG" in unreadable[1]
    assert where.pop("fewer than 20 pictures of a class to learn from")
    assert where == {
        "blank": ("train/square/blank.jpg",),
        "tiny": ("train/square/tiny.jpg",),
        "very dark": ("train/square/dark.jpg",),
        "blurred": ("train/square/blurred.jpg",),
    }
    assert [what for what, finding in findings.items() if finding.spoils] == [
        "nearly the same picture in two parts"
    ]


def test_the_table_counts_what_is_there(flawed):
    looked = look(flawed)
    table = looked.classes()
    assert table["pictures"].sum() == len(looked.pictures) == 24 * 4 + 3
    assert table.loc[("train", "circle"), ["pictures", "unreadable"]].tolist() == [20, 2]
    assert table.loc[("test", "star"), "formats"] == "JPEG 6"
    assert looked.listing.ignored["file"].tolist() == ["train/circle/notes.txt"]
    sizes = {Image.open(flawed / file).size for file in looked.pictures["file"]}
    assert sizes == set(looked.pictures[["width", "height"]].itertuples(index=False, name=None))
    text = looked.summary()
    assert "99 pictures in 4 classes; 2 files are not readable, 1 ignored" in text
    assert "✗ nearly the same picture in two parts: test/circle/circle-0000.jpg" in text


def test_a_sound_folder_is_called_so(tmp_path):
    samples.write(tmp_path / "new", images=20)
    looked = look(tmp_path / "new")
    assert "✓ Nothing was found amiss." in looked.summary()
    assert looked.table().empty and looked.figure().png


def test_a_picture_is_measured_upright(tmp_path):
    picture = Image.new("RGB", (60, 90), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    picture.save(tmp_path / "turned.jpg", exif=exif)
    measured, thumbnail = audit.measure(tmp_path / "turned.jpg")
    assert (measured["width"], measured["height"]) == (90, 60)
    assert measured["mode"] == "RGB" and measured["format"] == "JPEG"
    assert thumbnail.shape == (32, 32, 3) and measured["spread"] < 1


def test_blur_grows_with_the_blurring_and_not_with_contrast(pieces):
    for piece in (pieces[14], pieces[18]):
        levels = [
            audit.blur(np.asarray(piece.convert("L").filter(ImageFilter.GaussianBlur(radius))))
            for radius in (0, 1, 2, 4, 6)
        ]
        assert levels == sorted(levels) and levels[0] < 0.4 and levels[-1] > audit.BLURRED
    grey = np.asarray(pieces[14].convert("L"))
    assert audit.blur(grey) == pytest.approx(audit.blur(255 - grey))
    assert np.isnan(audit.blur(grey[:20]))


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ({"a": 3}, "one class"),
        ({"a": 3, "b": 2}, FEWER.format(3)),
        (
            {"train/a": 3, "train/b": 1, "test/a": 2, "test/b": 2},
            "fewer than 2 pictures of a class in train",
        ),
        ({"train/a": 3, "train/b": 2, "test/a": 2}, "no picture of a class in test"),
        (
            {"train/a": 2, "train/b": 2, "val/a": 2, "test/a": 1, "test/b": 1},
            "no picture of a class in validation",
        ),
    ],
)
def test_what_cannot_be_split_spoils(tmp_path, pieces, layout, expected):
    pieces = iter(pieces)
    for place, count in layout.items():
        write(tmp_path / place, [next(pieces) for _ in range(count)])
    findings = found(tmp_path)
    assert [what for what, finding in findings.items() if finding.spoils] == [expected]


def test_nothing_readable_spoils(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"\xff\xd8\xff")
    looked = look(tmp_path)
    assert [finding.what for finding in looked.spoiling] == ["nothing readable"]
    assert "0 pictures" in looked.summary() and looked.figure().png


def test_classes_far_from_as_many_are_told(tmp_path):
    samples.write(tmp_path / "new", images=30)
    for path in sorted((tmp_path / "new" / "star").iterdir())[10:]:
        path.unlink()
    findings = found(tmp_path / "new")
    assert findings["classes of unequal size"].where[0] == "star: 10"
    assert findings["fewer than 20 pictures of a class to learn from"].where == ("star: 10",)
    assert not any(finding.spoils for finding in findings.values())


def command(*arguments, **settings):
    return subprocess.run(
        [sys.executable, "-m", "convnetlab", "images", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, **settings},
    )


def everything(folder):
    return {
        path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_command_tells_writes_elsewhere_and_changes_nothing(tmp_path):
    folder, runs = tmp_path / "Bilder 一", str(tmp_path / "runs")
    made = command("sample", str(folder), "--images", "8", "--parts", "--flawed")
    assert made.returncode == 0 and "8 pictures in each of 4 classes" in made.stdout
    before = everything(folder)
    checked = command("check", str(folder), CONVNETLAB_RUNS=runs)
    assert checked.returncode == 1
    assert "✗ nearly the same picture in two parts" in checked.stdout
    assert checked.stderr.rstrip().splitlines()[-1].startswith("Error: This would spoil a training")
    assert "Traceback" not in checked.stderr
    assert everything(folder) == before
    results = tmp_path / "runs" / "audit"
    assert {path.name for path in results.iterdir()} == {
        *("audit.json", "audit.png", "classes.csv", "duplicates.csv", "findings.csv"),
        *("ignored.csv", "pictures.csv", "unreadable.csv"),
    }
    assert len(pd.read_csv(results / "duplicates.csv")) == 4
    assert len(pd.read_csv(results / "pictures.csv")) == 8 * 4 + 3


def test_the_command_ends_well_where_there_are_only_warnings(tmp_path):
    command("sample", str(tmp_path / "new"), "--images", "5", "--kind", "digits")
    checked = command(
        "check", str(tmp_path / "new"), "--run", "mine", CONVNETLAB_RUNS=str(tmp_path)
    )
    assert checked.returncode == 0, checked.stderr
    assert "! fewer than 20 pictures" in checked.stdout and (tmp_path / "mine").is_dir()


def test_results_are_not_written_into_the_pictures_or_over_something_else(tmp_path, monkeypatch):
    samples.write(tmp_path / "new", images=4)
    listing = image_folders.scan(tmp_path / "new")
    monkeypatch.setenv("CONVNETLAB_RUNS", str(tmp_path / "new" / "runs"))
    with pytest.raises(LabError, match="lies in the folder of pictures"):
        audit.writable("audit", listing)
    monkeypatch.setenv("CONVNETLAB_RUNS", str(tmp_path / "runs"))
    handoff.open_run("lab", 1)
    with pytest.raises(LabError, match="is a run"):
        audit.writable("lab", listing)
    audit.write(look(tmp_path / "new"), "audit")
    with pytest.raises(LabError, match="is an audit of pictures, no run"):
        handoff.run_folder("audit")


def test_a_mended_copy_leaves_the_old_folder_as_it_is(flawed, tmp_path):
    before = everything(flawed)
    listing = image_folders.scan(flawed)
    left_out = ["train/circle/cut-short.jpg", "test/star/star-0003.jpg"]
    copied = audit.copy_without(listing, left_out, tmp_path / "mended")
    assert everything(flawed) == before
    assert set(copied.files["file"]) == set(listing.files["file"]) - set(left_out)
    for file in copied.files["file"]:
        assert (copied.folder / file).read_bytes() == (flawed / file).read_bytes()
    for place in (flawed / "mended", tmp_path / "mended"):
        with pytest.raises(LabError, match=r"lies in the folder|is not empty"):
            audit.copy_without(listing, [], place)
    assert everything(flawed) == before


def test_a_part_of_a_large_folder_keeps_every_class(flawed):
    listing = image_folders.scan(flawed)
    files = audit.at_most(listing, 8).files
    counts = listing.files.groupby(["part", "class"]).size().clip(upper=audit.FEW)
    assert files.groupby(["part", "class"]).size().equals(counts)
    assert audit.at_most(listing, 10_000).files.equals(listing.files)
