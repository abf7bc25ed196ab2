"""lstmfast.keras.LSTM held against keras.layers.LSTM: `test_keras` runs it for each backend."""

import contextlib
import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import keras
import keras_backends
import numpy as np
import pytest
from fresh_process import printed
from keras.src.layers.rnn import lstm_test
from keras_backends import run

from lstmfast.fallback import FallbackError
from lstmfast.keras import LSTM, accelerate

BACKEND = keras.backend.backend()
# Of an array's largest entry, or of 1. Measured: 1.3e-6, in float64 6.6e-16.
BAR = 1e-5
DOUBLE_BAR = BAR if BACKEND == "jax" else 1e-12  # Keras's own is off by 9e-8 on JAX
LOSS_BAR = 1e-4  # relative, of every batch of two epochs; measured: 2.0e-7
EVERY = 2 if BACKEND == "jax" else 1  # case alone: Keras's loop takes JAX a second to compile
B, T, I, H = 5, 5, 4, 6


@pytest.fixture(autouse=True)
def strict(request, monkeypatch):
    """No test passes by Keras's own loop; Keras's own tests, a class, ask for float16, too."""
    monkeypatch.setenv("LSTMFAST_STRICT", "0" if request.cls else "1")


def only(*backends):
    """Make a test one of these backends alone."""
    return lambda test: test if BACKEND in backends else None


def drawn(*shape, seed=0, dtype="float32"):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def pair(shape=(B, T, I), units=H, **options):
    """Return keras.layers.LSTM and ours with the same random weights, built for x of `shape`."""
    layers = keras.layers.LSTM(units, **options), LSTM(units, **options)
    for layer in layers:
        layer.build(shape)
        layer.set_weights([drawn(*w.shape, seed=9) / 2 for w in layer.get_weights()])
    return layers


def error(found, wanted):
    """Return the error of the worst of several arrays, whose shapes and dtypes must agree."""
    assert [(one.shape, one.dtype) for one in found] == [(one.shape, one.dtype) for one in wanted]
    pairs = zip(found, wanted, strict=True)
    return max(np.max(np.abs(a - b)) / max(1, np.max(np.abs(b))) for a, b in pairs)


def assert_alike(theirs, ours, bar=BAR, **inputs):
    """Hold outputs and gradients of ours against theirs."""
    (outputs, gradients), (found, found_gradients) = run(theirs, **inputs), run(ours, **inputs)
    assert error(found, outputs) <= bar
    assert error(found_gradients, gradients) <= bar


# ---------------------------------------------------------------- the layer alone

MASKS = {
    "right": [[t < n for t in range(T)] for n in (3, 5, 1, 4, 2)],
    "left": [[t >= n for t in range(T)] for n in (3, 0, 4, 1, 2)],
    "holes": [[1, 0, 1, 1, 0], [0, 1, 0, 0, 1], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0], [1, 0, 0, 0, 1]],
    "empty rows": [[n % 2] * T for n in range(B)],
}
FLAGS = ("return_sequences", "return_state", "go_backwards", "zero_output_for_mask", "state")
# Each pair of flags takes each pair of values.
ROWS = ((0, 0, 0, 0, 0), (1, 1, 1, 0, 1), (1, 0, 1, 1, 0), (0, 1, 0, 1, 1), (1, 1, 0, 1, 0),
        (0, 0, 1, 1, 1), (1, 0, 0, 0, 1), (0, 1, 1, 0, 1))  # fmt: skip


CASES = list(itertools.product((None, *MASKS), ROWS))
CASES = [case for n, case in enumerate(CASES) if (n + n // len(ROWS)) % EVERY == 0]


@pytest.mark.parametrize("mask, row", CASES)
def test_flags_and_masks(mask, row):
    flags = dict(zip(FLAGS, map(bool, row), strict=True))
    state = [drawn(B, H, seed=1), drawn(B, H, seed=2)] if flags.pop("state") else []
    mask = None if mask is None else np.array(MASKS[mask], bool)
    assert_alike(*pair(**flags), x=drawn(B, T, I), state=state, mask=mask)


@pytest.mark.parametrize("mask", (None, "left", "holes"))
def test_unrolled(mask):
    """Unrolled, Keras's loop on JAX puts out zeros where the other puts out h0."""
    mask = None if mask is None else np.array(MASKS[mask], bool)
    state = [drawn(B, H, seed=1), drawn(B, H, seed=2)]
    layers = pair(unroll=True, return_sequences=True, return_state=True)
    assert_alike(*layers, x=drawn(B, T, I), state=state, mask=mask)


SHAPES = ((1, 1, 1, 1), (1, 1, 7, 33), (2, 40, 3, 17), (3, 1, 2, 5), (33, 3, 16, 8),
          (1, 9, 5, 64))  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES[::EVERY])
def test_shapes(shape):
    *of_x, units = shape
    layers = pair(of_x, units, return_sequences=True, return_state=True)
    assert_alike(*layers, x=drawn(*of_x))


NAMES = ("tanh", "sigmoid", "relu", "hard_sigmoid", "linear", "leaky_relu", "elu", "softsign",
         "softplus")  # fmt: skip


@pytest.mark.parametrize("k", range(0, len(NAMES), EVERY))
def test_activations(k):
    options = {"activation": NAMES[k], "recurrent_activation": NAMES[(k + 4) % len(NAMES)]}
    theirs, ours = pair(**options)
    for layer in (theirs, ours):
        layer.set_weights([w / 4 for w in layer.get_weights()])
    assert_alike(theirs, ours, x=drawn(B, T, I))


@pytest.mark.parametrize(
    "options",
    (
        {"use_bias": False},
        {"activation": None, "recurrent_activation": keras.ops.sigmoid},
        {"implementation": 1},
        {"use_cudnn": False},
    ),
    ids=str,
)
def test_options(options):
    assert_alike(*pair(**options), x=drawn(B, T, I))


def test_double_precision():
    scope = contextlib.nullcontext()
    if BACKEND == "jax":
        scope = __import__("jax").enable_x64(True)
    with scope:
        layers = pair(dtype="float64", return_sequences=True)
        assert_alike(*layers, bar=DOUBLE_BAR, x=drawn(B, T, I, dtype="float64"))


@pytest.mark.parametrize("dtype", ("bool", "int8", "uint8", "int64"))
def test_whole_numbers_and_truth_values_are_taken_as_floats(dtype):
    theirs, ours = pair()
    x = {"x": (np.arange(B * T * I).reshape(B, T, I) % 5).astype(dtype)}
    assert error([called(ours, x)], [called(theirs, x)]) <= BAR


@pytest.mark.parametrize("training", (True, False))
def test_dropout_draws_what_keras_draws(training):
    layers = pair(dropout=0.4, seed=5, return_sequences=True)
    assert_alike(*layers, x=drawn(B, T, I), training=training)
    assert_alike(*layers, x=drawn(B, T, I), training=training)  # the next draw, too


def test_gradients_while_not_training():
    """Of a model that is evaluated, as for a saliency map."""
    layers = pair(return_sequences=True)
    assert_alike(*layers, x=drawn(B, T, I), mask=np.array(MASKS["holes"], bool), training=False)


def test_frozen():
    """Gradients of x and the state alone."""
    layers = pair(return_sequences=True)
    for layer in layers:
        layer.trainable = False
    assert_alike(*layers, x=drawn(B, T, I), state=[drawn(B, H, seed=1), drawn(B, H, seed=2)])


def test_stateful():
    theirs, ours = pair(stateful=True, return_sequences=True)
    for seed in range(3):
        x = {"x": drawn(B, T, I, seed=seed)}
        assert error([called(ours, x)], [called(theirs, x)]) <= BAR
    for layer in (theirs, ours):
        layer.reset_state()
        assert not np.any(keras.ops.convert_to_numpy(layer.states[0]))
    assert error([called(ours, x)], [called(theirs, x)]) <= BAR


@only("tensorflow", "torch")
def test_gradients_of_a_stateful_layer():
    """The state is written before the way back begins: on PyTorch in place."""
    state = [drawn(B, H, seed=1), drawn(B, H, seed=2)]
    plain, stateful = pair()[1], pair(stateful=True)[1]
    for variable, value in zip(stateful.states, state, strict=True):
        variable.assign(value)
    x = drawn(B, T, I)
    (wanted, gradients), (found, others) = run(plain, x, state), run(stateful, x)
    np.testing.assert_array_equal(found, wanted)
    assert error(others, [gradients[0], *gradients[3:]]) <= BAR


# ---------------------------------------------------------------- in models


def twins(make):
    """Return the model of `make(keras.layers.LSTM)` and that of `make(LSTM)`, weights alike."""
    models = []
    for kind in (keras.layers.LSTM, LSTM):
        keras.utils.set_random_seed(3)
        models.append(make(kind))
    models[1].set_weights(models[0].get_weights())
    return models


def tagger(kind):
    """Word ids, padded with zeros on either side, to a class for each."""
    ids = keras.Input((None,), dtype="int32")
    h = keras.layers.Embedding(20, I, mask_zero=True)(ids)
    h = keras.layers.Bidirectional(kind(H, return_sequences=True, dropout=0.2, seed=1))(h)
    h = kind(H, return_sequences=True, kernel_regularizer="l2", recurrent_constraint="unit_norm",
             go_backwards=True)(h)  # fmt: skip
    return keras.Model(ids, keras.layers.Dense(3, "softmax")(h))


def forecaster(kind):
    """Windows of a series, stateful from batch to batch."""
    series = keras.Input(batch_shape=(8, 6, 2))
    h = keras.layers.Masking()(series)
    h = kind(H, return_sequences=True, stateful=True)(h)
    return keras.Model(series, keras.layers.Dense(1)(kind(H, activity_regularizer="l2")(h)))


def translator(kind):
    """An encoder whose state is the decoder's first one."""
    source, target = keras.Input((None, 2)), keras.Input((None, 2))
    state = kind(H, return_state=True)(source)[1:]
    h = kind(H, return_sequences=True)(target, initial_state=state)
    return keras.Model([source, target], keras.layers.Dense(1)(h))


def frames(kind):
    """An LSTM over the rows of each step of another, as RNN runs a stack of cells beside it."""
    x = keras.Input((3, 6, 2))
    h = keras.layers.TimeDistributed(kind(H))(x)
    return keras.Model(x, keras.layers.Dense(1)(kind(H)(h)))


def examples(make):
    """Return x, y and the loss for each of the models."""
    if make is tagger:
        ids = np.random.default_rng(0).integers(1, 20, (32, 7))
        ids[::3, 5:], ids[1::3, :2], ids[5, 3] = 0, 0, 0
        return ids, ids % 3, "sparse_categorical_crossentropy"
    if make is translator:
        return [drawn(32, 5, 2), drawn(32, 4, 2, seed=1)], drawn(32, 4, 1), "mse"
    shape = {forecaster: (32, 6, 2), frames: (32, 3, 6, 2)}[make]
    x = drawn(*shape)
    x[::4, -2:] = 0  # masked
    return x, drawn(32, 1), "mse"


class Losses(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.found = []

    def on_train_batch_end(self, batch, logs=None):
        self.found.append(logs["loss"])


MODELS = (tagger, forecaster, translator, frames)


@pytest.mark.parametrize("make", MODELS)
def test_epochs_have_the_losses_of_keras(make):
    x, y, loss = examples(make)
    losses, scores, outputs = [], [], []
    for model in twins(make):
        model.compile(keras.optimizers.Adam(0.02), loss)
        seen = Losses()
        model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[seen])
        losses.append(seen.found)
        scores.append(model.evaluate(x, y, batch_size=8, verbose=0))
        outputs.append(model.predict(x, batch_size=8, verbose=0))
    assert len(losses[0]) == 8 and losses[0][7] < losses[0][3]
    np.testing.assert_allclose(losses[1], losses[0], rtol=LOSS_BAR)
    np.testing.assert_allclose(scores[1], scores[0], rtol=LOSS_BAR)
    assert np.max(np.abs(outputs[1] - outputs[0])) <= LOSS_BAR


def test_jit_as_each_backend_has_it():
    model = tagger(LSTM)
    model.compile("adam", "mse")
    assert model.jit_compile is (BACKEND == "jax")
    assert LSTM(3).supports_jit is (BACKEND != "tensorflow")
    if BACKEND == "tensorflow":
        with pytest.warns(UserWarning, match="jit_compile"):
            model.compile("adam", "mse", jit_compile=True)


# ---------------------------------------------------------------- configuration and files


def test_configuration_is_that_of_keras():
    options = {"activation": "relu", "dropout": 0.1, "kernel_regularizer": "l1", "stateful": True}
    theirs, ours = keras.layers.LSTM(3, **options, name="a"), LSTM(3, **options, name="a")
    assert ours.get_config() == theirs.get_config()
    again = LSTM.from_config(ours.get_config())
    assert type(again) is LSTM and again.get_config() == ours.get_config()
    assert LSTM(3, "relu").get_config()["activation"] == "relu"


def test_weights_go_both_ways(tmp_path):
    theirs, ours = twins(tagger)
    x, path = examples(tagger)[0], str(tmp_path / "w.weights.h5")
    for source, target in ((theirs, ours), (ours, theirs)):
        source.set_weights([w + 0.1 for w in source.get_weights()])
        source.save_weights(path)
        target.load_weights(path)
        assert np.max(np.abs(target.predict(x, verbose=0) - source.predict(x, verbose=0))) <= BAR


LOADING = """
import sys, numpy, keras
x = numpy.load({x!r})
sys.modules["lstmfast"] = None  # as if it were not installed
custom = {{"lstmfast>LSTM": keras.layers.LSTM}}
theirs = keras.saving.load_model({path!r}, custom_objects=custom)
del sys.modules["lstmfast"]
import lstmfast.keras
ours = keras.saving.load_model({path!r})
numpy.save({out!r}, [model.predict(x, verbose=0) for model in (theirs, ours)])
ours.fit(x, x % 3, verbose=0)
assert type(theirs.layers[3]) is keras.layers.LSTM and type(ours.layers[3]) is lstmfast.keras.LSTM
"""


def test_a_file_is_loaded_in_a_fresh_process(tmp_path):
    """As our layer; and, where there is no lstmfast, as Keras's."""
    x, _, loss = examples(tagger)
    model = tagger(LSTM)
    model.compile("adam", loss)
    path, of_x, out = (str(tmp_path / name) for name in ("m.keras", "x.npy", "out.npy"))
    model.save(path)
    np.save(of_x, x)
    printed(None, LOADING.format(path=path, x=of_x, out=out))
    wanted = model.predict(x, verbose=0)
    for found in np.load(out):
        assert np.max(np.abs(found - wanted)) <= BAR


def test_accelerate():
    """In the midst of training, with the optimizer's state."""
    x, y, loss = examples(tagger)
    losses = []
    for swaps in (False, True):
        keras.utils.set_random_seed(3)
        model = tagger(keras.layers.LSTM)
        model.compile("adam", loss)
        seen = Losses()
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[seen])
        if swaps:
            assert len(accelerate(model)) == 3 and accelerate(model) == []
            assert {type(layer) for layer in lstms(model)} == {LSTM}
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[seen])
        losses.append(seen.found)
    np.testing.assert_allclose(losses[1], losses[0], rtol=LOSS_BAR)


def lstms(model):
    wrapper, *_ = (one for one in model.layers if isinstance(one, keras.layers.Bidirectional))
    return [wrapper.forward_layer, wrapper.backward_layer, *model.layers[3:4]]


def test_accelerate_refuses_what_is_no_model():
    with pytest.raises(ValueError, match="model: expected a Keras model or layer, got list"):
        accelerate([])


# ---------------------------------------------------------------- what falls back, or is refused

FALLBACKS = {
    "activation": ({"activation": "gelu"}, {}),
    "a callable": ({"recurrent_activation": lambda x: keras.ops.sigmoid(2 * x)}, {}),
    "float16": ({"dtype": "float16", "recurrent_initializer": "zeros"}, {}),
    "mixed": ({"dtype": "mixed_bfloat16"}, {}),
    "recurrent dropout": ({"recurrent_dropout": 0.3, "seed": 2}, {"training": True}),
    "dropout per gate": ({"dropout": 0.3, "implementation": 1, "use_cudnn": False, "seed": 2},
                         {"training": True}),
    "unrolled zeros": ({"unroll": True, "zero_output_for_mask": True},
                       {"mask": np.array(MASKS["right"], bool)}),
    "a mask of features": ({}, {"mask": np.ones((B, T, 1), bool)}),
}  # fmt: skip
if BACKEND != "tensorflow":  # whose own loop raises
    FALLBACKS["no rows"] = ({}, {"x": np.zeros((0, T, I), "float32")})


def called(layer, inputs):
    inputs = {"x": drawn(B, T, I), **inputs}
    return keras.ops.convert_to_numpy(layer(inputs.pop("x"), **inputs))


@pytest.mark.parametrize("name", FALLBACKS)
def test_what_the_kernels_lack_is_keras_own(name, monkeypatch):
    options, inputs = FALLBACKS[name]
    theirs, ours = pair(**options)
    with pytest.raises(FallbackError, match=r"lstmfast\.keras\.LSTM: expected work for lstmfast"):
        called(ours, inputs)
    monkeypatch.setenv("LSTMFAST_STRICT", "0")
    theirs, ours = pair(**options)
    np.testing.assert_array_equal(called(ours, inputs), called(theirs, inputs))


def test_cudnn_where_it_is_asked_for():
    with pytest.raises(FallbackError, match="use_cudnn=True"):
        called(LSTM(H, use_cudnn=True), {})


def test_an_exported_model_holds_keras_own_loop(tmp_path, monkeypatch):
    """Others, who run it, have no kernels of ours."""
    model = keras.Sequential([keras.Input((T, I)), LSTM(H)])
    wanted = model.predict(drawn(1, T, I), verbose=0)
    with pytest.raises(Exception, match=r"got an export by \w+\.\w+"):
        keras_backends.exported(model, tmp_path)
    monkeypatch.setenv("LSTMFAST_STRICT", "0")
    found = keras_backends.exported(model, tmp_path)(drawn(1, T, I))
    assert error([found], [wanted]) <= BAR


def test_recurrent_dropout_in_inference():
    theirs, ours = pair(recurrent_dropout=0.3)
    assert error([called(ours, {})], [called(theirs, {})]) <= BAR


def test_second_derivatives_raise():
    layer = pair(return_sequences=True)[1]
    for training in (True, False):
        with pytest.raises(NotImplementedError, match="expected first derivatives"):
            keras_backends.second_derivative(layer, drawn(B, T, I), training)


@only("torch")
def test_autograd_sees_what_is_overwritten():
    import torch

    layer = pair(return_sequences=True)[1]
    y = layer(torch.from_numpy(drawn(B, T, I)))
    loss = y.sum()  # whose own derivative does not need y
    with torch.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# ---------------------------------------------------------------- compiled, and turned round


def test_compiled_with_sizes_that_are_not_known():
    """A graph that is made once serves every batch and length."""
    theirs, ours = pair(return_sequences=True)
    compiled = keras_backends.compiled(ours)
    for shape in ((2, 3, I), (4, 6, I), (1, 1, I)):
        x = keras.ops.convert_to_tensor(drawn(*shape))
        wanted = [keras.ops.convert_to_numpy(one) for one in (theirs(x),)]
        assert error([keras.ops.convert_to_numpy(compiled(x))], wanted) <= BAR


def test_gradients_twice_over_one_forward_pass():
    ours = pair(return_sequences=True)[1]
    first, second = keras_backends.gradient_twice(ours, drawn(B, T, I))
    np.testing.assert_array_equal(first, second)


@only("tensorflow", "jax")
def test_rows_side_by_side():
    """jax.vmap and the parallel Jacobians of TensorFlow; torch.func cannot enter the layer."""
    theirs, ours = pair()
    jacobians = [keras_backends.jacobian(layer, drawn(2, 3, I)) for layer in (theirs, ours)]
    assert error(jacobians[1:], jacobians[:1]) <= BAR


@only("tensorflow")
@pytest.mark.parametrize(
    ("rows", "T", "units", "is_ours"),
    [(32, 1, 64, False), (None, 1, 64, False), (32, 2, 64, True), (32, None, 64, True),
     (64, 1, 256, True)],
)  # fmt: skip
def test_one_step_of_little_work_in_a_graph(rows, T, units, is_ours):
    """A call of a function would take longer than the step."""
    import tensorflow as tf

    theirs, ours = pair((rows, T, 8), units)
    graphs = [tf.function(lambda x, layer=layer: layer(x)) for layer in (theirs, ours)]
    spec = tf.TensorSpec((rows, T, 8))
    assert ("PyFunc" in str(graphs[1].get_concrete_function(spec).graph.as_graph_def())) is is_ours
    found = [graph(tf.constant(drawn(rows or 3, T or 4, 8))).numpy() for graph in graphs]
    assert error(found[1:], found[:1]) <= BAR


ONE_PROCESSOR = """
import os
os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
import keras, numpy, lstmfast.keras
stack = [lstmfast.keras.LSTM(64, return_sequences=True), lstmfast.keras.LSTM(64)]
model = keras.Sequential([keras.Input((60, 64)), *stack])
model.compile("sgd", "mse")
model.fit(numpy.ones((128, 60, 64), "float32"), numpy.ones((128, 64)), batch_size=64, verbose=0)
"""


@only("jax")
def test_one_processor_is_enough():
    """JAX's callbacks wait for each other there, for ever."""
    printed(None, ONE_PROCESSOR, timeout=100)


@only("jax")
@pytest.mark.parametrize(
    "change, text",
    (
        ({"h0": (B + 1, H)}, "another shape or dtype"),
        ({"mask": (B, T)}, "another shape or dtype"),  # and no "lengths"
        ({"keys": {"luck": np.float64(1)}}, "unknown configuration key"),
        ({"keys": {"clip": 1}}, "unknown configuration key"),  # an integer is none
        ({"keys": {"clip": np.float64(-1)}}, "cannot take"),
        ({"name": "lstmfast_backward"}, "another shape or dtype"),
    ),
)
def test_operations_of_xla_check_what_they_are_given(change, text):
    import jax

    shapes = {"x": (B, T, I), "kernel": (I, 4 * H), "recurrent": (H, 4 * H), "b": (4 * H,)}
    shapes |= {"h0": (B, H), "c0": (B, H)}
    keys, name = change.pop("keys", {}), change.pop("name", "lstmfast_forward")
    arrays = [np.zeros(shape, np.float32) for shape in (shapes | change).values()]
    state = [jax.ShapeDtypeStruct((B, H), np.float32)] * 2
    with pytest.raises(Exception, match=text):
        jax.block_until_ready(jax.ffi.ffi_call(name, state)(*arrays, **keys))


# ---------------------------------------------------------------- Keras's own tests

lstm_test.layers = SimpleNamespace(LSTM=LSTM)


class TestOfKeras(lstm_test.LSTMTest):
    pass


def test_the_page_runs():
    page = (Path(__file__).parent.parent / "docs" / "keras.md").read_text(encoding="utf-8")
    names = {}
    exec(re.search(r"```py\n(.*?)```", page, re.S)[1], names)
    assert names["model"].predict(names["ids"], verbose=0).shape == (64, 5)
