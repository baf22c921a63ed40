import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convnetlab import datasets, preprocess
from convnetlab.errors import LabError

LABELS = st.lists(st.integers(0, 9), max_size=50).map(lambda values: np.array(values, np.int64))
IMAGES = arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3, st.sampled_from([1, 3])))


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@given(IMAGES)
def test_normalise_keeps_the_shape_and_lies_in_0_to_1(images):
    result = preprocess.normalise(images)
    assert result.dtype == np.float32
    assert result.shape == images.shape
    assert result.min() >= 0 and result.max() <= 1
    assert np.array_equal(np.rint(result * 255).astype(np.uint8), images)


@given(LABELS)
def test_one_hot_and_back(labels):
    rows = preprocess.one_hot(labels, 10)
    assert rows.shape == (len(labels), 10)
    assert rows.dtype == np.float32
    assert (rows.sum(axis=1) == 1).all()
    assert np.array_equal(preprocess.from_one_hot(rows), labels)


@pytest.mark.parametrize("labels", [[-1, 0], [0, 3]])
def test_one_hot_refuses_labels_outside_the_classes(labels):
    with pytest.raises(ValueError, match="expected 0 to 2"):
        preprocess.one_hot(np.array(labels), 3)


@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_shuffle_keeps_pairs_and_repeats_with_the_seed(count, seed):
    labels = np.arange(count)
    images = (labels[:, None, None, None] % 256).astype(np.uint8)
    shuffled, new = preprocess.shuffle(images, labels, seed)
    assert sorted(new.tolist()) == labels.tolist()
    assert np.array_equal(shuffled[:, 0, 0, 0], new % 256)
    again, _ = preprocess.shuffle(images, labels, seed)
    assert np.array_equal(shuffled, again)


def test_shuffle_refuses_unequal_lengths():
    with pytest.raises(ValueError, match="3 pictures and 2 labels"):
        preprocess.shuffle(np.zeros((3, 1, 1, 1), np.uint8), np.zeros(2, np.int64), 0)


@given(IMAGES, st.integers(1, 9), st.integers(1, 9))
def test_resize_gives_the_size_and_stays_in_range(images, height, width):
    result = preprocess.resize(images, height, width)
    assert result.shape == (len(images), height, width, images.shape[3])
    assert result.dtype == np.uint8
    assert result.min() >= images.min() and result.max() <= images.max()


def test_resize_to_the_same_size_changes_nothing(digits):
    assert np.array_equal(preprocess.resize(digits.test_images[:9], 8, 8), digits.test_images[:9])
    with pytest.raises(ValueError, match="at least 1"):
        preprocess.resize(digits.test_images[:1], 0, 8)


def test_class_counts_have_a_row_for_every_class():
    images = np.zeros((3, 2, 2, 1), np.uint8)
    labels = np.array([0, 2, 2])
    data = datasets.Dataset("x", images, labels, images[:1], labels[:1], ("a", "b", "c"))
    counts = preprocess.class_counts(data)
    assert counts["train"].tolist() == [1, 0, 2]
    assert counts["test"].tolist() == [1, 0, 0]


@given(share=st.floats(0.05, 0.5), seed=st.integers(0, 1000))
def test_split_is_a_partition_stratified_and_repeatable(digits, share, seed):
    split = preprocess.split(digits, share, seed)
    train, train_labels = preprocess.part_of(split, "train")
    validation, validation_labels = preprocess.part_of(split, "validation")
    test, test_labels = preprocess.part_of(split, "test")
    assert sorted([*train, *validation]) == list(range(len(digits.train_labels)))
    assert test.tolist() == list(range(len(digits.test_labels)))
    assert np.array_equal(digits.train_labels[train], train_labels)
    assert np.array_equal(digits.test_labels[test], test_labels)
    assert abs(len(validation) - share * len(digits.train_labels)) <= 1
    expected = np.bincount(digits.train_labels) * share
    assert np.abs(np.bincount(validation_labels, minlength=10) - expected).max() <= 1.5
    pd.testing.assert_frame_equal(split, preprocess.split(digits, share, seed))
    assert not split.equals(preprocess.split(digits, share, seed + 1))


def test_smoke_is_a_small_stratified_subset(monkeypatch):
    monkeypatch.setenv("CONVNETLAB_SMOKE", "1")
    data = datasets.load("mnist")
    split = preprocess.split(data, 0.1, 3)
    assert split["part"].value_counts().to_dict() == {
        "train": 1800,
        "validation": 200,
        "test": 1000,
    }
    shares = np.bincount(preprocess.part_of(split, "test")[1]) / 1000
    assert np.allclose(shares, np.bincount(data.test_labels) / 10_000, atol=0.002)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_outside_0_to_1_is_refused(digits, share):
    with pytest.raises(LabError, match="validation_share is"):
        preprocess.split(digits, share, 1)


def test_a_class_too_small_to_split_is_told():
    images, labels = np.zeros((5, 2, 2, 1), np.uint8), np.array([0, 0, 0, 0, 1])
    data = datasets.Dataset("tiny", images, labels, images, labels, ("a", "b"))
    with pytest.raises(LabError, match=r"tiny: 5 pictures of 2 classes cannot be split"):
        preprocess.split(data, 0.2, 1)


def test_the_baseline_beats_chance_and_is_repeatable(digits):
    split = preprocess.split(digits, 0.2, 1)
    baseline = preprocess.baseline(digits, split, 1)
    assert 0.9 < baseline.validation_accuracy <= 1
    assert baseline.test_predictions.shape == digits.test_labels.shape
    again = preprocess.baseline(digits, split, 1)
    assert np.array_equal(baseline.test_predictions, again.test_predictions)


@given(st.integers(2, 60), st.integers(2, 60))
def test_a_stratified_subset_never_fails(count, size):
    labels = np.arange(count) % 5
    chosen = preprocess.stratified_subset(labels, size, 0)
    assert len(set(chosen.tolist())) == len(chosen)
    assert len(chosen) in (size, count)
    lonely = np.array([0] * 9 + [1])
    assert len(preprocess.stratified_subset(lonely, 4, 0)) == 10


def test_a_seed_out_of_range_is_told(digits):
    with pytest.raises(LabError, match="seed is -1"):
        preprocess.split(digits, 0.1, -1)


def test_the_channel_axis_comes_last():
    images = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    with_channel = preprocess.add_channel_axis(images)
    assert with_channel.shape == (2, 2, 3, 1)
    assert np.array_equal(with_channel[..., 0], images)


def test_the_baseline_of_large_pictures_sees_them_small():
    """Colour by class, and noise that no mean of a block keeps: few pixels will do."""
    labels = np.arange(300) % 3
    noise = np.random.default_rng(0).integers(-40, 41, (300, 96, 64, 3))
    images = (90 + 20 * np.eye(3)[labels][:, None, None] + noise).clip(0, 255).astype(np.uint8)
    data = datasets.Dataset("x", images[60:], labels[60:], images[:60], labels[:60], tuple("abc"))
    baseline = preprocess.baseline(data, preprocess.split(data, 0.1, 1), 1)
    assert baseline.name == "logistic regression on shrunk pixels"
    assert (baseline.test_predictions == labels[:60]).all()
