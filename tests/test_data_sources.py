"""What brings its own batches: fit, evaluate and predict on it are those on the arrays within."""

import threading
import time

import numpy as np
import pytest
from agreement import assert_all_equal
from stopping import stopped_at

from lstmfast import LSTM, Dense, Input, Model, callbacks, data, utils
from lstmfast.callbacks import BackupAndRestore, LambdaCallback
from lstmfast.data import Batch

RNG = np.random.default_rng(0)
X, Y, W = RNG.normal(size=(20, 4, 3)), RNG.normal(size=(20, 2)), RNG.uniform(0.5, 2.0, 20)
SIZE, COUNT = 6, 4  # of batches; the last one has two rows
HOW = {"epochs": 3, "verbose": 0}


def compiled(dtype="float32", stateful=False, dropout=0.0):
    layers = [LSTM(4, input_shape=(None, 3), stateful=stateful, dropout=dropout), Dense(2)]
    model = Model(layers, seed=0, dtype=dtype)
    model.compile("adam", "mse", ["mae"])
    return model


def batch(n, parts=(X, Y)):
    rows = slice(SIZE * n, SIZE * n + SIZE)
    return tuple(part[rows] for part in parts)


class Numbered:
    """A class of one's own with the two methods."""

    def __init__(self, parts=(X, Y), count=COUNT):
        self.parts, self.count, self.read = parts, count, []

    def __len__(self):
        return self.count

    def __getitem__(self, n):
        self.read.append(n)
        return batch(n, self.parts)


class Dataset(utils.PyDataset):
    def __init__(self):
        pass  # as some forget the base's

    def __len__(self):
        return COUNT

    def __getitem__(self, n):
        return batch(n)


class Anew:
    def __init__(self, count=COUNT):
        self.count, self.begun = count, 0

    def __iter__(self):
        self.begun += 1
        return (batch(n) for n in range(self.count))


def generator(epochs=1, parts=(X, Y), count=COUNT):
    return (batch(n, parts) for _ in range(epochs) for n in range(count))


def loader():
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(part) for part in (X, Y)]
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=SIZE)


SOURCES = {
    "numbered": (Numbered, {"shuffle": False}),
    "PyDataset": (Dataset, {"shuffle": False}),
    "anew": (Anew, {}),
    "DataLoader": (loader, {}),
    "generator": (lambda: generator(3), {"steps_per_epoch": COUNT}),
    "iterator": (lambda: iter([list(one) for one in generator(3)]), {"steps_per_epoch": COUNT}),
    "prefetch": (lambda: data.prefetch(generator(3)), {"steps_per_epoch": COUNT}),
    "prefetch numbered": (lambda: data.prefetch(generator(3), 1), {"steps_per_epoch": COUNT}),
}
EVERY = pytest.mark.parametrize("kind", SOURCES)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert threads() == []


def threads():
    return [one for one in threading.enumerate() if one.name == "lstmfast-prefetch"]


# ---------------------------------------------------------------- the same as arrays


@EVERY
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_are_those_of_arrays(kind, dtype):
    make, how = SOURCES[kind]
    model, wanted = compiled(dtype, dropout=0.2), compiled(dtype, dropout=0.2)
    expected = wanted.fit(X, Y, batch_size=SIZE, shuffle=False, **HOW).history
    assert model.fit(make(), **HOW, **how).history == expected
    assert_all_equal(model.get_weights(), wanted.get_weights())
    steps = {"steps": COUNT} if "steps_per_epoch" in how else {}
    assert model.evaluate(make(), **steps) == wanted.evaluate(X, Y, SIZE)
    np.testing.assert_array_equal(model.predict(make(), **steps), wanted.predict(X, SIZE))


@EVERY
def test_a_model_that_is_not_built_is_built_for_the_first_batch(kind):
    make, how = SOURCES[kind]
    model = Model([LSTM(4), Dense(2)], seed=0)
    model.compile("adam", "mse", ["mae"])
    assert model.fit(make(), **HOW, **how).history["loss"][0] > 0
    other = Model([LSTM(4), Dense(2)], seed=0)
    assert other.predict(make()).shape[0] in (len(X), 3 * len(X))


def test_parts_of_a_batch():
    wanted = compiled()
    expected = wanted.fit(X, Y, SIZE, sample_weight=W, shuffle=False, **HOW).history
    for source in (
        Numbered((X, Y, W)),
        [Batch(*one) for one in generator(parts=(X, Y, W))],
        [list(one) for one in generator(parts=(X, Y, W))],
    ):
        model = compiled()
        given = source if isinstance(source, Numbered) else iter(source * 3)
        how = {} if isinstance(source, Numbered) else {"steps_per_epoch": COUNT}
        assert model.fit(given, shuffle=False, **HOW, **how).history == expected
    only_x = (one[0] for one in generator())
    np.testing.assert_array_equal(model.predict(only_x), wanted.predict(X, SIZE))
    np.testing.assert_array_equal(model.predict(iter([(X,)])), wanted.predict(X, len(X)))


def two_ended(names=("a", "b")):
    first, second = Input((4, 3), name=names[0]), Input((2,), name=names[1])
    outputs = [Dense(2, name="p")(LSTM(4)(first)), Dense(1, name="q")(second)]
    model = Model(inputs=[first, second], outputs=outputs, seed=0)
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize("as_dict", [False, True])
def test_several_inputs_and_outputs(as_dict):
    others = RNG.normal(size=(20, 2)), RNG.normal(size=(20, 1))

    def ends(rows):
        x, y = [X[rows], others[0][rows]], [Y[rows], others[1][rows]]
        return (dict(zip("ab", x, strict=True)), dict(zip("pq", y, strict=True))) if as_dict else (
            (x, y)
        )  # fmt: skip

    class Source(utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, n):
            return ends(slice(10 * n, 10 * n + 10))

    model, wanted = two_ended(), two_ended()
    expected = wanted.fit(*ends(slice(None)), batch_size=10, shuffle=False, **HOW).history
    assert model.fit(Source(), shuffle=False, **HOW).history == expected
    for one, other in zip(
        model.predict(Source()), wanted.predict(ends(slice(None))[0], 10), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_lengths_and_masks_of_batches():
    lengths = RNG.integers(1, 5, 20)
    mask = np.arange(4) < lengths[:, None]
    for name, given in (("lengths", lengths), ("mask", mask)):
        model, wanted = compiled(), compiled()
        expected = wanted.fit(X, Y, SIZE, shuffle=False, **HOW, **{name: given}).history
        parts = (Batch(x, y, **{name: g}) for x, y, g in generator(3, (X, Y, given)))
        assert model.fit(parts, steps_per_epoch=COUNT, **HOW).history == expected


def test_class_weights_count_in_each_batch():
    labels, weights = RNG.integers(0, 3, 20), {0: 0.3, 2: 4.0}
    model, wanted = (Model([LSTM(4, input_shape=(4, 3)), Dense(3, "softmax")], seed=0)
                     for _ in range(2))  # fmt: skip
    for one in (model, wanted):
        one.compile("sgd", "sparse_categorical_crossentropy")
    how = {"class_weight": weights, "shuffle": False, **HOW}
    expected = wanted.fit(X, labels, SIZE, **how).history
    assert model.fit(Numbered((X, labels)), **how).history == expected
    with pytest.raises(ValueError, match=r"^batch 0: class_weight: expected None with sample_w"):
        model.fit(Numbered((X, labels, W)), **how)


def test_a_source_that_batches_itself_is_no_list_of_arrays():
    """Lists, tuples, dicts and ranges are data, and so is what has an array's interface."""
    from lstmfast.model.sources import is_source

    torch_like = type("Tensor", (), {"__array__": None, "__len__": None, "__getitem__": None})()
    for given in ([X], (X,), {"a": X}, range(3), X, "text", torch_like, None, 3, {1, 2}):
        assert not is_source(given)
    for given in (generator(), Numbered(), Anew(), iter([X]), zip([X], [Y], strict=True)):
        assert is_source(given)


# ---------------------------------------------------------------- epochs and steps


def test_the_models_generator_orders_the_batches():
    source, model = Numbered(), compiled()
    model.fit(source, **HOW)
    orders = np.reshape(source.read, (3, COUNT))
    assert all(sorted(order) == list(range(COUNT)) for order in orders.tolist())
    rng = np.random.default_rng(0)
    rng.bit_generator.state = compiled().rng.bit_generator.state
    np.testing.assert_array_equal(orders, [rng.permutation(COUNT) for _ in range(3)])


def test_epochs_of_some_steps_go_on_where_the_last_one_stopped():
    source = Numbered()
    compiled().fit(source, shuffle=False, steps_per_epoch=3, **HOW)
    assert source.read == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    anew, model, wanted = Anew(), compiled(), compiled()
    found = model.fit(anew, steps_per_epoch=3, **HOW).history
    assert anew.begun == 3
    assert found == wanted.fit(X, Y, SIZE, shuffle=False, steps_per_epoch=3, **HOW).history
    source.read.clear()
    model.fit(Numbered(), validation_data=source, validation_steps=2, **HOW)
    model.evaluate(source, steps=1)
    assert source.read == [0, 1] * 3 + [0]


def test_a_generator_gives_no_more_than_is_asked_for():
    left = generator(10)
    compiled().fit(left, steps_per_epoch=2, **HOW)
    assert len(list(left)) == 40 - 6


@pytest.mark.parametrize(
    ("count", "how", "batches", "texts"),
    [
        (4, {}, [4], ["no batches are left for epoch 2; training ends"]),
        (4, {"steps_per_epoch": 2}, [2, 2], ["left for epoch 3"]),
        (5, {"steps_per_epoch": 2}, [2, 2, 1], ["expected 2 batches, got 1"]),
        (6, {"steps_per_epoch": 2}, [2, 2, 2], []),
    ],
)
def test_training_ends_with_the_generator(count, how, batches, texts):
    seen = []
    note = LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(0),
        on_train_batch_end=lambda n, logs: seen.append(seen.pop() + 1),
    )
    given = (batch(n % COUNT) for n in range(count))
    with pytest.warns() if texts else nothing_is_told() as told:
        history = compiled().fit(given, callbacks=[note], **HOW, **how)
    assert seen == batches and len(history.history["loss"]) == len(batches)
    assert [text in str(one.message) for text, one in zip(texts, told, strict=True)] == [True] * (
        len(texts)
    )


class nothing_is_told:
    def __enter__(self):
        return []

    def __exit__(self, *_):
        pass


def test_validations():
    wanted = compiled().fit(X, Y, SIZE, shuffle=False, validation_data=(X, Y), **HOW).history
    for validation in (Numbered(), Anew(), loader()):
        how = {"shuffle": False, "validation_data": validation}
        assert compiled().fit(Numbered(), **how, **HOW).history == wanted
        assert compiled().fit(X, Y, SIZE, **how, **HOW).history == wanted
    how = {"validation_data": generator(9), "validation_steps": COUNT, "shuffle": False}
    assert compiled().fit(Numbered(), **how, **HOW).history == wanted
    how = {"validation_data": Numbered(), "validation_freq": 2, "shuffle": False}
    found = compiled().fit(Numbered(), **how, **HOW).history
    assert found["val_loss"] == wanted["val_loss"][1:2]
    how = {"validation_data": (X, Y), "validation_batch_size": SIZE}
    assert compiled().fit(generator(), verbose=0, **how).history.keys() == wanted.keys()


def test_a_validation_without_batches_is_told_and_left_out():
    how = {"validation_data": generator(2), "validation_steps": COUNT}
    with pytest.warns(UserWarning, match="validation_data: no batches are left for epoch 3"):
        found = compiled().fit(Numbered(), **how, **HOW).history
    assert len(found["loss"]) == 3 and len(found["val_loss"]) == 2
    with pytest.warns(UserWarning, match="expected 9 batches, got 4"):
        compiled().evaluate(generator(), steps=9)


def test_hooks_of_a_source():
    calls = []

    class Hooked(Numbered):
        def on_epoch_begin(self):
            calls.append("begin")

        def __getitem__(self, n):
            calls.append(n)
            return super().__getitem__(n)

        def on_epoch_end(self):
            calls.append("end")

    compiled().fit(Hooked(count=2), epochs=2, shuffle=False, verbose=0)
    assert calls == ["begin", 0, 1, "end"] * 2


def test_what_callbacks_are_told():
    params = []
    note = LambdaCallback(on_train_begin=lambda logs: params.append(dict(note.params)))
    for source, steps in ((Numbered(), 4), (generator(), None), (loader(), 4), (Anew(), None)):
        compiled().fit(source, epochs=1, verbose=0, callbacks=[note])
        assert params.pop() == {"verbose": 0, "epochs": 1, "steps": steps}


@pytest.mark.parametrize("verbose", [1, 2])
def test_signs_of_life(verbose, capsys):
    compiled().fit(generator(), verbose=verbose)
    compiled().evaluate(Numbered(), verbose=verbose)
    compiled().predict(Anew(), verbose=verbose)
    printed = "".join(capsys.readouterr())
    assert printed.count("Epoch 1/1") == printed.count("Evaluate") == printed.count("Predict") == 1


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"y": Y}, "y: expected None with a generator as x, whose batches bring all, got some"),
        ({"sample_weight": W}, "sample_weight: expected None with a generator"),
        ({"lengths": [1]}, "lengths: expected None with a generator"),
        ({"mask": [1]}, "mask: expected None with a generator"),
        ({"batch_size": 3}, "batch_size: expected None for data that brings its own batches"),
        ({"validation_split": 0.2}, "validation_split: expected 0 with a generator as x, got 0.2"),
        ({"steps_per_epoch": 0}, "steps_per_epoch: expected an integer >= 1"),
        ({"validation_data": Numbered(), "validation_batch_size": 2}, "validation_batch_size: exp"),
        ({"validation_data": Numbered(), "validation_steps": 5}, "validation_steps: expected at m"),
        ({"validation_steps": 2}, "validation_steps: expected None without validation data"),
        ({"epochs": 0}, "epochs: expected an integer >= 1"),
        ({"validation_data": generator(), "epochs": 2}, "validation_steps: expected a number of"),
        ({"validation_data": (generator(), Y)}, "validation_data: y: expected None with a gener"),
    ],
)
def test_arguments_without_a_meaning_beside_batches(how, text):
    model, given = compiled(), generator()
    with pytest.raises(ValueError, match=f"^{text}"):
        model.fit(given, verbose=0, **how)
    assert model.optimizer.iterations == 0
    asked = how.get("validation_steps") == 5  # its length is asked for last
    assert len(list(given)) == COUNT - asked


def test_what_gives_no_batches():
    for source in (iter([]), Numbered(count=0), Anew(count=0)):
        for call in ("fit", "evaluate", "predict"):
            with pytest.raises(ValueError, match=r"^x: expected one batch or more, got .* of none"):
                getattr(compiled(), call)(source)
    with pytest.raises(ValueError, match=r"^steps: expected at most 4 batches, got 5"):
        compiled().predict(Numbered(), steps=5)
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"^x: expected batches, as of a DataLoader\(.*TensorDat"):
        compiled().fit(torch.utils.data.TensorDataset(torch.zeros(2, 3)))


NAN = X[:2].copy()
NAN[1, 1, 1] = np.nan


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ((X[:2, :, :2], Y[:2]), r"x: expected \(B, T, 3\), got \(2, 4, 2\)"),
        ((X[:2], Y[:3]), "y: expected 2 samples, as x has, got 3"),
        ((X[:2], Y[:2, :1]), "y: expected"),
        ((NAN, Y[:2]), "x: expected finite numbers to learn from"),
        ((1e39 * X[:2], Y[:2]), "x: expected numbers that float32 can hold"),
        ((X[:2], Y[:2], W), "sample_weight: expected 2 samples"),
        ((X[:2],), "y: expected an array of samples, got None"),
        (X[:2], "y: expected an array of samples, got None"),
        ((X[:2], Y[:2], W[:2], 1), r"expected x, \(x, y\) or .*, got 4 parts"),
        (Batch(X[:2], Y[:2], lengths=[9, 1]), r"lengths: expected numbers in 0..4"),
        ((["a", "b"], Y[:2]), "x: expected real numbers, got dtype"),
        (([[1.0], [1.0, 2.0]], Y[:2]), "x: expected samples of one length"),
        (None, "x: expected an array of samples, got None"),
    ],
)
@pytest.mark.parametrize("kind", ["generator", "anew", "numbered"])
def test_a_bad_batch_is_named_and_no_step_is_taken_on_it(kind, bad, text):
    items = [batch(0), batch(1), bad]
    source = iter(items)
    if kind == "anew":
        source = type("Anew", (), {"__iter__": lambda self: iter(items)})()
    elif kind == "numbered":
        members = {"__len__": lambda self: 3, "__getitem__": lambda self, n: items[n]}
        source = type("Numbered", (), members)()
    model, wanted = compiled(), compiled()
    with pytest.raises(ValueError, match=f"^batch 2: {text}"):
        model.fit(source, shuffle=False, verbose=0)
    wanted.fit(X[: 2 * SIZE], Y[: 2 * SIZE], SIZE, shuffle=False, verbose=0)
    assert_all_equal(model.get_weights(), wanted.get_weights())
    assert model.optimizer.iterations == 2
    with pytest.raises(ValueError, match=r"^validation_data: batch 0: "):
        model.fit(X, Y, verbose=0, validation_data=iter([bad]))


def test_predict_lets_nan_through_and_leaves_targets_out():
    found = compiled().predict(iter([(NAN, "what"), (X[:1], None, None)]))
    assert np.isnan(found[1]).all() and np.isfinite(found[[0, 2]]).all()
    with pytest.raises(ValueError, match=r"^x: expected batches whose outputs are of one shape"):
        model = Model([LSTM(4, input_shape=(None, 3), return_sequences=True)])
        model.predict(iter([X[:2], X[:2, :3]]))


@pytest.mark.parametrize("kind", ["generator", "anew", "numbered"])
def test_an_exception_of_the_users_comes_out_unchanged(kind):
    mine = KeyError("mine")

    def items():
        yield batch(0)
        raise mine

    class Raises(Numbered):
        def __getitem__(self, n):
            if n:
                raise mine
            return batch(0)

    source = {
        "generator": items, "anew": type("Anew", (), {"__iter__": lambda self: items()}),
        "numbered": Raises,
    }[kind]()  # fmt: skip
    model = compiled()
    with pytest.raises(KeyError) as caught:
        model.fit(source, shuffle=False, verbose=0)
    assert caught.value is mine and model.optimizer.iterations == 1


def test_stateful_layers_want_batches_of_one_size():
    with pytest.raises(ValueError, match=r"^shuffle: expected False for a model with stateful"):
        compiled(stateful=True).fit(Numbered(), verbose=0)
    text = "^batch 3: x: expected 6 rows, as before, for stateful layers, got 2"
    for source in (Numbered(), generator()):
        with pytest.raises(ValueError, match=text):
            compiled(stateful=True).fit(source, shuffle=False, verbose=0)
    model, wanted = compiled(stateful=True), compiled(stateful=True)
    expected = wanted.fit(X[:18], Y[:18], SIZE, shuffle=False, **HOW).history
    assert model.fit(generator(3, count=3), steps_per_epoch=3, **HOW).history == expected


def test_a_base_without_its_methods():
    class Nothing(utils.Sequence):
        pass

    with pytest.raises(NotImplementedError, match=r"^Nothing: needs __len__"):
        compiled().fit(Nothing())
    with pytest.raises(ValueError, match=r"^workers: expected an integer <= 1, got 4"):
        utils.PyDataset(workers=4)
    with pytest.raises(ValueError, match=r"^use_multiprocessing: expected False"):
        utils.PyDataset(use_multiprocessing=True)
    assert Dataset().num_batches == COUNT


# ---------------------------------------------------------------- threads


def test_who_reads_where():
    names = []

    def noted(items):
        for one in items:
            names.append(threading.current_thread().name)
            yield one

    anew = type("Anew", (), {"__iter__": lambda self: noted(generator())})
    model = compiled()
    model.fit(noted(generator()), verbose=0)
    assert set(names) == {"MainThread"}
    names.clear()
    model.fit(anew(), verbose=0)
    assert set(names[1:]) == {"lstmfast-prefetch"}  # the first one is looked at before


@pytest.mark.parametrize("kind", ["numbered", "anew", "DataLoader", "PyDataset"])
@pytest.mark.parametrize("end", ["stop", "raise", "interrupt"])
def test_the_thread_ends_with_the_training(kind, end):
    make, how = SOURCES[kind]
    model = compiled()

    def act(n, logs):
        assert len(threads()) == (n < 2)
        if n == 1 and end == "stop":
            model.stop_training = True
        elif n == 1:
            raise KeyError if end == "raise" else KeyboardInterrupt

    def look(n, logs):
        if n == 0:
            assert len(threads()) == 1

    watch = LambdaCallback(on_train_batch_begin=look, on_train_batch_end=act)
    try:
        model.fit(make(), callbacks=[watch], verbose=0, **how)
    except (KeyError, KeyboardInterrupt):
        assert end != "stop"
    assert threads() == [] and model.optimizer.iterations == 2


def test_batches_are_read_while_others_are_in_use():
    class Slow(Numbered):
        def __getitem__(self, n):
            time.sleep(0.05)
            return super().__getitem__(n)

    source, seen = Slow(), []
    watch = LambdaCallback(on_train_batch_end=lambda n, logs: wait_for(source, n + 3, seen))
    compiled().fit(source, shuffle=False, verbose=0, callbacks=[watch])
    assert seen == [3, 4, 4, 4]  # of those that were read: two ahead, and no more


def wait_for(source, count, seen):
    limit = time.monotonic() + 5
    while len(source.read) < min(count, COUNT) and time.monotonic() < limit:
        time.sleep(0.001)
    time.sleep(0.08)
    seen.append(len(source.read))


@pytest.mark.parametrize("event", [400, 1500, 2800])
def test_ctrl_c_at_any_moment_leaves_whole_steps_and_no_thread(event):
    model = compiled()
    stopped_at(event, model.fit, Numbered(), shuffle=False, **HOW)
    limit = time.monotonic() + 5
    while threads() and time.monotonic() < limit:
        time.sleep(0.01)
    assert threads() == []
    steps, wanted = model.optimizer.iterations, compiled()
    for n in range(steps):
        wanted.train_on_batch(*batch(n % COUNT))
    assert_all_equal(model.get_weights(), wanted.get_weights())


# ---------------------------------------------------------------- taken up again


class Stop(Exception):
    pass


def stops(batches):
    left = iter(range(batches - 1))

    def end(n, logs):
        if next(left, None) is None:
            raise Stop

    return LambdaCallback(on_train_batch_end=end)


class Redrawn(Numbered):
    """Rows come in a new order in each epoch, which a state of its own tells."""

    epoch = 0

    def __getitem__(self, n):
        order = np.random.default_rng(self.epoch).permutation(len(X))
        return batch(n, [part[order] for part in self.parts])

    def on_epoch_end(self):
        self.epoch += 1

    def get_state(self):
        return {"epoch": self.epoch}

    def set_state(self, state):
        self.epoch = state["epoch"]


def ragged():
    lengths = np.random.default_rng(3).integers(1, 5, 20)
    rows = [x[:n] for x, n in zip(X, lengths, strict=True)]
    return data.bucketed(rows, Y, SIZE, buckets=[2])  # its seed comes from the backup


def timed():
    return utils.timeseries_dataset_from_array(
        X.reshape(-1, 3), Y.repeat(4, 0), 4, batch_size=20, shuffle=True
    )


@pytest.mark.parametrize("make", [Numbered, Dataset, Redrawn, ragged, timed])
@pytest.mark.parametrize("how", [{}, {"shuffle": False, "steps_per_epoch": 3}])
def test_after_any_batch_a_numbered_source_goes_on_with_the_same_bits(tmp_path, make, how):
    for batches in (2, 5, 7):
        folder, first = tmp_path / str(batches), make()
        state = first.get_state() if hasattr(first, "get_state") else None
        with pytest.raises(Stop):
            fit_in(folder, first, stops(batches), **how)
        again, history = fit_in(folder, make(), **how)
        alone, whole = compiled(dropout=0.2), make()
        if state is not None:
            whole.set_state(state)
        assert alone.fit(whole, **HOW, **how).history == history.history
        assert_all_equal(again.get_weights(), alone.get_weights())
        assert again.rng.bit_generator.state == alone.rng.bit_generator.state


def fit_in(folder, source, *more, save_freq=1, **how):
    model = compiled(dropout=0.2)
    given = [BackupAndRestore(folder, save_freq=save_freq), *more]
    return model, model.fit(source, callbacks=given, **HOW, **how)


def test_a_generator_is_taken_up_between_epochs_only(tmp_path):
    for source in (generator(3), Anew()):
        with pytest.raises(ValueError, match=r"^save_freq: expected 'epoch' for x that cannot go"):
            fit_in(tmp_path / "a", source, steps_per_epoch=COUNT)
    with pytest.raises(Stop):
        fit_in(tmp_path / "b", Anew(), stops(6), save_freq="epoch")
    again, history = fit_in(tmp_path / "b", Anew(), save_freq="epoch")
    alone = compiled(dropout=0.2)
    assert alone.fit(Anew(), **HOW).history == history.history
    assert_all_equal(again.get_weights(), alone.get_weights())


def test_a_backup_of_other_data_is_refused(tmp_path):
    with pytest.raises(Stop):
        fit_in(tmp_path, Numbered(), stops(3))
    with pytest.raises(ValueError, match=r"x: expected the data of the backup, .*'batches': 4"):
        fit_in(tmp_path, Numbered(count=2))
    with pytest.raises(ValueError, match="fit: feed: expected a mapping with keys"):
        fit_in(tmp_path, Anew(), save_freq="epoch")


def test_callbacks_that_stop_evaluate_and_predict():
    model = compiled()

    def stop(name):
        return lambda n, logs: setattr(model, name, n == 1)

    stopped = callbacks.LambdaCallback(on_test_batch_end=stop("stop_evaluating"))
    wanted = model.evaluate(X[: 2 * SIZE], Y[: 2 * SIZE], SIZE)
    assert model.evaluate(Numbered(), callbacks=[stopped]) == wanted
    stopped = callbacks.LambdaCallback(on_predict_batch_end=stop("stop_predicting"))
    assert len(model.predict(Numbered(), callbacks=[stopped])) == 2 * SIZE
