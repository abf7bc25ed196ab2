"""Persistent kernels compile and link for GPUs that are not here: all in registers, as planned."""

import re

import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("cuda.bindings.nvjitlink")

from lstmfast.cuda.kernels.persistent.backward import make_backward
from lstmfast.cuda.kernels.persistent.forward import make_forward
from lstmfast.cuda.lstm.persistent import REGISTERS, ROWS, Plan, divides, holds, plan, shares
from lstmfast.cuda.runtime.compiler import link

H100 = 132, 227 * 1024  # multiprocessors, bytes of shared memory of a block
A100 = 108, 163 * 1024
DIRECTIONS = ("forward", "backward")
SHAPES = [
    (direction, *shape)
    for direction in DIRECTIONS
    for shape in (
        ("bfloat16", 8, 32), ("bfloat16", 64, 128), ("float16", 64, 256), ("bfloat16", 128, 512),
        ("float16", 32, 768), ("tf32", 8, 64), ("tf32", 64, 256), ("tf32", 32, 512),
        ("float32", 8, 64), ("float32", 64, 256), ("float32", 32, 512),
    )
]  # fmt: skip


def kernel_of(share, keep=True, y_kind=None):
    if share.direction == "forward":
        return make_forward(share, keep, y_kind)
    return make_backward(share)


@pytest.mark.parametrize("cc", [(8, 0), (9, 0)])
@pytest.mark.parametrize(("direction", "precision", "B", "H"), SHAPES)
def test_all_stays_in_registers(direction, precision, B, H, cc):
    share = plan(direction, precision, B, H, *H100).share
    kernel = kernel_of(share)
    ptx = kernel.ptx(cc)
    code = link(ptx, cc)
    assert code.stack == 0
    assert code.registers * share.threads <= REGISTERS
    assert all(instruction in ptx for instruction in kernel.wants)
    assert not re.search(r"\.f64\b", ptx)
    assert ("mma.sync" in ptx) == share.tensor
    # a block alone neither waits nor tells
    assert ptx.count("bar.sync") == (4 if share.group > 1 else 2)


@pytest.mark.parametrize("y_kind", ["float32", "bfloat16"])
def test_forms_of_the_forward_kernel(y_kind):
    share = plan("forward", "bfloat16", 64, 512, *H100).share
    assert kernel_of(share, False, y_kind).code((9, 0)).stack == 0


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_strict_kernels_have_no_hardware_tanh_nor_division(direction):
    ptx = kernel_of(plan(direction, "float32", 8, 64, *H100).share).ptx((9, 0))
    assert not re.search(r"tanh\.approx|div\.(approx|full)|(mul|add|fma\.rn)\.ftz", ptx)
    assert "fma.rn.f32" in ptx


def test_order_of_a_step():
    """A release after the barrier after the writes of h; the wait before h is read from L2."""
    ptx = kernel_of(plan("forward", "bfloat16", 64, 512, *H100).share).ptx((9, 0))
    loop = ptx[ptx.index("ld.acquire.gpu") :]
    wanted = ("bar.sync", "ld.relaxed.gpu.global.v4", "bar.sync", "mma.sync", "bar.sync",
              "st.global.b16|st.global.u16", "bar.sync", "red.release.gpu")  # fmt: skip
    for instruction in wanted:
        found = re.search(instruction, loop)
        assert found, instruction
        loop = loop[found.end() :]


@pytest.mark.parametrize("gpu", [H100, A100])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_plans_fit_the_gpu(direction, gpu):
    offered = 0
    for precision in ("float32", "tf32", "float16", "bfloat16"):
        for H in range(32, 1025, 32):
            for B in (1, 8, 9, 64, 200, 1000):
                found = plan(direction, precision, B, H, *gpu)
                if found is None:
                    continue
                share, offered = found.share, offered + 1
                assert found.blocks == found.groups * H // share.units <= gpu[0]
                assert share.shared <= gpu[1]
                assert (found.groups - 1) * share.rows < B <= found.groups * share.rows
                assert divides(share) and holds(share)
                assert share.cells * share.threads >= share.rows * share.units
    assert offered > 100


def test_what_is_offered():
    for direction in DIRECTIONS:
        assert plan(direction, "bfloat16", 64, 100, *H100) is None
        assert plan(direction, "bfloat16", 64, 4096, *H100) is None
        assert plan(direction, "bfloat16", 100_000, 256, *H100) is None
        assert plan(direction, "bfloat16", 64, 256, 0, 0) is None
        for B, H in ((64, 512), (128, 256), (32, 768)):
            for precision in ("float16", "bfloat16"):
                assert isinstance(plan(direction, precision, B, H, *H100), Plan)
        for precision in ("float32", "tf32"):
            assert isinstance(plan(direction, precision, 64, 512, *H100), Plan)
    assert plan("forward", "bfloat16", 64, 128, *H100).share.group == 1
    assert plan("backward", "bfloat16", 64, 128, *H100).share.group == 1


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_shares_leave_nothing_out(direction):
    for precision in ("float32", "tf32", "bfloat16"):
        for H in (32, 96, 256, 512):
            for rows in ROWS:
                for share in shares(direction, precision, H, rows):
                    assert share.weights * share.threads == share.outputs * share.depth
                    assert share.row_words % 4 == share.row_sums % 4 == 0
