"""The table of what runs on a GPU: what has True gives the CPU's results, the rest raises."""

import copy
import importlib
import inspect
import pickle

import numpy as np
import pytest

import lstmfast
from lstmfast import LSTM, Adam, Dense, Embedding, Model, SimpleRNN, constraints, regularizers
from lstmfast.cuda import support
from lstmfast.cuda.runtime.array import from_host
from lstmfast.layers import CLASSES as LAYERS
from lstmfast.layers.dense import ACTIVATIONS
from lstmfast.losses import CLASSES as LOSSES
from lstmfast.optimizers import CLASSES as OPTIMIZERS

T, B, I, H = 3, 2, 2, 3
TOLERANCE = 1e-6  # relative to the largest; measured: 1.2e-7, by other orders of sums

# Arguments of LSTM that give each option something to do; else they are given True.
GIVEN = {
    "activation": "relu", "recurrent_activation": "hard_sigmoid", "output_activation": "softsign",
    "clip": 0.5, "cell_clip": 0.3, "num_layers": 2, "projection": 2, "dropout": 0.5,
    "recurrent_dropout": 0.5, "weight_drop": 0.5, "zoneout_h": 0.4, "zoneout_c": 0.4,
    "truncate": 2, "recompute": 2, "static_size": 2, "use_bias": False, "pad": "repeat",
}  # fmt: skip
OF_A_CALL = {"resets"}  # what has no kernels, and is no option of the layer
OF_A_MODEL = {name for name, runs in support.OPTIONS_OF_LSTM.items() if runs is True} - {
    "return_state", "return_cells", "time_major", "lengths", "mask",
}  # fmt: skip


def ids():
    return np.random.default_rng(0).integers(0, 5, (4, T))


def steps():
    return np.random.default_rng(1).standard_normal((4, T, I)).astype(np.float32)


def targets(loss="mse"):
    rng = np.random.default_rng(2)
    if loss == "SparseCategoricalCrossentropy":
        return rng.integers(0, 2, 4)
    return rng.random((4, 2)).astype(np.float32)


def trained(device, layers, x, y, loss="mse", optimizer=None, precision=None):
    """Losses of three steps, and all weights after them."""
    model = Model(layers(), seed=3, device=device, precision=precision)
    model.compile(optimizer() if optimizer else Adam(0.01), loss)
    found = [model.train_on_batch(x[at], y[at]) for at in (slice(2), slice(2, 4), slice(2))]
    return found, model.get_weights()


def assert_same_training(layers, x, y, **how):
    losses, weights = trained("cpu", layers, x, y, **how)
    got_losses, got_weights = trained("cuda", layers, x, y, **how)
    np.testing.assert_allclose(got_losses, losses, rtol=TOLERANCE, atol=1e-7)  # sums may cancel
    for got, wanted in zip(got_weights, weights, strict=True):
        # Adam's first steps have the size of the rate whatever the gradient's: 1e-4 of it
        np.testing.assert_allclose(got, wanted, atol=1e-6 + TOLERANCE * abs(wanted).max())


def layers_with(**options):
    return lambda: [LSTM(H, **options), Dense(2)] if not options.get("return_sequences") else [
        LSTM(H, **options), LSTM(H), Dense(2)
    ]  # fmt: skip


# ---------------------------------------------------------------- the rows are all there


def test_a_row_for_everything():
    """Whoever adds a layer, a loss, an option must say whether it runs on a GPU."""
    options = set(inspect.signature(LSTM).parameters) - {"units", "name", "input_shape", "seed"}
    ruled = ("initializer", "regularizer", "constraint", "unit_forget_bias")
    options = {name for name in options if not name.endswith(ruled)} | {"lengths", "mask"}
    options |= OF_A_CALL
    assert options == set(support.OPTIONS_OF_LSTM)
    assert set(LAYERS) == set(support.LAYERS)
    assert set(LOSSES) == set(support.LOSSES)
    assert set(OPTIMIZERS) == set(support.OPTIMIZERS)
    options = {name for kind in OPTIMIZERS.values() for name in inspect.signature(kind).parameters}
    assert set(support.OPTIONS_OF_OPTIMIZERS) <= options
    assert set(ACTIVATIONS) == set(support.ACTIVATIONS_OF_DENSE)
    assert set(regularizers.CLASSES) == set(support.REGULARIZERS)
    assert set(constraints.CLASSES) == set(support.CONSTRAINTS)
    assert set(inspect.signature(Adam).parameters) >= set(support.CLIPS)


# ---------------------------------------------------------------- what runs


@pytest.mark.parametrize("option", sorted(OF_A_MODEL))
def test_option_trains_as_on_the_cpu(option):
    given = {option: GIVEN.get(option, True)}
    if option == "layer_dropout":
        given = {"layer_dropout": 0.5, "num_layers": 2}
    assert_same_training(layers_with(**given), steps(), targets())


@pytest.mark.parametrize(
    "option", ["return_state", "return_cells", "time_major", "lengths", "mask"]
)
def test_option_of_a_layer_alone(option):
    """Forward and back without a Model."""
    x, dy = steps()[:B], np.random.default_rng(5).standard_normal((B, T, H)).astype(np.float32)
    call, options = {}, {"return_sequences": True}
    if option == "lengths":
        call = {"lengths": [2, 3]}
    elif option == "mask":
        call = {"mask": np.array([[True, False, True], [False, True, True]])}
    else:
        options[option] = True
    if option == "time_major":
        x, dy = np.ascontiguousarray(x.swapaxes(0, 1)), np.ascontiguousarray(dy.swapaxes(0, 1))
    results = []
    for device, put in (("cpu", lambda a: a), ("cuda", from_host)):
        layer = LSTM(H, seed=4, **options)
        layer.build((None, None, I))
        layer.to(device)
        found = layer.forward(put(x), training=True, **call)
        dx = layer.backward(put(dy))
        found = found if isinstance(found, tuple) else (found,)
        results.append([host(a) for a in (*found, dx, *layer.grads.values())])
    for got, wanted in zip(*reversed(results), strict=True):
        np.testing.assert_allclose(got, wanted, atol=2e-6)


def host(array):
    return array if isinstance(array, np.ndarray) else array.copy_to_host()


def test_embedding_trains():
    assert_same_training(lambda: [Embedding(5, 3), LSTM(H), Dense(2)], ids(), targets())


@pytest.mark.parametrize("loss", support.LOSSES)
def test_loss_trains_or_is_refused(loss):
    activation = "softmax" if "entropy" in loss or "KL" in loss else "linear"
    activation = "sigmoid" if "Binary" in loss else activation
    layers = lambda: [LSTM(2), Dense(2, activation)]  # noqa: E731
    arguments = [np.square] if loss == "LossFunctionWrapper" else []
    made, answer = LOSSES[loss](*arguments), support.LOSSES[loss]
    if answer is True:
        return assert_same_training(layers, steps(), targets(loss), loss=made)
    with pytest.raises(ValueError, match=f"^loss: .*: {answer}$"):
        trained("cuda", layers, steps(), targets(loss), loss=made)
    with pytest.raises(ValueError, match=f"^loss: .*: {answer}$"):
        made.forward(from_host(targets()), targets())


@pytest.mark.parametrize("activation", support.ACTIVATIONS_OF_DENSE)
def test_activation_of_dense_trains_or_is_refused(activation):
    answer = support.ACTIVATIONS_OF_DENSE[activation]
    if answer is not True:
        with pytest.raises(ValueError, match=f"^dense: activation: .*: {answer}$"):
            Dense(3, activation).to("cuda")
        return
    assert_same_training(lambda: [Dense(3, activation), Dense(2)], steps()[:, 0], targets())


@pytest.mark.parametrize("name", [n for n, runs in support.OPTIMIZERS.items() if runs is True])
def test_optimizer_trains(name):
    assert_same_training(lambda: [Dense(2)], steps()[:, 0], targets(), optimizer=OPTIMIZERS[name])


def test_momentum_trains():
    optimizer = lambda: lstmfast.SGD(0.1, momentum=0.9, nesterov=True)  # noqa: E731
    assert_same_training(lambda: [Dense(2)], steps()[:, 0], targets(), optimizer=optimizer)


OF_OPTIMIZERS = {"gradient_accumulation_steps": 2, "weight_decay": 0.1, "momentum": 0.9}


@pytest.mark.parametrize(
    "option", [n for n, runs in support.OPTIONS_OF_OPTIMIZERS.items() if runs is True]
)
def test_option_of_an_optimizer_trains(option):
    kind = {"momentum": "SGD", "nesterov": "SGD", "centered": "RMSprop"}.get(option, "Adam")
    given = {option: OF_OPTIMIZERS.get(option, True)}
    given |= {"momentum": 0.9} if option == "nesterov" else {}
    optimizer = lambda: OPTIMIZERS[kind](0.01, **given)  # noqa: E731
    assert_same_training(lambda: [Dense(2)], steps()[:, 0], targets(), optimizer=optimizer)


@pytest.mark.parametrize("clip", support.CLIPS)
def test_clip_trains(clip):
    """The limits act: gradients here are larger."""
    optimizer = lambda: lstmfast.SGD(0.1, **{clip: 0.05})  # noqa: E731
    assert_same_training(lambda: [Dense(2)], steps()[:, 0], targets(), optimizer=optimizer)


@pytest.mark.parametrize("name", [n for n, runs in support.REGULARIZERS.items() if runs is True])
def test_regularizer_trains(name):
    rule = regularizers.CLASSES[name](**({"l1": 0.1, "l2": 0.2} if name == "L1L2" else {}))
    layers = lambda: [LSTM(2, kernel_regularizer=rule), Dense(2, bias_regularizer=rule)]  # noqa: E731
    assert_same_training(layers, steps(), targets())


@pytest.mark.parametrize("precision, tolerance", [("tf32", 2e-3), ("bfloat16", 2e-2)])
def test_precision_trains_nearly_so(precision, tolerance):
    """Within the rounding of the operands: half a unit of 11 and of 8 bits, in a few products."""
    layers = layers_with(num_layers=2)
    losses, _ = trained("cpu", layers, steps(), targets())
    got, _ = trained("cuda", layers, steps(), targets(), precision=precision)
    np.testing.assert_allclose(got, losses, rtol=tolerance)
    assert got != losses


# ---------------------------------------------------------------- what raises


def barred():
    for option, reason in support.OPTIONS_OF_LSTM.items():
        if reason is not True and option not in OF_A_CALL:
            yield option, LSTM(H, **{option: GIVEN.get(option, True)}), reason
    yield "SimpleRNN", SimpleRNN(H), support.LAYERS["SimpleRNN"]
    for rows, module, ending in (
        (support.REGULARIZERS, regularizers, "regularizer"),
        (support.CONSTRAINTS, constraints, "constraint"),
    ):
        for name, reason in rows.items():
            if reason is not True:
                rule = module.CLASSES[name]()
                yield name, Dense(2, **{f"kernel_{ending}": rule}), reason


@pytest.mark.parametrize(
    "name, layer, reason", list(barred()), ids=lambda a: a if isinstance(a, str) else ""
)
def test_what_has_no_kernels_raises(name, layer, reason):
    with pytest.raises(ValueError, match=rf"{name}.*{reason}"):
        layer.to("cuda")
    assert layer.device == "cpu"
    with pytest.raises(ValueError, match=reason if layer.single_output else "of one input"):
        Model([layer], device="cuda")


def barred_optimizers():
    for option, reason in support.OPTIONS_OF_OPTIMIZERS.items():
        if reason is not True:
            yield Adam(**{option: True}), reason


@pytest.mark.parametrize("optimizer, reason", list(barred_optimizers()))
def test_an_optimizer_without_kernels_raises(optimizer, reason):
    model = Model([Dense(2)], seed=0, device="cuda")
    model.compile(optimizer, "mse")
    with pytest.raises(ValueError, match=rf"^optimizer.*{reason}"):
        model.train_on_batch(steps()[:, 0], targets())
    w = from_host(np.ones(3, "f4"))
    with pytest.raises(ValueError, match=rf"^optimizer.*{reason}"):
        optimizer.apply([w], [w])
    assert optimizer.iterations == 0 and not optimizer.slots


def test_resets_raise():
    layer = LSTM(H, seed=4)
    layer.build((None, None, I))
    layer.to("cuda")
    with pytest.raises(ValueError, match=r"resets: .*no kernel begins rows anew"):
        layer.forward(from_host(steps()), resets=np.zeros((4, T), bool))


def test_float16_predicts_but_does_not_train():
    model = Model([LSTM(2), Dense(2)], seed=0, device="cuda", precision="float16")
    assert np.isfinite(model.predict(steps())).all()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"^precision: .* got 'float16'"):
        model.train_on_batch(steps(), targets())


def test_every_class_is_found_where_it_is_sought():
    for module in ("ops.lstm", "ops", "support", "lstm.paths"):
        importlib.import_module(f"lstmfast.cuda.{module}")


def test_copies_of_a_model_are_its_own():
    model = Model([LSTM(2, input_shape=(None, I)), Dense(2)], seed=0, device="cuda")
    before = model.get_weights()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        other.set_weights([0 * weight for weight in before])
        assert not other.predict(steps()).any()
    for got, wanted in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_what_the_cpu_takes_strided_is_taken_here():
    x = np.random.default_rng(6).standard_normal((3, 4)).astype(np.float32)
    layer = Dense(2, "softmax", seed=1)
    wanted = layer(np.ascontiguousarray(x.T))
    got = layer.to("cuda")(from_host(x).transpose(1, 0))
    np.testing.assert_allclose(got.copy_to_host(), wanted, rtol=1e-6)


def test_an_optimizer_follows_the_model():
    optimizer = Adam()
    for device in ("cuda", "cpu", "cuda"):
        model = Model([Dense(2)], seed=0, device=device)
        model.compile(optimizer, "mse")
        model.train_on_batch(steps()[:, 0], targets())
    assert optimizer.iterations == 3


@pytest.mark.parametrize("dtype, precision", [("float64", "tf32"), ("float32", "float64")])
def test_precisions_of_another_dtype(dtype, precision):
    with pytest.raises(ValueError, match=rf"^precision: .* got '{precision}'"):
        Model([LSTM(2), Dense(2)], device="cuda", dtype=dtype, precision=precision)
    Model([LSTM(2), Dense(2)], device="cuda", dtype=dtype, precision=dtype)


def test_twins_take_the_same_arguments():
    """What the GPU's functions have beside the host's comes last: a stream."""
    from lstmfast.cuda import ops as on_gpu
    from lstmfast.ops import host

    twins = [name for name in host.__all__ if hasattr(on_gpu, name)]
    twins = [name for name in twins if not name.startswith("rnn_")]  # which only raise
    assert len(twins) > 20
    for name in twins:
        known = inspect.signature(getattr(host, name)).parameters
        given = list(inspect.signature(getattr(on_gpu, name)).parameters)
        if "keywords" in given:  # handed on as they are, but for what may go without its name
            known = [k for k, one in known.items() if one.kind < one.KEYWORD_ONLY]
        assert given[: len(known)] == list(known), name
        assert set(given[len(known) :]) <= {"stream", "precision", "keywords"}, name
