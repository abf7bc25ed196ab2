"""What every layer's constructor takes: trainable, dtype, hints; weights given, and listed."""

import numpy as np
import pytest

import lstmfast
from lstmfast import LSTM, Dense, Embedding, Layer, Model, SimpleRNN, initializers, layers
from lstmfast.layers import CLASSES

TABLE = np.arange(12.0).reshape(4, 3)
NEEDED = {
    "Embedding": (4, 3), "LSTM": (2,), "SimpleRNN": (2,), "Dense": (2,), "Activation": ("relu",),
    "Dropout": (0.1,), "SpatialDropout1D": (0.1,), "GaussianNoise": (0.1,), "Reshape": ((2,),),
    "Permute": ((1,),), "RepeatVector": (2,), "Dot": (1,), "GetItem": ((),), "Operation": ("add",),
    "Conv1D": (2, 2), "Rescaling": (2.0,), "GaussianDropout": (0.1,), "AlphaDropout": (0.1,),
    "MultiHeadAttention": (2, 2),
}  # fmt: skip


def made(name, **named):
    if name in ("Bidirectional", "TimeDistributed"):
        inner = LSTM(2) if name == "Bidirectional" else Dense(2)
        return CLASSES[name](inner, **named)
    return CLASSES[name](*NEEDED.get(name, ()), **named)


@pytest.mark.parametrize("name", [n for n in CLASSES if ">" not in n and "Quantized" not in n])
def test_every_layer(name):
    usual = made(name)
    assert usual.trainable and not {"trainable", "dtype"} & set(usual.get_config())
    layer = made(name, trainable=False, dtype="float64")
    assert not layer.trainable
    again = CLASSES[name].from_config(layer.get_config())
    assert not again.trainable and again.get_config() == layer.get_config()
    for bad in ({"trainable": 1}, {"dtype": "int32"}, {"dtype": np.float32}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            made(name, **bad)


def test_a_layer_of_ones_own_without_a_constructor():
    class Twice(Layer):
        def output_shape(self, input_shape):
            return input_shape

        def forward(self, x, training=False):
            return 2 * x

        def backward(self, dy, need_dx=True):
            return 2 * dy

    assert Twice().name == "twice"
    assert not Twice(name="own", trainable=False).trainable
    assert Model([Twice(), Dense(1)], seed=0).predict(np.ones((2, 3))).shape == (2, 1)


def test_a_layer_of_ones_own_that_hands_on_arguments():
    class Own(Dense):
        def __init__(self, units, **kwargs):
            super().__init__(units, **kwargs)

    layer = Own(3, name="own", trainable=False, seed=1)
    assert (layer.name, layer.trainable, layer.seed) == ("own", False, 1)
    assert layer.get_config() == {"units": 3, "name": "own", "seed": 1, "trainable": False}

    class Told(Dense):
        def __init__(self, trainable=False):
            super().__init__(2, name="told")
            self.trainable = trainable

    assert not Told().trainable
    assert Told(trainable=True).trainable


def test_held_layers_keep_their_flag_in_files(tmp_path):
    inner = Model([Dense(3, input_shape=(4,), trainable=False), Dense(3)])
    x = lstmfast.Input((5, 4))
    y = layers.TimeDistributed(Dense(4, trainable=False))(x)
    y = layers.Bidirectional(LSTM(2, trainable=False))(y)
    model = Model(x, inner(y), seed=0)
    model.save(tmp_path / "model")
    loaded = lstmfast.load(tmp_path / "model")
    assert len(model.params) == len(loaded.params) == 2
    assert len(model.weights) == 2 + 6 + 4


def test_another_dtype_than_the_models():
    for layer in (Dense(2, dtype="float64"), layers.TimeDistributed(Dense(2, dtype="float64"))):
        with pytest.raises(ValueError, match="dense: dtype: expected float32, got float64"):
            Model([layer]).build((None, 3, 3))
        assert not layer.built
        Model([layer], dtype="float64").build((None, 3, 3))
    assert Dense(2, dtype="float64")(np.ones((1, 2), int)).dtype == np.float64
    with pytest.raises(ValueError, match="dense: dtype: expected float32, got float64"):
        Dense(2, dtype="float64")(np.ones((1, 2), "f4"))


def test_hints():
    for kind in (LSTM, SimpleRNN):
        assert kind(2, unroll=False).get_config() == kind(2).get_config()
        with pytest.raises(ValueError, match="unroll: expected one of False, got True"):
            kind(2, unroll=True)
    LSTM(2, use_cudnn="auto"), LSTM(2, use_cudnn=False)
    with pytest.raises(ValueError, match="use_cudnn"):
        LSTM(2, use_cudnn=True)
    with pytest.raises(TypeError):
        Dense(2, unroll=False)


@pytest.mark.parametrize(
    "arguments",
    [
        {"weights": [TABLE]},
        {"weights": TABLE},
        {"embeddings_initializer": initializers.Constant(TABLE)},
        {"embeddings_initializer": TABLE},
        {"embeddings_initializer": initializers.Constant(TABLE.tolist())},
    ],
)
def test_a_table_that_is_given(arguments, tmp_path):
    model = Model([Embedding(4, 3, trainable=False, **arguments), LSTM(2)], seed=0)
    np.testing.assert_array_equal(model.layers[0](np.array([[1, 3]])), [TABLE[[1, 3]]])
    assert len(model.trainable_weights) == 3
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(lstmfast.load(tmp_path / "model").get_weights()[0], TABLE)


def test_a_large_table(tmp_path):
    """Its numbers are in the file once: as weights."""
    table = np.random.default_rng(0).normal(size=(5000, 20))
    constant = initializers.Constant(table)
    model = Model([Embedding(5000, 20, constant), LSTM(2)])
    model.save(tmp_path / "model")
    loaded = lstmfast.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.get_weights()[0], table.astype("f4"))
    assert (tmp_path / "model").stat().st_size < 5000 * 20 * 4 + 10_000
    with pytest.raises(ValueError, match="expected the numbers of a Constant"):
        Embedding.from_config(loaded.layers[0].get_config()).build((None, 1))


def test_constants():
    Constant = initializers.Constant
    assert Constant(TABLE) == Constant(TABLE.copy()) != Constant(2 * TABLE)
    assert hash(Constant(TABLE)) == hash(Constant(TABLE.copy()))
    assert Constant(TABLE) != Constant(0.0) and Constant(None) != Constant(0.0)
    told = initializers.serialize(Constant(TABLE))
    assert initializers.get(told) == Constant(TABLE)
    with pytest.raises(ValueError, match=r"value: expected \(4, 2\), got \(4, 3\)"):
        Embedding(4, 2, Constant(TABLE)).build((None, 1))
    for bad in ([1, "a"], [[1], [1, 2]], np.array([np.nan])):
        with pytest.raises(ValueError, match="value: expected finite numbers"):
            Constant(bad)
    with pytest.raises(ValueError, match=r"weights: expected \(4, 3\)"):
        Embedding(4, 3, weights=[TABLE.T])


def test_weights_one_by_one():
    layer = LSTM(2, name="one")
    assert layer.weights == [] == layer.trainable_variables
    layer.build((None, None, 3))
    assert [w.name for w in layer.weights] == ["kernel", "recurrent_kernel", "bias"]
    assert [w.shape for w in layer.weights] == [(3, 8), (2, 8), (8,)]
    kernel = layer.weights[0]
    assert (kernel.path, kernel.dtype, kernel.ndim) == ("one/kernel", "float32", 2)
    assert repr(kernel) == "<Variable one/kernel: (3, 8) float32>"
    kernel.assign(np.ones((3, 8)))
    np.testing.assert_array_equal(layer.get_weights()[0], np.ones((3, 8)))
    np.testing.assert_array_equal(np.asarray(kernel, "float64"), np.ones((3, 8)))
    kernel.numpy()[...] = 0
    assert kernel.numpy().all()
    with pytest.raises(ValueError, match=r"one: weights\[0\]: expected \(3, 8\)"):
        kernel.assign(np.ones((8, 3)))
    layer.trainable = False
    assert layer.trainable_weights == [] and len(layer.non_trainable_weights) == 3


def test_weights_are_those_that_get_weights_gives():
    """In the same layout, transposed ones, inner layers' and int8 ones too."""
    x = lstmfast.Input((5, 3))
    y = LSTM(4, num_layers=2, projection=2, peepholes=True, return_sequences=True)(x)
    model = Model(x, layers.Bidirectional(LSTM(2))(layers.Conv1D(3, 2)(y)), seed=0)
    for one in (model, model.quantize()):
        for weight, found in zip(one.weights, one.get_weights(), strict=True):
            assert (weight.shape, weight.dtype) == (found.shape, found.dtype.name)
            np.testing.assert_array_equal(weight, found)


def test_weights_as_keras_lists_them(keras):

    def model(keras, layers):
        found = keras.Sequential([
            keras.Input((5, 3)), layers.Bidirectional(layers.LSTM(2, return_sequences=True)),
            layers.BatchNormalization(), layers.TimeDistributed(layers.Dense(2)),
            layers.LSTM(3, trainable=False), layers.Dense(1),
        ])  # fmt: skip
        kinds = ("weights", "trainable_weights", "non_trainable_weights", "trainable_variables")
        return [[(w.name, tuple(w.shape)) for w in getattr(found, kind)] for kind in kinds]

    assert model(lstmfast, layers) == model(keras, keras.layers)
