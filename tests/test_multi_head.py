"""MultiHeadAttention: gradients, masks, dropout, models with it, and what is refused."""

import json

import numpy as np
import pytest
from agreement import difference_quotient

import lstmfast
from lstmfast import Input, Model, layers
from lstmfast.layers import MultiHeadAttention

RNG = np.random.default_rng(0)
Q, V, K = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 5, 3)), RNG.normal(size=(2, 5, 2))
PAIRS = RNG.random((2, 3, 5)) < 0.6


def built(x, seed=1, **told):
    layer = MultiHeadAttention(2, 3, seed=seed, bias_initializer="uniform", **told)
    layer.build([(None, *one.shape[1:]) for one in x], None, "float64")
    return layer


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("told", [{}, {"value_dim": 2, "output_shape": 5, "use_bias": False},
                                  {"dropout": 0.3}])  # fmt: skip
@pytest.mark.parametrize("call", [{}, {"attention_mask": PAIRS, "use_causal_mask": True}])
@pytest.mark.parametrize("count", [2, 3])
def test_gradients(count, call, told, scores):
    x = [Q.copy(), V.copy(), K.copy()][:count]
    layer = built(x, **told)
    call = call | {"return_attention_scores": scores}

    def forward():
        layer.rng = np.random.default_rng(3)
        found = layer.forward(x, training=True, **call)
        return found if scores else (found,)

    up = [np.random.default_rng(n).normal(size=one.shape) for n, one in enumerate(forward())]
    loss = lambda: sum(np.sum(d * one) for d, one in zip(up, forward(), strict=True))  # noqa: E731
    forward()
    if not told.get("dropout"):
        found = layer.backward_of([*up, None][:2])
    else:
        found = layer.backward_of([up[0].copy(), up[1] if scores else None])
    grads = dict(layer.grads)
    for one, array in zip(found, x, strict=True):
        np.testing.assert_allclose(one, difference_quotient(loss, array), rtol=0, atol=1e-7)
    for name, w in layer.params.items():
        np.testing.assert_allclose(grads[name], difference_quotient(loss, w), rtol=0, atol=1e-7)


def test_one_head_by_hand():
    x = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    layer = MultiHeadAttention(1, 2, use_bias=False)
    layer(x, x)
    layer.set_weights([np.eye(2).reshape(2, 1, 2)] * 3 + [np.eye(2).reshape(1, 2, 2)])
    e = np.exp(np.sqrt(0.5))
    share = e / (1 + e)
    y, p = layer(x, x, return_attention_scores=True)
    np.testing.assert_allclose(p, [[[[share, 1 - share], [1 - share, share]]]], rtol=1e-14)
    np.testing.assert_allclose(y, p[:, 0], rtol=1e-14)
    causal = layer(x, x, use_causal_mask=True)
    np.testing.assert_allclose(causal[0, 0], [1, 0], atol=1e-14)
    np.testing.assert_array_equal(layer(x, x, key_mask=np.array([[True, False]]))[0, 1], [1, 0])


def test_masks_one_by_one_and_together():
    layer = built([Q, V])
    query, value = (
        np.array([[True, False, True]] * 2),
        np.array([[True, True, False, False, True]] * 2),
    )
    both = layer.forward([Q, V], mask=[query, value])
    apart = layer.forward([Q, V], query_mask=query, value_mask=value)
    pairs = query[:, :, None] & value[:, None]
    told = layer.forward([Q, V], attention_mask=pairs)
    np.testing.assert_array_equal(both, apart)
    np.testing.assert_array_equal(both, told)
    np.testing.assert_array_equal(told, layer.forward([Q, V], attention_mask=pairs[:, None]))
    changed = V.copy()
    changed[:, 2:4] = 1e6
    np.testing.assert_allclose(layer.forward([Q, changed], value_mask=value),
                               layer.forward([Q, V], value_mask=value), rtol=1e-12)  # fmt: skip


def test_a_transformer_learns_and_is_saved(tmp_path):
    ids = Input((None,), dtype="int32")
    x = layers.Embedding(20, 8, mask_zero=True)(ids)
    y, scores = MultiHeadAttention(2, 4, dropout=0.1)(x, x, return_attention_scores=True)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    x = layers.Add()([x, layers.Dense(8, "gelu")(x)])
    model = Model(ids, layers.Dense(20, "softmax")(x), seed=0)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.optimizer.learning_rate = 0.01
    data = np.random.default_rng(0).integers(1, 20, (32, 6))
    data[::3, 4:] = 0
    history = model.fit(data, data, epochs=8, verbose=0).history["loss"]
    assert history[-1] < 0.8 * history[0]
    model.save(tmp_path / "m")
    loaded = lstmfast.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict(data, verbose=0), model.predict(data, verbose=0))
    assert Model(ids, scores).predict(data, verbose=0).shape == (32, 2, 6, 6)


def test_configurations_make_twins():
    layer = built([Q, V], value_dim=2, output_shape=(5,), dropout=0.2)
    config = json.loads(json.dumps(layer.get_config()))
    twin = MultiHeadAttention.from_config(config)
    assert twin.get_config() == layer.get_config() and config["output_shape"] == 5
    assert layer.output_shape([(None, None, 4), (None, 7, 3)]) == (None, None, 5)
    narrow = MultiHeadAttention(2, 3)
    assert narrow(Q.astype("f4"), V.astype("f4")).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: MultiHeadAttention(0, 2), "num_heads: expected an integer >= 1"),
        (lambda: MultiHeadAttention(2, 0), "key_dim: expected an integer >= 1"),
        (lambda: MultiHeadAttention(2, 2, 0), "value_dim: expected an integer >= 1"),
        (lambda: MultiHeadAttention(2, 2, dropout=1.0), "dropout: expected less than 1"),
        (
            lambda: MultiHeadAttention(2, 2, output_shape=(2, 3)),
            "output_shape: expected an integer",
        ),
        (lambda: MultiHeadAttention(2, 2)(Q), "x: expected a list"),
        (lambda: MultiHeadAttention(2, 2)([Q, V], V), "value: expected none after a list"),
        (lambda: MultiHeadAttention(2, 2)(Q, V[:1]), "value: expected"),
        (lambda: MultiHeadAttention(2, 2)(Q, V, K[:, :2]), "key: expected"),
        (lambda: MultiHeadAttention(2, 2)(Q[0], V), "query: expected"),
        (
            lambda: MultiHeadAttention(2, 2)(Q, V, attention_mask=PAIRS[:, :2]),
            "attention_mask: exp",
        ),
        (
            lambda: MultiHeadAttention(2, 2)(Q, V, attention_mask=PAIRS * 0.5),
            "attention_mask: expe",
        ),
        (lambda: MultiHeadAttention(2, 2)(Q, V, value_mask=PAIRS[0]), "value_mask: expected"),
        (lambda: MultiHeadAttention(2, 2)(Q, V, use_causal_mask=1), "use_causal_mask: expected"),
        (lambda: built([Q, V]).forward([Q, V[..., :2]]), "value: expected"),
        (
            lambda: MultiHeadAttention(2, 2).build([(None, 3, 4), (None, 3, None)]),
            "key: expected a last",
        ),
    ],
)
def test_what_is_refused(call, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        call()
