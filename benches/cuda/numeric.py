"""NumPy's functions on arrays of the GPU, and the layers, losses and optimizers made of them.

Operations are held against NumPy's in the same dtype on the same numbers; layers, losses and
optimizers against themselves on the CPU, forward and back, as `tests/cuda/test_layers.py` and
`test_models.py` do in the simulator.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benches.cuda import bars, calls
from benches.cuda.jobs import Case, Job

DTYPES = ("float32", "float64")
SIZES = ((3, 5, 7), (64, 50, 257))
ONE = ("negative", "absolute", "sign", "square", "sqrt", "exp", "log", "log1p", "isnan")
TWO = (
    "add", "subtract", "multiply", "divide", "maximum", "minimum", "greater", "greater_equal",
    "less", "less_equal", "equal", "not_equal",
)  # fmt: skip
FOLDS = ("sum", "mean", "max", "any")
OPTIMIZERS = {
    "SGD": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, "Adam": {"amsgrad": True},
    "AdamW": {"weight_decay": 0.1, "use_ema": True}, "Nadam": {}, "Adagrad": {},
    "RMSprop": {"momentum": 0.5, "centered": True, "gradient_accumulation_steps": 2},
}  # fmt: skip
LOOSE = {"float32": 2e-5, "float64": 1e-11}  # sums of products that cancel, several in a row


def jobs(quick: bool) -> list[Job]:
    sizes = SIZES[:1] if quick else SIZES
    operations = [{"what": what, "of": name, "sizes": size, "dtype": dtype}
                  for dtype in DTYPES for size in sizes
                  for what, names in (("one", ONE), ("two", TWO), ("fold", FOLDS),
                                      ("place", ("where", "concatenate", "repeat", "matmul")))
                  for name in names]  # fmt: skip
    told, scales = calls.of_tests("layer_cases"), (1,) if quick else (1, 16)
    wholes = [{"what": what, "of": k, "sizes": (scale,), "dtype": dtype}
              for dtype in DTYPES for scale in scales
              for what, count in (("layer", len(told.EACH)), ("loss", len(told.ROW_LOSSES)))
              for k in range(count)]  # fmt: skip
    steps = [{"what": "optimizer", "of": name, "sizes": (n,), "dtype": dtype}
             for dtype in DTYPES for n in (7, 100_003) for name in OPTIMIZERS]  # fmt: skip
    return [Job("validate NumPy's functions", "validate", "numeric", tuple(operations)),
            Job("validate layers", "validate", "numeric", tuple(wholes)),
            Job("validate optimizers", "validate", "numeric", tuple(steps))]  # fmt: skip


def run(case: Case, seed: int) -> dict[str, Any]:
    rng, calculate = np.random.default_rng(seed), CASES[case["what"]]
    with calls.launches() as kernels, calls.poisoned() as poison, np.errstate(all="ignore"):
        found = calculate(rng, case["of"], tuple(case["sizes"]), case["dtype"])
    errors = {name: bars.error(got, ref, True) for name, (got, ref) in found.items()}
    bar = bar_of(case)
    where, error, held = bars.worst(errors, bar)
    row = {"result": {"error": error, "bar": bar, "where": where}, "poisoned": poison}
    return row | {"kernels": sorted(kernels), "status": "passed" if held and poison else "failed"}


def bar_of(case: Case) -> float:
    loose = case["what"] in ("layer", "loss", "optimizer")
    return LOOSE[case["dtype"]] if loose else bars.POINTWISE[case["dtype"]]


def put(a: Any) -> Any:
    """An array on the GPU, that knows of NumPy's functions."""
    from lstmfast.ops.placement import to_device

    return to_device(a, "cuda")


def pairs(**found: tuple[Any, Any]) -> dict[str, Any]:
    """Results of the GPU, brought here, and those of NumPy, as float64."""
    return {name: (np.asarray(calls.get(got), np.float64), np.asarray(wanted, np.float64))
            for name, (got, wanted) in found.items()}  # fmt: skip


# ---------------------------------------------------------------- operations


def one(rng: Any, name: str, sizes: Any, dtype: str) -> dict[str, Any]:
    x, function = (3 * rng.standard_normal(sizes)).astype(dtype), getattr(np, name)
    x = np.abs(x) if name in ("sqrt", "log", "log1p") else x
    turned = put(x).transpose(2, 0, 1)
    return pairs(flat=(function(put(x)), function(x)),
                 strided=(function(turned), function(x.transpose(2, 0, 1))))  # fmt: skip


def two(rng: Any, name: str, sizes: Any, dtype: str) -> dict[str, Any]:
    x, function = rng.standard_normal(sizes).astype(dtype).round(2), getattr(np, name)
    y, row = x[::-1].copy() + x.dtype.type(0.503), x[0, :1].copy()
    return pairs(flat=(function(put(x), put(y)), function(x, y)),
                 broadcast=(function(put(x), put(row)), function(x, row)),
                 number=(function(put(x), 0.503), function(x, 0.503)))  # fmt: skip


def fold(rng: Any, name: str, sizes: Any, dtype: str) -> dict[str, Any]:
    x, function = rng.standard_normal(sizes).astype(dtype), getattr(np, name)
    x = x > 2 if name == "any" else x
    exact = x if name in ("any", "max") else x.astype(np.float64)
    return pairs(**{
        f"axis {axis}": (function(put(x), axis=axis, keepdims=True),
                         function(exact, axis=axis, keepdims=True))
        for axis in (None, 0, 1, 2, (0, 1))
    })  # fmt: skip


def place(rng: Any, name: str, sizes: Any, dtype: str) -> dict[str, Any]:
    x = rng.standard_normal(sizes).astype(dtype)
    X = put(x)
    if name == "where":
        return pairs(where=(np.where(X > 0, X, 0.0), np.where(x > 0, x, 0.0)))
    if name == "concatenate":
        return pairs(along=(np.concatenate([X, X[:, :2]], 1), np.concatenate([x, x[:, :2]], 1)))
    if name == "repeat":
        return pairs(each=(np.repeat(X, 3, axis=1), np.repeat(x, 3, axis=1)))
    wide = x.astype(np.float64)
    return pairs(batch=(X @ np.swapaxes(X, 1, 2), wide @ np.swapaxes(wide, 1, 2)))


# ---------------------------------------------------------------- layers, losses, optimizers


def layer(rng: Any, k: int, sizes: Any, dtype: str) -> dict[str, Any]:
    """A layer of tests/cuda/layer_cases.py, its batch so many times as large."""
    cases = calls.of_tests("layer_cases")
    of, shape = cases.EACH[k]
    shapes = shape if isinstance(shape, list) else [shape]
    xs = [cases.drawn((one[0] * sizes[0], *one[1:]), dtype, n) for n, one in enumerate(shapes)]
    wanted = cases.both_ways(of, xs, None, dtype, "cpu", np.copy, np.asarray)
    got = cases.both_ways(of, xs, None, dtype, "cuda", put, calls.get)
    numbered = enumerate(zip(got, wanted, strict=True))
    return pairs(**{f"{type(of).__name__}, result {n}": both
                    for n, both in numbered if both[1] is not None})  # fmt: skip


def loss(rng: Any, k: int, sizes: Any, dtype: str) -> dict[str, Any]:
    """A loss of tests/cuda/layer_cases.py, of many rows, with weights of them."""
    of, last = calls.of_tests("layer_cases").ROW_LOSSES[k]
    outputs = rng.standard_normal((64 * sizes[0], 3)).astype(dtype)
    outputs = np.abs(outputs) if last == "relu" else outputs
    if last in ("tanh", "softmax"):  # probabilities
        outputs = 1 / (1 + np.exp(-outputs))
    y, of = (rng.random(outputs.shape) > 0.5).astype(dtype), of.behind(None)
    weights = rng.random(len(outputs)).round(1)
    wanted, slope = of.backward(outputs, y, weights)
    found, got = of.backward(put(outputs), put(y), weights)
    return pairs(loss=(found.mean, wanted.mean), gradient=(got, slope))


def optimizer(rng: Any, name: str, sizes: Any, dtype: str) -> dict[str, Any]:
    """Four steps."""
    from lstmfast import optimizers

    w, *grads = rng.standard_normal((5, *sizes)).astype(dtype)
    found = []
    for bring in (np.copy, put):
        made, weights = getattr(optimizers, name)(0.01, **OPTIMIZERS[name]), bring(w)
        for g in grads:
            made.apply([weights], [bring(g)])
        found.append([weights, *(slot for kept in made.slots.values() for slot in kept)])
    names = ["weights", *made.slots]
    return pairs(**dict(zip(names, zip(*reversed(found), strict=True), strict=True)))


CASES = {f.__name__: f for f in (one, two, fold, place, layer, loss, optimizer)}
