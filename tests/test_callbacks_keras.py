"""Callbacks beside Keras's: the order of calls, what they are told, and what they decide."""

import inspect

import numpy as np
import pytest
from agreement import same_bits

from lstmfast import Adam, Dense, Model, callbacks

X = np.random.default_rng(0).normal(size=(24, 4)).astype("f4")
Y = np.arange(24) % 3
SPARSE = "sparse_categorical_crossentropy"
HOOKS = [name for name in dir(callbacks.Callback) if name.startswith("on_")]
OURS, NUMBERS = callbacks, ("best", "wait", "stopped_epoch", "best_epoch", "cooldown_counter")


def model_of_ours():
    model = Model([Dense(3, "softmax", input_shape=(4,))], seed=0)
    model.compile("adam", SPARSE, ["accuracy"])
    return model


def model_of_keras(keras):
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, "softmax")])
    model.compile("adam", SPARSE, metrics=["accuracy"])
    return model


def recorder(base, stops=None, raises=None):
    """Return a callback that notes each call: its name, position and the keys of its logs."""
    calls = []

    def hook(name):
        def note(self, *arguments, logs=None):
            position = [a for a in arguments if not isinstance(a, dict)]
            given = next((a for a in arguments if isinstance(a, dict)), logs)
            keys = sorted(set(given) - {"outputs"}) if given is not None else None
            calls.append((name, *position, keys))
            if stops == (name, *position):
                self.model.stop_training = True

        return note

    own = {name: hook(name) for name in HOOKS if name not in ("on_batch_begin", "on_batch_end")}
    made = type("Recorder", (base,), own)()
    made.calls = calls
    return made


VALIDATION = {"validation_data": (X[:10], Y[:10])}


@pytest.mark.parametrize(
    ("how", "stops"),
    [
        ({"epochs": 2, "batch_size": 10}, None),
        ({"epochs": 2, "batch_size": 5, **VALIDATION}, None),
        ({"epochs": 2, "validation_split": 0.5, "batch_size": 4}, None),
        ({"epochs": 4, "batch_size": 8, **VALIDATION, "validation_freq": 2}, None),
        ({"epochs": 4, "batch_size": 8, **VALIDATION, "validation_freq": [1, 4]}, None),
        ({"epochs": 3, "batch_size": 6, "steps_per_epoch": 2, **VALIDATION}, None),
        ({"epochs": 1, "batch_size": 6, **VALIDATION, "validation_steps": 1}, None),
        ({"epochs": 1, "batch_size": 6, **VALIDATION, "validation_batch_size": 3}, None),
        ({"epochs": 5, "initial_epoch": 3, "batch_size": 12}, None),
        ({"epochs": 2, "initial_epoch": 2}, None),
        ({"epochs": 5, "batch_size": 6, **VALIDATION}, ("on_train_batch_end", 1)),
        ({"epochs": 5, "batch_size": 6, **VALIDATION}, ("on_epoch_begin", 1)),
        ({"epochs": 5, "batch_size": 6, **VALIDATION}, ("on_epoch_end", 1)),
        ({"epochs": 5, "batch_size": 6}, ("on_train_begin",)),
    ],
    ids=str,
)
def test_fit_calls_in_the_same_order_with_the_same_keys(keras, how, stops):
    ours, theirs = recorder(OURS.Callback, stops), recorder(keras.callbacks.Callback, stops)
    history = model_of_ours().fit(X, Y, callbacks=[ours], verbose=0, **how)
    expected = model_of_keras(keras).fit(X, Y, callbacks=[theirs], verbose=0, **how)
    assert ours.calls == theirs.calls
    assert ours.params == theirs.params and history.params == expected.params
    assert history.epoch == expected.epoch
    assert {k: len(v) for k, v in history.history.items()} == {
        k: len(v) for k, v in expected.history.items()
    }


def test_evaluate_and_predict_call_in_the_same_order(keras):
    ours, theirs = recorder(OURS.Callback), recorder(keras.callbacks.Callback)
    for model, seen in ((model_of_ours(), ours), (model_of_keras(keras), theirs)):
        model.evaluate(X, Y, batch_size=10, verbose=0, callbacks=[seen])
        model.evaluate(X, Y, batch_size=10, verbose=0, callbacks=[seen], steps=2)
        model.predict(X, batch_size=7, verbose=0, callbacks=[seen])
        model.predict(X, batch_size=7, verbose=0, callbacks=[seen], steps=3)
    assert ours.calls == theirs.calls and ours.params == theirs.params


def test_results_have_the_same_form(keras):
    theirs, ours = model_of_keras(keras), model_of_ours()
    theirs.set_weights(ours.get_weights())
    for name in ("train_on_batch", "test_on_batch"):
        found = getattr(ours, name)(X, Y, return_dict=True)
        expected = getattr(theirs, name)(X, Y, return_dict=True)
        assert found == pytest.approx(expected, rel=1e-4)
        assert isinstance(getattr(ours, name)(X, Y), list)
        getattr(theirs, name)(X, Y)
    found, expected = (one.evaluate(X, Y, verbose=0, return_dict=True) for one in (ours, theirs))
    assert found == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(ours.predict_on_batch(X), theirs.predict_on_batch(X), atol=1e-5)
    assert same_bits(ours.predict_on_batch(X), ours.predict(X, batch_size=24))


# ---------------------------------------------------------------- decisions


class Fake:
    """What callbacks see of a model, of either kind."""

    def __init__(self, optimizer=None):
        self.optimizer, self.stop_training, self.metrics = optimizer, False, []
        self.weights, self.saved = 0.0, []

    def get_weights(self):
        return [self.weights]

    def set_weights(self, weights):
        (self.weights,) = weights

    def save(self, path, overwrite=True):
        self.saved.append(str(path))

    def save_weights(self, path, overwrite=True):
        self.saved.append(f"weights {path}")


def values(rng, count=25):
    """Return steps on a coarse grid, which float32 holds: ties and plateaus come often."""
    return (np.cumsum(rng.integers(-3, 4, count)) / 16 + 1).tolist()


def decisions(callback, model, losses):
    """Return what a callback is and does after each epoch."""
    callback.set_model(model)
    callback.on_train_begin()
    found = []
    for epoch, loss in enumerate(losses):
        callback.on_epoch_begin(epoch)
        model.weights = float(epoch)
        for batch in range(2):
            callback.on_train_batch_end(batch, {"val_loss": loss + batch})
        logs = {"val_loss": loss}
        callback.on_epoch_end(epoch, logs)
        state = [getattr(callback, name, None) for name in NUMBERS]
        rate = None if model.optimizer is None else float(np.array(model.optimizer.learning_rate))
        found.append((state, model.stop_training, list(model.saved), sorted(logs)))
        found[-1] += (None if rate is None else pytest.approx(rate, rel=1e-5),)
    callback.on_train_end()
    return found, model.weights


def draw(rng, **choices):
    return {name: given[int(rng.integers(len(given)))] for name, given in choices.items()}


@pytest.mark.parametrize("seed", range(40))
def test_early_stopping_decides_as_keras(keras, seed):
    rng = np.random.default_rng(seed)
    how = draw(
        rng, min_delta=[0, 1 / 16, -1 / 8], patience=[0, 1, 2, 5], mode=["auto", "min", "max"],
        baseline=[None, None, 0.75, 1.25], restore_best_weights=[False, True],
        start_from_epoch=[0, 0, 3],
    )  # fmt: skip
    losses = values(rng)
    found = decisions(OURS.EarlyStopping(**how), Fake(), losses)
    assert found == decisions(keras.callbacks.EarlyStopping(**how), Fake(), losses)


@pytest.mark.parametrize("seed", range(40))
def test_reduce_on_plateau_decides_as_keras(keras, seed):
    rng = np.random.default_rng(seed)
    how = draw(
        rng, factor=[0.5, 0.1], patience=[0, 1, 3], mode=["auto", "max"], min_delta=[0, 1 / 16],
        cooldown=[0, 0, 2], min_lr=[0, 0.01],
    )  # fmt: skip
    losses = values(rng)
    found = decisions(OURS.ReduceLROnPlateau(**how), Fake(Adam(0.5)), losses)
    theirs = Fake(keras.optimizers.Adam(0.5))
    expected = decisions(keras.callbacks.ReduceLROnPlateau(**how), theirs, losses)
    assert found == expected


@pytest.mark.parametrize("seed", range(20))
def test_checkpoints_are_saved_when_keras_saves_them(keras, seed, tmp_path):
    rng = np.random.default_rng(seed)
    how = draw(
        rng, save_best_only=[True, False], mode=["auto", "max"], save_freq=["epoch", 1, 3],
        initial_value_threshold=[None, 0.9],
    )  # fmt: skip
    name = ["{epoch:02d}-{val_loss:.3f}.keras", "{epoch}-{val_loss:.1f}.keras"][seed % 2]
    if how["save_freq"] != "epoch":
        name, how["mode"] = "{batch}-" + name, "min"
        how["save_best_only"] = False  # Keras does not know the direction before the first epoch
    losses = values(rng)
    found = decisions(OURS.ModelCheckpoint(tmp_path / name, **how), Fake(), losses)
    theirs = keras.callbacks.ModelCheckpoint(tmp_path / name, **how)
    assert [one[2] for one in found[0]] == [one[2] for one in decisions(theirs, Fake(), losses)[0]]


@pytest.mark.parametrize("schedule", [lambda epoch, rate: rate * 0.5, lambda e: 1.0 / (e + 1)])
def test_schedules_as_keras(keras, schedule):
    losses = values(np.random.default_rng(0), 5)
    found = decisions(OURS.LearningRateScheduler(schedule), Fake(Adam(0.5)), losses)
    theirs = Fake(keras.optimizers.Adam(0.5))
    assert found == decisions(keras.callbacks.LearningRateScheduler(schedule), theirs, losses)


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("separator", [",", ";"])
def test_the_same_lines_in_csv_files(keras, tmp_path, append, separator):
    texts = []
    for module in (OURS, keras.callbacks):
        path = tmp_path / module.__name__
        for _ in range(2):
            logger = module.CSVLogger(path, separator=separator, append=append)
            logger.set_model(Fake())
            logger.on_train_begin()
            for epoch in range(3):
                logger.on_epoch_begin(epoch)
                logs = {"loss": 0.1 + epoch, "acc": 1 / 3, "list": [1, 2.5], "text": "a,b"}
                logs |= {"val_loss": 0.25} if append else {}
                logger.on_epoch_end(epoch, logs)
            logger.on_train_end()
        texts.append(path.read_bytes())
    assert texts[0] == texts[1]


def test_arguments_and_defaults_are_keras_ones(keras):
    unlike = {"write_graph"}
    for name in OURS.__all__:
        ours, theirs = (
            inspect.signature(getattr(module, name).__init__).parameters
            for module in (OURS, keras.callbacks)
        )
        named = [p for p in ours if ours[p].kind is not ours[p].VAR_KEYWORD]
        expected = [p for p in theirs if theirs[p].kind is not theirs[p].VAR_KEYWORD]
        assert named == expected, name
        for one in set(named) - unlike:
            assert ours[one].default == theirs[one].default, (name, one)


@pytest.mark.parametrize("name", ["fit", "train_on_batch", "test_on_batch", "predict_on_batch"])
def test_the_models_arguments_come_in_keras_order(keras, name):
    ours = list(inspect.signature(getattr(Model, name)).parameters)
    theirs = list(inspect.signature(getattr(keras.Model, name)).parameters)
    assert [one for one in ours if one not in ("lengths", "mask")] == theirs


@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_the_loops_arguments_come_in_keras_order(keras, name):
    ours, theirs = (
        [p for p, one in inspect.signature(getattr(kind, name)).parameters.items()
         if one.kind is not one.VAR_KEYWORD]
        for kind in (Model, keras.Model)
    )  # fmt: skip
    assert [one for one in ours if one not in ("lengths", "mask")] == theirs
