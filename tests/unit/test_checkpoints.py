"""Trainings that are killed, stopped, damaged or refused. These tests load TensorFlow."""

import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest

from convnetlab import recipes, training, trials
from convnetlab.backend import keras
from convnetlab.callbacks import Record
from convnetlab.checkpoints import Checkpoints, Progress
from convnetlab.errors import LabError
from convnetlab.handoff import write_atomically

FROM_SCRATCH = [name for name, recipe in recipes.RECIPES.items() if recipe.weights == "none"]

# Augmentation, dropout and batch normalisation: all that a checkpoint must carry.
RECIPE = recipes.Recipe(
    learning_rate=0.02,
    batch_size=64,
    epochs=4,
    schedule="one-cycle",
    augmentation="affine",
    label_smoothing=0.1,
    weight_decay=5e-4,
)


def train(digits, split, folder, recipe=RECIPE, seed=1):
    training.set_seed(seed)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(digits.image_shape, name="image"),
            layers.Rescaling(1 / 255, name="rescale"),
            layers.Conv2D(4, 3, use_bias=False, name="convolution"),
            layers.BatchNormalization(name="normalise"),
            layers.ReLU(name="relu"),
            layers.Flatten(name="flatten"),
            layers.Dropout(0.2, name="dropout"),
            layers.Dense(10, activation="softmax", name="probabilities"),
        ],
        name="small",
    )
    return training.train(model, digits, split, recipe, seed, folder)


def same(first, second):
    pairs = zip(first.model.get_weights(), second.model.get_weights(), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


@pytest.fixture(scope="module")
def whole(digits, split, tmp_path_factory):
    """A training that nothing disturbed, and its checkpoints."""
    folder = tmp_path_factory.mktemp("checkpoints")
    trained = train(digits, split, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["epoch-0003.npz", "epoch-0004.npz"]
    return trained, folder


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of the checkpoints of `whole`."""
    return shutil.copytree(whole[1], tmp_path / "copy")


def test_a_training_goes_on_from_its_checkpoint_to_the_same_weights(digits, split, whole, copy):
    (copy / "epoch-0004.npz").unlink()
    resumed = train(digits, split, copy)
    assert same(resumed, whole[0])
    assert resumed.history.equals(whole[0].history)
    assert resumed.finished and resumed.seconds > 0


def test_a_finished_training_is_not_done_again(digits, split, whole, copy, capsys):
    again = train(digits, split, copy)
    assert same(again, whole[0]) and again.history.equals(whole[0].history)
    assert again.seconds == whole[0].seconds
    assert "after epoch 4 of 4" in capsys.readouterr().out


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_every_recipe_goes_on(digits, split, name, tmp_path):
    recipe = recipes.choose(name, 2)
    first = train(digits, split, tmp_path, recipe, 2)
    (tmp_path / "epoch-0002.npz").unlink()
    resumed = train(digits, split, tmp_path, recipe, 2)
    assert same(first, resumed) and first.history.equals(resumed.history)


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def damage(path, how):
    content = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "one bit":
        flip(path, len(content) // 2)
    elif how == "text":
        path.write_text("a diary")
    elif how == "another archive":
        np.savez(path, weights=np.zeros(3))
    else:
        np.savez(path, about=np.array(how, dtype=object))


@pytest.mark.parametrize(
    "how", ["empty", "truncated", "one bit", "text", "another archive", "pickled"]
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    digits, split, whole, copy, how, capsys
):
    damage(copy / "epoch-0004.npz", how)
    with pytest.warns(UserWarning, match=r"epoch-0004.npz is damaged, or no checkpoint .* left"):
        resumed = train(digits, split, copy)
    assert "after epoch 3 of 4" in capsys.readouterr().out
    assert same(resumed, whole[0])


@pytest.mark.parametrize("place", [0, 6, 8, 26, 40, 60, 2_000, -10, -30, -60])
def test_a_bit_that_flips_anywhere_ends_no_training(digits, split, whole, copy, place):
    """Some bits of a zip file mean nothing; the others are noticed, each in its own way."""
    flip(copy / "epoch-0004.npz", place)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resumed = train(digits, split, copy)
    assert same(resumed, whole[0])


@pytest.mark.parametrize("change", ["seed", "recipe", "split"])
def test_a_checkpoint_of_another_training_is_named_and_left_out(
    digits, split, whole, copy, change, capsys
):
    recipe = dataclasses.replace(RECIPE, epochs=2) if change == "recipe" else RECIPE
    rows = split.iloc[::-1].reset_index(drop=True) if change == "split" else split
    seed = 2 if change == "seed" else 1
    with pytest.warns(UserWarning, match=r"epoch-0004.npz belongs to another training"):
        train(digits, rows, copy, recipe, seed)
    assert "Going on" not in capsys.readouterr().out
    # What it leaves are its own, and they are good.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(digits, rows, copy, recipe, seed)


def test_checkpoints_go_when_the_model_has_been_handed_on(digits, split, copy):
    (copy / "notes.txt").write_text("mine")
    trained = train(digits, split, copy)
    dataclasses.replace(trained, finished=False).tidy()
    assert len(list(copy.glob("*.npz"))) == 2
    trained.tidy()
    assert [path.name for path in copy.iterdir()] == ["notes.txt"]


@pytest.fixture
def interruptible():
    """Where the tests themselves run in the background, interrupts are ignored from birth."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Interrupt(keras.callbacks.Callback):
    """Press Ctrl-C in the third epoch."""

    def on_train_batch_begin(self, batch, logs=None):
        if self.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch


def test_an_interrupted_training_keeps_its_best_epoch_and_goes_on(
    digits, split, whole, tmp_path, monkeypatch, capsys, interruptible
):
    # The validation losses of the first two epochs are made up, so that the first is the best.
    keep = Record.on_epoch_end

    def worse(self, epoch, logs):
        keep(self, epoch, {**logs, "val_loss": 1.0 + epoch})
        seen.append(self.model.get_weights())

    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(Record, "on_epoch_end", worse)
        patch.setattr(training, "StopAtNonsense", Interrupt)
        stopped = train(digits, split, tmp_path)
    assert not stopped.finished and stopped.history["epoch"].tolist() == [1, 2]
    assert all(map(np.array_equal, stopped.model.get_weights(), seen[0]))
    said = capsys.readouterr().out
    assert "Stopped after epoch 2 of 4." in said and "weights of epoch 1, the best" in said
    assert "in the same way, to go on" in said
    kept = keras.models.load_model(tmp_path / "best.keras")
    assert all(map(np.array_equal, kept.get_weights(), seen[0]))
    stopped.tidy()
    resumed = train(digits, split, tmp_path)
    assert resumed.finished and same(resumed, whole[0])


def test_an_interruption_before_the_first_epoch_ends_is_passed_on(
    digits, split, monkeypatch, interruptible
):
    class AtOnce(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(training, "StopAtNonsense", AtOnce)
    with pytest.raises(KeyboardInterrupt):
        train(digits, split, None)


def test_a_loss_that_is_no_number_is_told_and_the_last_checkpoint_stays(
    digits, split, tmp_path, monkeypatch
):
    recipe = dataclasses.replace(RECIPE, learning_rate=1e30, schedule="constant")
    with pytest.raises(LabError, match=r"loss became (nan|inf) in epoch 1, by step .* Lower the"):
        train(digits, split, tmp_path, recipe)
    assert not list(tmp_path.iterdir())

    class Poison(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                weights = self.model.get_weights()
                self.model.set_weights([np.full_like(array, np.nan) for array in weights])

    true_fit = keras.Model.fit

    def fit(self, *inputs, callbacks, **more):
        return true_fit(self, *inputs, callbacks=[*callbacks, Poison()], **more)

    monkeypatch.setattr(keras.Model, "fit", fit)
    with pytest.raises(LabError, match="loss became nan in epoch 3"):
        train(digits, split, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0001.npz", "epoch-0002.npz"]


def test_weights_that_the_last_step_spoils_do_not_reach_a_checkpoint(
    digits, split, tmp_path, monkeypatch
):
    """The loss of an epoch is measured before its last step changes the weights."""
    true_order = training.EpochOrder

    class Poison(true_order):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                weights = self.model.get_weights()
                self.model.set_weights([np.full_like(array, np.inf) for array in weights])

    monkeypatch.setattr(training, "EpochOrder", Poison)
    with pytest.raises(LabError, match="Weights became infinite, or not a number, in epoch 3"):
        train(digits, split, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0001.npz", "epoch-0002.npz"]


def test_the_best_epoch_is_that_of_the_lowest_loss_that_is_a_number():
    losses = [0.5, float("nan"), 0.3, 0.4]
    progress = Progress([{"epoch": n + 1, "val_loss": loss} for n, loss in enumerate(losses)])
    assert progress.best_epoch == 3
    assert Progress([{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 2.0}]).best_epoch == 2
    assert Progress().best_epoch == 0


def test_labels_outside_the_classes_are_told(digits, split):
    rows = split.assign(label=split["label"] + 1)
    with pytest.raises(LabError, match="labels run from 1 to 10, and the network has 10 classes"):
        train(digits, rows, None)
    held_out = split["part"] == "validation"
    rows = split.assign(label=split["label"].where(~held_out, -1))
    with pytest.raises(LabError, match="labels run from -1 to 9"):
        train(digits, rows, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", -1.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("epochs", 0),
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("momentum", 1.0),
        ("warm_up", -0.1),
        ("weight_decay", -1e-4),
        ("label_smoothing", 1.0),
        ("schedule", "zigzag"),
        ("optimiser", "Adam"),
        ("augmentation", "mirror"),
    ],
)
def test_a_recipe_that_nothing_can_be_trained_with_is_refused(field, value):
    with pytest.raises(LabError, match=f"{field} is .*; it must be"):
        dataclasses.replace(RECIPE, **{field: value})


@pytest.fixture
def tiny_disk(whole, tmp_path):
    """A file system with room for one checkpoint, but not for two."""
    place = tmp_path / "disk"
    place.mkdir()
    size = int(1.6 * (whole[1] / "epoch-0004.npz").stat().st_size)
    options = f"size={size},uid={os.getuid()}"
    as_root(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place])
    yield place
    as_root(["umount", place])


def as_root(command):
    """Run a command that only root may."""
    subprocess.run([*([] if os.geteuid() == 0 else ["sudo", "-n"]), *command], check=True)


def test_a_full_disk_is_told_and_the_checkpoint_before_it_is_intact(
    digits, split, whole, tiny_disk
):
    folder = tiny_disk / "checkpoints"
    with pytest.raises(LabError, match=r"epoch-0002.npz could not be written: .*[Nn]o space left"):
        train(digits, split, folder)
    assert [path.name for path in folder.iterdir()] == ["epoch-0001.npz"]
    as_root(["mount", "-o", "remount,size=50m", tiny_disk])
    assert same(train(digits, split, folder), whole[0])


def test_a_full_disk_is_told_when_the_model_is_saved(whole, tiny_disk):
    (tiny_disk / "ballast").write_bytes(bytes(whole[1].joinpath("epoch-0004.npz").stat().st_size))
    for name, save in {
        "model.keras": lambda path: whole[0].model.save(path),
        "history.csv": lambda path: path.write_text("x" * 100_000),
    }.items():
        with pytest.raises(LabError, match=f"{name} could not be written: .*[Nn]o space left"):
            write_atomically(tiny_disk / name, save)
    assert [path.name for path in tiny_disk.iterdir()] == ["ballast"]


def test_a_write_that_fails_for_another_reason_names_the_file(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(np, "savez", refuse)
    with pytest.raises(LabError, match=r"epoch-0001.npz could not be written: Permission denied"):
        Checkpoints(tmp_path, "x").write(Progress([{"epoch": 1}]))
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def survivor():
    """What a training in a process of its own ends with when nobody kills it."""
    return trials.run_apart(trials.SURVIVOR)


@pytest.mark.parametrize("moment", [trials.IN_A_WRITE, 1, 2])
def test_killed_and_run_again_it_ends_with_the_same_weights(survivor, tmp_path, moment):
    """Each moment is chosen by its number as a seed; `convnetlab bench --only kills` has ten."""
    for attempt in range(5):
        killed = dataclasses.replace(trials.SURVIVOR, checkpoints=str(tmp_path / str(attempt)))
        if trials.kill(killed, moment):
            break  # else it was faster than we were: from the beginning
    else:
        pytest.fail("each training ended before it could be killed")
    kept = [*Path(killed.checkpoints).glob("*.npz")]
    assert kept, "killed before there was anything to go on from"
    assert trials.run_apart(killed)["weights_sha256"] == survivor["weights_sha256"]
