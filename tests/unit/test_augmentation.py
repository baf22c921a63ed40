"""Photographs changed at random. These load TensorFlow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convnetlab import augmentation
from convnetlab.recipes import CHOICES

RNG = np.random.default_rng(1)


@pytest.fixture
def ramp():
    """200 pictures that grow brighter from 50 on the left to 200 on the right."""
    row = np.linspace(50, 200, 48).astype(np.uint8)
    return np.broadcast_to(row[None, None, :, None], (200, 40, 48, 3)).copy()


def unlit(monkeypatch):
    monkeypatch.setattr(augmentation, "LIGHT", 0.0)


def test_the_recipes_know_every_augmentation():
    assert ("none", *augmentation.AUGMENTATIONS) == CHOICES["augmentation"]


@settings(max_examples=10)
@given(st.integers(0, 2**31 - 1), st.integers(0, 1000))
def test_the_seed_decides_and_the_pictures_stay_what_they_were(seed, epoch):
    images = RNG.integers(0, 256, (5, 20, 24, 3), np.uint8)
    before = images.copy()
    one, other = (augmentation.photo(images, (seed, epoch)) for _ in range(2))
    assert one.dtype == np.uint8 and one.shape == images.shape
    assert np.array_equal(one, other) and np.array_equal(images, before)
    assert not np.array_equal(one, augmentation.photo(images, (seed, epoch + 1)))


def test_nothing_black_comes_in_from_outside(monkeypatch):
    unlit(monkeypatch)
    images = RNG.integers(100, 256, (100, 32, 32, 3)).astype(np.uint8)
    assert augmentation.photo(images, (1, 1)).min() >= 100
    assert augmentation.affine(images, (1, 1)).min() == 0


def test_one_in_two_is_mirrored_and_a_crop_keeps_most(ramp, monkeypatch):
    unlit(monkeypatch)
    monkeypatch.setattr(augmentation, "TURN", 0.0)
    changed = augmentation.photo(ramp, (3, 1))[:, 20, :, 0].astype(float)
    rise = changed[:, -1] - changed[:, 0]
    assert 70 <= (rise < 0).sum() <= 130
    seen = np.abs(rise) / 150
    least = augmentation.LEAST_SEEN * (1 - augmentation.NARROW)
    assert least - 0.03 <= seen.min() < least + 0.1 and 0.9 < seen.max() <= 1
    # The crops lie inside, on the left and on the right of the picture.
    low = changed.min(axis=1)
    assert low.min() <= 53 and low.max() > 75


def test_brightness_and_contrast_change_within_bounds(ramp):
    flat = np.full_like(ramp, 128)
    bright = augmentation.photo(flat, (1, 1)).astype(float)
    assert bright.std(axis=(1, 2, 3)).max() == 0
    means = bright.mean(axis=(1, 2, 3)) - 128
    limit = 255 * augmentation.LIGHT + 1
    assert -limit <= means.min() < -limit / 2 and limit / 2 < means.max() <= limit


@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_light_is_a_line_clipped(brightness, contrast):
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    found = augmentation.lit(images, np.array([brightness]), np.array([contrast]))
    line = 127.5 + (np.arange(256) - 127.5) * (1 + contrast) + 255 * brightness
    assert np.abs(found.ravel() - np.clip(line, 0, 255)).max() <= 0.5 + 1e-9
