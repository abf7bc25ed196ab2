"""Helpers around data with Keras's names, and seeds for what has none of its own."""

import numpy as np
import pytest
from agreement import assert_all_equal

import lstmfast
from lstmfast import LSTM, Dense, Model, layers, utils


def test_to_categorical():
    found = utils.to_categorical([[0, 2], [1, 1]])
    assert found.tolist() == [[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 1, 0]]]
    assert utils.to_categorical(np.array([[1.0], [0.0]]), 4).tolist() == [
        [0, 1, 0, 0],
        [1, 0, 0, 0],
    ]
    for bad in ([0.5], [-1], ["a"]):
        with pytest.raises(ValueError, match=r"^x: expected"):
            utils.to_categorical(bad)
    with pytest.raises(ValueError, match=r"x: expected labels in \[0, 2\)"):
        utils.to_categorical([2], 2)


def test_pad_sequences():
    rows = [[1, 2, 3], [4], []]
    assert utils.pad_sequences(rows).tolist() == [[1, 2, 3], [0, 0, 4], [0, 0, 0]]
    found = utils.pad_sequences(rows, 2, "float32", "post", "post", -1)
    assert found.tolist() == [[1, 2], [4, -1], [-1, -1]] and found.dtype == np.float32
    assert utils.pad_sequences(rows, maxlen=2, padding="post").tolist() == [[2, 3], [4, 0], [0, 0]]
    wide = utils.pad_sequences([np.ones((2, 3)), np.ones((1, 3))], dtype="float64")
    assert wide.shape == (2, 2, 3) and wide[1, 0].tolist() == [0, 0, 0]
    for bad in (3, "abc", [[1], 2], [np.ones((2, 3)), np.ones((2, 2))]):
        with pytest.raises(ValueError, match=r"^sequences: expected"):
            utils.pad_sequences(bad)


def test_utils_as_keras(keras):
    rng = np.random.default_rng(0)
    rows = [rng.integers(1, 9, n).tolist() for n in (3, 0, 7, 5)]
    for maxlen in (None, 2, 6, 9):
        for padding in ("pre", "post"):
            for truncating in ("pre", "post"):
                given = {"maxlen": maxlen, "padding": padding, "truncating": truncating}
                expected = keras.utils.pad_sequences(rows, **given)
                found = utils.pad_sequences(rows, **given)
                assert found.dtype == expected.dtype
                np.testing.assert_array_equal(found, expected)
    labels = rng.integers(0, 4, (3, 2))
    np.testing.assert_array_equal(utils.to_categorical(labels), keras.utils.to_categorical(labels))


def test_set_random_seed():
    def run():
        utils.set_random_seed(7)
        model = Model([LSTM(3, input_shape=(None, 2)), layers.Dropout(0.5), Dense(1)])
        model.compile("adam", "mse")
        model.fit(np.ones((4, 3, 2)), np.arange(4.0), verbose=0)
        other = Dense(2)
        other.build((None, 3))
        return [*model.get_weights(), *other.get_weights(), np.random.random(2)]

    first = run()
    assert_all_equal(run(), first)
    assert np.abs(Model([Dense(3, input_shape=(2,))]).get_weights()[0]).max() > 0
    one, two = (Model([Dense(3, input_shape=(2,))]).get_weights()[0] for _ in range(2))
    assert (one != two).any()
    with pytest.raises(ValueError, match="seed: expected an integer"):
        utils.set_random_seed(-1)


def test_names_of_keras():
    assert lstmfast.models.load_model is lstmfast.load
    assert lstmfast.models.Sequential is lstmfast.Sequential


def test_normalize():
    found = utils.normalize([[3.0, 4.0], [0.0, 0.0]])
    assert found.tolist() == [[0.6, 0.8], [0, 0]] and found.dtype == np.float64
    assert utils.normalize([[1, 3]], order=1).tolist() == [[0.25, 0.75]]
    assert utils.normalize(np.full((2, 2), 1e30, "f4"), axis=0).dtype == np.float32
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4))
    for axis in (0, 1, -1):
        wanted = x / np.linalg.norm(x, axis=axis, keepdims=True)
        np.testing.assert_allclose(utils.normalize(x, axis), wanted, rtol=1e-14)
    for bad, text in ((["a"], "x"), (1.0, "x"), ([1.0], "axis"), ([[1.0]], "order")):
        with pytest.raises(ValueError, match=f"^{text}: expected"):
            utils.normalize(bad, 1 if text == "axis" else -1, 0 if text == "order" else 2)


def test_where_earlier_keras_has_it():
    from lstmfast.preprocessing.sequence import pad_sequences

    assert pad_sequences is utils.pad_sequences
    assert lstmfast.preprocessing.sequence.pad_sequences is pad_sequences
