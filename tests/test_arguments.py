"""Arguments that do not fit: a ValueError that names the argument, what was expected, and found."""

import numpy as np
import pytest
from agreement import same_bits

from lstmfast import ops

T, B, I, H, V = 5, 2, 3, 4, 6


def zeros(*shape, dtype="float32"):
    """Return zeros of a shape."""
    return np.zeros(shape, dtype)


def without_contiguous_rows(*shape):
    """Return zeros of a shape whose last axis is not contiguous."""
    return zeros(*shape[:-1], 2 * shape[-1])[..., ::2]


ROW_LOSSES = (
    "row_squared_error", "absolute_error", "huber_error", "quantile_error", "kl_divergence",
    "binary_crossentropy",
)  # fmt: skip

# For each array that an op takes: shapes that do not fit. The good call is below.
WRONG_SHAPES = {
    "lstm_forward": {
        "x": [(T, I), (I,), (1, T, B, I), (T, B, I + 1), (T, B, 1)],
        "W_ih": [(4 * H,), (4 * H, I, 1), (4 * H + 1, I), (H, I), (5 * H, I)],
        "W_hh": [(4 * H,), (4 * H, H, 1), (4 * H, H + 1), (H, H), (H, 4 * H), (4 * H + 4, H)],
        "b": [(), (4 * H - 1,), (H,), (8 * H,), (4 * H, 1), (1, 4 * H)],
        "h0": [(H,), (B, H + 1), (B + 1, H), (1, H), (1, B, H), (H, B)],
        "c0": [(H,), (B, H + 1), (B + 1, H), (1, H), (1, B, H), (H, B)],
    },
    "lstm_backward": {
        "dy": [(B, H), (T, B, H + 1), (T - 1, B, H), (T, B + 1, H), (B, T, H), (1, T, B, H)],
        "dh_n": [(H,), (B, H + 1), (B + 1, H), (1, B, H)],
        "dc_n": [(H,), (B, H + 1), (B + 1, H), (1, B, H)],
    },
    "dense_forward": {
        "x": [(I,), (T, B, I), (T, I + 1)],
        "W": [(I,), (1, I, H)],
        "b": [(H + 1,), (1, H), (1,), ()],
    },
    "dense_backward": {
        "x": [(I,), (T, B, I), (T, I + 1)],
        "W": [(I,), (1, I, H)],
        "dy": [(H,), (T, H + 1), (T + 1, H), (1, T, H)],
    },
    "embedding_forward": {"table": [(V,), (1, V, H)]},
    "embedding_backward": {"dy": [(T, H), (T, B + 1, H), (T, B), (B, T, H)]},
    "softmax": {"x": [(V,), (1, T, V)], "out": [(T, V + 1), (V, T), (T * V,)]},
    "softmax_crossentropy": {
        "logits": [(V,), (1, T, V)],
        "targets": [(T + 1,), (1, T), (T, 1), ()],
    },
    "crossentropy": {
        "probabilities": [(V,), (1, T, V)],
        "targets": [(T + 1,), (1, T), (T, 1), ()],
    },
    **{
        op: {"outputs": [(V,), (1, T, V)], "targets": [(T, V + 1), (T,), (T, 1), ()]}
        for op in ROW_LOSSES
    },
    "activation_backward": {"dy": [(T, V + 1), (T * V + 1,)]},
    "adam_update": {"g": [(V + 1,), (1,)], "m": [(V + 1,), (1,)], "v": [(V + 1,), (1,)]},
    "sgd_update": {"g": [(V + 1,), (1,)], "velocity": [(V + 1,), (1,)]},
}
# An array whose own shape tells the others theirs is not the one found wrong.
BLAMED = {
    "W_ih": "W_ih|W_hh",
    "W_hh": "W_ih|W_hh",
    "W": "W|x",
    "x": "x|W",
    "logits": "logits|targets",
    "probabilities": "probabilities|targets",
    "outputs": "outputs|targets",
}


def good_call(op):
    """Return the arguments, and the keyword options, of a call that fits."""
    classes, scores = np.zeros(T, np.int64), zeros(T, V) + 1 / V
    flat = {name: zeros(V) for name in "wgmv"}
    return {
        "lstm_forward": ({"x": zeros(T, B, I), "W_ih": zeros(4 * H, I), "W_hh": zeros(4 * H, H),
                          "b": zeros(4 * H), "h0": zeros(B, H), "c0": zeros(B, H)}, {}),
        "lstm_backward": ({"dy": zeros(T, B, H), "dh_n": zeros(B, H), "dc_n": zeros(B, H)}, {}),
        "dense_forward": ({"x": zeros(T, I), "W": zeros(I, H), "b": zeros(H)}, {}),
        "dense_backward": ({"x": zeros(T, I), "W": zeros(I, H), "dy": zeros(T, H)}, {}),
        "embedding_forward": ({"ids": np.zeros((T, B), np.int64), "table": zeros(V, H)}, {}),
        "embedding_backward": ({"ids": np.zeros((T, B), np.int64), "dy": zeros(T, B, H)},
                               {"vocabulary": V}),
        "softmax": ({"x": scores, "out": zeros(T, V)}, {}),
        "softmax_crossentropy": ({"logits": scores, "targets": classes}, {}),
        "crossentropy": ({"probabilities": scores, "targets": classes}, {}),
        **{op: ({"outputs": scores, "targets": scores[::-1]}, {}) for op in ROW_LOSSES},
        "activation_backward": ({"y": scores, "dy": zeros(T, V)}, {}),
        "adam_update": (flat, {"step_size": 0.1, "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-7}),
        "sgd_update": ({"w": flat["w"], "g": flat["g"], "velocity": flat["v"]},
                       {"learning_rate": 0.1, "momentum": 0.9, "nesterov": False}),
    }[op]  # fmt: skip


def call(op, **replaced):
    """Call an op with some arguments replaced."""
    arrays, options = good_call(op)
    arrays = {**arrays, **replaced}
    if op == "activation_backward":
        return ops.activation_backward("tanh", **arrays)
    if op == "lstm_backward":
        inputs, _ = good_call("lstm_forward")
        *_, cache = ops.lstm_forward(**inputs, training=True)
        return ops.lstm_backward(cache, **arrays)
    return getattr(ops, op)(**arrays, **options)


def assert_refused(names, op, **replaced):
    """Hold a call to raising ``ValueError: name: expected ..., got ...``."""
    with pytest.raises(ValueError, match=rf"^({names}): expected .+, got ."):
        call(op, **replaced)


@pytest.mark.parametrize("op", WRONG_SHAPES)
def test_the_good_call_is_good(op):
    call(op)


@pytest.mark.parametrize(
    ("op", "name", "shape"),
    [
        (op, name, shape)
        for op, arrays in WRONG_SHAPES.items()
        for name, shapes in arrays.items()
        for shape in shapes
    ],
)
def test_wrong_shapes(op, name, shape):
    assert_refused(BLAMED.get(name, name), op, **{name: zeros(*shape)})


@pytest.mark.parametrize("dtype", ("float16", "complex64", "int32", "bool", "object", ">f4"))
@pytest.mark.parametrize(
    ("op", "name"), [(op, name) for op, arrays in WRONG_SHAPES.items() for name in arrays]
)
def test_wrong_dtypes(op, name, dtype):
    if name == "targets" and dtype == "int32":
        dtype = "float16"  # integers of any size are labels
    replaced = good_call(op)[0][name].astype(dtype)
    assert_refused(BLAMED.get(name, name), op, **{name: replaced})


@pytest.mark.parametrize(
    ("op", "name"),
    [
        (op, name)
        for op, arrays in WRONG_SHAPES.items()
        for name in arrays
        if name not in ("table", "logits", "probabilities", "targets")
        and (op, name) != ("embedding_backward", "dy")  # the only array of floats
    ],
)
def test_mixed_dtypes(op, name):
    """One float64 array among float32: some array of the call is named."""
    arrays, _ = good_call(op)
    assert_refused("|".join(arrays), op, **{name: arrays[name].astype("float64")})


@pytest.mark.parametrize(
    ("op", "name"),
    [
        (op, name)
        for op, arrays in WRONG_SHAPES.items()
        for name in arrays
        if name not in ("b", "h0", "c0", "dy", "dh_n", "dc_n", "out", "velocity")
    ]
    + [("dense_backward", "dy"), ("embedding_backward", "dy"), ("embedding_forward", "ids")],
)
@pytest.mark.parametrize("value", (None, 1.0, [[[0.0] * I] * B] * T, "text"), ids=repr)
def test_not_an_array(op, name, value):
    assert_refused(name, op, **{name: value})


@pytest.mark.parametrize("name", ("b", "h0", "c0"))
def test_an_optional_argument_that_is_no_array(name):
    assert_refused(name, "lstm_forward", **{name: [0.0] * 4 * H})


def test_the_message_tells_the_shapes():
    with pytest.raises(ValueError) as caught:
        ops.lstm_forward(zeros(5, 2, 4), zeros(4 * H, 3), zeros(4 * H, H))
    assert str(caught.value) == "x: expected (T, B, 3), got (5, 2, 4)"
    with pytest.raises(ValueError) as caught:
        ops.lstm_forward(zeros(5, 2, 4), zeros(4 * H, 3), zeros(4 * H, H), batch_first=True)
    assert str(caught.value) == "x: expected (B, T, 3), got (5, 2, 4)"


def test_rows_that_are_not_contiguous_are_copied():
    x = without_contiguous_rows(T, B, I)
    strided, dense = (call("lstm_forward", x=one)[0] for one in (x, x.copy()))
    assert np.array_equal(strided, dense)


def test_no_cache():
    with pytest.raises(ValueError, match=r"^cache: expected .+, got None"):
        ops.lstm_backward(None, dy=zeros(T, B, H))


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("bad", (-1, V, V + 1, 2**31 - 1, -(2**31)))
@pytest.mark.parametrize("dtype", ("int32", "int64"))
def test_ids_out_of_range(bad, dtype):
    ids = np.zeros((T, B), dtype)
    ids[-1, -1] = bad
    assert_refused("ids", "embedding_forward", ids=ids)
    assert_refused("ids", "embedding_backward", ids=ids)


def test_ids_beyond_32_bits():
    """Cut to 32 bits this id would be 0."""
    assert_refused("ids", "embedding_forward", ids=np.full((T, B), 2**32))


@pytest.mark.parametrize("dtype", ("float32", "float64", "bool"))
def test_ids_that_are_no_integers(dtype):
    assert_refused("ids", "embedding_forward", ids=np.zeros((T, B), dtype))


@pytest.mark.parametrize("dtype", ("int8", "uint32", "int64", "uint64"))
def test_ids_of_any_integer_type(dtype):
    table = np.arange(12, dtype=np.float32).reshape(6, 2)
    assert ops.embedding_forward(np.array([5, 0], dtype), table).tolist() == [[10, 11], [0, 1]]


@pytest.mark.parametrize("loss", ("softmax_crossentropy", "crossentropy"))
@pytest.mark.parametrize("bad", (-1, V))
def test_targets_out_of_range_leave_the_scores_alone(loss, bad):
    scores, targets = zeros(T, V) + 1 / V, np.zeros(T, np.int64)
    kept, targets[-1] = scores.copy(), bad
    with pytest.raises(ValueError, match=r"^targets: expected .+, got ."):
        getattr(ops, loss)(scores, targets, gradient=True)
    assert same_bits(scores, kept)


@pytest.mark.parametrize("name", ("swish", "", None, 3))
def test_an_unknown_activation(name):
    with pytest.raises(ValueError, match=r"^name: expected .+, got "):
        ops.activation_forward(name, zeros(3))
    with pytest.raises(ValueError, match=r"^name: expected .+, got "):
        ops.activation_backward(name, zeros(3), zeros(3))


def test_nothing_is_written_into_read_only_arrays():
    for op, name in (
        ("softmax", "out"),
        ("softmax_crossentropy", "logits"),
        ("adam_update", "w"),
        ("sgd_update", "w"),
        ("activation_backward", "dy"),
    ):
        frozen = good_call(op)[0][name]
        frozen.flags.writeable = False
        with pytest.raises(ValueError):
            call(op, **{name: frozen})
    frozen = zeros(3) + 1
    frozen.flags.writeable = False
    with pytest.raises(ValueError):
        ops.scale(frozen, 2.0)
    assert frozen.tolist() == [1, 1, 1]


# ---------------------------------------------------------------- streams


def stream_arguments():
    """Return W_ih, W_hh and b of a stream."""
    return {"W_ih": zeros(4 * H, I), "W_hh": zeros(4 * H, H), "b": zeros(4 * H)}


@pytest.mark.parametrize(("name", "shape"), (
    ("W_ih", (4 * H + 1, I)), ("W_ih", (4 * H,)), ("W_hh", (4 * H, H + 1)), ("W_hh", (4 * H,)),
    ("b", (H,)), ("b", (4 * H, 1))))  # fmt: skip
def test_stream_of_wrong_weights(name, shape):
    with pytest.raises(ValueError, match=rf"^({BLAMED.get(name, name)}): expected .+, got ."):
        ops.LSTMStream(**{**stream_arguments(), name: zeros(*shape)}, batch_size=B)


@pytest.mark.parametrize("batch_size", (0, -1, 1.5, None, "2"))
def test_stream_of_a_wrong_batch(batch_size):
    with pytest.raises(ValueError, match=r"^batch_size: expected .+, got ."):
        ops.LSTMStream(**stream_arguments(), batch_size=batch_size)


@pytest.mark.parametrize(
    "bad",
    (
        zeros(B, I + 1),
        zeros(B + 1, I),
        zeros(I),
        zeros(1, B, I),
        None,
        [[0.0] * I] * B,
        zeros(B, I, dtype="float64"),
    ),
    ids=str,
)
def test_stream_step_of_a_wrong_x(bad):
    stream = ops.LSTMStream(**stream_arguments(), batch_size=B)
    with pytest.raises(ValueError, match=r"^x: expected .+, got ."):
        stream.step(bad)


@pytest.mark.parametrize(
    "bad", (zeros(B, H + 1), zeros(B + 1, H), zeros(H), zeros(B, H, dtype="float64")), ids=str
)
def test_stream_of_wrong_states_and_outputs(bad):
    stream = ops.LSTMStream(**stream_arguments(), batch_size=B)
    good = zeros(B, H)
    with pytest.raises(ValueError, match=r"^out: expected .+, got ."):
        stream.step(zeros(B, I), out=bad)
    with pytest.raises(ValueError, match=r"^h: expected .+, got ."):
        stream.set_state(bad, good)
    with pytest.raises(ValueError, match=r"^c: expected .+, got ."):
        stream.set_state(good, bad)
