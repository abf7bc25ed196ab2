"""Callbacks: what they do in fit, evaluate and predict, and what is refused."""

import copy
import math
import pickle
import subprocess
import sys
import warnings
from itertools import chain

import numpy as np
import pytest
from agreement import assert_all_equal
from fresh_process import printed

import lstmfast
from lstmfast import LSTM, SGD, Adam, Dense, History, Model, callbacks
from lstmfast.callbacks import (
    BackupAndRestore,
    Callback,
    CallbackList,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from lstmfast.model.diverging import TrainingError, check_weights

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 3)), RNG.normal(size=(20, 2))
HOW = {"batch_size": 8, "verbose": 0}


def compiled(optimizer="adam", dtype="float32", **more):
    model = Model([Dense(4, "tanh", input_shape=(3,)), Dense(2, **more)], seed=0, dtype=dtype)
    model.compile(optimizer, "mse")
    return model


def exploding(dtype="float32"):
    """Return a model whose loss is Inf after a step or two."""
    model = Model([Dense(2, input_shape=(3,)), Dense(2)], seed=0, dtype=dtype)
    model.compile(SGD(1e25 if dtype == "float32" else 1e200), "mse")
    return model


# ---------------------------------------------------------------- the list, and who hears


def test_callbacks_are_imported_when_they_are_asked_for(environment):
    script = "import sys, lstmfast.model; print(sorted(m for m in sys.modules if 'callbacks' in m))"
    assert eval(printed(environment, script, flags=("-P",))) == [
        "lstmfast.callbacks",
        "lstmfast.callbacks.base",
        "lstmfast.callbacks.callback_list",
        "lstmfast.callbacks.history",
        "lstmfast.callbacks.progress",
    ]
    assert lstmfast.model.fitting.History is callbacks.History is History
    with pytest.raises(AttributeError, match="no attribute 'RemoteMonitor'"):
        callbacks.RemoteMonitor  # noqa: B018


def test_training_is_the_same_with_callbacks_and_without():
    plain, told = compiled(), compiled()
    seen = []
    listener = LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs["loss"]))
    expected = plain.fit(X, Y, epochs=3, validation_split=0.2, **HOW)
    history = told.fit(X, Y, epochs=3, validation_split=0.2, callbacks=[listener], **HOW)
    assert history.history == expected.history and told.history is history
    assert_all_equal(told.get_weights(), plain.get_weights())
    assert seen[1::2] == history.history["loss"]  # running means


def test_what_is_no_callback_is_refused():
    class Other:
        def set_model(self, model): ...

    model = compiled()
    for given in (Other(), [Other()], [None, 3], "EarlyStopping", [EarlyStopping]):
        with pytest.raises(ValueError, match=r"^callbacks: expected a list of lstmfast"):
            model.fit(X, Y, callbacks=given, **HOW)
    assert model.optimizer.iterations == 0
    one = History()
    assert model.fit(X, Y, callbacks=one, **HOW) is one
    assert model.fit(X, Y, callbacks=[[one], CallbackList([TerminateOnNaN()])], **HOW) is one


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"steps_per_epoch": 0}, "steps_per_epoch: expected an integer >= 1"),
        ({"validation_steps": 1}, "validation_steps: expected None without"),
        ({"validation_split": 0.5, "validation_steps": 9}, "validation_steps: expected at most 2"),
        ({"validation_batch_size": 0}, "validation_batch_size: expected an integer"),
        ({"validation_freq": 0}, "validation_freq: expected an integer"),
        ({"validation_freq": [0]}, "validation_freq: expected an integer"),
        ({"validation_freq": "2"}, "validation_freq: expected an integer"),
        ({"verbose": "no"}, "verbose: expected one of 0, 1, 2, 'auto'"),
        ({"callbacks": [ModelCheckpoint("x", monitor="what", save_best_only=True)]}, "mode: "),
        ({"callbacks": [EarlyStopping("what")]}, "mode: expected 'min' or 'max' for 'what'"),
    ],
)
def test_fit_refuses_before_any_step(arguments, text):
    model = compiled()
    with pytest.raises(ValueError, match=f"^{text}"):
        model.fit(X, Y, **{**HOW, **arguments})
    assert model.optimizer.iterations == 0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: EarlyStopping(3), "monitor: expected a str"),
        (lambda: EarlyStopping(mode="up"), "mode: expected one of"),
        (lambda: EarlyStopping(patience=-1), "patience: expected an integer"),
        (lambda: EarlyStopping(min_delta=math.nan), "min_delta: expected a finite"),
        (lambda: EarlyStopping(baseline="1"), "baseline: expected a finite"),
        (lambda: EarlyStopping(restore_best_weights=1), "restore_best_weights: expected True"),
        (lambda: ModelCheckpoint("a", save_freq="batch"), "save_freq: expected 'epoch' or"),
        (lambda: ModelCheckpoint("a", save_freq=0), "save_freq: expected 'epoch' or"),
        (lambda: BackupAndRestore(""), "backup_dir: expected a folder"),
        (lambda: BackupAndRestore("a", save_freq=True), "save_freq: expected 'epoch' or"),
        (lambda: ReduceLROnPlateau(factor=1.0), "factor: expected a finite"),
        (lambda: LearningRateScheduler(0.1), "schedule: expected a function"),
        (lambda: LambdaCallback(on_batch=print), "on_batch: expected one of"),
        (lambda: LambdaCallback(on_epoch_end=3), "on_epoch_end: expected a function"),
        (lambda: CSVLogger("a", separator=""), "separator: expected one character"),
        (lambda: TensorBoard(histogram_freq=1), "histogram_freq: expected 0"),
        (lambda: TensorBoard(write_graph=True), "write_graph: expected 0"),
        (lambda: TensorBoard(update_freq=0), "update_freq: expected an integer"),
        (lambda: TerminateOnNaN(raise_error=1), "raise_error: expected True"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(make, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        make()


# ---------------------------------------------------------------- epochs of so many steps


def test_steps_per_epoch_go_through_all_samples_in_turn():
    x, seen = np.arange(10.0)[:, None], []
    model = Model([Dense(1, input_shape=(1,))], seed=0)
    model.compile(SGD(0.0), "mse")
    take = model._gradients
    model._gradients = lambda batch: (seen.append(batch.xs[0].ravel().tolist()), take(batch))[1]
    history = model.fit(x, x, batch_size=4, steps_per_epoch=2, epochs=5, verbose=0)
    assert history.epoch == [0, 1, 2, 3, 4] and history.params["steps"] == 2
    assert [len(batch) for batch in seen] == [4, 4, 2, 4, 4, 2, 4, 4, 2, 4]
    rounds = [list(chain.from_iterable(seen[at : at + 3])) for at in (0, 3, 6)]
    assert all(sorted(one) == list(range(10)) for one in rounds) and rounds[0] != rounds[1]
    seen.clear()
    model.fit(x, x, batch_size=4, steps_per_epoch=5, shuffle=False, verbose=0)
    assert list(chain.from_iterable(seen)) == [*range(10), *range(8)]


def test_validation_steps_and_sizes():
    model, twin = compiled(SGD(0.1)), compiled(SGD(0.1))
    history = model.fit(X, Y, **HOW, validation_data=(X, Y), validation_steps=2,
                        validation_batch_size=3, epochs=3, validation_freq=2)  # fmt: skip
    twin.fit(X, Y, epochs=2, **HOW)
    expected = twin.evaluate(X[:6], Y[:6], batch_size=3)
    assert history.history["val_loss"] == [expected]
    assert twin.evaluate(X, Y, batch_size=3, steps=2) == expected
    np.testing.assert_array_equal(twin.predict(X, 3, steps=2), twin.predict(X[:6], 3))
    for call in (lambda: twin.evaluate(X, Y, steps=2), lambda: twin.predict(X, steps=2)):
        with pytest.raises(ValueError, match=r"^steps: expected at most 1 batches, got 2"):
            call()


def test_evaluate_and_predict_can_be_stopped():
    model = compiled()
    end = LambdaCallback()
    end.on_test_batch_end = lambda batch, logs: setattr(model, "stop_evaluating", batch == 1)
    end.on_predict_batch_end = lambda batch, logs: setattr(model, "stop_predicting", batch == 1)
    expected = model.evaluate(X[:8], Y[:8], 4)
    assert model.evaluate(X, Y, 4, callbacks=[end]) == expected
    assert len(model.predict(X, 4, callbacks=[end])) == 8


# ---------------------------------------------------------------- history


def test_history_is_light_and_tells(tmp_path):
    model = compiled()
    history = model.fit(X, Y, epochs=4, validation_split=0.2, validation_freq=3, **HOW)
    assert history.model is model
    assert history.params == {"verbose": 0, "epochs": 4, "steps": 2}
    again = pickle.loads(pickle.dumps(history))
    assert again.history == history.history and again.model is None
    assert copy.deepcopy(model).history.history == history.history
    pandas = pytest.importorskip("pandas")
    frame = history.to_frame()
    assert list(frame.columns) == ["loss", "val_loss"] and list(frame.index) == [0, 1, 2, 3]
    assert frame["loss"].tolist() == history.history["loss"]
    assert frame["val_loss"].isna().tolist() == [True, True, False, True]
    assert isinstance(frame, pandas.DataFrame)


def test_history_draws(tmp_path):
    pytest.importorskip("matplotlib")
    history = compiled().fit(X, Y, epochs=3, validation_split=0.2, validation_freq=2, **HOW)
    figure = history.plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["loss", "val_loss"]
    assert axes.lines[1].get_xdata().tolist() == [2]


@pytest.mark.parametrize(("call", "package"), [("plot", "matplotlib"), ("to_frame", "pandas")])
def test_what_is_missing_is_named(monkeypatch, call, package):
    for name in [name for name in sys.modules if name.split(".")[0] == package] + [package]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f"^History.{call}: needs {package}"):
        getattr(History(), call)()


# ---------------------------------------------------------------- single callbacks


def test_the_best_weights_come_back(capsys):
    model, kept = compiled(Adam(0.3)), []
    keep = LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(model.get_weights()))
    stopping = EarlyStopping("loss", patience=2, restore_best_weights=True, verbose=1)
    history = model.fit(X, Y, epochs=200, callbacks=[stopping, keep], **HOW).history["loss"]
    assert len(history) < 200 and stopping.stopped_epoch == len(history) - 1
    assert stopping.best_epoch == int(np.argmin(history)) and stopping.best == min(history)
    assert_all_equal(model.get_weights(), kept[stopping.best_epoch])
    assert "early stopping" in capsys.readouterr().out


def test_nan_is_never_the_best():
    stopping = EarlyStopping(patience=2, mode="max")
    stopping.set_model(compiled())
    stopping.on_train_begin()
    for epoch, value in enumerate([math.nan, 1.0, math.nan]):
        stopping.on_epoch_end(epoch, {"val_loss": value})
    assert stopping.best == 1.0 and stopping.wait == 1


def test_a_missing_value_is_warned_about():
    for made in (EarlyStopping(), ReduceLROnPlateau(), ModelCheckpoint("x", save_best_only=True)):
        made.filepath = "/dev/null/x"
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            try:
                compiled().fit(X, Y, callbacks=[made], **HOW)
            except OSError:
                assert isinstance(made, ModelCheckpoint)
        assert f"{type(made).__name__}: expected 'val_loss' among" in str(found[0].message)


@pytest.mark.parametrize("name", ["accuracy", "val_auc", "top_5_categorical_accuracy", "f1_score"])
def test_directions_are_known(name):
    stopping = EarlyStopping(name)
    assert stopping._direction() == "max"
    assert EarlyStopping("val_mean_absolute_error")._direction() == "min"
    assert EarlyStopping("categorical_crossentropy")._direction() == "min"


def test_checkpoints_load(tmp_path):
    model = compiled()
    path = tmp_path / "deep" / "at-{epoch:02d}-{loss:.2f}"
    weights = ModelCheckpoint(tmp_path / "weights", save_weights_only=True)
    batches = ModelCheckpoint(tmp_path / "batch-{epoch}-{batch}", save_freq=2)
    history = model.fit(X, Y, epochs=2, callbacks=[ModelCheckpoint(path), weights, batches], **HOW)
    name = f"at-02-{history.history['loss'][1]:.2f}"
    again, other = lstmfast.load(tmp_path / "deep" / name), compiled(SGD(0.1))
    assert again.optimizer.iterations == 6
    other.load_weights(tmp_path / "weights")
    assert_all_equal(again.get_weights(), model.get_weights())
    assert_all_equal(other.get_weights(), model.get_weights())
    assert lstmfast.load(tmp_path / "weights").optimizer.iterations == 0
    found = sorted(one.name for one in tmp_path.glob("batch*"))
    assert found == ["batch-1-2", "batch-2-1", "batch-2-3"]
    with pytest.raises(ValueError, match=r"^filepath: expected names among \['epoch', 'loss'\]"):
        model.fit(X, Y, callbacks=[ModelCheckpoint(tmp_path / "{val_loss}")], **HOW)


def test_learning_rates_change_and_are_logged(capsys):
    model = compiled(SGD(0.5))
    schedule = LearningRateScheduler(lambda epoch, rate: rate / 2, verbose=1)
    history = model.fit(X, Y, epochs=3, callbacks=[schedule], **HOW)
    assert history.history["learning_rate"] == [0.25, 0.125, 0.0625]
    assert "learning rate is set to 0.25" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"^schedule: expected a finite number >= 0.0, got '1'"):
        model.fit(X, Y, callbacks=[LearningRateScheduler(lambda epoch: "1")], **HOW)


def test_a_table_is_written_as_it_goes(tmp_path):
    path = tmp_path / "t.csv"
    texts = []
    look = LambdaCallback(on_epoch_end=lambda epoch, logs: texts.append(path.read_text()))
    history = compiled().fit(X, Y, epochs=2, callbacks=[CSVLogger(path), look], **HOW)
    rows = [line.split(",") for line in texts[1].splitlines()]
    assert rows[0] == ["epoch", "loss", "val_loss"] and rows[2][2] == "NA"
    assert [float(row[1]) for row in rows[1:]] == history.history["loss"]
    assert len(texts[0].splitlines()) == 2


def test_tensorboard_writes_event_files(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    board = TensorBoard(tmp_path, update_freq=2, write_steps_per_second=True)
    history = compiled().fit(X, Y, epochs=2, validation_split=0.2, callbacks=[board], **HOW)
    found = {}
    for path in tmp_path.rglob("*tfevents*"):
        content, at = path.read_bytes(), 0
        while at < len(content):
            size = int.from_bytes(content[at : at + 8], "little")
            event = Event.FromString(content[at + 12 : at + 12 + size])
            at += 16 + size
            for value in event.summary.value:
                key = f"{path.parent.name}/{value.tag}"
                found.setdefault(key, []).append((event.step, value.simple_value))
    assert sorted(found) == [
        "train/batch_loss", "train/epoch_learning_rate", "train/epoch_loss",
        "train/epoch_steps_per_second", "validation/epoch_loss",
        "validation/evaluation_loss_vs_iterations",
    ]  # fmt: skip
    np.testing.assert_allclose([v for _, v in found["train/epoch_loss"]], history.history["loss"])
    assert [step for step, _ in found["train/batch_loss"]] == [2, 4]


def test_tensorboard_names_what_it_lacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"lstmfast\[tensorboard\]"):
        compiled().fit(X, Y, callbacks=[TensorBoard()], **HOW)


# ---------------------------------------------------------------- numbers that are none


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loss_that_is_no_number_stops_before_the_weights_change(dtype):
    model = exploding(dtype)
    weights = []
    keep = LambdaCallback(on_train_batch_end=lambda *a, logs: weights.append(model.get_weights()))
    with pytest.raises(TrainingError) as error:
        model.fit(X, Y, epochs=5, callbacks=[keep], **HOW)
    found = error.value
    assert isinstance(found, FloatingPointError) and not math.isfinite(found.loss.mean)
    assert model.optimizer.iterations == len(weights) == found.step > 0
    assert_all_equal(model.get_weights(), weights[-1])
    assert all(np.isfinite(w).all() for w in weights[-1])
    assert (found.epoch, found.batch) == divmod(found.step, 3)
    lines = str(found).splitlines()
    assert lines[0].startswith("loss: expected a finite number, got ") and "epoch 1, ba" in lines[0]
    assert "dense/kernel" in lines[1] and "global_clipnorm=1.0" in lines[2]
    assert len(found.gradient_norms) == 4
    assert str(pickle.loads(pickle.dumps(found))) == str(found)
    with pytest.raises(TrainingError, match=r"\(after \d steps\)"):
        model.train_on_batch(X, Y)
    assert_all_equal(model.get_weights(), weights[-1])


def test_with_the_callback_it_ends_quietly(capsys):
    model, ended = exploding(), []
    end = LambdaCallback(on_train_end=ended.append)
    history = model.fit(X, Y, epochs=5, callbacks=[TerminateOnNaN(), end], **HOW)
    assert not math.isfinite(history.history["loss"][-1]) and len(ended) == 1
    assert model.stop_training and np.isfinite(model.get_weights()[0]).all()
    assert "training ends" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="loss: expected a finite number"):
        exploding().fit(X, Y, epochs=5, callbacks=[TerminateOnNaN(raise_error=True)], **HOW)


def test_weights_that_are_none_are_found_at_the_end_of_an_epoch(tmp_path):
    """A finite loss whose gradient is Inf in float32."""

    def spoiled(callbacks):
        model = compiled()
        spoil = LambdaCallback(on_train_batch_end=lambda batch, logs: spoil_weights(model, batch))
        backup = BackupAndRestore(tmp_path / "b", save_freq=1)
        model.fit(X, Y, callbacks=[spoil, backup, *callbacks], **HOW)
        return model

    def spoil_weights(model, batch):
        if batch == 2:
            model.params[2][0, 0] = np.inf

    with pytest.raises(TrainingError, match=r"^weights: expected finite .* in dense_1/kernel \(in"):
        spoiled([])
    assert lstmfast.load(tmp_path / "b" / "backup.lstm").optimizer.iterations == 2
    (tmp_path / "b" / "backup.lstm").unlink()
    assert spoiled([TerminateOnNaN()]).stop_training
    model = compiled(dtype="float64")
    model.params[0][:] = 1e308  # whose sum is Inf
    check_weights(model)


def test_bars_and_files_are_closed_after_an_exception(tmp_path, monkeypatch):
    class Failing(Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyError

    table, model = CSVLogger(tmp_path / "t.csv"), compiled()
    with pytest.raises(KeyError):
        model.fit(X, Y, batch_size=8, verbose=2, callbacks=[table, Failing()])
    assert table._file is None
    assert pickle.loads(pickle.dumps(table)).filename == table.filename


def test_a_failing_fit_can_be_repeated_in_a_fresh_process(tmp_path):
    """What the message tells comes through where nobody catches it."""
    script = (
        "import numpy as np; from lstmfast import *\n"
        "m = Model([LSTM(3, input_shape=(None, 2)), Dense(1)], seed=0)\n"
        "m.compile(SGD(1e38), 'mse'); x = np.ones((4, 2, 2)); m.fit(x, x[:, 0, :1], epochs=9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": lstmfast.get_include(), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 1 and "diverging.TrainingError: " in done.stderr


def test_a_recurrent_model_ends_quietly_with_the_state_it_had():
    model = Model([LSTM(3, input_shape=(None, 3), stateful=True), Dense(2), Dense(2)])
    model.compile(SGD(1e25), "mse")
    x = np.repeat(X[:, None], 2, 1)
    model.fit(x, Y, batch_size=4, shuffle=False, epochs=9, verbose=0, callbacks=[TerminateOnNaN()])
    assert all(np.isfinite(w).all() for w in model.get_weights())
