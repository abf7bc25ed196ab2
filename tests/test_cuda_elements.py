"""The kernels around the LSTM as machine code: each is compiled and linked, and what it takes."""

import os
from importlib import import_module

import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("cuda.bindings.nvjitlink")
if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") != "0":
    pytest.skip("the simulator compiles nothing", allow_module_level=True)

MODULES = (
    "cells", "cells_backward", "copying", "noise", "ragged", "reductions", "elementwise", "updates",
    "embedding", "losses", "broadcasting",
)  # fmt: skip
KERNELS = [
    kernel for name in MODULES for kernel in import_module(f"lstmfast.cuda.kernels.{name}").every()
]
REGISTERS = 65536  # of a multiprocessor: a block must find them there
SHARED = 48 * 1024
APPROXIMATE = ("tanh.approx", "div.approx", "div.full", "sqrt.approx", "lg2.approx")


@pytest.mark.parametrize("cc", [(8, 0), (9, 0)], ids=["sm_80", "sm_90"])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_kernel(kernel, cc):
    """It links, spills nothing, fits, and is calculated in the kind of number that it is for."""
    from lstmfast.cuda.runtime.compiler import link

    ptx = kernel.ptx(cc)
    code = link(ptx, cc)
    assert code.stack == 0
    assert code.registers <= 64 and code.registers * kernel.threads <= REGISTERS
    assert code.shared <= SHARED
    if "float32" in kernel.name and "float64" not in kernel.name:
        assert ".f64" not in ptx
    assert not any(word in ptx for word in APPROXIMATE)


def test_names_are_different():
    assert len({kernel.name for kernel in KERNELS}) == len(KERNELS)


def test_what_adds_in_float64_is_named():
    """Sums over whole arrays, and what is made of them."""
    named = {
        kernel.name for kernel in KERNELS if "float32" in kernel.name and "float64" in kernel.name
    }
    assert all(name.startswith(("sums of", "squared error", "factor")) for name in named)
    assert len(named) == 9


@pytest.mark.parametrize("varied", [False, True])
@pytest.mark.parametrize("name", ["float32", "float64"])
def test_cell_compiles(name, varied):
    """The steps of `make_cell`, forward and back, in a kernel; v is closed over."""
    code, ptx = compiled_cell(name, varied)
    assert code.stack == 0
    assert name == "float64" or ".f64" not in ptx


def compiled_cell(name, varied):
    from collections import namedtuple

    from numba import cuda

    from lstmfast.cuda.kernels import formulas  # noqa: F401
    from lstmfast.cuda.kernels.numbers import BY_NAME
    from lstmfast.cuda.runtime.compiler import link, types
    from lstmfast.cuda.runtime.kernel import Kernel
    from lstmfast.kernels import activations
    from lstmfast.kernels.cell import make_cell

    described = {
        "peepholes": 1, "coupled": 1, "clip": 3.0, "cell_clip": 2.0,
        "gate_kind": activations.HARD_SIGMOID, "gate_alpha": 0.2, "gate_beta": 0.5,
        "candidate_kind": activations.ELU, "candidate_alpha": 1.0, "candidate_beta": 0.0,
        "output_kind": activations.SOFTPLUS, "output_alpha": 0.0, "output_beta": 0.0,
    }  # fmt: skip
    v = namedtuple("Variant", described)(**described)
    cell = make_cell(varied)
    forward, output = cell.forward, cell.output
    output_backward, backward = cell.output_backward, cell.backward

    def step(z, state, dz, n):
        j = cuda.grid(1)
        if j < n:
            c_prev, p = state[j], state[n + j]
            i, f, g, o, c = forward(v, z[j], z[n + j], z[2 * n + j], z[3 * n + j], c_prev, p, p, p)
            dz_o, dc = output_backward(v, o, c, output(v, o, c))
            dz_i, dz_f, dz_g, dc = backward(v, i, f, g, c_prev, c, dz_o, dc, p, p, p)
            dz[j], dz[n + j], dz[2 * n + j], dz[3 * n + j] = dz_i, dz_f, dz_g, dz_o
            state[j] = dc

    kernel = Kernel("cell", step, (*[BY_NAME[name].pointer] * 3, types.int64), 128)
    ptx = kernel.ptx((8, 0))
    return link(ptx, (8, 0)), ptx
