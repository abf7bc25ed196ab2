"""Data that brings its own batches, to a Model on the GPU: the bits of arrays."""

import threading

import numpy as np
import pytest

from lstmfast import LSTM, Dense, Model
from lstmfast.callbacks import LambdaCallback

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(5, 2, 3)), RNG.normal(size=(5, 2))


def compiled():
    model = Model([LSTM(2, input_shape=(None, 3)), Dense(2)], seed=0, device="cuda")
    model.compile("sgd", "mse")
    return model


class Numbered:
    def __len__(self):
        return 3

    def __getitem__(self, n):
        return X[2 * n : 2 * n + 2], Y[2 * n : 2 * n + 2]


def test_bits_are_those_of_arrays():
    wanted = compiled()
    expected = wanted.fit(X, Y, batch_size=2, epochs=2, shuffle=False, verbose=0).history
    six = iter([Numbered()[n % 3] for n in range(6)])
    for source, how in ((Numbered(), {}), (six, {"steps_per_epoch": 3})):
        model = compiled()
        assert model.fit(source, epochs=2, shuffle=False, verbose=0, **how).history == expected
        assert model.evaluate(Numbered()) == wanted.evaluate(X, Y, 2)
        np.testing.assert_array_equal(model.predict(Numbered()), wanted.predict(X, 2))


def test_the_thread_ends_with_the_training():
    def stop(n, logs):
        raise KeyError

    with pytest.raises(KeyError):
        compiled().fit(Numbered(), verbose=0, callbacks=[LambdaCallback(on_train_batch_end=stop)])
    assert not [one for one in threading.enumerate() if one.name == "lstmfast-prefetch"]
