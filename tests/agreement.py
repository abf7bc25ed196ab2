"""How the tests draw their cases, measure errors and bound them.

An error is max |got - ref| / max(1, max |ref|), where the float64 oracle is given the same
rounded inputs; an error of a gradient is relative to the gradient's largest entry.
"""

from typing import NamedTuple

import naive
import numpy as np

from lstmfast import ops

FORWARD_BAR = {"float32": 2e-6, "float64": 1e-13}  # measured, LSTM: 4.3e-7 and 8.5e-16
GRADIENT_BAR = {"float32": 1e-5, "float64": 1e-11}  # measured, LSTM: 1.1e-6 and 4.2e-15
DTYPES = ("float32", "float64")
STEP = 1e-5  # of central differences in float64

LENGTHS = (1, 2, 5, 100)
BATCHES = (1, 2, 3, 5, 6, 7, 13, 32, 33)
SIZES = (1, 2, 3, 5, 15, 16, 17, 31, 33, 64, 65, 100, 130)
THREADS = (1, 2, 3)
ACTIVATIONS = {  # all of them, with parameters that are not the usual ones
    "sigmoid": (),
    "tanh": (),
    "relu": (),
    "hard_sigmoid": (0.2, 0.5),
    "affine": (0.7, 0.1),
    "leaky_relu": (0.1,),
    "thresholded_relu": (0.3,),
    "scaled_tanh": (1.2, 0.6),
    "elu": (0.8,),
    "softsign": (),
    "softplus": (),
}


def covering_shapes():
    """Return (T, B, I, H) with every pair of a batch and an H, and each I beside many H."""
    shapes = []
    for row, B in enumerate(BATCHES):
        for column, H in enumerate(SIZES):
            T = LENGTHS[(row + column) % len(LENGTHS)]
            shapes.append((T, B, SIZES[(column + 5 * row) % len(SIZES)], H))
    return shapes


def glorot_uniform(rng, fan_out, fan_in):
    """Return a (fan_out, fan_in) matrix as Keras's default kernel initialiser draws it."""
    limit = np.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, (fan_out, fan_in))


def orthogonal(rng, rows, columns):
    """Return a (rows, columns) matrix with orthonormal columns."""
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


class Case(NamedTuple):
    """The inputs of one layer, and a random upstream gradient for each of its outputs."""

    inputs: dict
    upstream: dict


def lstm_case(T, B, I, H, dtype="float32", seed=0):
    """Return a time-major case: default initialisers, a random bias round forget = 1."""
    rng = np.random.default_rng([seed, T, B, I, H])
    draw = rng.standard_normal
    b = rng.uniform(-0.1, 0.1, 4 * H)
    b[H : 2 * H] += 1
    inputs = {
        "x": draw((T, B, I)),
        "W_ih": glorot_uniform(rng, 4 * H, I),
        "W_hh": orthogonal(rng, 4 * H, H),
        "b": b,
        "h0": rng.uniform(-1, 1, (B, H)),
        "c0": draw((B, H)),
    }
    upstream = {"dy": draw((T, B, H)), "dh_n": draw((B, H)), "dc_n": draw((B, H))}
    return Case(
        *({name: a.astype(dtype) for name, a in group.items()} for group in (inputs, upstream))
    )


def expected(case, variant=naive.PLAIN):
    """Return every output and gradient of a time-major case, by the oracle."""
    y, (h_n, c_n) = naive.lstm_forward(**case.inputs, variant=variant)
    gradients = naive.lstm_backward(**case.inputs, **case.upstream, variant=variant)
    if "p" not in case.inputs:
        del gradients["dp"]
    return {"y": y, "h_n": h_n, "c_n": c_n}, gradients


def computed(case, **options):
    """Return every output and gradient of a case, by `lstmfast.ops`."""
    y, (h_n, c_n), cache = ops.lstm_forward(**case.inputs, training=True, **options)
    gradients = ops.lstm_backward(cache, **case.upstream)
    found = gradients._asdict() | ({} if gradients.dp is None else {"dp": gradients.dp})
    return {"y": y, "h_n": h_n, "c_n": c_n}, found


def forward_error(got, ref):
    """Return max |got - ref| / max(1, max |ref|); any NaN makes it NaN."""
    assert got.shape == ref.shape
    return np.abs(got - ref).max() / max(1.0, np.abs(ref).max())


def gradient_error(got, ref):
    """Return max |got - ref| / max |ref|; where all of ref is 0, got must be too."""
    assert got.shape == ref.shape
    largest = np.abs(ref).max()
    return np.abs(got - ref).max() / (largest if largest > 0 else np.finfo(np.float64).tiny)


def assert_close(got, ref, dtype):
    """Hold one forward result against the oracle's: its dtype, and its error."""
    assert got.dtype == dtype
    assert forward_error(got, ref) <= FORWARD_BAR[str(dtype)]


def assert_gradient_close(got, ref, dtype):
    """Hold one gradient against the oracle's: its dtype, and its error."""
    assert got.dtype == dtype
    assert gradient_error(got, ref) <= GRADIENT_BAR[str(dtype)]


def assert_case_close(case, variant=naive.PLAIN, **options):
    """Hold every output and every gradient of a case against the oracle's."""
    dtype = case.inputs["x"].dtype
    outputs, gradients = computed(case, **options)
    ref_outputs, ref_gradients = expected(case, variant)
    assert outputs.keys() == ref_outputs.keys() and gradients.keys() == ref_gradients.keys()
    for name, ref in ref_outputs.items():
        assert outputs[name].dtype == dtype, name
        assert forward_error(outputs[name], ref) <= FORWARD_BAR[str(dtype)], name
    for name, ref in ref_gradients.items():
        if name in ("dh0", "dc0") and case.inputs.get(name[1:]) is None:
            assert gradients[name] is None, name
            continue
        assert gradients[name].dtype == dtype, name
        assert gradient_error(gradients[name], ref) <= GRADIENT_BAR[str(dtype)], name


def all_arrays(case):
    """Return every output and gradient of a case, by `lstmfast.ops`, in one list."""
    return [a for group in computed(case) for a in group.values()]


def same_bits(a, b):
    """Return whether two arrays agree in shape, dtype and every bit."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def all_same_bits(results, others):
    """Return whether two lists of arrays agree in every bit."""
    return all(map(same_bits, results, others))


def assert_all_equal(found, expected):
    """Hold two lists of arrays against each other: equal dtypes, shapes and numbers."""
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def difference_quotient(function, array, step=STEP):
    """Return d function() / d array, changing one element at a time."""
    gradient = np.empty_like(array)
    for at in np.ndindex(array.shape):
        kept = array[at]
        array[at] = kept + step
        above = function()
        array[at] = kept - step
        gradient[at] = (above - function()) / (2 * step)
        array[at] = kept
    return gradient
