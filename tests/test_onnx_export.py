"""lstmfast.onnx.export: files that do in ONNX Runtime what `predict` does."""

import os

import numpy as np
import pytest
from agreement import forward_error
from fresh_process import printed

from lstmfast import LSTM, Dense, Embedding, Model, SimpleRNN
from lstmfast.onnx import export
from lstmfast.ops import activations

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_files import onnx, run, runtime

BAR = 2e-6  # of outputs, float32; measured: 2.2e-7
DOUBLE_BAR = 1e-13  # in onnx.reference, float64; measured: 1.1e-16
SHAPES = ((1, 1), (3, 7), (5, 2))  # batch and time, in one file


def inputs(model, batch, time, seed=0):
    rng = np.random.default_rng([seed, batch, time])
    first = model.layers[0]
    if first.takes_ids:
        return rng.integers(0, first.input_dim, (batch, time))
    return rng.standard_normal((batch, time, first.input_shape[-1])).astype(model.dtype)


def randomised(model, seed=0):
    """Give every weight a random value: biases and peepholes begin as zeros."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(-0.6, 0.6, w.shape) for w in model.get_weights()])
    return model


def exported(model, path, **options):
    """Export a model, hold the file against `predict` for several shapes; return the proto."""
    export(model, path, **options)
    for batch, time in SHAPES:
        x = inputs(model, batch, time)
        wanted = model.predict(x)
        found = run(path, x)
        assert found.shape == wanted.shape and found.dtype == wanted.dtype
        assert forward_error(found, wanted) <= BAR
    return onnx.load(path)


LAYERS = {
    "plain": dict(),
    "sequences": dict(return_sequences=True),
    "backwards": dict(go_backwards=True),
    "backwards_sequences": dict(go_backwards=True, return_sequences=True),
    "both": dict(bidirectional=True),
    "both_sequences": dict(bidirectional=True, return_sequences=True),
    "stack": dict(num_layers=3),
    "stack_sequences": dict(num_layers=2, return_sequences=True),
    "stack_backwards": dict(num_layers=2, go_backwards=True, return_sequences=True),
    "stack_both": dict(num_layers=2, bidirectional=True),
    "stack_both_sequences": dict(num_layers=2, bidirectional=True, return_sequences=True),
    "no_bias": dict(use_bias=False),
    "peepholes": dict(peepholes=True),
    "peepholes_both": dict(peepholes=True, bidirectional=True, use_bias=False),
    "coupled": dict(coupled=True),
    "coupled_peepholes": dict(coupled=True, peepholes=True, return_sequences=True),
    "clip": dict(clip=0.3),
    "everything": dict(
        num_layers=2, bidirectional=True, peepholes=True, coupled=True, clip=0.7,
        activation="softsign", recurrent_activation="hard_sigmoid", output_activation="elu",
    ),
    "training_only": dict(
        dropout=0.5, recurrent_dropout=0.5, weight_drop=0.5, truncate=2, recompute=2,
        num_layers=2, layer_dropout=0.5, kernel_regularizer="l2", recurrent_constraint="max_norm",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYERS)
def test_lstm(case, tmp_path):
    model = randomised(Model([LSTM(8, input_shape=(None, 5), **LAYERS[case])]))
    exported(model, tmp_path / "model.onnx")


@pytest.mark.parametrize("case", LAYERS)
def test_lstm_between_others(case, tmp_path):
    """The axes are brought in order, whatever stands before and behind."""
    model = Model([Embedding(11, 5), LSTM(8, **LAYERS[case]), Dense(3, "softmax")], seed=1)
    exported(randomised(model), tmp_path / "model.onnx")
    layers = [SimpleRNN(4, return_sequences=True, input_shape=(None, 3)), Dense(6, "relu")]
    layers.append(LSTM(8, **LAYERS[case] | {"return_sequences": True}))
    layers.append(LSTM(7, bidirectional=True, return_sequences=True))
    layers.append(SimpleRNN(3, go_backwards=True))
    exported(randomised(Model(layers, seed=2)), tmp_path / "model.onnx")


@pytest.mark.parametrize("place", ("recurrent_activation", "activation", "output_activation"))
@pytest.mark.parametrize("name", [*activations.NAMES, "linear"])
def test_activations(name, place, tmp_path):
    alpha_beta = {"affine": (0.5, 0.1), "hard_sigmoid": (0.3, 0.4), "scaled_tanh": (1.2, 0.7)}
    one = {"leaky_relu": (0.3,), "thresholded_relu": (0.2,), "elu": (0.6,)}
    chosen = (name, *(alpha_beta | one).get(name, ()))
    for given in (name, chosen):
        layer = LSTM(4, input_shape=(None, 3), return_sequences=True, **{place: given})
        exported(randomised(Model([layer])), tmp_path / "model.onnx")


RNNS = {
    "plain": dict(),
    "sequences": dict(return_sequences=True),
    "backwards": dict(go_backwards=True),
    "backwards_sequences": dict(go_backwards=True, return_sequences=True),
    "no_bias": dict(use_bias=False),
    **{name: dict(activation=name) for name in activations.NAMES},
    "parameters": dict(activation=("scaled_tanh", 0.9, 1.2)),
}


@pytest.mark.parametrize("case", RNNS)
def test_simple_rnn(case, tmp_path):
    model = Model([SimpleRNN(6, input_shape=(None, 5), **RNNS[case])])
    exported(randomised(model), tmp_path / "model.onnx")


@pytest.mark.parametrize("use_bias", (True, False))
@pytest.mark.parametrize("name", [*activations.NAMES, "linear", "softmax"])
def test_dense(name, use_bias, tmp_path):
    layers = [Dense(6, name, use_bias, input_shape=(None, 5)), Dense(4, name, use_bias)]
    exported(randomised(Model(layers)), tmp_path / "model.onnx")


def test_thresholded_relu_at_its_threshold(tmp_path):
    """ONNX's operator is zero there, ours is not: the file has the float below."""
    model = Model([Dense(3, "thresholded_relu", False, input_shape=(3,))])
    model.set_weights([np.eye(3)])
    export(model, tmp_path / "model.onnx")
    x = np.nextafter(np.float32(1), np.float32([-2, 1, 2]), dtype=np.float32)[None]
    np.testing.assert_array_equal(run(tmp_path / "model.onnx", x), model.predict(x))
    assert model.predict(x)[0, 1] == 1
    with pytest.raises(ValueError, match="dense: thresholded_relu: expected float32"):
        export(Model([Dense(3, "thresholded_relu", input_shape=(3,))], dtype="float64"), "never")


@pytest.mark.parametrize("shape", ((4,), (None, 4), (None, 5, 4)))
def test_axes_of_dense(shape, tmp_path):
    model = randomised(Model([Dense(3, "tanh", input_shape=shape)]))
    export(model, tmp_path / "model.onnx")
    x = np.random.default_rng(0).standard_normal((2, *(size or 6 for size in shape))).astype("f")
    assert forward_error(run(tmp_path / "model.onnx", x), model.predict(x)) <= BAR


@pytest.mark.parametrize("opset", range(14, onnx.defs.onnx_opset_version() + 1))
def test_opsets(opset, tmp_path):
    layers = [Embedding(9, 3), LSTM(4, bidirectional=True, return_sequences=True)]
    layers += [LSTM(4, go_backwards=True, return_sequences=True), SimpleRNN(5), Dense(2, "elu")]
    model, path = randomised(Model(layers, seed=0)), tmp_path / "model.onnx"
    export(model, path, opset=opset)
    assert [(o.domain, o.version) for o in onnx.load(path).opset_import] == [("", opset)]
    try:
        found = run(path, inputs(model, 2, 3))
    except runtime.capi.onnxruntime_pybind11_state.Fail as error:  # the newest is ahead of it
        assert "official support" in str(error) and opset > 24
    else:
        assert forward_error(found, model.predict(inputs(model, 2, 3))) <= BAR


def test_names_and_sizes(tmp_path):
    layers = [Embedding(9, 3, name="words"), LSTM(4, num_layers=2, peepholes=True, name="output"),
              Dense(2, name="tags")]  # fmt: skip
    proto = exported(Model(layers, seed=0, name="tagger"), tmp_path / "model.onnx")
    names = {i.name for i in proto.graph.initializer if i.data_type != onnx.TensorProto.INT64}
    of_lstm = {f"output/{k}/{weight}" for k in (0, 1) for weight in "WRBP"}
    assert names == {"words/embeddings", "tags/kernel", "tags/bias"} | of_lstm
    assert proto.graph.name == "tagger" and proto.producer_name == "lstmfast"
    (given,), (output,) = proto.graph.input, proto.graph.output
    assert given.type.tensor_type.elem_type == onnx.TensorProto.INT64
    for value, wanted in ((given, ["batch", "time"]), (output, ["batch", 2])):
        dims = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        assert dims == wanted
    nodes = [node.name for node in proto.graph.node]
    assert len(set(nodes)) == len(nodes)
    assert all(a.i == 0 for node in proto.graph.node for a in node.attribute if a.name == "layout")


def test_the_same_model_gives_the_same_bytes(tmp_path):
    model = Model([Embedding(9, 3), LSTM(4), Dense(2)], seed=0)
    for name in "ab":
        export(model, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("return_sequences", (True, False))
@pytest.mark.parametrize("direction", ({}, {"go_backwards": True}, {"bidirectional": True}))
def test_float64(direction, return_sequences, tmp_path):
    """ONNX Runtime has no LSTM in float64; onnx.reference shows that the file is right."""
    from onnx.reference import ReferenceEvaluator

    options = direction | {"return_sequences": return_sequences, "peepholes": True}
    layers = [Embedding(9, 3), LSTM(4, **options), Dense(2, "softmax")]
    model = randomised(Model(layers, dtype="float64", seed=0))
    export(model, tmp_path / "model.onnx")
    x = inputs(model, 3, 5)
    (found,) = ReferenceEvaluator(str(tmp_path / "model.onnx")).run(None, {"input": x})
    assert found.dtype == np.float64
    assert forward_error(found, model.predict(x)) <= DOUBLE_BAR
    with pytest.raises(Exception, match="does not support double"):
        run(tmp_path / "model.onnx", x)


def test_a_trained_model(tmp_path):
    """Dropout and regularizers have been at work; the file holds what `predict` uses."""
    layers = [Embedding(9, 3), LSTM(6, dropout=0.3, kernel_regularizer="l2"), Dense(4, "softmax")]
    model = Model(layers, seed=0)
    model.compile("adam", "sparse_categorical_crossentropy")
    x = inputs(model, 16, 5)
    model.fit(x, x[:, 0] % 4, epochs=2, verbose=0)
    exported(model, tmp_path / "model.onnx")


def test_a_fresh_process_runs_the_file(environment, tmp_path):
    """One that knows nothing of lstmfast."""
    model = Model([Embedding(9, 3), LSTM(4, bidirectional=True), Dense(2, "softmax")], seed=0)
    export(model, tmp_path / "model.onnx")
    x = inputs(model, 3, 5)
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy as np, onnxruntime as runtime\n"
        "session = runtime.InferenceSession('model.onnx')\n"
        "np.save('y.npy', session.run(None, {'input': np.load('x.npy')})[0])\n"
        "assert 'lstmfast' not in sys.modules\n"
    )
    printed(environment, code, cwd=tmp_path)
    assert forward_error(np.load(tmp_path / "y.npy"), model.predict(x)) <= BAR


# ---------------------------------------------------------------- errors

REFUSED = {
    "layer_norm": (True, "lstm: layer_norm: expected False, as ONNX has no such option, got True"),
    "projection": (3, "lstm: projection: expected None, .*, got 3"),
    "cell_clip": (2.0, "lstm: cell_clip: expected None, .*, got 2.0"),
    "zoneout_h": (0.1, "lstm: zoneout_h: expected 0.0, .*, got 0.1"),
    "zoneout_c": (0.2, "lstm: zoneout_c: expected 0.0, .*, got 0.2"),
    "stateful": (True, "lstm: stateful: expected False, .*, got True"),
}


@pytest.mark.parametrize("option", REFUSED)
def test_what_onnx_cannot_say(option, tmp_path):
    value, message = REFUSED[option]
    model = Model([Embedding(9, 3), LSTM(4, **{option: value}), Dense(2)])
    with pytest.raises(ValueError, match=message):
        export(model, tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == []


def test_a_stateful_simple_rnn(tmp_path):
    with pytest.raises(ValueError, match="simple_rnn: stateful: expected False"):
        export(Model([SimpleRNN(4, stateful=True, input_shape=(None, 3))]), tmp_path / "m")


def test_other_layers(tmp_path):
    class Twice(Dense):
        pass

    model = Model([Twice(4, input_shape=(3,))])
    with pytest.raises(ValueError, match=r"twice: expected one of Embedding, LSTM, .*, got Twice"):
        export(model, tmp_path / "m")


def test_bad_arguments(tmp_path):
    model = Model([LSTM(4, input_shape=(None, 3))])
    with pytest.raises(ValueError, match="model: expected a Model that is built, got one that"):
        export(Model([LSTM(4)]), tmp_path / "m")
    with pytest.raises(ValueError, match="model: expected a Model that is built, got LSTM"):
        export(model.layers[0], tmp_path / "m")
    for opset in (13, 10**6, 18.0, None):
        with pytest.raises(ValueError, match="opset: expected"):
            export(model, tmp_path / "m", opset=opset)
    model.layers[0].params["b"][3] = np.nan
    with pytest.raises(ValueError, match="lstm: b: expected finite values"):
        export(model, tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_an_earlier_file_stays_until_a_whole_one_is_there(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"earlier")
    with pytest.raises(ValueError, match="stateful"):
        export(Model([LSTM(4, stateful=True, input_shape=(None, 3))]), path)

    def refuse(proto, **options):
        raise onnx.checker.ValidationError("no")

    model = Model([LSTM(4, input_shape=(None, 3))])
    with monkeypatch.context() as patch, pytest.raises(onnx.checker.ValidationError):
        patch.setattr(onnx.checker, "check_model", refuse)
        export(model, path)
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError("full")))
        export(model, path)
    assert path.read_bytes() == b"earlier" and os.listdir(tmp_path) == ["model.onnx"]
    exported(model, path)
    assert os.listdir(tmp_path) == ["model.onnx"]
