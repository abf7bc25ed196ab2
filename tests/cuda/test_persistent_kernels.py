"""The persistent kernels' own text, run forward and backward in the emulator, against a float64
loop over steps that rounds what they round.

Run in a process of its own with NUMBA_ENABLE_CUDASIM=1 (see conftest).
"""

import numpy as np
import pytest
from emulator import emulated

from lstmfast.cuda.kernels.persistent.share import Share
from lstmfast.cuda.lstm import persistent
from lstmfast.cuda.lstm.persistent import Plan
from lstmfast.cuda.runtime.array import BFLOAT16, empty, from_host

DTYPES = {"float32": np.float32, "tf32": np.float32, "float16": np.float16, "bfloat16": BFLOAT16}
# Measured: 2.3e-7, 5.1e-7, 2.5e-4, 2.0e-3; the last two are half a unit of the rounded h itself.
TOLERANCE = {"float32": 1e-6, "tf32": 2e-6, "float16": 5e-4, "bfloat16": 4e-3}


def rounded(x, precision):
    """x as it is multiplied, in float64."""
    if precision == "tf32":
        bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64) + 0x1000
        return (bits & 0xFFFFE000).astype(np.uint32).view(np.float32).astype(np.float64)
    return np.asarray(x).astype(np.float32).astype(DTYPES[precision]).astype(np.float64)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def reference_forward(z, bias, W, h0, c0, precision, order):
    """Activations (T, B, 4, H), and h (not rounded) and c after each step t."""
    T, B, H = len(z), len(h0), h0.shape[1]
    acts, hs, cs = np.empty((T, B, 4, H)), np.empty((T, B, H)), np.empty((T, B, H))
    h, c = h0, c0
    for t in order:
        s = (z[t] + rounded(h, precision) @ W.T + bias).reshape(B, 4, H)
        i, f, g, o = sigmoid(s[:, 0]), sigmoid(s[:, 1]), np.tanh(s[:, 2]), sigmoid(s[:, 3])
        c = f * c + i * g
        h = o * np.tanh(c)
        acts[t], hs[t], cs[t] = np.stack([i, f, g, o], 1), h, c
    return acts, hs, cs


def reference_backward(acts, c_before, cs, W, dy, dh, dc, precision, order):
    dzs = np.empty((*acts.shape[:2], 4 * acts.shape[3]))
    for t in reversed(order):
        i, f, g, o = acts[t].transpose(1, 0, 2)
        s, dh = np.tanh(cs[t]), dh + dy[t]
        dc = dc + dh * o * (1 - s * s)
        dz = [dc * g * i * (1 - i), dc * c_before[t] * f * (1 - f), dc * i * (1 - g * g)]
        dzs[t] = np.concatenate([*dz, dh * s * o * (1 - o)], 1)
        dh, dc = rounded(dzs[t], precision) @ W, dc * f
    return dzs, dh, dc


def case(seed, T, B, H, precision):
    draw = np.random.default_rng(seed).normal
    W = rounded(draw(size=(4 * H, H)) / np.sqrt(H), precision)
    floats = [draw(size=s).astype(np.float32) for s in ((T, B, 4 * H), (4 * H,), (B, H), (B, H))]
    z, bias, h0, c0 = floats
    return z, bias, W, rounded(np.tanh(h0), "float32" if precision == "tf32" else precision), c0


# blocks that exchange and blocks alone; 8 rows and two tiles of rows; the depth cut into parts and
# not, one tile of outputs for a warp and several; H = 96 has rows that are padded in shared memory
FORWARD = [
    (precision, 32, *cut)
    for precision in ("tf32", "float16", "bfloat16")
    for cut in ((8, 16, 1, 4), (8, 32, 1, 4))
] + [
    ("bfloat16", 96, 8, 48, 3, 9), ("tf32", 32, 16, 8, 2, 4), ("float32", 32, 8, 16, 4, 2),
    ("float32", 32, 16, 32, 4, 4),
]  # fmt: skip
BACKWARD = [
    (precision, 32, *cut)
    for precision in ("tf32", "float16", "bfloat16")
    for cut in ((8, 16, 4, 4), (8, 32, 2, 4))
] + [
    ("bfloat16", 96, 8, 48, 3, 9), ("tf32", 64, 16, 16, 4, 4), ("float32", 32, 8, 16, 16, 2),
    ("float32", 32, 16, 32, 16, 4),
]  # fmt: skip


def close(found, wanted, precision, scale=1):
    np.testing.assert_allclose(
        np.asarray(found, np.float64), wanted, rtol=0, atol=TOLERANCE[precision] * scale
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("precision", "H", "rows", "units", "parts", "warps"), FORWARD)
def test_forward(monkeypatch, precision, H, rows, units, parts, warps, reverse):
    T, B, dtype = 3, 9, DTYPES[precision]
    z, bias, W, h0, c0 = case(1, T, B, H, precision)
    h, c = np.full((T + 1, B, H), np.nan), np.full((T + 1, B, H), np.nan)
    h[T * reverse], c[T * reverse] = h0, c0
    arrays = [from_host(x) for x in (
        z, bias, W.astype(dtype), h.astype(np.float32).astype(dtype), c.astype(np.float32)
    )]  # fmt: skip
    rows_first = empty((B, T, H), np.float32)
    plan = Plan(Share("forward", precision, H, rows, units, parts, warps), -(-B // rows))
    with emulated(monkeypatch, seed=reverse):
        persistent.forward(
            plan, None, T, B, *arrays, rows_first.transpose(1, 0, 2), reverse=reverse
        )
    order = range(T)[::-1] if reverse else range(T)
    acts, hs, cs = reference_forward(z, bias, W, h0, c0, precision, order)
    z, _, _, h, c = (a.copy_to_host() for a in arrays)
    after = slice(0, T) if reverse else slice(1, T + 1)
    close(z.reshape(acts.shape), acts, precision)
    close(c[after], cs, precision)
    close(h[after].astype(np.float32), hs, precision)
    close(rows_first.copy_to_host().transpose(1, 0, 2), hs, precision)


def test_forward_without_what_backward_needs(monkeypatch):
    T, B, H = 2, 3, 32
    z, bias, W, h0, c0 = case(2, T, B, H, "bfloat16")
    arrays = [from_host(x) for x in (
        z, bias, W.astype(BFLOAT16), np.stack([h0] * 3).astype(BFLOAT16), np.stack([c0] * 3)
    )]  # fmt: skip
    plan = persistent.plan("forward", "bfloat16", B, H, 4, 100_000)
    with emulated(monkeypatch):
        persistent.forward(plan, None, T, B, *arrays, keep=False)
    np.testing.assert_array_equal(arrays[0].copy_to_host(), z)
    _, hs, _ = reference_forward(z, bias, W, h0, c0, "bfloat16", range(T))
    close(arrays[3].copy_to_host()[1:].astype(np.float32), hs, "bfloat16")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("precision", "H", "rows", "units", "parts", "warps"), BACKWARD)
def test_backward(monkeypatch, precision, H, rows, units, parts, warps, reverse):
    T, B, dtype = 3, 9, DTYPES[precision]
    z, bias, W, h0, c0 = case(3, T, B, H, precision)
    order = range(T)[::-1] if reverse else range(T)
    acts, _, cs = reference_forward(z, bias, W, h0, c0, precision, order)
    c = np.concatenate([cs, c0[None]] if reverse else [c0[None], cs])
    draw = np.random.default_rng(4).normal
    dy, dh, dc = (draw(size=s) for s in ((T, B, H), (B, H), (B, H)))
    z, c, dy, dh, dc = (
        from_host(x.astype(np.float32)) for x in (acts.reshape(z.shape), c, dy, dh, dc)
    )
    given = [x.copy_to_host().astype(np.float64) for x in (z, c, dy, dh, dc)]
    dz = z if dtype == np.float32 else empty(z.shape, dtype)
    plan = Plan(Share("backward", precision, H, rows, units, parts, warps), -(-B // rows))
    with emulated(monkeypatch, seed=reverse):
        persistent.backward(
            plan, None, T, B, z, dz, from_host(W.astype(dtype)), c, dy, dh, dc, reverse=reverse
        )
    before, after = (given[1][1:], given[1][:-1]) if reverse else (given[1][:-1], given[1][1:])
    wanted, dh_wanted, dc_wanted = reference_backward(
        given[0].reshape(acts.shape), before, after, W, *given[2:], precision, order
    )
    close(z.copy_to_host(), wanted, precision)
    np.testing.assert_array_equal(
        dz.copy_to_host(), z.copy_to_host().astype(dtype), "dz is not the rounded z"
    )
    close(dh.copy_to_host(), dh_wanted, precision, 4)
    close(dc.copy_to_host(), dc_wanted, precision, 4)
