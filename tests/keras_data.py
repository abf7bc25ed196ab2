"""Keras and lstmfast on the same data, of every kind that brings its own batches.

`test_data_keras` runs this in a process of its own, on PyTorch, where Keras has nothing to compile.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

import lstmfast
from lstmfast import LSTM, Dense, Model, callbacks, data

torch.set_num_threads(1)  # with two, such small products wait for each other

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(22, 5, 3)).astype("f4"), RNG.normal(size=(22, 2)).astype("f4")
W, LABELS = RNG.uniform(0.5, 2.0, 22).astype("f4"), RNG.integers(0, 3, 22)
SIZE, COUNT = 6, 4
CLOSE = 1e-5  # of losses, relative; measured: 4e-7
HOW = {"epochs": 3, "verbose": 0}


def pair(outputs=2, loss="mse", last=None, sequences=False):
    """Return a model of Keras and one of ours with the same weights."""
    theirs = keras.Sequential(
        [
            keras.Input((None, 3)),
            keras.layers.LSTM(4, return_sequences=sequences),
            keras.layers.Dense(outputs, last),
        ]
    )
    lstm = LSTM(4, input_shape=(None, 3), return_sequences=sequences)
    ours = Model([lstm, Dense(outputs, last)], seed=0)
    ours.set_weights(theirs.get_weights())
    metrics = ["mae"] if loss == "mse" else None
    theirs.compile("sgd", loss, weighted_metrics=metrics)
    ours.compile("sgd", loss, weighted_metrics=metrics)
    return theirs, ours


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for key in wanted:
        np.testing.assert_allclose(found[key], wanted[key], CLOSE, err_msg=key)


def batch(n, parts):
    return tuple(part[SIZE * n : SIZE * n + SIZE] for part in parts)


def generator(parts=(X, Y), epochs=1):
    return (batch(n, parts) for _ in range(epochs) for n in range(COUNT))


class Keras(keras.utils.PyDataset):
    def __init__(self, parts=(X, Y)):
        super().__init__()
        self.parts = parts

    def __len__(self):
        return COUNT

    def __getitem__(self, n):
        return batch(n, self.parts)


class Ours(lstmfast.utils.PyDataset):
    def __len__(self):
        return COUNT

    def __getitem__(self, n):
        return batch(n, (X, Y))


def loader(parts=(X, Y)):
    tensors = torch.utils.data.TensorDataset(*map(torch.from_numpy, parts))
    return torch.utils.data.DataLoader(tensors, SIZE)


def of_tensorflow(parts=(X, Y)):
    return tf.data.Dataset.from_tensor_slices(parts).batch(SIZE)


@pytest.mark.parametrize("parts", [(X, Y), (X, Y, W)], ids=["plain", "weighted"])
@pytest.mark.parametrize("make", [Keras, loader, of_tensorflow])
def test_losses_of_the_same_batches(make, parts):
    theirs, ours = pair()
    how = {"shuffle": False, **HOW}
    wanted = theirs.fit(make(parts), validation_data=make(), **how).history
    same(ours.fit(make(parts), validation_data=make(), **how).history, wanted)
    np.testing.assert_allclose(ours.evaluate(make(parts)), theirs.evaluate(make(parts), verbose=0),
                               CLOSE)  # fmt: skip
    np.testing.assert_allclose(
        ours.predict(make()), theirs.predict(make(), verbose=0), CLOSE, CLOSE
    )


def test_the_base_class_is_keras_s():
    theirs, ours = pair()
    same(ours.fit(Ours(), shuffle=False, **HOW).history,
         theirs.fit(Keras(), shuffle=False, **HOW).history)  # fmt: skip


def test_generators_and_their_steps():
    for steps, epochs in ((COUNT, 3), (2, 3), (3, 2)):
        theirs, ours = pair()
        how = {"steps_per_epoch": steps, "epochs": epochs, "verbose": 0}
        how |= {"validation_steps": 2, "validation_freq": 2}
        wanted, found = (
            one.fit(generator(epochs=3), validation_data=generator(epochs=3), **how)
            for one in (theirs, ours)
        )
        same(found.history, wanted.history)
        assert len(wanted.history["val_loss"]) == epochs // 2
    np.testing.assert_allclose(
        ours.evaluate(generator(), steps=3), theirs.evaluate(generator(), steps=3, verbose=0), CLOSE
    )


def test_a_generator_that_ends():
    """One epoch until it ends; and a short epoch, in which training ends with a warning."""
    theirs, ours = pair()
    wanted = theirs.fit(generator(), verbose=0).history
    same(ours.fit(generator(), verbose=0).history, wanted)
    with pytest.warns(UserWarning, match="ran out of data"):
        wanted = theirs.fit(generator(), steps_per_epoch=3, epochs=2, verbose=0).history
    with pytest.warns(UserWarning, match="expected 3 batches, got 1"):
        same(ours.fit(generator(), steps_per_epoch=3, epochs=2, verbose=0).history, wanted)


def test_batches_of_unlike_numbers_of_steps():
    """Samples count alike, whatever steps they have."""
    items = [
        (RNG.normal(size=(rows, steps, 3)), RNG.normal(size=(rows, steps, 2)))
        for rows, steps in ((3, 2), (5, 7), (2, 4))
    ]
    theirs, ours = pair(sequences=True)
    wanted = theirs.fit((one for one in items), verbose=0).history
    same(ours.fit((one for one in items), verbose=0).history, wanted)


def test_class_weights_of_a_source():
    theirs, ours = pair(3, "sparse_categorical_crossentropy", "softmax")
    how = {"class_weight": {0: 0.3, 2: 4.0}, "shuffle": False, **HOW}
    wanted = theirs.fit(Keras((X, LABELS)), **how).history
    same(ours.fit(Keras((X, LABELS)), **how).history, wanted)


def test_what_is_refused_there_is_refused_here():
    for how in ({"y": Y}, {"sample_weight": W}, {"validation_split": 0.2}):
        for make in (generator, Keras, loader):
            for one in pair():
                with pytest.raises(ValueError):
                    one.fit(make(), verbose=0, **how)
    for one in pair():
        with pytest.raises(ValueError):
            one.fit(iter([]), verbose=0)


def test_callbacks_hear_the_same():
    def noting(base):
        calls = []
        names = ("on_epoch_begin", "on_train_batch_end", "on_test_batch_end", "on_epoch_end")
        hooks = {
            name: lambda self, n, logs=None, name=name: calls.append((name, n, sorted(logs or {})))
            for name in names
        }
        made = type("Noting", (base,), hooks)()
        made.calls = calls
        return made

    for make in (Keras, generator, loader):
        theirs, ours = pair()
        notes = noting(keras.callbacks.Callback), noting(callbacks.Callback)
        for one, note in zip((theirs, ours), notes, strict=True):
            one.fit(make(), verbose=0, validation_data=make(), callbacks=[note])
        assert notes[1].calls == notes[0].calls and len(notes[0].calls) == 2 + 2 * COUNT


def drawn(rng):
    steps = int(rng.integers(20, 60))
    start = None if rng.random() < 0.4 else int(rng.integers(0, 8))
    how = {
        "sequence_length": int(rng.integers(1, 5)),
        "sequence_stride": int(rng.integers(1, 4)),
        "sampling_rate": int(rng.integers(1, 3)),
        "batch_size": int(rng.integers(1, 9)),
        "start_index": start,
        "end_index": None if rng.random() < 0.4 else int(rng.integers(18, steps)),
    }
    series = rng.normal(size=(steps, 2) if rng.random() < 0.5 else (steps,))
    targets = None if rng.random() < 0.3 else rng.normal(size=(steps, 1))
    if targets is not None and start is None and rng.random() < 0.5:
        targets = targets[: int(rng.integers(5, steps))]
    return series, targets, how


@pytest.mark.parametrize("seed", range(20))
def test_windows_of_time_series(seed):
    series, targets, how = drawn(np.random.default_rng(seed))
    wanted = list(keras.utils.timeseries_dataset_from_array(series, targets, **how))
    found = lstmfast.utils.timeseries_dataset_from_array(series, targets, **how)
    assert len(found) == len(wanted)
    for n, one in enumerate(wanted):
        pairs = zip(found[n], one, strict=True) if targets is not None else [(found[n], one)]
        for mine, other in pairs:
            np.testing.assert_array_equal(mine, other.numpy())


def test_windows_are_learnt_from_as_keras_does():
    series = RNG.normal(size=(60, 3)).astype("f4")
    theirs, ours = pair()
    given = keras.utils.timeseries_dataset_from_array(series, series[5:, :2], 5, batch_size=8)
    wanted = theirs.fit(given, **HOW).history
    x, y = data.windows(series, 5, targets=series[:, :2])
    same(ours.fit(x, y, 8, shuffle=False, **HOW).history, wanted)
