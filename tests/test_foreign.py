"""Host arrays of other libraries: the same bits as NumPy's, on shared memory, of one kind."""

import gc
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from agreement import same_bits
from foreign_arrays import (
    SMALL,
    Capsule,
    Interface,
    OnGpu,
    Standard,
    jax_library,
    tensorflow_library,
    torch_library,
)
from fresh_process import printed

import lstmfast
from lstmfast import ops
from lstmfast.ops import foreign

T, B, I, H, V = 5, 3, 4, 6, 7
LARGE = (40, 32, 8, 256)  # T, B, I, H: y and dx lie on memory from the pool, aligned to 64 bytes

PAGE_BAR = 5e-6  # measured: y 1.5e-7, dx 8.9e-7
BY_NAME = {library.name: lambda library=library: library for library in SMALL}
BY_NAME |= {"torch": torch_library, "jax": jax_library, "tensorflow": tensorflow_library}
HERE = [name for name in BY_NAME if name != "tensorflow"]  # that has a process of its own, below


@pytest.fixture(params=HERE)
def library(request, monkeypatch):
    """One library after the other."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    if request.param in ("torch", "jax"):
        pytest.importorskip(request.param)
    return BY_NAME[request.param]()


def draw(*shape, seed=0, dtype="float32"):
    """Return random numbers of a shape."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def each(value, change):
    """Return `value` with every array of NumPy in its sequences changed."""
    if isinstance(value, np.ndarray):
        return change(value)
    if isinstance(value, (list, tuple)):
        changed = [each(one, change) for one in value]
        return type(value)(*changed) if hasattr(value, "_fields") else type(value)(changed)
    return value


def assert_same(library, found, ref):
    """Hold results against NumPy's: the library's arrays, in the same forms, with the same bits."""
    if isinstance(ref, np.ndarray):
        assert isinstance(found, library.result)
        assert same_bits(library.values(found), ref)
    elif isinstance(ref, (list, tuple)):
        assert type(found) is type(ref) and len(found) == len(ref)
        for one, other in zip(found, ref, strict=True):
            assert_same(library, one, other)
        others = getattr(ref, "__dict__", {})
        assert getattr(found, "__dict__", {}).keys() == others.keys()
        for name, other in others.items():
            assert_same(library, getattr(found, name), other)
    elif not isinstance(ref, (lstmfast.LSTMCache, ops.RNNCache)):
        assert found == ref


def weights(I=I, H=H):
    return {"W_ih": draw(4 * H, I), "W_hh": draw(4 * H, H), "b": draw(4 * H)}


def stack():
    """Two layers in both directions, projected and normalised."""
    P, inputs = 5, (I, I, 10, 10)
    norm = lstmfast.Norm(draw(4 * H) + 1, draw(4 * H, seed=1) + 1, draw(H) + 1, draw(H, seed=1))
    return {
        "W_ih": [draw(4 * H, size, seed=k) for k, size in enumerate(inputs)],
        "W_hh": tuple(draw(4 * H, P, seed=k) for k in range(4)),
        "b": [draw(4 * H, seed=k) for k in range(4)],
        "p": [draw(3, H, seed=k) for k in range(4)],
        "W_hr": [draw(P, H, seed=k) for k in range(4)],
        "norm": [norm] * 4,
        "h0": draw(4, B, P), "c0": draw(4, B, H),
    }  # fmt: skip


FORWARD = {
    "plain": weights(),
    "state": {**weights(), "h0": draw(B, H), "c0": draw(B, H)},
    "lengths": {**weights(), "lengths": np.array([5, 0, 2])},
    "int32": {**weights(), "lengths": np.array([5, 0, 2], np.int32), "pad": "repeat"},
    "mask": {**weights(), "mask": np.arange(T * B).reshape(T, B) % 3 > 0, "return_cells": True},
    "norm": {**weights(), "norm": lstmfast.Norm(*(draw(n) for n in (4 * H, 4 * H, H, H)))},
    "stack": {**stack(), "bidirectional": True},
}


def check_forward_and_backward(library):
    """Every kind of argument; the upstream gradient is NumPy's, so the cache knows the kind."""
    for arguments in FORWARD.values():
        x = draw(T, B, I, seed=1)
        lent = {key: each(value, library.make) for key, value in arguments.items()}
        *ref, cache = ops.lstm_forward(x, **arguments, training=True)[:3]
        *found, lent_cache = ops.lstm_forward(library.make(x), **lent, training=True)[:3]
        assert_same(library, found, ref)
        dy, dh_n = draw(*ref[0].shape, seed=2), draw(*ref[1][0].shape, seed=3)
        gradients = ops.lstm_backward(lent_cache, dy, library.make(dh_n))
        assert_same(library, gradients, ops.lstm_backward(cache, dy, dh_n))
        with pytest.raises(ValueError, match=r"^cache: expected .*, got one already used"):
            ops.lstm_backward(lent_cache, dy)


def test_forward_and_backward(library):
    check_forward_and_backward(library)


def test_forward_returns_what_numpy_gets(library):
    """Positions, keywords and flags are handed on."""
    x, given = draw(B, T, I), list(weights().values())
    ref = ops.lstm_forward(x, *given, batch_first=True, return_cells=True, return_sequences=False)
    lent = [library.make(a) for a in given]
    found = ops.lstm_forward(
        W_ih=lent[0], W_hh=lent[1], b=lent[2], x=library.make(x), batch_first=True,
        return_cells=True, return_sequences=False,
    )  # fmt: skip
    assert found[0] is None and found[2] is None
    assert_same(library, found, ref)
    with pytest.raises(TypeError, match="units"):
        ops.lstm_forward(library.make(x), *lent, units=3)
    with pytest.raises(TypeError, match="positional"):
        ops.lstm_forward(library.make(x), *lent, *lent)


def calls():
    """Return arguments and keywords of a good call of each operation but the LSTM's."""
    scores, labels = np.abs(draw(B, V)) + 0.1, np.array([0, 6, 2])
    a, b, c, d = (np.abs(draw(V, seed=k)) for k in range(4))
    adam = {"step_size": 0.1, "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-7}
    return {
        "activation_backward": (("tanh", draw(B, V), draw(B, V, seed=1)), {}),
        "absolute_error": ((draw(B, V), draw(B, V, seed=1)), {}),
        "activation_forward": ((("leaky_relu", 0.1, 0.0), draw(B, V)), {}),
        "adam_update": ((a, b, c, d), adam),
        "add_to": ((a, b), {}),
        "binary_crossentropy": ((scores, scores[::-1]), {}),
        "clip_by_norm": (([a, b], 0.5), {}),
        "clip_by_value": ((a, 0.5), {}),
        "crossentropy": ((scores, labels), {}),
        "dense_backward": ((draw(B, I), draw(I, V), draw(B, V)), {}),
        "dense_forward": ((draw(B, I), draw(I, V), draw(V)), {}),
        "embedding_backward": ((labels.astype(np.int32), draw(B, H), V), {}),
        "embedding_forward": ((labels.astype(np.int32), draw(V, H)), {}),
        "flipped": ((draw(B, V), 0), {}),
        "huber_error": ((draw(B, V), draw(B, V, seed=1)), {"delta": 0.5}),
        "kl_divergence": ((scores, scores[::-1]), {"gradient": False}),
        "quantile_error": ((draw(B, V), draw(B, V, seed=1)), {"quantiles": 0.9}),
        "rnn_forward": ((draw(T, B, I), draw(H, I), draw(H, H), draw(H)), {"reverse": True}),
        "row_squared_error": ((draw(B, V), draw(B, V, seed=1)), {}),
        "scale": ((a, 0.5), {}),
        "sgd_update": ((a, b, c), {"learning_rate": 0.1, "momentum": 0.9}),
        "side_by_side": ((draw(2, B, H),), {}),
        "softmax": ((scores,), {}),
        "softmax_backward": ((scores, draw(B, V)), {}),
        "softmax_crossentropy": ((draw(B, V), labels), {"gradient": False}),
        "squared_error": ((draw(B, V), draw(B, V, seed=1)), {}),
        "sum_losses": ((draw(B), np.array([True, False, True])), {}),
        "sum_of_squares": ((a,), {}),
        "zeros_like": ((a,), {"shape": (3, 2)}),
    }  # fmt: skip


WRITING = ("activation_backward", "adam_update", "add_to", "clip_by_norm", "clip_by_value", "scale",
           "sgd_update", "softmax_backward")  # fmt: skip


def check_operations(library):
    """Every operation: the same results and, in place, the same changes; or a clear refusal."""
    for name, (arguments, keywords) in calls().items():
        function = getattr(ops, name)
        lent = each(arguments, library.make)
        if name in WRITING and library.immutable:
            with pytest.raises(
                ValueError, match=r"^\w+(\[0\])?: expected .* changed in place, got"
            ):
                function(*lent, **keywords)
            assert_same(library._replace(result=object), lent, arguments)
            continue
        found, ref = function(*lent, **keywords), function(*arguments, **keywords)
        if name == "rnn_forward":
            found, ref = found[:2], ref[:2]
        if name in WRITING:
            assert_same(library._replace(result=object), (found, lent), (ref, arguments))
        else:
            assert_same(library, found, ref)


def test_operations(library):
    check_operations(library)


def test_all_operations_are_tried():
    functions = {name for name in ops.__all__ if name[0].islower()}
    others = {"get_num_threads", "set_num_threads", "lstm_forward", "lstm_backward", "rnn_backward",
              "reserve_of", "restore_cache"}  # fmt: skip
    assert functions == others | calls().keys()


def test_the_other_recurrent_layer(library):
    x, W_ih, W_hh = draw(T, B, I), draw(H, I), draw(H, H)
    *ref, cache = ops.rnn_forward(x, W_ih, W_hh, reverse=True, training=True)
    *found, lent = ops.rnn_forward(library.make(x), W_ih, W_hh, reverse=True, training=True)
    assert_same(library, found, ref)
    dy = draw(T, B, H, seed=1)
    assert_same(library, ops.rnn_backward(lent, dy), ops.rnn_backward(cache, dy))


def test_caches_as_arrays_and_weights_packed_once(library):
    x, given, dy = draw(T, B, I), list(weights().values()), draw(T, B, H, seed=1)
    y, _, cache = ops.lstm_forward(x, *given, training=True)
    lent = [library.make(a) for a in (x, *given)]
    y_lent, _, kept = ops.lstm_forward(*lent, training=True)
    reserve = ops.reserve_of(kept)
    restored = ops.restore_cache(reserve, y_lent, *lent)
    ref = ops.lstm_backward(cache, dy)
    assert_same(library, ops.lstm_backward(restored, library.make(dy)), ref)
    prepared = ops.PreparedLSTM(*lent[1:])
    assert_same(library, prepared.forward(lent[0]), prepared.forward(x))
    assert_same(library, prepared.forward(lent[0])[0], y)


def test_the_page_runs_as_it_is():
    torch = pytest.importorskip("torch")
    page = (Path(__file__).parent.parent / "docs" / "arrays.md").read_text()
    code = re.search(r"```py\n(.*?)```", page, re.S)[1]
    torch.manual_seed(0)
    names = {}
    exec(code, names)
    x = names["x"].requires_grad_()
    y, _ = names["lstm"](x)
    y.sum().backward()
    assert (names["y"] - y).abs().max() <= PAGE_BAR
    assert (names["dx"] - x.grad).abs().max() <= PAGE_BAR * x.grad.abs().max()


# ---------------------------------------------------------------- memory


def address(library, array):
    return library.values(array).ctypes.data


def check_memory(library):
    """Arrays come in on their own memory, and large results leave on ours."""
    for values in (draw(*LARGE[:3]), draw(2, 3)[:, ::2], np.arange(5, dtype=np.int32), draw(2) > 0):
        lent = library.make(values)
        array = foreign.adopt("x", lent)
        assert array.ctypes.data == address(library, lent) and same_bits(array, values)
        assert array.flags.writeable is not library.immutable
    T, B, I, H = LARGE
    y, _, lent = ops.lstm_forward(library.make(draw(T, B, I)), **weights(I, H), training=True)
    assert lent.cache.y.nbytes > 2**18
    assert address(library, y) == lent.cache.y.ctypes.data


def test_memory_is_shared(library):
    if library.result is np.ndarray:
        lent = library.make(draw(2, 3))
        assert np.shares_memory(foreign.adopt("x", lent), lent.values)
    else:
        check_memory(library)


def check_lifetime(library):
    """The memory of arguments and results lives as long as somebody needs it."""
    T, B, I, H = LARGE
    given = {"x": draw(T, B, I), **weights(I, H)}
    dy = draw(T, B, H, seed=1)
    y_ref, _, cache = ops.lstm_forward(**given, training=True)
    ref = ops.lstm_backward(cache, dy)
    y, _, cache = ops.lstm_forward(**each_of(given, library.make), training=True)
    gc.collect()
    _ = [library.make(np.full_like(a, np.nan)) for a in given.values()]
    found = ops.lstm_backward(cache, dy)
    del cache
    gc.collect()
    _ = [ops.zeros_like(y_ref) for _ in range(3)]  # takes what the pool has
    assert_same(library, (y, found), (y_ref, ref))


def each_of(given, change):
    return {name: change(value) for name, value in given.items()}


def test_memory_is_kept_alive(library):
    check_lifetime(library)


def test_strides_of_torch():
    torch = pytest.importorskip("torch")
    arguments = weights()
    lent = {name: torch.from_numpy(a).t().contiguous().t() for name, a in arguments.items()}
    x = torch.from_numpy(draw(B, T, 2 * I))[:, :, ::2].transpose(0, 1)  # the last axis is strided
    assert np.shares_memory(foreign.adopt("x", x), x.numpy())
    ref = ops.lstm_forward(np.ascontiguousarray(x.numpy()), **arguments)
    for one in (x, x.contiguous(), x.transpose(0, 1).contiguous().transpose(0, 1)):
        assert_same(torch_library(), ops.lstm_forward(one, **lent), ref)
    expanded = torch.ones(I).expand(T, B, I)
    found = ops.lstm_forward(expanded, **lent)[0]
    assert same_bits(found.numpy(), ops.lstm_forward(np.ones((T, B, I), "f4"), **arguments)[0])


def test_results_of_negative_strides_are_copied():
    """As torch has none."""
    torch = pytest.importorskip("torch")
    x = torch.arange(6.0).reshape(3, 2)
    assert ops.flipped(x, 0).tolist() == [[4, 5], [2, 3], [0, 1]]
    assert ops.flipped(x[:1], 0).tolist() == [[0, 1]]


# ---------------------------------------------------------------- in place


def test_in_place_on_torch():
    """On the tensor's own memory, and PyTorch is told."""
    torch = pytest.importorskip("torch")
    a, b = torch.ones(4), torch.full((4,), 2.0)
    kept, versions = a.data_ptr(), (a._version, b._version)
    ops.add_to(a, b)
    ops.scale(a, 2.0)
    assert a.tolist() == [6] * 4 and a.data_ptr() == kept
    assert (a._version, b._version) == (versions[0] + 2, versions[1])
    product = torch.ones(4, requires_grad=True) * a  # keeps a for its gradient
    ops.clip_by_value(a, 1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()
    with torch.inference_mode():
        made = torch.ones(4)
        ops.scale(made, 3.0)  # has no count of changes
    assert made.tolist() == [3] * 4


def test_gradient_in_place_of_scores():
    """Where the loss becomes its own gradient, only then is the array changed."""
    torch = pytest.importorskip("torch")
    for name in ("softmax_crossentropy", "crossentropy"):
        function, scores = getattr(ops, name), np.abs(draw(B, V)) + 0.1
        lent, labels = torch.from_numpy(scores.copy()), np.array([1, 2, 3])
        function(lent, labels, gradient=False)
        assert lent._version == 0 and same_bits(lent.numpy(), scores)
        function(lent, labels, gradient=True)
        function(scores, labels, gradient=True)
        assert lent._version == 1 and same_bits(lent.numpy(), scores)


def test_an_out_is_returned_itself(library):
    x, out = draw(B, V), np.empty((B, V), np.float32)
    assert ops.softmax(library.make(x), out=out) is out
    assert same_bits(out, ops.softmax(x))
    lent = library.make(np.zeros_like(x))
    if library.immutable:
        with pytest.raises(ValueError, match=r"^out: expected an array that can be changed in"):
            ops.softmax(x, out=lent)
        return
    assert ops.softmax(x, out=lent) is lent
    assert same_bits(library.values(lent), out)
    dy = library.make(x)
    assert ops.softmax_backward(out, dy) is dy


# ---------------------------------------------------------------- one kind and another


def test_the_first_decides(library):
    """Whatever the others are; NumPy's first array gives NumPy's."""
    x, given = draw(T, B, I), weights()
    ref = ops.lstm_forward(x, **given)
    assert_same(SMALL[0], ops.lstm_forward(x, **each_of(given, library.make)), ref)
    assert_same(library, ops.lstm_forward(library.make(x), **given), ref)
    mixed = {
        name: kind(a)
        for (name, a), kind in zip(given.items(), (Standard, Capsule, Interface), strict=True)
    }
    assert_same(library, ops.lstm_forward(library.make(x), **mixed), ref)
    y, _, cache = ops.lstm_forward(x, **each_of(given, library.make), training=True)
    assert type(cache) is lstmfast.LSTMCache
    assert type(ops.lstm_backward(cache, library.make(y)).dx) is np.ndarray


def test_a_list_of_arrays_of_two_kinds(library):
    if library.immutable:
        return
    for first, second in ((np.copy, library.make), (library.make, np.copy)):
        a, b = first(draw(V) + 5), second(draw(V, seed=1) + 5)
        ops.clip_by_norm([a, b], 1.0)
        norm = ops.sum_of_squares(a) + ops.sum_of_squares(b)
        assert norm == pytest.approx(1, rel=1e-5)


def test_numpy_pays_nothing(monkeypatch):
    """Calls on NumPy's arrays alone are told so by their first, and ask no further."""

    def refuse(*_, **__):
        raise AssertionError("asked whose an array is")

    for name in ("is_foreign", "lend", "adopt", "like"):
        monkeypatch.setattr(foreign, name, refuse)
    for name, (arguments, keywords) in calls().items():
        getattr(ops, name)(*arguments, **keywords)
    y, _, cache = ops.lstm_forward(draw(T, B, I), **weights(), training=True)
    ops.lstm_backward(cache, y)


# ---------------------------------------------------------------- streams


def check_streams(library):
    given, x = weights(), draw(T, B, I)
    stream, ref = (
        ops.LSTMStream(*lent, B) for lent in (each_of(given, library.make).values(), given.values())
    )
    assert_same(library, stream.step(library.make(x[0])), ref.step(x[0]))
    assert_same(library, stream.forward(library.make(x)), ref.forward(x))
    assert type(stream.step(x[0])) is np.ndarray
    assert_same(library, stream.state, (ref.step(x[0]), ref.state)[1])
    assert type(ref.state[0]) is np.ndarray
    stream.set_state(*map(library.make, (draw(B, H), draw(B, H, seed=1))))
    assert_same(library, stream.state, (draw(B, H), draw(B, H, seed=1)))
    out = np.empty((B, H), np.float32)
    assert stream.step(library.make(x[1]), out=out) is out and out.any()
    lent_out = library.make(np.zeros((T, B, H), np.float32))
    kept = [library.values(state).copy() for state in stream.state]
    if library.immutable:
        for move, one in ((stream.forward, x), (stream.step, x[0])):
            lent_out = library.make(np.zeros((*one.shape[:-1], H), np.float32))
            with pytest.raises(ValueError, match=r"^out: expected an array that can be changed in"):
                move(one, out=lent_out)
            assert not library.values(lent_out).any()
        assert_same(library, stream.state, tuple(kept))
    else:
        assert stream.forward(x, out=lent_out) is lent_out and library.values(lent_out).any()


def test_streams(library):
    check_streams(library)


def test_streams_of_a_stack_and_of_one_row(library):
    given = {name: value for name, value in stack().items() if name not in ("h0", "c0", "W_ih")}
    given["W_ih"] = [draw(4 * H, size) for size in (I, 5, 5, 5)]
    lent = {name: each(value, library.make) for name, value in given.items()}
    stream, ref = ops.LSTMStream(**lent), ops.LSTMStream(**given)
    x = draw(I)
    assert_same(library, stream.step(library.make(x)), ref.step(x))
    assert_same(library, stream.state, ref.state)


# ---------------------------------------------------------------- what does not fit


def refused(text, function, *arguments, **keywords):
    with pytest.raises(ValueError, match=text) as caught:
        function(*arguments, **keywords)
    assert "\n" not in str(caught.value)


def test_shapes_and_dtypes(library):
    given, x = each_of(weights(), library.make), draw(T, B, I)
    refused(
        r"^x: expected \(T, B, 4\), got \(5, 3\)",
        ops.lstm_forward,
        library.make(x[..., 0]),
        **given,
    )
    refused(r"^x: expected no axis of size 0", ops.lstm_forward, library.make(x[:0]), **given)
    for dtype in ("float16", "int32", "bool"):
        wrong = library.make(x.astype(dtype))
        refused("^x: expected dtype float32 or float64, got", ops.lstm_forward, wrong, **given)
    wrong = library.make(weights()["b"].astype("float16"))
    refused("^b: expected dtype float32", ops.lstm_forward, x, **{**given, "b": wrong})
    empty = ops.embedding_forward(library.make(np.zeros((2, 0), np.int32)), draw(V, H))
    assert isinstance(empty, library.result) and library.values(empty).shape == (2, 0, H)
    refused("^a: expected no axis of size 0", ops.sum_of_squares, library.make(draw(0)))
    assert_same(library, ops.zeros_like(library.make(draw(0, 3))), draw(0, 3))


def test_types_that_are_not_native():
    given = weights()
    x = Interface(draw(T, B, I).astype(">f4"))
    refused("^x: expected dtype float32 or float64, got >f4", ops.lstm_forward, x, **given)
    room = np.zeros(T * B * I * 4 + 1, np.uint8)[1:]
    unaligned = Interface(room.view("f4").reshape(T, B, I))
    assert same_bits(ops.lstm_forward(unaligned, **given)[0],
                     ops.lstm_forward(np.zeros((T, B, I), "f4"), **given)[0])  # fmt: skip
    void = Interface(np.zeros((T, B, I), "V2"))
    refused(
        r"^x: expected dtype float32 or float64, or integers, got \|?V",
        ops.lstm_forward,
        void,
        **given,
    )


def test_what_is_no_array_is_refused_as_before():
    class Convertible:
        def __array__(self, dtype=None, copy=None):
            return draw(T, B, I)

    for value in (None, 1.0, np.float32(1), "text", [[1.0]], Convertible(), memoryview(b"abc")):
        refused("^x: expected a NumPy array of floats, got", ops.lstm_forward, value, **weights())


def test_gradients_would_be_lost():
    torch = pytest.importorskip("torch")
    text = (
        r"^W_hh: expected a tensor that needs no gradient.*W_hh.detach\(\), or use lstmfast.torch"
    )
    lent = {name: torch.from_numpy(a) for name, a in weights().items()}
    lent["W_hh"].requires_grad_()
    x = draw(T, B, I)
    for one in (x, torch.from_numpy(x)):
        refused(text, ops.lstm_forward, one, **lent)
    refused(r"^W_hh\[1\]: .*W_hh\[1\].detach\(\)", ops.lstm_forward, x,
            [lent["W_ih"]] * 2, [draw(4 * H, H), lent["W_hh"]])  # fmt: skip
    with torch.no_grad():  # as the caller wants none
        found = ops.lstm_forward(torch.from_numpy(x), **lent)[0]
    assert same_bits(found.numpy(), ops.lstm_forward(x, **weights())[0])
    lent["W_hh"] = lent["W_hh"].detach()
    assert same_bits(ops.lstm_forward(x, **lent)[0], found.numpy())


def test_tensors_that_cannot_be_shared():
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(draw(T, B, I))
    dtype = "^x: expected dtype float32 or float64, or integers, got "
    refused(dtype + "bfloat16", ops.lstm_forward, x.bfloat16(), **weights())
    refused("^lengths: .*bfloat16", ops.lstm_forward, x, **weights(), lengths=x[0, :, 0].bfloat16())
    for one in (x.to_sparse(), x.to("meta")):
        refused("^x: expected an array whose memory can be read, got torch's Tensor: ",
                ops.lstm_forward, one, **weights())  # fmt: skip
    seen = []
    torch.func.vmap(lambda row: seen.append(refusal(row)) or row)(x)
    assert seen[0].startswith("x: expected an array whose memory can be read, got torch's Tensor")


def refusal(x):
    with pytest.raises(ValueError) as caught:
        ops.lstm_forward(x, **weights())
    return str(caught.value)


def test_arrays_of_jax_without_values():
    jax = pytest.importorskip("jax")
    x, seen = jax.numpy.asarray(draw(T, B, I)), []
    jax.make_jaxpr(lambda x: seen.append(refusal(x)) or x)(x)
    jax.grad(lambda x: seen.append(refusal(x)) or x.sum())(x)
    assert len(seen) == 2
    for text in seen:
        assert text.startswith("x: expected an array whose memory can be read, got jax's ")
    bad = x.astype("bfloat16")
    assert refusal(bad).startswith(
        "x: expected dtype float32 or float64, or integers, got bfloat16"
    )


def test_host_and_gpu_do_not_mix(library):
    x, gpu = draw(T, B, I), OnGpu()
    text = "expected an array on the host, got OnGpu on device cuda:0"
    for one in (x, library.make(x)):
        for name in ("W_hh", "b"):
            refused(f"^{name}: {text}", ops.lstm_forward, one, **{**weights(), name: gpu})
        refused(f"^lengths: {text}", ops.lstm_forward, one, **weights(), lengths=gpu)
        _, _, cache = ops.lstm_forward(one, **weights(), training=True)
        refused(f"^dy: {text}", ops.lstm_backward, cache, gpu)
    refused(f"^W_ih: {text}", ops.LSTMStream, **{**weights(), "W_ih": gpu})
    stream = ops.LSTMStream(**weights())
    for move in (stream.step, stream.forward):
        refused(f"^x: {text}", move, gpu)
    refused(f"^h: {text}", stream.set_state, gpu, gpu)


# ---------------------------------------------------------------- TensorFlow, in its own process

CHECKS = (check_forward_and_backward, check_operations, check_memory, check_lifetime, check_streams)


def check_tensorflow():
    """Everything above, and what is TensorFlow's alone."""
    import tensorflow as tf

    library = tensorflow_library()
    for check in CHECKS:
        check(library)
    x = tf.constant(draw(T, B, I))
    ref = ops.lstm_forward(x.numpy(), **weights())[0]
    variables = each_of(weights(), tf.Variable)
    assert_same(library, ops.lstm_forward(tf.Variable(x), **variables)[0], ref)
    refused("^a: expected an array that can be changed in place, got tensorflow's ResourceVariable",
            ops.scale, variables["b"], 2.0)  # fmt: skip
    seen = []
    tf.function(lambda x: seen.append(refusal(x)) or x)(x)
    assert seen[0].startswith(
        "x: expected an array whose memory can be read, got tensorflow's Symb"
    )
    assert refusal(tf.cast(x, tf.bfloat16)).endswith("got bfloat16")
    for size in range(1, 70):  # memory of any alignment: TensorFlow would end the process
        made = ops.zeros_like(x, (size,))
        assert float(tf.reduce_sum(made + 1.0)) == size


def test_tensorflow(environment):
    if importlib.util.find_spec("tensorflow") is None:  # imported, it would stay in this process
        pytest.skip("TensorFlow is not installed")
    script = "import test_foreign; test_foreign.check_tensorflow()"
    printed(environment | {"TF_CPP_MIN_LOG_LEVEL": "3"}, script, cwd=Path(__file__).parent)
