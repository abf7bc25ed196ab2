"""Every way in which the operator's weights may change between two calls is seen by the next call.

It keeps them packed from the second call with the same arrays on. Calls on copies, which nothing is
kept for, tell what is right.
"""

import gc
import pickle
import weakref

import numpy as np
import pytest
from agreement import same_bits
from test_onnx_lstm import DIRECTIONS, operator_inputs

from lstmfast import interop
from lstmfast.onnx import kept, lstm

WEIGHTS = "WRBP"


@pytest.fixture(params=("float32", "float64"))
def inputs(request):
    given = operator_inputs("B P initial_h")
    return {name: array.astype(request.param) for name, array in given.items()}


@pytest.fixture
def packings(monkeypatch):
    """Return a list that grows by one each time that weights are put in our order."""
    found, own = [], interop.from_onnx
    monkeypatch.setattr(interop, "from_onnx", lambda *given: found.append(1) or own(*given))
    return found


def fresh(inputs, **attributes):
    copies = {name: np.array(array) for name, array in inputs.items()}
    return lstm(**copies, **attributes)


def keep(inputs, **attributes):
    """Call until the weights are kept."""
    for _ in range(3):
        lstm(**inputs, **attributes)


def assert_right(inputs, **attributes):
    pairs = zip(lstm(**inputs, **attributes), fresh(inputs, **attributes), strict=True)
    assert all(same_bits(got, ref) for got, ref in pairs)


def on_bytes(inputs):
    """The same arrays as files give them: on memory that nothing can change."""
    return {
        name: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)
        for name, array in inputs.items()
    }


@pytest.mark.parametrize("constant", (False, True))
def test_weights_are_put_in_order_twice(inputs, packings, constant):
    """By the first call, and by the second, which keeps them."""
    given = on_bytes(inputs) if constant else inputs
    for most in (1, 2, 2, 2):
        lstm(**given)
        assert len(packings) == most


@pytest.mark.parametrize("name", WEIGHTS)
def test_one_bit_of_any_weight(inputs, name):
    keep(inputs)
    bits = inputs[name].reshape(-1).view(np.uint8)
    for at in (0, bits.size // 2, bits.size - 1):
        bits[at] ^= 1
        for _ in range(3):
            assert_right(inputs)


@pytest.mark.parametrize("name", WEIGHTS)
def test_another_array_in_place_of_a_weight(inputs, name):
    keep(inputs)
    assert_right(inputs | {name: inputs[name] * 2})
    assert_right(inputs)
    if name in "BP":
        assert_right({key: array for key, array in inputs.items() if key != name})


def test_read_only_arrays_that_change_all_the_same(inputs):
    writable = inputs["R"]
    for array in (writable.view(), np.asarray(memoryview(writable))):
        array.flags.writeable = False
        given = inputs | {"R": array}
        keep(given)
        writable *= 1.5
        assert_right(given)


def test_arrays_that_were_unpickled(inputs):
    """NumPy lets them write to the bytes they came from."""
    given = inputs | {"W": pickle.loads(pickle.dumps(np.tile(inputs["W"], 40), 4))}
    given["X"] = np.tile(inputs["X"], 40)
    assert type(given["W"].base) is bytes and given["W"].flags.writeable
    keep(given)
    given["W"] *= -1
    assert_right(given)


def test_views_of_files_memory(inputs):
    given = on_bytes(inputs) | {"W": on_bytes(inputs | {"W": np.tile(inputs["W"], (2, 1, 1))})["W"]}
    given["W"] = given["W"][1:]
    keep(given)
    assert_right(given)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of setting it
def test_arrays_whose_shape_is_set(inputs):
    """The same object, the same bytes, another layer."""
    D, gates, I = inputs["W"].shape
    keep(inputs)
    inputs["W"].shape = (D, gates * I, 1)
    with pytest.raises(ValueError, match=r"R: expected|W: expected"):
        lstm(**inputs)
    inputs["W"].shape = (D, gates, I)
    assert_right(inputs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("calls", (1, 3))
def test_arrays_whose_strides_are_set(inputs, calls):
    """The first row in place of all."""
    given = on_bytes(inputs)
    for _ in range(calls):
        lstm(**given)
    given["R"].strides = (given["R"].nbytes, 0, given["R"].itemsize)
    assert_right(given)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_another_dtype(inputs):
    other = np.dtype("float64" if inputs["X"].dtype == "float32" else "float32")
    keep(inputs)
    with pytest.raises(ValueError, match="W: expected dtype"):
        lstm(**inputs | {"X": inputs["X"].astype(other)})
    inputs["R"].dtype = np.uint8
    with pytest.raises(ValueError, match="R: expected dtype"):
        lstm(**inputs)


def test_both_directions_and_their_cells():
    names = ["HardSigmoid", "Relu", "Softsign", "Sigmoid", "Tanh", "Tanh"]
    given = operator_inputs("B P", "bidirectional")
    for attributes in ({}, {"activations": names}, {"clip": 0.3}, {"input_forget": 1}, {}):
        keep(given, direction="bidirectional", **attributes)
        assert_right(given, direction="bidirectional", **attributes)
    one = operator_inputs("B P")
    for direction in DIRECTIONS[:2]:
        keep(one, direction=direction)
        assert_right(one, direction=direction)


@pytest.mark.parametrize("constant", (False, True))
def test_what_is_kept_goes_with_the_array(inputs, constant):
    given = on_bytes(inputs) if constant else dict(inputs)
    keep(given)
    key, packed = id(given["W"]), weakref.ref(kept._seen[id(given["W"])].kept)
    del given["W"], inputs["W"]
    gc.collect()
    assert packed() is None and key not in kept._seen


def test_strided_weights_are_not_kept(inputs, packings):
    given = inputs | {"R": np.repeat(inputs["R"], 2, axis=-1)[..., ::2]}
    keep(given)
    assert len(packings) == 3
    assert_right(given)
