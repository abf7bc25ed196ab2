"""lstmfast.data: windows, ragged batches, a thread that reads ahead; files and frames as arrays."""

import gc
import threading
import time
import tracemalloc

import numpy as np
import pytest
from agreement import assert_all_equal

import lstmfast
from lstmfast import LSTM, Dense, Embedding, Input, Model, data, samples, utils
from lstmfast.data import Batch, bucketed, prefetch, windows
from lstmfast.model.feeding import Arrays
from lstmfast.model.given import taken

RNG = np.random.default_rng(0)


def compiled(features=3, outputs=2, sequences=False, dtype="float32"):
    lstm = LSTM(4, input_shape=(None, features), return_sequences=sequences)
    model = Model([lstm, Dense(outputs)], seed=0, dtype=dtype)
    model.compile("adam", "mse")
    return model


# ---------------------------------------------------------------- windows


def naive_windows(series, length, horizon, step, targets, gap):
    xs, ys, n = [], [], 0
    while n + length + gap + horizon <= len(series):
        xs.append(series[n : n + length])
        ys.append(targets[n + length + gap : n + length + gap + horizon])
        n += step
    return np.array(xs), np.array(ys)


@pytest.mark.parametrize("seed", range(12))
def test_windows_are_those_cut_out_one_by_one(seed):
    rng = np.random.default_rng(seed)
    length, horizon, step, gap = (int(n) for n in rng.integers([1, 1, 1, 0], [6, 4, 5, 3]))
    steps = length + horizon + gap + int(rng.integers(0, 20))
    series = rng.normal(size=[(steps,), (steps, 3), (steps, 2, 2)][seed % 3])
    targets = rng.normal(size=[(steps,), (steps, 2)][seed % 2])
    for given in (None, targets):
        x, y = windows(series, length, horizon, step, given, gap)
        wanted = naive_windows(
            series, length, horizon, step, series if given is None else given, gap
        )
        np.testing.assert_array_equal(x, wanted[0])
        np.testing.assert_array_equal(y, wanted[1][:, 0] if horizon == 1 else wanted[1])
        aims = series if given is None else given
        assert np.shares_memory(x, series) and np.shares_memory(y, aims)
        assert not x.flags.writeable and not y.flags.writeable


def test_the_picture_of_windows():
    x, y = windows(np.arange(10), length=4, gap=1, horizon=2, step=3)
    assert x.tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]]
    assert y.tolist() == [[5, 6], [8, 9]]
    x, y = windows(np.arange(6), 3)
    assert x.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]] and y.tolist() == [3, 4, 5]
    assert windows(np.arange(6), 3, horizon=0).tolist()[-1] == [3, 4, 5]
    assert windows(np.arange(6), 3, horizon=0, step=2).tolist() == [[0, 1, 2], [2, 3, 4]]


def test_windows_are_learnt_from_as_copies_are():
    series = RNG.normal(size=(60, 3))
    x, y = windows(series, 7, horizon=2, targets=series[:, 0])
    model, wanted = compiled(), compiled()
    expected = wanted.fit(x.copy(), y.copy(), 8, epochs=2, verbose=0, validation_split=0.2).history
    assert model.fit(x, y, 8, epochs=2, verbose=0, validation_split=0.2).history == expected
    assert_all_equal(model.get_weights(), wanted.get_weights())


def test_every_number_under_windows_is_looked_at(monkeypatch):
    monkeypatch.setattr(samples, "CHUNK", 12)
    for step in (1, 2, 3, 5):
        for at in range(17):
            series = RNG.normal(size=(17, 3))
            series[at, 1] = np.nan
            x = windows(series, 3, horizon=0, step=step)
            bad = np.isnan(x).any()
            if not bad:
                samples.check_held("x", x, "float32")
                continue
            with pytest.raises(ValueError, match=r"^x: expected finite numbers to learn from"):
                samples.check_held("x", x, "float32")


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"length": 0}, "length: expected an integer >= 1"),
        ({"horizon": -1}, "horizon: expected an integer >= 0"),
        ({"step": 0}, "step: expected an integer >= 1"),
        ({"gap": -1}, "gap: expected an integer >= 0"),
        ({"length": 10}, "series: expected 11 steps or more, got 10"),
        ({"targets": np.zeros(9)}, "targets: expected 10 steps, as series has, got 9"),
        ({"horizon": 0, "gap": 1}, "horizon: expected 1 or more with targets or a gap, got 0"),
        ({"series": 3.0}, "series: expected numbers, a row for each step, got 3.0"),
        ({"targets": ["a", None]}, "targets: expected numbers"),
    ],
)
def test_windows_that_cannot_be(how, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        windows(**{"series": np.zeros((10, 2)), "length": 3, **how})


# ---------------------------------------------------------------- Keras's windows


def all_of(source):
    batches = [source[n] for n in range(len(source))]
    if not isinstance(batches[0], tuple):
        return np.concatenate(batches), None
    return tuple(np.concatenate(part) for part in zip(*batches, strict=True))


def test_batches_of_windows():
    series = np.arange(20)
    found = utils.timeseries_dataset_from_array(series, series[3:] * 10, 3, batch_size=4)
    assert len(found) == 5 and [len(found[n][0]) for n in range(5)] == [4, 4, 4, 4, 1]
    x, y = all_of(found)
    np.testing.assert_array_equal(y, 10 * (x[:, -1] + 1))
    only, nothing = all_of(utils.timeseries_dataset_from_array(series, None, 3, 2, 2))
    assert nothing is None and only.tolist()[1] == [2, 4, 6]


def test_shuffled_windows_come_once_in_each_epoch_and_the_same_for_a_seed():
    series = np.arange(30)
    made = [utils.timeseries_dataset_from_array(series, series, 4, batch_size=7, shuffle=True,
                                                seed=seed) for seed in (5, 5, 6)]  # fmt: skip
    orders = []
    for _ in range(2):
        firsts = [all_of(one)[1].tolist() for one in made]
        assert firsts[0] == firsts[1] != firsts[2] and sorted(firsts[0]) == list(range(27))
        orders.append(firsts[0])
        for one in made:
            one.on_epoch_end()
    assert orders[0] != orders[1]


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"sequence_length": 11}, "sequence_length: expected an integer <= 10"),
        ({"sampling_rate": 5}, "data: expected steps for a window of 4 at a sampling_rate of 5"),
        ({"start_index": 8}, "data: expected steps for a window"),
        ({"end_index": 11}, "end_index: expected an integer <= 10"),
        ({"targets": np.zeros(3), "start_index": 3}, "targets: expected one for each window from"),
        ({"batch_size": None}, "batch_size: expected an integer >= 1, got None"),
        ({"seed": -1, "shuffle": True}, "seed: expected an integer >= 0"),
    ],
)
def test_windows_of_keras_that_cannot_be(how, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        utils.timeseries_dataset_from_array(
            **{"data": np.zeros(10), "targets": None, "sequence_length": 4, **how}
        )


# ---------------------------------------------------------------- ragged sequences


def ragged(count=23, longest=9, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, 3)) for n in rng.integers(1, longest + 1, count)]


def padded(rows):
    lengths = np.array([len(row) for row in rows])
    whole = np.zeros((len(rows), lengths.max(), *rows[0].shape[1:]))
    for to, row in zip(whole, rows, strict=True):
        to[: len(row)] = row
    return whole, lengths


@pytest.mark.parametrize("bounds", [None, [3, 6], [9], [20, 30]])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_sequence_comes_once_beside_those_like_it(bounds, shuffle):
    rows = ragged()
    source = bucketed(rows, np.arange(23), 5, bounds, shuffle, 1 if shuffle else None)
    drawn = []
    for _ in range(3):
        batches = [source[n] for n in range(len(source))]
        drawn.append(np.concatenate([one.rows for one in batches]).tolist())
        assert sorted(drawn[-1]) == list(range(23))
        steps = sum(one.x.shape[0] * one.x.shape[1] for one in batches)
        assert source.padding == pytest.approx(1 - sum(map(len, rows)) / steps)
        for one in batches:
            wanted, lengths = padded([rows[row] for row in one.rows])
            np.testing.assert_array_equal(one.x, wanted)
            np.testing.assert_array_equal(one.lengths, lengths)
            np.testing.assert_array_equal(one.y, one.rows)
            places = np.searchsorted(bounds or [], lengths)
            assert bounds is None or len(set(places)) == 1
        source.on_epoch_end()
    assert (drawn[0] != drawn[1]) == (drawn[1] != drawn[2]) == shuffle
    other = bucketed(rows, np.arange(23), 5, bounds, shuffle, 1 if shuffle else None)
    np.testing.assert_array_equal(np.concatenate([other[n].rows for n in range(len(other))]),
                                  drawn[0])  # fmt: skip


def test_like_lengths_leave_little_to_fill_up():
    rows, rng = ragged(500, 50), np.random.default_rng(0)
    whole = 1 - np.mean([len(row) for row in rows]) / 50
    assert whole > 0.4
    assert bucketed(rows, batch_size=20).padding < 0.04
    assert 0.04 < bucketed(rows, batch_size=20, buckets=[10, 20, 30, 40]).padding < 0.2
    assert bucketed([rng.normal(size=(4, 2))] * 9).padding == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_target_for_each_sequence(dtype):
    rows, y = ragged(), RNG.normal(size=(23, 2))
    x, lengths = padded(rows)
    weight = RNG.uniform(size=23)
    source = bucketed(rows, y, 5, sample_weight=weight)
    model, close = compiled(dtype=dtype), {"float32": 1e-6, "float64": 1e-12}[dtype]
    wanted = model.evaluate(x, y, 23, sample_weight=weight, lengths=lengths)
    np.testing.assert_allclose(model.evaluate(source), wanted, close)
    expected = model.predict(x, lengths=lengths)
    np.testing.assert_allclose(model.predict(source), expected, close, close)
    before = model.predict(source)
    assert model.fit(source, epochs=8, verbose=0).history["loss"][-1] < wanted
    assert np.abs(model.predict(source) - before).max() > 0


def test_a_target_for_each_step():
    rows = ragged()
    y = [RNG.normal(size=(len(row), 2)) for row in rows]
    (x, lengths), (aims, _) = padded(rows), padded(y)
    source = bucketed(rows, y, 5, per_step=True, seed=1)
    model = compiled(sequences=True, dtype="float64")
    batches = [source[n].rows for n in range(len(source))]  # the same, filled up further
    wanted = sum(
        model.evaluate(x[rows], aims[rows], lengths=lengths[rows]) * len(rows) for rows in batches
    )
    before = model.evaluate(source)
    assert before == pytest.approx(wanted / 23, rel=1e-12)
    found, wanted = model.predict(source), model.predict(x, lengths=lengths)
    assert found.shape == (23, max(lengths), 2)
    for one, other, length in zip(found, wanted, lengths, strict=True):
        np.testing.assert_allclose(one[:length], other[:length], 1e-12, 1e-12)
    losses = model.fit(source, verbose=0, epochs=30).history["loss"]
    assert losses[-1] < losses[0]


def test_ids_of_unlike_lengths():
    rows = [RNG.integers(0, 9, n) for n in RNG.integers(1, 7, 12)]
    model = Model([Embedding(9, 3), LSTM(4), Dense(2, "softmax")], seed=0)
    model.compile("adam", "sparse_categorical_crossentropy")
    source = bucketed(rows, RNG.integers(0, 2, 12), 4)
    assert source[0].x.dtype == np.int64
    model.fit(source, epochs=2, verbose=0)
    for row, found in zip(rows, model.predict(source), strict=True):
        np.testing.assert_allclose(found, model.predict(row[None])[0], 1e-6)


def test_lengths_that_nobody_heeds_are_refused():
    model = Model([Dense(2, input_shape=(None, 3))], seed=0)
    model.compile("sgd", "mse")
    rows = [np.ones((2, 3)), np.ones((3, 3))]
    source = bucketed(rows, [r[:, :2] for r in rows], per_step=True)
    try:
        model.fit(source, verbose=0)
    except ValueError as error:
        assert str(error).startswith("batch 0: lengths: expected layers")


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"sequences": []}, r"sequences: expected a list of sequences, got \[\]"),
        ({"sequences": 3}, "sequences: expected a list of sequences, got 3"),
        ({"sequences": [[1.0], 2.0]}, r"sequences: expected sequences of numbers, got array\(2.\)"),
        ({"sequences": [["a"], ["b"]]}, "sequences: expected sequences of numbers"),
        ({"sequences": [np.ones((2, 3)), np.ones((2, 4))]}, r"sequences: expected steps of one sh"),
        ({"sequences": [np.ones((2, 3)), np.ones((0, 3))]}, r"sequences\[1\]: expected one step"),
        ({"targets": [1.0]}, "targets: expected 3, one for each sequence, got 1"),
        ({"targets": 1.0}, "targets: expected one for each sequence, got 1.0"),
        ({"targets": [[1], [1, 2], [1]]}, "targets: expected one for each sequence, got unlike"),
        ({"targets": [[1], [1], [1]], "per_step": True}, r"targets\[1\]: expected 2 steps, as seq"),
        ({"per_step": True}, "per_step: expected False without targets"),
        ({"per_step": 1, "targets": [[1]] * 3}, "per_step: expected True or False"),
        ({"batch_size": 0}, "batch_size: expected an integer >= 1"),
        ({"buckets": []}, "buckets: expected a list of lengths that rise"),
        ({"buckets": [3, 3]}, r"buckets: expected lengths that rise, got \[3, 3\]"),
        ({"buckets": [0]}, "buckets: expected an integer >= 1"),
        ({"sample_weight": [1.0]}, r"sample_weight: expected \(3,\), got \(1,\)"),
        ({"shuffle": False, "seed": 3}, "seed: expected None without shuffle, got 3"),
        ({"shuffle": None}, "shuffle: expected True or False"),
    ],
)
def test_ragged_batches_that_cannot_be(how, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        bucketed(**{"sequences": [[1.0], [1.0, 2.0], [3.0]], **how})


# ---------------------------------------------------------------- prefetch


def threads():
    return [one for one in threading.enumerate() if one.name == "lstmfast-prefetch"]


def test_items_come_in_their_order_and_from_a_thread():
    where = []

    def numbers():
        for n in range(50):
            where.append(threading.current_thread().name)
            yield n

    for ahead in (1, 2, 7, 100):
        assert list(prefetch(numbers(), ahead)) == list(range(50))
    assert set(where) == {"lstmfast-prefetch"} and threads() == []
    assert list(prefetch([])) == [] and list(prefetch([None, None])) == [None, None]


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_no_more_is_read_than_was_asked_for(ahead):
    read = []
    items = prefetch((read.append(n) for n in range(100)), ahead)
    assert read == [] and threads() == []
    for given in range(1, 5):
        next(items)
        limit = time.monotonic() + 5
        while len(read) < given + ahead and time.monotonic() < limit:
            time.sleep(0.001)
        time.sleep(0.01)
        assert len(read) == given + ahead
    items.close()
    assert threads() == []


def test_errors_come_where_their_item_would_have_come():
    error = OSError("no disk")

    def items():
        yield 1
        yield 2
        raise error

    found = prefetch(items())
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(OSError) as caught:
        next(found)
    assert caught.value is error and list(found) == [] and threads() == []


def test_the_thread_goes_with_the_iterator():
    items = prefetch(iter(int, 1))
    next(items)
    assert len(threads()) == 1
    del items
    gc.collect()
    assert threads() == []
    with pytest.raises(ValueError, match=r"^batches: expected an iterable, got 3"):
        prefetch(3)
    with pytest.raises(ValueError, match=r"^ahead: expected an integer >= 1"):
        prefetch([], 0)


# ---------------------------------------------------------------- files and frames


@pytest.fixture
def in_files(tmp_path):
    """Return a function that puts arrays into files, and gives them as they lie there."""

    def put(*arrays):
        found = []
        for n, array in enumerate(arrays):
            path = tmp_path / f"{n}.dat"
            np.memmap(path, array.dtype, "w+", shape=array.shape)[:] = array
            found.append(np.memmap(path, array.dtype, "r", shape=array.shape))
        return found

    return put


@pytest.mark.parametrize("how", [{}, {"shuffle": False}, {"steps_per_epoch": 2}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_files_are_learnt_from_as_arrays_are(in_files, how, dtype):
    x, y, w = (RNG.normal(size=shape).astype("f4") for shape in ((20, 4, 3), (20, 2), (20,)))
    w = np.abs(w)
    how = {"epochs": 2, "verbose": 0, "batch_size": 6, "validation_split": 0.2, **how}
    seen = []
    watch = lstmfast.callbacks.LambdaCallback(
        on_train_batch_begin=lambda n, logs: seen.append(len(threads()))
    )
    wanted = compiled(dtype=dtype)
    expected = wanted.fit(x, y, sample_weight=w, **how).history
    for given in (in_files(x, y, w), [*in_files(x), y, w], [x, *in_files(x, y)[1:], w]):
        model = compiled(dtype=dtype)
        found = model.fit(*given[:2], sample_weight=given[2], callbacks=[watch], **how)
        assert found.history == expected
        assert_all_equal(model.get_weights(), wanted.get_weights())
        assert model.evaluate(*given[:2], 6) == wanted.evaluate(x, y, 6)
        np.testing.assert_array_equal(model.predict(given[0], 6), wanted.predict(x, 6))
    assert max(seen) == 1 and threads() == []
    seen.clear()
    compiled(dtype=dtype).fit(x, y, callbacks=[watch], **how)
    assert max(seen) == 0


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_thread_reads_what_lies_in_a_file(in_files, shuffle):
    """A view of it would be read by the step."""
    given = [
        array.astype("f4") for array in (RNG.normal(size=(20, 4, 3)), RNG.normal(size=(20, 2)))
    ]
    model = compiled()
    feed = Arrays(model, taken(model, *in_files(*given)), 6, shuffle=shuffle)
    feed.start_epoch()
    for one in feed.read():
        for array in (*one.xs, *one.ys):
            assert not samples.is_on_disk(array)


def test_a_file_is_never_in_memory_as_a_whole(in_files):
    x, y = np.zeros((4000, 50, 20), "f4"), np.zeros((4000, 2, 200), "f4")
    size = x.nbytes + y.nbytes
    x, y = in_files(x, y)
    model = Model([LSTM(2, input_shape=(None, 20), return_sequences=True), Dense(200)], seed=0)
    model.compile("sgd", "mse")
    model.fit(x[:4, :2], y[:4], verbose=0)
    series = x.reshape(-1, 20)
    tracemalloc.start()
    try:
        model.fit(x[:, :2], y, batch_size=20, steps_per_epoch=3, verbose=0)
        model.predict(x, 20, steps=2)
        long, _ = windows(series, 100)
        assert long.nbytes > 1.5e9
        few = compiled(20, 20)
        few.fit(*windows(series, 100), batch_size=4, steps_per_epoch=2, verbose=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 2 and size > 20e6, (peak, size)


def test_bad_numbers_in_a_file_are_found_before_the_first_step(in_files):
    x, y = RNG.normal(size=(20, 4, 3)), RNG.normal(size=(20, 2))
    for part, name in ((x, "x"), (y, "y")):
        kept = part.flat[-1]
        part.flat[-1] = np.nan
        model = compiled()
        with pytest.raises(ValueError, match=f"^{name}: expected finite numbers"):
            model.fit(*in_files(x, y), 6, verbose=0)
        assert model.optimizer.iterations == 0
        part.flat[-1] = kept


def frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(RNG.normal(size=(20, 5)), columns=list("abpqw"), index=range(5, 25))
    frame["c"] = RNG.integers(0, 4, 20)
    return pandas, frame


def test_frames_are_arrays():
    _, frame = frames()
    model, wanted = (Model([Dense(2, input_shape=(3,))], seed=0) for _ in range(2))
    for one in (model, wanted):
        one.compile("sgd", "mse")
    x, y, w = frame[["a", "b", "c"]], frame[["p", "q"]], frame["w"] ** 2
    how = {"epochs": 2, "verbose": 0}
    expected = wanted.fit(x.to_numpy(), y.to_numpy(), sample_weight=w.to_numpy(), **how).history
    assert model.fit(x, y, sample_weight=w, **how).history == expected
    np.testing.assert_array_equal(model.predict(x), wanted.predict(x.to_numpy()))
    assert model.evaluate(x, y) == wanted.evaluate(x.to_numpy(), y.to_numpy())


def test_columns_of_frames_are_inputs_and_outputs_by_name():
    _, frame = frames()

    def made():
        a, b = Input((1,), name="a"), Input((1,), name="b")
        model = Model(inputs=[a, b], outputs=[Dense(1, name="p")(a), Dense(1, name="q")(b)], seed=0)
        model.compile("sgd", "mse")
        return model

    x, y = frame[["b", "a"]], frame[["q", "p"]]
    wanted, how = made(), {"epochs": 2, "verbose": 0}
    arrays = [frame[[name]].to_numpy() for name in "abpq"]
    expected = wanted.fit(arrays[:2], arrays[2:], **how).history
    for given in ((x, y), (dict(x), dict(y)), ([x["a"], x["b"]], [y["p"], y["q"]])):
        model = made()
        assert model.fit(*given, **how).history == expected
        assert_all_equal(model.predict(given[0]), wanted.predict(arrays[:2]))
    with pytest.raises(ValueError, match=r"^x: expected the keys \['a', 'b'\], got \['a', 'b', 'c"):
        made().predict(frame[["a", "b", "c"]])


def test_columns_that_are_no_numbers_are_named():
    pandas, frame = frames()
    model = Model([Dense(2, input_shape=(2,))], seed=0)
    model.compile("sgd", "mse")
    y = frame[["p", "q"]]
    for column, found in ((["x", "y"] * 10, "'x' among them"), ([None, 1] * 10, "None among them")):
        x = pandas.DataFrame({"a": frame["a"], "b": pandas.Series(column, frame.index, object)})
        with pytest.raises(ValueError, match=f"^x: expected numbers, got {found}"):
            model.fit(x, y, verbose=0)
    missing = pandas.DataFrame({"a": [1, None] * 10, "b": 1.0})
    with pytest.raises(ValueError, match=r"^x: expected finite numbers to learn from"):
        model.fit(missing, y, verbose=0)


def test_names():
    assert lstmfast.data is data and utils.Sequence is utils.PyDataset is data.PyDataset
    assert utils.timeseries_dataset_from_array is data.timeseries_dataset_from_array
    assert Batch(1).lengths is None
