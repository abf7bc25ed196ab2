"""How large an error may be, and why.

float32 (strict) and float64: the bars of the tests on the CPU, tests/agreement.py.

Where matrices are multiplied in fewer bits, inputs and weights are drawn so that they are exact in
those; what remains is that h and dz are rounded before W_hh, W_ih and the sums over time multiply
them, by at most u of themselves each:

    tf32       10 explicit bits, rounded or cut off      u = 2⁻¹⁰
    float16    10, rounded                               u = 2⁻¹¹
    bfloat16    7, rounded                               u = 2⁻⁸

and that the gates may use tanh.approx.f32, whose relative error is at most 2⁻¹¹ (PTX ISA 9.0), the
sigmoid made of it 2⁻¹². W_hh has orthonormal columns and errors are of either sign, so that a
pre-activation is off by a part of u; the cell adds up those of the past, which its forget gate
(about 0.7 here) lets fade. An emulation of just that in NumPy was off by at most 0.63 (u + 2⁻¹¹) in
outputs and 0.68 (u + 2⁻¹¹) in gradients, T 1-100, B 2-64, H 3-768; the factors below are three
times that and more (`tests/test_bench_cuda.py` emulates the forward pass again). A wrong index or a
step left out is off by 0.1 or 1.

An error of outputs is max |got - ref| / max(1, max |ref|), one of gradients max |got - ref| over
max |ref|. Where arrays themselves are of 16 bits, results are rounded to these once more, by u.

POINTWISE holds for functions of single elements, for rows of softmax and for single products, of
which exp, log and sums of thousands of terms leave a few units of float32; tensor cores cut sums
off where others round, by 2⁻²³ for each of the K / 8 or K / 16 terms they add at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benches.cuda import calls

ROUNDING = {"tf32": 2.0**-10, "float16": 2.0**-11, "bfloat16": 2.0**-8}  # u
TANH = 2.0**-11  # of tanh.approx.f32, relative
FORWARD, GRADIENT = 2, 3  # times u + TANH; emulated: 0.63 and 0.68
SHORT_BITS = {"tf32": 10, "float16": 10, "bfloat16": 7}  # explicit, of the mantissa
POINTWISE = {"float32": 4e-6, "float64": 1e-12} | dict.fromkeys(ROUNDING, 3e-5)


def bars(precision: str) -> tuple[float, float]:
    """The bars of outputs and of gradients."""
    if precision in ROUNDING:
        unit = ROUNDING[precision] + TANH
        return FORWARD * unit, GRADIENT * unit
    agreement = calls.of_tests("agreement")
    return agreement.FORWARD_BAR[precision], agreement.GRADIENT_BAR[precision]


def exact_in(precision: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Values rounded to what products are calculated in, of the dtype they have."""
    if precision not in SHORT_BITS:
        return values
    rest = 23 - SHORT_BITS[precision]
    bits = values.astype(np.float32).view(np.uint32)
    rounded = (bits + np.uint32(1 << (rest - 1))) & np.uint32(0xFFFFFFFF << rest & 0xFFFFFFFF)
    return rounded.view(np.float32).astype(values.dtype)


def error(got: Any, ref: Any, relative: bool) -> float:
    """The error of outputs, or of gradients if `relative`; NaN where anything is NaN."""
    agreement = calls.of_tests("agreement")
    measure = agreement.gradient_error if relative else agreement.forward_error
    if ref.size == 0:
        return 0.0 if got.shape == ref.shape else float("nan")
    return float(measure(np.asarray(got, np.float64), np.asarray(ref, np.float64)))


def worst(errors: dict[str, float], bar: float) -> tuple[str, float, bool]:
    """(name, error, passed) of the largest; a NaN is larger than all."""
    name = max(errors, key=lambda n: np.inf if np.isnan(errors[n]) else errors[n])
    return name, errors[name], bool(errors[name] <= bar)
