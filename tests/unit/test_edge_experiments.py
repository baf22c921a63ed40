"""What `further/edge` tries out."""

from html import escape

import numpy as np
import pytest

from convnetlab import drawings, edge, edge_experiments, quantisation
from convnetlab.deployment import calibration_pictures


@pytest.fixture(scope="module")
def network(digits):
    """A small network, trained for a moment on 8 × 8 digits; its files and its split."""
    from convnetlab import preprocess
    from convnetlab.backend import keras

    keras.utils.set_random_seed(1)
    layers = [
        keras.Input(digits.image_shape),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(8, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(20, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(digits.train_images, digits.train_labels, epochs=8, verbose=0)
    split = preprocess.split(digits, 0.1, 1)
    pictures = calibration_pictures(digits, split)
    files = {name: edge.export(model, name, pictures) for name in ("float32", "int8")}
    return model, files, split


def test_what_is_no_parameter_is_a_small_part_of_the_file(network):
    model, files, _ = network
    table = edge_experiments.parameter_bytes(model, files)
    weights, biases = 9 * 8 + 6 * 6 * 8 * 20 + 20 * 10, 8 + 20 + 10
    assert weights + biases == model.count_params()
    assert table["parameters"].to_dict() == {
        "float32": 4 * (weights + biases),
        "int8": weights + 4 * biases,
    }
    assert table["file"].to_dict() == {name: len(file) for name, file in files.items()}
    assert table["the rest"].between(1_000, 8_000).all()
    assert (table["the rest"] + table["parameters"] == table["file"]).all()


def test_the_weights_of_a_layer_are_found_in_the_network(network, digits):
    model, files, _ = network
    layer = quantisation.last_dense(files["int8"], digits.test_images[0])
    found = edge_experiments.trained_weights(model, layer)
    assert np.array_equal(found, model.layers[-1].kernel.numpy().T)


def test_calibration_on_less_cuts_more_off(network, digits):
    model, files, split = network
    images, labels = digits.test_images, digits.test_labels
    table = edge_experiments.calibrate(
        model, digits, split, images, labels, ["one picture", "blank pages"]
    )
    usual, one, blank = table["accuracy"]
    assert [*table.index] == ["200 pictures", "one picture", "blank pages"]
    assert usual == (edge.predict(files["int8"], images).argmax(axis=1) == labels).mean()
    assert usual > 0.85 and blank < min(one, usual - 0.2)
    assert table["largest"].iloc[0] > table["largest"].iloc[1] > table["largest"].iloc[2]


def test_two_files_judge_the_same_corrupted_pictures(network, digits):
    _, files, _ = network
    images, labels = digits.test_images[:60], digits.test_labels[:60]
    table = edge_experiments.under_corruption(files, images, labels, seed=1)
    assert [*table.columns] == ["float32", "int8", "the same answer"] and len(table) == 7
    for name, file in files.items():
        right = (edge.predict(file, images).argmax(axis=1) == labels).mean()
        assert table.loc["unchanged", name] == right
    assert table.loc["blur", "float32"] < table.loc["unchanged", "float32"]
    apart = (table["float32"] - table["int8"]).abs()
    assert (apart <= 1 - table["the same answer"] + 1e-9).all()


def test_the_nearest_guesses_and_the_steps_of_a_byte_are_shown(network, digits):
    model, files, _ = network
    keras, int8 = (
        model.predict(digits.test_images, verbose=0),
        edge.predict(files["int8"], digits.test_images),
    )
    said = {"Keras": keras, "int8": int8}
    figure = edge_experiments.on_the_fence(said, digits, np.arange(len(keras)), 3)
    best = np.sort(keras, axis=1)
    place = (best[:, -1] - best[:, -2]).argmin()
    truth, guess = digits.test_labels[place], keras[place].argmax()
    assert f"is {truth}, Keras: {guess}, {keras[place].max():.0%}" in figure.alt
    assert figure.alt.count("int8:") == 3
    table = edge_experiments.refused_anew(said, [1, 0.5])
    assert table["Keras answers"].tolist() == pytest.approx([1, 0.5], abs=0.01)
    for _, (limit, _, share) in table.iterrows():
        assert share == (int8.max(axis=1) >= limit).mean()


def test_drawings_take_both_ways_onto_the_page(digits):
    drawn = drawings.drawings_of(digits)
    images = digits.test_images[:5]
    found = edge_experiments.ways_onto_the_page(images, drawn, seed=3)
    shapes = [pictures.shape for pictures in found.values()]
    assert shapes == [(5, 280, 280, 1), (5, 8, 8, 1), (5, 8, 8, 1)]
    for canvas, naive, centred in zip(*found.values(), strict=True):
        assert np.array_equal(naive, drawings.naive(canvas[..., 0], 8, 8))
        assert np.array_equal(centred, drawings.normalised(canvas[..., 0], 8, 8, drawn))


def test_a_page_s_policy_and_what_it_would_load_are_read(tmp_path):
    page, policy = tmp_path / "page.html", "default-src 'none'; img-src data:"
    page.write_text(
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        '<link rel="icon" href="data:,"><script src="https://cdn.example/a.js"></script>'
        '<a href="#top"></a> src="in text"',
        "utf-8",
    )
    assert edge_experiments.policy_of(page) == ["default-src 'none'", "img-src data:"]
    assert edge_experiments.loaded_by(page) == ["https://cdn.example/a.js"]
    page.write_text("<p>nothing</p>", "utf-8")
    assert edge_experiments.policy_of(page) == edge_experiments.loaded_by(page) == []


def test_a_process_of_its_own_answers_without_tensorflow_or_a_connection(network, digits, tmp_path):
    _, files, _ = network
    path, image = tmp_path / "int8.tflite", digits.test_images[0]
    path.write_bytes(files["int8"])
    alone = edge_experiments.ask_alone(path, image)
    assert alone == edge_experiments.Alone(
        edge.predict(files["int8"], image[None]).argmax(), False, 0
    )


def test_a_connection_would_be_noticed(tmp_path, monkeypatch, network, digits):
    """The same process, but for a line that asks for one."""
    asking = "import socket; socket.socket().close()\nprint(said"
    monkeypatch.setattr(
        edge_experiments, "ALONE", edge_experiments.ALONE.replace("print(said", asking)
    )
    path = tmp_path / "int8.tflite"
    path.write_bytes(network[1]["int8"])
    assert edge_experiments.ask_alone(path, digits.test_images[0]).connections > 0


def test_room_on_the_disk_is_counted(tmp_path, monkeypatch):
    (tmp_path / "made_up_package" / "inside").mkdir(parents=True)
    (tmp_path / "made_up_package" / "__init__.py").write_bytes(b"x" * 0)
    (tmp_path / "made_up_package" / "inside" / "data").write_bytes(b"x" * 70)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert edge_experiments.installed_bytes("made_up_package") == 70
    assert edge_experiments.installed_bytes("no_such_package") == 0
