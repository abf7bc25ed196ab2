"""What surrounds the LSTM, through `lstmfast.ops` on arrays of the GPU, against the CPU in float64.

Every function gets fresh random numbers; what it returns and what it changes in place is compared,
element by element. Products of matrices, which `ops` does not show, are held against NumPy's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benches.cuda import bars, calls
from benches.cuda.jobs import Case, Job

ADAM = {"step_size": 0.01, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
ACTIVATIONS = (
    "sigmoid", "tanh", "linear", "relu", ("leaky_relu", 0.2), ("elu", 0.8), "softplus", "softsign",
    "hard_sigmoid", ("thresholded_relu", 0.7), ("scaled_tanh", 1.2, 0.6), ("affine", 0.5, 0.1),
)  # fmt: skip
ROWS = ((1, 2), (3, 7), (64, 513), (5, 4097), (64, 10000), (3200, 100))  # of softmax
PRODUCTS = ((1, 1, 1), (64, 1024, 256), (3, 1000, 129), (257, 65, 33), (1, 512, 2048), (50, 7, 0))
LONG = 1_000_003  # elements: several blocks, and a last one that is not full


def jobs(quick: bool) -> list[Job]:
    cases: list[Case] = []
    for dtype in ("float32", "float64"):
        of = [("dense", s) for s in ((1, 1, 1), (64, 256, 10000), (33, 65, 17))]
        of += [("embedding", s) for s in ((1, 1, 1), (200, 10000, 128), (5, 3, 17), (3200, 50, 33))]
        of += [(name, s) for s in ROWS[: 2 if quick else None]
               for name in ("softmax", "softmax_crossentropy", "crossentropy")]  # fmt: skip
        of += [("activation", name) for name in ACTIVATIONS]
        of += [(name, n) for name in ("adam", "sgd", "sum_of_squares", "scale") for n in (7, LONG)]
        cases += [{"what": what, "of": shape, "dtype": dtype} for what, shape in of]
    products = [{"what": "product", "of": s, "dtype": p}
                for p in ("float32", "tf32", "float16", "bfloat16", "float64")
                for s in PRODUCTS[: 2 if quick else None]]  # fmt: skip
    return [Job("validate products", "validate", "pointwise", tuple(products)),
            Job("validate pointwise", "validate", "pointwise", tuple(cases))]  # fmt: skip


def run(case: Case, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    calculate = CASES[case["what"]]
    with calls.launches() as kernels, calls.poisoned() as poison:
        found = calculate(rng, case["of"], case["dtype"])
    errors = {name: bars.error(got, ref, True) for name, (got, ref) in found.items()}
    where, error, held = bars.worst(errors, bar_of(case))
    row = {"result": {"error": error, "bar": bar_of(case), "where": where}, "poisoned": poison}
    return row | {"kernels": sorted(kernels), "status": "passed" if held and poison else "failed"}


def bar_of(case: Case) -> float:
    """Relative to the largest entry. Inputs are exact in what they are multiplied as."""
    return bars.POINTWISE[case["dtype"]]


class Both:
    """The same function on the GPU, and in float64 on the CPU."""

    def __init__(self, dtype: str):
        self.dtype = np.dtype(dtype)

    def __call__(self, name: str, *given: Any, **options: Any) -> dict[str, Any]:
        """Pairs (got, wanted) of all results and of all arrays that it was given, by name."""
        function = calls.operation(name)
        here = [self._double(a) for a in given]
        there = [calls.put(self._kind(a)) for a in given]
        wanted = function(*here, **options)
        got = calls.get(function(*there, **options))
        pairs = {f"result {k}": pair for k, pair in enumerate(paired(got, wanted))}
        for k, (mine, theirs) in enumerate(zip(there, here, strict=True)):
            if isinstance(theirs, np.ndarray):
                pairs[f"argument {k}"] = calls.get(mine), theirs
        return {name: of for name, of in pairs.items() if of[1] is not None}

    def _kind(self, a: Any) -> Any:
        """As the GPU gets it: floats in the kind that is validated."""
        return a.astype(self.dtype) if _floats(a) else a

    def _double(self, a: Any) -> Any:
        """As the CPU gets it: the same numbers, which the GPU's kind may have rounded."""
        return self._kind(a).astype(np.float64) if _floats(a) else a


def _floats(a: Any) -> bool:
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"


def paired(got: Any, wanted: Any) -> list[tuple[Any, Any]]:
    if isinstance(wanted, tuple):
        return list(zip(got, wanted, strict=True))
    if wanted is None:
        return []
    wanted = np.asarray(wanted)
    got = np.asarray(got)  # a number is an array of one on the GPU
    return [(got.reshape(wanted.shape) if got.size == wanted.size == 1 else got, wanted)]


def named(what: str, pairs: dict[str, Any]) -> dict[str, Any]:
    return {f"{what}, {name}": of for name, of in pairs.items()}


# ---------------------------------------------------------------- the cases


def dense(rng: Any, sizes: Any, dtype: str) -> dict[str, Any]:
    M, K, N = sizes
    x, W, b, dy = (rng.standard_normal(s) for s in ((M, K), (K, N), N, (M, N)))
    both = Both(dtype)
    return named("forward", both("dense_forward", x, W, b)) | named(
        "backward", both("dense_backward", x, W, dy)
    )


def embedding(rng: Any, sizes: Any, dtype: str) -> dict[str, Any]:
    n, V, E = sizes
    ids, both = rng.integers(0, V, (n, 2)), Both(dtype)
    ids[: n // 2] = ids[0]  # many of one id, as a frequent word has
    backward = both("embedding_backward", ids, rng.standard_normal((n, 2, E)), V)
    return named("forward", both("embedding_forward", ids, rng.standard_normal((V, E)))) | named(
        "backward", backward
    )


def softmax(rng: Any, sizes: Any, dtype: str) -> dict[str, Any]:
    return Both(dtype)("softmax", 3 * rng.standard_normal(sizes))


def softmax_crossentropy(rng: Any, sizes: Any, dtype: str) -> dict[str, Any]:
    both, logits = Both(dtype), 3 * rng.standard_normal(sizes)
    labels, weights = rng.integers(0, sizes[1], sizes[0]), rng.random(sizes)
    weights /= weights.sum(axis=1, keepdims=True)
    name, scale = "softmax_crossentropy", 1 / sizes[0]
    return (
        named("labels", both(name, logits, labels, scale=scale))
        | named("weights", both(name, logits, weights, scale=scale))
        | named("no gradient", both(name, logits, labels, gradient=False))
    )


def crossentropy(rng: Any, sizes: Any, dtype: str) -> dict[str, Any]:
    p = np.exp(rng.standard_normal(sizes))
    p /= p.sum(axis=1, keepdims=True)
    labels, both = rng.integers(0, sizes[1], sizes[0]), Both(dtype)
    return named("labels", both("crossentropy", p, labels, gradient=True)) | named(
        "no gradient", both("crossentropy", p, labels)
    )


def activation(rng: Any, name: Any, dtype: str) -> dict[str, Any]:
    from lstmfast.ops import activations

    name = tuple(name) if isinstance(name, list) else name
    x, dy = 2 * rng.standard_normal((2, 10_007))
    both = Both(dtype)
    pairs = named("forward", both("activation_forward", name, x))
    try:
        activations.check_slope("name", activations.get("name", name))
    except ValueError:
        return pairs  # its slope cannot be told from its output
    y = calls.operation("activation_forward")(name, x)
    return pairs | named("backward", both("activation_backward", name, y, dy))


def adam(rng: Any, n: int, dtype: str) -> dict[str, Any]:
    w, g, m, v = rng.standard_normal((4, n))
    return Both(dtype)("adam_update", w, g, m, np.abs(v), **ADAM)


def sgd(rng: Any, n: int, dtype: str) -> dict[str, Any]:
    w, g, v = rng.standard_normal((3, n))
    both, kept = Both(dtype), {"learning_rate": 0.1, "momentum": 0.9}
    return (
        named("plain", both("sgd_update", w, g, None, learning_rate=0.1))
        | named("momentum", both("sgd_update", w, g, v, **kept))
        | named("Nesterov", both("sgd_update", w, g, v, nesterov=True, **kept))
    )


def sum_of_squares(rng: Any, n: int, dtype: str) -> dict[str, Any]:
    return Both(dtype)("sum_of_squares", rng.standard_normal(n))


def scale(rng: Any, n: int, dtype: str) -> dict[str, Any]:
    return Both(dtype)("scale", rng.standard_normal(n), 0.3)


def product(rng: Any, sizes: Any, precision: str) -> dict[str, Any]:
    from lstmfast.cuda.runtime.products import product as multiply

    (M, N, K), real = sizes, "float64" if precision == "float64" else "float32"
    kind = calls.dtype_of({"tf32": "float32"}.get(precision, precision))
    found = {}
    for ta, tb, add in ((False, True, True), (False, False, False), (True, False, False)):
        a, b = (bars.exact_in(precision, rng.standard_normal(s)) for s in ((M, K), (K, N)))
        before = rng.standard_normal((M, N)).astype(real)
        out = calls.put(before)
        left, right = (calls.put(np.ascontiguousarray(f.T if turned else f).astype(kind))
                       for f, turned in ((a, ta), (b, tb)))  # fmt: skip
        multiply(out, left, right, transpose_a=ta, transpose_b=tb, add=add, precision=precision)
        a, b = (f.astype(kind).astype(np.float64) for f in (a, b))
        found[f"transposed {ta} {tb}, add {add}"] = calls.get(out), add * before + a @ b
    return found


CASES = {
    function.__name__: function
    for function in (dense, embedding, softmax, softmax_crossentropy, crossentropy, activation,
                     adam, sgd, sum_of_squares, scale, product)
}  # fmt: skip
