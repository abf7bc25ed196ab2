"""A fit that was interrupted goes on from its backup as if it had not been."""

import json
import os
import signal
import sys
from contextlib import suppress

import numpy as np
import pytest
from agreement import assert_all_equal
from fresh_process import finds_no_faults
from safetensors import safe_open
from safetensors.numpy import save_file
from stopping import stopped_at

import lstmfast
from lstmfast import LSTM, SGD, Adam, Dense, Model, callbacks
from lstmfast.callbacks import BackupAndRestore, EarlyStopping, LambdaCallback
from lstmfast.model import packing

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 4, 3)), RNG.normal(size=(20, 2))


class Stop(Exception):
    pass


def compiled(optimizer=None, units=4, dtype="float32"):
    layers = [LSTM(units, input_shape=(None, 3), dropout=0.2), Dense(2)]
    model = Model(layers, seed=0, dtype=dtype)
    model.compile(optimizer or Adam(0.05), "mse")
    return model


def stops(batches):
    """Return a callback that raises after so many batches."""
    left = iter(range(batches - 1))

    def end(batch, logs):
        if next(left, None) is None:
            raise Stop

    return LambdaCallback(on_train_batch_end=end)


def fitted(folder, more=(), **how):
    model, backup = compiled(), BackupAndRestore(folder, save_freq=how.pop("save_freq", 2))
    how = {"batch_size": 6, "epochs": 3, "validation_split": 0.1, "verbose": 0, **how}
    return model, model.fit(X, Y, callbacks=[backup, *more], **how)


def backup_of(folder, batches=5, **how):
    """Leave a backup of a fit that was interrupted; return its path."""
    with pytest.raises(Stop):
        fitted(folder, [stops(batches)], **how)
    return folder / "backup.lstm"


def rewritten(path, alter=lambda config, tensors: None):
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    config = json.loads(metadata["config"])
    alter(config, tensors)
    save_file(tensors, path, {**metadata, "config": json.dumps(config)})


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork")
def test_kills(environment):
    """The short form of tests/trust/resumes.py."""
    finds_no_faults(environment, "resumes.py", "--count", 3)


@pytest.mark.parametrize(
    "how", [{}, {"shuffle": False}, {"steps_per_epoch": 2}, {"steps_per_epoch": 5}]
)
@pytest.mark.parametrize("save_freq", [1, 2, 3, "epoch"])
def test_after_any_batch_it_goes_on_with_the_same_bits(tmp_path, how, save_freq):
    how["save_freq"] = save_freq
    tables = [tmp_path / "whole.csv", tmp_path / "again.csv"]
    model, history = fitted(tmp_path / "whole", [callbacks.CSVLogger(tables[0])], **how)
    for batches in range(1, 9):
        folder = tmp_path / str(batches)
        with suppress(Stop):
            fitted(folder, [callbacks.CSVLogger(tables[1]), stops(batches)], **how)
        again, found = fitted(folder, [callbacks.CSVLogger(tables[1])], **how)
        assert found.history == history.history and found.epoch == history.epoch
        assert_all_equal(again.get_weights(), model.get_weights())
        assert again.rng.bit_generator.state == model.rng.bit_generator.state
        assert tables[1].read_bytes() == tables[0].read_bytes()
        assert not folder.exists()


def test_a_backup_loads_as_a_model_and_trains_on(tmp_path):
    path = backup_of(tmp_path)
    model = lstmfast.load(path)
    assert model.optimizer.iterations == 4
    other = compiled()
    other.load_weights(path)
    assert_all_equal(other.get_weights(), model.get_weights())
    model.train_on_batch(X, Y)
    model.save(tmp_path / "plain")
    assert lstmfast.load(tmp_path / "plain").optimizer.iterations == 5
    with pytest.raises(ValueError, match="training: expected a backup of a fit"):
        os.replace(tmp_path / "plain", path)
        fitted(tmp_path)


def test_the_same_objects_go_on_in_the_same_process(tmp_path):
    stopping, model = EarlyStopping(patience=1, restore_best_weights=True), compiled()
    how = {"batch_size": 6, "epochs": 6, "validation_split": 0.3, "verbose": 0}
    backup = BackupAndRestore(tmp_path / "b", save_freq=1)
    with pytest.raises(Stop):
        model.fit(X, Y, callbacks=[stopping, backup, stops(5)], **how)
    history = model.fit(X, Y, callbacks=[stopping, backup], **how)
    alone, expected = compiled(), EarlyStopping(patience=1, restore_best_weights=True)
    assert alone.fit(X, Y, callbacks=[expected], **how).history == history.history
    assert_all_equal(model.get_weights(), alone.get_weights())
    assert stopping.stopped_epoch == expected.stopped_epoch


def test_one_that_had_been_stopped_is_not_begun_again(tmp_path):
    """Interrupted after the callback said stop, and before the end."""
    folder, ends = tmp_path / "b", LambdaCallback(on_epoch_end=lambda epoch, logs: None)

    def stop(epoch, logs):
        ends.model.stop_training = epoch == 1

    ends.on_epoch_end = stop
    late = LambdaCallback(on_train_end=lambda logs: (_ for _ in ()).throw(Stop))
    with pytest.raises(Stop):
        fitted(folder, [ends, late], save_freq="epoch", epochs=9)
    seen = []
    end = LambdaCallback(on_train_end=seen.append, on_epoch_begin=lambda *a: seen.append(a))
    _, history = fitted(folder, [ends, end], save_freq="epoch", epochs=9)
    assert history.epoch == [0, 1] and [sorted(logs) for logs in seen] == [["loss", "val_loss"]]


def test_what_is_kept_of_backups(tmp_path):
    model = compiled()
    how = {"epochs": 2, "verbose": 0, "batch_size": 6}
    kept = BackupAndRestore(tmp_path / "a", delete_checkpoint=False, double_checkpoint=True)
    model.fit(X, Y, callbacks=[kept], **how)
    assert sorted(os.listdir(tmp_path / "a")) == ["backup.lstm", "previous.lstm"]
    again = compiled()
    assert again.fit(X, Y, callbacks=[kept], **how).epoch == [0, 1]
    assert_all_equal(again.get_weights(), model.get_weights())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "own").write_text("")
    (tmp_path / "b" / f".lstmfast-{'0' * 8}-{'0' * 16}.part").write_text("")
    model.fit(X, Y, callbacks=[BackupAndRestore(tmp_path / "b")], **how)
    assert "own" in os.listdir(tmp_path / "b") and "backup.lstm" not in os.listdir(tmp_path / "b")


@pytest.mark.parametrize("damage", [b"", b"x" * 100, None])
def test_the_backup_before_serves_where_the_last_is_damaged(tmp_path, damage):
    how = {"epochs": 3, "verbose": 0, "batch_size": 6}
    model = compiled()
    expected = model.fit(X, Y, **how).history
    for double in (True, False):
        folder, other = tmp_path / str(double), compiled()
        backup = BackupAndRestore(folder, save_freq=1, double_checkpoint=double)
        with pytest.raises(Stop):
            other.fit(X, Y, callbacks=[backup, stops(6)], **how)
        whole = (folder / "backup.lstm").read_bytes()
        (folder / "backup.lstm").write_bytes(whole[:-9] if damage is None else damage)
        again = compiled()
        if double:
            assert again.fit(X, Y, callbacks=[backup], **how).history == expected
            assert_all_equal(again.get_weights(), model.get_weights())
        else:
            before = again.get_weights()
            with pytest.raises(ValueError, match=r"backup\.lstm: expected a whole"):
                again.fit(X, Y, callbacks=[backup], **how)
            assert_all_equal(again.get_weights(), before)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"batch_size": 5}, "x: expected the data of the backup"),
        ({"shuffle": False}, "x: expected the data of the backup"),
        ({"steps_per_epoch": 2}, "x: expected the data of the backup"),
        ({"validation_split": 0.5}, "x: expected the data of the backup"),
    ],
)
def test_a_backup_of_another_fit_is_refused(tmp_path, how, text):
    backup_of(tmp_path)
    with pytest.raises(ValueError, match=text):
        fitted(tmp_path, **how)


def test_a_backup_of_another_model_is_refused(tmp_path):
    backup_of(tmp_path)
    for model, text in (
        (compiled(units=5), "expected"),
        (compiled(dtype="float64"), "dtype float64"),
        (compiled(SGD(0.1)), "optimizer: expected SGD, got 'Adam'"),
    ):
        before, state = model.get_weights(), model.rng.bit_generator.state
        with pytest.raises(ValueError, match=text):
            model.fit(X, Y, batch_size=6, verbose=0, callbacks=[BackupAndRestore(tmp_path)])
        assert_all_equal(model.get_weights(), before)
        assert model.rng.bit_generator.state == state and model.optimizer.iterations == 0


def test_states_of_callbacks_that_are_gone_are_refused(tmp_path):
    with pytest.raises(Stop):
        fitted(tmp_path, [EarlyStopping(), stops(5)])
    with pytest.raises(ValueError, match=r"callbacks: expected \['EarlyStopping'\] as in"):
        fitted(tmp_path)
    fitted(tmp_path, [EarlyStopping(), callbacks.CSVLogger(tmp_path / "new.csv")])


def put(*place):
    """Return what sets a value in the config."""
    *place, last, value = place

    def alter(config, tensors):
        for key in place:
            config = config[key]
        config[last] = value

    return alter


FIT = ("training", "fit")
TENSOR = {"__array__": "fit/x", "dtype": "f4", "shape": [2], "raw": False}


@pytest.mark.parametrize(
    ("alter", "loads", "text"),
    [
        (put(*FIT, "epoch", -1), True, "fit: epoch: expected an integer"),
        (put(*FIT, "batch", 99), True, "fit: batch: expected an integer"),
        (put(*FIT, "stop", 1), True, "fit: stop: expected True or False"),
        (put(*FIT, "states", None), True, "fit: states"),
        (put(*FIT, "states", [1]), True, "fit: states"),
        (put(*FIT, "callbacks", []), True, "fit: callbacks"),
        (put(*FIT, "callbacks", "History", {}), True, "backup.lstm"),
        (put(*FIT, "callbacks", "History", 3), True, "backup.lstm"),
        (put(*FIT, "callbacks", "Nobody", {}), True, r"callbacks: expected \['Nobody'\]"),
        (put(*FIT, "mean", None), True, "backup.lstm"),
        (put(*FIT, "mean", {}), True, "backup.lstm"),
        (put(*FIT, "learning_rate", -1.0), True, "learning_rate: expected"),
        (put(*FIT, "learning_rate", {"__float__": "nan"}), True, "learning_rate: expected"),
        (put(*FIT, "learning_rate", {"__float__": []}), True, "fit: expected one of"),
        (put(*FIT, "feed", 3), True, "feed: expected a mapping"),
        (put(*FIT, "feed", "rest", -1), True, "rest: expected an integer"),
        (put(*FIT, "feed", "rng", {}), True, "rng: expected the state"),
        (put(*FIT, {}), True, "fit: expected a mapping"),
        (put(*FIT, 3), True, "training: expected a backup"),
        (put(*FIT, "more", 1), True, "fit: expected a mapping"),
        (put("training", "more", 1), False, "training: expected a mapping"),
        (put(*FIT, "logs", TENSOR), False, r"tensors: expected \['fit/x'\]"),
        (put(*FIT, "logs", {**TENSOR, "shape": [-1]}), False, "fit: shape"),
        (put(*FIT, "logs", {**TENSOR, "dtype": "O"}), False, r"fit: .* a tensor.s name"),
        (put(*FIT, "logs", {**TENSOR, "dtype": []}), False, r"fit: .* a tensor.s name"),
        (put(*FIT, "logs", {**TENSOR, "__array__": 1}), False, r"fit: .* a tensor.s name"),
        (put(*FIT, "logs", {**TENSOR, "raw": None}), False, "fit: expected a tensor's form"),
        (put(*FIT, "logs", {**TENSOR, "x": None}), False, "fit: expected a mapping"),
        (put(*FIT, "logs", {**TENSOR, "__array__": "layers/lstm/b"}), False, "fit: expected a"),
        (lambda c, t: t.update(other=np.zeros(2, "f4")), False, r"got also \['other'\]"),
    ],
)  # fmt: skip
def test_hostile_backups_are_refused_and_change_nothing(tmp_path, alter, loads, text):
    path = backup_of(tmp_path)
    rewritten(path, alter)
    if loads:
        lstmfast.load(path)
    else:
        with pytest.raises(ValueError, match=text):
            lstmfast.load(path)
    model = compiled()
    before, state = model.get_weights(), model.rng.bit_generator.state
    with pytest.raises(ValueError, match=text) as error:
        model.fit(X, Y, batch_size=6, epochs=3, verbose=0, validation_split=0.1,
                  callbacks=[BackupAndRestore(tmp_path, save_freq=2)])  # fmt: skip
    assert str(tmp_path) in str(error.value)
    assert_all_equal(model.get_weights(), before)
    assert model.rng.bit_generator.state == state and model.optimizer.iterations == 0


def test_cut_backups_are_refused(tmp_path):
    path = backup_of(tmp_path)
    whole = path.read_bytes()
    for size in [*range(0, 60, 7), *range(60, len(whole), len(whole) // 30)]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"backup\.lstm: "):
            fitted(tmp_path)


@pytest.mark.parametrize("stride", [257])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_exception_at_any_line_leaves_a_backup_that_goes_on(tmp_path, stride):
    """As Ctrl-C may: in steps, callbacks, and while a backup is written or taken up."""
    model, history = fitted(tmp_path / "whole", epochs=2, save_freq=1)
    event, folder = 1500, tmp_path / "b"
    while stopped_at(event, fitted, folder, epochs=2, save_freq=1):
        if (folder / "backup.lstm").exists():
            lstmfast.load(folder / "backup.lstm")
        stopped_at(event // 2, fitted, folder, epochs=2, save_freq=1)
        again, found = fitted(folder, epochs=2, save_freq=1)
        assert found.history == history.history
        assert_all_equal(again.get_weights(), model.get_weights())
        event += stride * 11
    assert event > 4000


def test_ctrl_c_comes_through_and_leaves_a_backup(tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    ctrl_c = LambdaCallback(
        on_train_batch_begin=lambda batch, logs: batch == 2 and signal.raise_signal(signal.SIGINT)
    )
    try:
        with pytest.raises(KeyboardInterrupt):
            fitted(tmp_path, [ctrl_c])
    finally:
        signal.signal(signal.SIGINT, before)
    assert lstmfast.load(tmp_path / "backup.lstm").optimizer.iterations == 2


# ---------------------------------------------------------------- packing


VALUES = [
    None, True, 3, 2**127, 1.5, -0.0, float("nan"), float("-inf"), "text", [], {}, [1, [2.5, None]],
    [0.1 * n for n in range(100)], [float("nan")] * 40, [1.0] * 31 + [float("inf")], [True] * 50,
    {"a": [np.arange(3), {"b": np.array(2.5, "f4")}]}, np.array([[1.0, np.nan]]),
    np.zeros((0, 3), "f4"), np.array([1, 255], "u1"), np.array([True, False]),
    np.arange(6, dtype=">f8").reshape(2, 3).T, np.arange(4, dtype=">i4"), np.float16([1, 2]),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_what_is_packed_comes_back(tmp_path, value):
    plain, tensors = packing.pack(value, "fit/x")
    plain = json.loads(json.dumps(plain, allow_nan=False))
    found = packing.specs(plain)
    assert {name: (t.shape, t.dtype.name) for name, t in tensors.items()} == found
    assert all(np.isfinite(t).all() for t in tensors.values())
    again = packing.unpack(plain, tensors)
    assert repr(again) == repr(value).replace(">", "<") or np.array_equal(again, value)
    if isinstance(value, np.ndarray):
        assert again.shape == value.shape and again.dtype == value.dtype.newbyteorder("=")


@pytest.mark.parametrize(
    "value", [object(), {1: 2}, {"__array__": 1}, np.array(["a"]), np.array([None]), {1, 2}, b"x"]
)
def test_what_cannot_be_packed_is_refused(value):
    with pytest.raises(ValueError, match=r"^fit/a: expected "):
        packing.pack({"a": value}, "fit")


def test_a_state_that_cannot_be_written_is_refused(tmp_path):
    class Odd(callbacks.Callback):
        def get_state(self):
            return {"what": object()}

    with pytest.raises(ValueError, match=r"^fit/callbacks/Odd/what: expected None, numbers"):
        fitted(tmp_path, [Odd()])
