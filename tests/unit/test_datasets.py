import gzip
import shutil
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convnetlab import datasets
from convnetlab.errors import LabError

NAMES = list(datasets.MNIST_MD5)


def idx(array):
    """An array as the bytes of an IDX file."""
    magic = 0x800 + array.ndim
    return struct.pack(f">{array.ndim + 1}I", magic, *array.shape) + array.tobytes()


def write_set(folder, labels=(0, 1, 2, 0, 1, 2), size=(5, 7), prefix="", zipped=True):
    """Six pictures to learn from and three to test on; return the four arrays."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    labels = np.array(labels, np.uint8)
    pixels = generator.integers(0, 256, (len(labels) + 3, *size), np.uint8)
    arrays = [pixels[:-3], labels, pixels[-3:], labels[:3]]
    for name, array in zip(NAMES, arrays, strict=True):
        content = idx(array)
        if zipped:
            (folder / f"{prefix}{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / f"{prefix}{name}").write_bytes(content)
    return arrays


def test_mnist_is_whole():
    data = datasets.load("mnist")
    assert data.train_images.shape == (60_000, 28, 28, 1)
    assert data.test_images.shape == (10_000, 28, 28, 1)
    assert data.train_images.dtype == np.uint8
    assert data.train_labels.dtype.kind == "i"
    # The counts and the first labels that everybody knows.
    assert np.bincount(data.train_labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.classes == tuple("0123456789")


def test_digits_are_scaled_split_and_stratified():
    data = datasets.load("digits")
    assert data.image_shape == (8, 8, 1)
    assert len(data.train_labels) + len(data.test_labels) == 1797
    assert len(data.test_labels) == 360
    assert data.train_images.min() == 0 and data.train_images.max() == 255
    assert set(np.unique(data.train_images)) <= {round(value * 255 / 16) for value in range(17)}
    shares = np.bincount(data.test_labels) / np.bincount(
        np.concatenate([data.train_labels, data.test_labels])
    )
    assert np.allclose(shares, 0.2, atol=0.01)
    assert datasets.load("digits").content_hash() == data.content_hash()


@pytest.mark.parametrize("prefix", ["", "kmnist-", "emnist-letters-"])
@pytest.mark.parametrize("zipped", [True, False])
def test_any_idx_folder_is_read(tmp_path, prefix, zipped):
    arrays = write_set(tmp_path, prefix=prefix, zipped=zipped)
    data = datasets.load(f"idx:{tmp_path}")
    assert data.image_shape == (5, 7, 1)
    assert np.array_equal(data.train_images[..., 0], arrays[0])
    assert np.array_equal(data.test_images[..., 0], arrays[2])
    assert data.train_labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.classes == ("0", "1", "2")


def test_emnist_is_read_with_its_options(tmp_path):
    arrays = write_set(tmp_path, labels=(1, 2, 3, 1, 2, 3), prefix="emnist-letters-")
    with pytest.raises(LabError, match=r"smallest label is 1, expected 0.*first_label=1"):
        datasets.load(f"idx:{tmp_path}")
    data = datasets.load(f"idx:{tmp_path}?first_label=1&transpose=true")
    assert data.image_shape == (7, 5, 1)
    assert np.array_equal(data.train_images[0, :, :, 0], arrays[0][0].T)
    assert data.train_labels.tolist() == [0, 1, 2, 0, 1, 2]
    again = datasets.load_specified(data.specification())
    assert again.content_hash() == data.content_hash()


def test_class_names_come_from_a_file(tmp_path):
    write_set(tmp_path)
    (tmp_path / "classes.txt").write_text("Mantel\nHose\nκάλτσα\n", encoding="utf-8")
    assert datasets.load(f"idx:{tmp_path}").classes == ("Mantel", "Hose", "κάλτσα")
    (tmp_path / "classes.txt").write_text("one\ntwo\n")
    with pytest.raises(LabError, match=r"classes\.txt names 2 classes, and the labels need 3"):
        datasets.load(f"idx:{tmp_path}")


def test_class_names_that_changed_since_the_split_are_noticed(tmp_path):
    write_set(tmp_path)
    (tmp_path / "classes.txt").write_text("a\nb\nc\n", encoding="utf-8-sig")
    data = datasets.load(f"idx:{tmp_path}")
    assert data.classes[0] == "a", "a byte order mark is no part of a name"
    (tmp_path / "classes.txt").write_text("c\nb\na\n")
    with pytest.raises(LabError, match="classes is"):
        datasets.load_specified(data.specification())
    (tmp_path / "classes.txt").write_bytes("Hüte\nb\nc".encode("latin-1"))
    with pytest.raises(LabError, match="is not UTF-8"):
        datasets.load(f"idx:{tmp_path}")


def test_the_four_files_must_have_one_prefix(tmp_path):
    write_set(tmp_path, prefix="a-")
    for name in NAMES[1::2]:
        (tmp_path / f"a-{name}.gz").rename(tmp_path / f"b-{name}.gz")
    with pytest.raises(LabError, match="expected one for all"):
        datasets.load(f"idx:{tmp_path}")


def test_original_spelling_of_the_names(tmp_path):
    write_set(tmp_path, zipped=False)
    for name in NAMES:
        (tmp_path / name).rename(tmp_path / name.replace("-idx", ".idx"))
    assert len(datasets.load(f"idx:{tmp_path}").train_labels) == 6


@pytest.mark.parametrize(
    "source", ["", "mnst", "idx:", "idx", "mnist:", "digits:x", "folder:", "folder", "MNIST"]
)
def test_unknown_sources_are_refused_with_the_known_ones(source):
    with pytest.raises(
        LabError, match=r"it must be one of: mnist, digits, idx:FOLDER, folder:FOLDER"
    ):
        datasets.load(source)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("rotate=1", "no option 'rotate'; idx has: transpose, first_label"),
        ("transpose=maybe", "transpose must be true or false"),
        ("first_label=-1", "first_label a whole number"),
    ],
)
def test_bad_options_are_refused(tmp_path, query, message):
    write_set(tmp_path)
    with pytest.raises(LabError, match=message):
        datasets.load(f"idx:{tmp_path}?{query}")


def damage(folder, name, change):
    path = folder / f"{name}.gz"
    path.write_bytes(change(path.read_bytes()))


def rezip(change):
    return lambda content: gzip.compress(change(gzip.decompress(content)))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (NAMES[0], lambda b: b[: len(b) // 2], "truncated or damaged"),
        (NAMES[0], lambda b: b[:-4] + b"\0\0\0\0", "truncated or damaged"),
        (NAMES[0], rezip(lambda b: b"\0\0\x08\x01" + b[4:]), "0x00000801, expected 0x00000803"),
        (NAMES[1], rezip(lambda b: b"PK\x03\x04" + b[4:]), "0x504b0304, expected 0x00000801"),
        (NAMES[1], lambda b: b"", "no IDX file of labels"),
        (NAMES[0], rezip(lambda b: b[:-1]), r"promises 6×5×7 = 210 bytes, and 209 follow"),
        (NAMES[0], rezip(lambda b: b + b"x"), r"promises 6×5×7 = 210 bytes, and 211 follow"),
        (NAMES[0], rezip(lambda b: b[:4] + b"\xff" * 12 + b[16:]), r"promises 4294967295×"),
        (NAMES[1], rezip(lambda b: idx(np.zeros(5, np.uint8))), "6 training pictures and 5 labels"),
        (NAMES[1], rezip(lambda b: idx(np.zeros(6, np.uint8))), "at least two classes"),
        (NAMES[2], rezip(lambda b: idx(np.zeros((3, 5, 6), np.uint8))), "both must have one size"),
    ],
)
def test_damaged_files_are_told_apart(tmp_path, name, change, message):
    write_set(tmp_path)
    damage(tmp_path, name, change)
    with pytest.raises(LabError, match=message):
        datasets.load(f"idx:{tmp_path}")


def test_an_empty_set_is_refused(tmp_path):
    write_set(tmp_path)
    damage(tmp_path, NAMES[0], lambda b: gzip.compress(idx(np.zeros((0, 5, 7), np.uint8))))
    damage(tmp_path, NAMES[1], lambda b: gzip.compress(idx(np.zeros(0, np.uint8))))
    with pytest.raises(LabError, match="training set is empty"):
        datasets.load(f"idx:{tmp_path}")


def test_missing_folder_missing_file_and_several_files(tmp_path):
    with pytest.raises(LabError, match="is no folder"):
        datasets.load(f"idx:{tmp_path / 'nowhere'}")
    write_set(tmp_path / "set")
    (tmp_path / "set" / f"{NAMES[3]}.gz").unlink()
    with pytest.raises(LabError, match=rf"has no {NAMES[3]}"):
        datasets.load(f"idx:{tmp_path / 'set'}")
    write_set(tmp_path / "two", prefix="a-")
    write_set(tmp_path / "two", prefix="b-")
    with pytest.raises(LabError, match="has several files for train-images"):
        datasets.load(f"idx:{tmp_path / 'two'}")


def test_a_changed_mnist_file_is_named_with_the_way_back(tmp_path, monkeypatch, root):
    shutil.copytree(root / "data" / "mnist", tmp_path / "mnist")
    monkeypatch.setenv("CONVNETLAB_DATA", str(tmp_path))
    path = tmp_path / "mnist" / f"{NAMES[3]}.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(LabError, match=r"t10k-labels.*expected 27ae3e4e.*git checkout"):
        datasets.load("mnist")
    path.unlink()
    with pytest.raises(LabError, match=r"has no t10k-labels-idx1-ubyte"):
        datasets.load("mnist")


def test_pictures_that_changed_since_the_split_are_noticed(tmp_path):
    write_set(tmp_path)
    specification = datasets.load(f"idx:{tmp_path}").specification()
    damage(tmp_path, NAMES[0], rezip(lambda b: b[:-1] + bytes([b[-1] ^ 1])))
    with pytest.raises(LabError, match="has changed since the split"):
        datasets.load_specified(specification)


@given(
    st.integers(0, 3).flatmap(
        lambda n: st.binary(min_size=n * 6, max_size=n * 6).map(
            lambda b: np.frombuffer(b, np.uint8).reshape(n, 2, 3)
        )
    )
)
def test_idx_round_trip(array):
    from pathlib import Path

    parsed = datasets.parse_idx(idx(array), Path("x"), datasets.IMAGES_MAGIC)
    assert np.array_equal(parsed, array)
