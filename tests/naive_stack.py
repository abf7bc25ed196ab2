"""The oracle of the whole LSTM family: layers, directions, and everything a step may add.

As `naive`: float64 NumPy, one row and one step at a time, nothing shared with the library.
The backward pass is held against central differences in ``test_naive_stack.py``, the random
numbers against known answers.

One step of one row::

    r   = m h_prev                                      recurrent dropout, one mask for all t
    a, q = W_ih x + W_static x_static, W_hh r
    z   = a + q + b                                     or LN(a) g_ih + LN(q) g_hh + b
    c~, h~ = cell(z, c_prev)                            `naive.lstm_cell`
    c   = k_c c_prev + (1 - k_c) c~                     zoneout
    h   = k_h h_prev + (1 - k_h) W_hr h~
    y_t = h

Sources: Sak, Senior and Beaufays 2014 (projection); Ba, Kiros and Hinton 2016 (layer
normalisation); Krueger et al. 2017 (zoneout); Gal and Ghahramani 2016 (recurrent dropout);
Merity, Keskar and Socher 2018 (weight drop); Salmon et al. 2011 (random numbers).
"""

import functools
import math
from typing import NamedTuple

import naive
import numpy as np


class Part(NamedTuple):
    """The weights of one layer in one direction; without a projection P = H."""

    W_ih: np.ndarray  # (4H, I)
    W_hh: np.ndarray  # (4H, P)
    b: np.ndarray = None  # (4H,)
    p: np.ndarray = None  # (3, H): the peepholes of i, f and o
    W_hr: np.ndarray = None  # (P, H)
    norm: tuple = None  # g_ih (4H,), g_hh (4H,), g_c (H,), b_c (H,)
    W_static: np.ndarray = None  # (4H, S), of the first layer


class Network(NamedTuple):
    """A stack of layers and how it is run."""

    parts: list  # of Part; layer by layer, in each the forward direction first
    bidirectional: bool = False
    variant: naive.Variant = naive.PLAIN
    reverse: bool = False  # from the last step to the first; not if bidirectional
    repeat: bool = False  # y of a step that is not taken: the output before it
    input_dropout: float = 0.0
    layer_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout_h: float = 0.0
    zoneout_c: float = 0.0
    weight_drop: float = 0.0
    truncate: int = None  # the gradient is cut before every so many-th step of a row
    seed: int = None  # None: inference
    rounding: naive.Rounding = naive.EXACT


class Resets(NamedTuple):
    """Where rows begin anew, and from what."""

    at: np.ndarray  # (T, B) of bool: between t - 1 and t
    h: np.ndarray = None  # (L*D, B, P); None for zeros
    c: np.ndarray = None  # (L*D, B, H)


class Step(NamedTuple):
    """What one row saw and made in one step of one part."""

    t: int
    anew: bool  # the state before it was that of a reset
    x: np.ndarray
    x_static: np.ndarray
    m: np.ndarray  # recurrent dropout
    r: np.ndarray
    a: np.ndarray
    q: np.ndarray
    cell: naive.Cell
    k_h: np.ndarray  # zoneout: the share of the state that is kept
    k_c: np.ndarray
    h: np.ndarray
    c: np.ndarray


def directions(network):
    """Return how many parts make a layer."""
    assert not (network.bidirectional and network.reverse)
    return 2 if network.bidirectional else 1


# ---------------------------------------------------------------- random numbers

ZONEOUT, RECURRENT, INPUT, WEIGHTS = range(4)


@functools.lru_cache(maxsize=10000)
def dropped(seed, rate, part, purpose, row, step, columns, word=0):
    """Return which columns are dropped, (columns,) of 0 and 1 (not to be written to)."""
    counter = (np.arange(columns), row, step, 4 * part + purpose)
    words = naive.philox(counter, (seed & 0xFFFFFFFF, seed >> 32))
    return (words[word] < math.floor(rate * 2**32)).astype(np.float64)


def dropout(seed, rate, *where):
    """Return the factors of inverted dropout, 0 or 1 / (1 - rate); ones in inference."""
    if seed is None:
        return np.ones(where[-1])
    return (1 - dropped(seed, rate, *where)) / (1 - rate)


def zoneout(network, index, row, n, P, H):
    """Return the shares of h (P,) and c (H,) that the row's n-th step keeps."""
    rates = network.zoneout_h, network.zoneout_c
    if network.seed is None:
        return np.full(P, rates[0]), np.full(H, rates[1])
    where = index, ZONEOUT, row, n
    return tuple(
        dropped(network.seed, rates[word], *where, columns, word)
        for word, columns in enumerate((P, H))
    )


def input_factors(network, layer, T, B, columns):
    """Return the dropout (T, B, columns) of a layer's input: one mask for all t in the first."""
    rate = network.layer_dropout if layer else network.input_dropout
    factors, part = np.ones((T, B, columns)), layer * directions(network)
    for t, b in np.ndindex(T, B):
        step = t if layer else 0
        factors[t, b] = dropout(network.seed, rate, part, INPUT, b, step, columns)
    return factors


def weight_factors(network, index):
    """Return the dropout of W_hh, (4H, P)."""
    rows, columns = network.parts[index].W_hh.shape
    where = network.seed, network.weight_drop, index, WEIGHTS
    return np.array([dropout(*where, row, 0, columns) for row in range(rows)])


# ---------------------------------------------------------------- one step of one row


def effective(network, index):
    """Return a part in float64 with its weights dropped, and with zeros or 1 for what it lacks."""
    W_ih, W_hh, b, p, W_hr, norm, W_static = network.parts[index]
    H = len(W_ih) // 4
    return Part(
        network.rounding.weights(W_ih),
        network.rounding.weights(naive.double(W_hh) * weight_factors(network, index)),
        np.zeros(4 * H) if b is None else naive.double(b),
        np.zeros((3, H)) if p is None else naive.double(p),
        np.eye(H) if W_hr is None else naive.double(W_hr),
        norm and tuple(map(naive.double, norm)),
        np.zeros((4 * H, 0)) if W_static is None else naive.double(W_static),
    )


def take(part, network, t, anew, x, x_static, h_prev, c_prev, m, k_h, k_c):
    """Take one row through one step of an effective part and return the `Step`."""
    r, rounding = h_prev * m, network.rounding
    a = part.W_ih @ rounding.inputs(x) + part.W_static @ x_static
    q = part.W_hh @ rounding.outputs(r)
    if part.norm is None:
        z, norm_c = a + q + part.b, None
    else:
        g_ih, g_hh, *norm_c = part.norm
        z = naive.layer_norm(a) * g_ih + naive.layer_norm(q) * g_hh + part.b
    cell = naive.lstm_cell(z, c_prev, part.p, network.variant, norm_c)
    h = k_h * h_prev + (1 - k_h) * (part.W_hr @ cell.h)
    c = k_c * c_prev + (1 - k_c) * cell.c
    return Step(t, anew, x, x_static, m, r, a, q, cell, k_h, k_c, h, c)


def take_backward(part, network, step, dh, dc, sums):
    """Take the gradients of one step's h and c back, adding those of the weights to `sums`.

    Returns
    -------
    dx : (I,), dx_static : (S,), dh_prev : (P,), dc_prev : (H,)
    """
    dh_new, norm_c = (1 - step.k_h) * dh, part.norm and part.norm[2:]
    dz, dc_prev, dnorm_c = naive.lstm_cell_backward(
        step.cell, dh_new @ part.W_hr, (1 - step.k_c) * dc, part.p, network.variant, norm_c
    )
    da = dq = dz
    if part.norm is not None:
        g_ih, g_hh, _, _ = part.norm
        dg_ih, dg_hh = dz * naive.layer_norm(step.a), dz * naive.layer_norm(step.q)
        da = naive.layer_norm_backward(step.a, dz * g_ih)
        dq = naive.layer_norm_backward(step.q, dz * g_hh)
        for total, new in zip(sums["dnorm"], (dg_ih, dg_hh, *dnorm_c), strict=True):
            total += new
    sums["dW_static"] += np.outer(da, step.x_static)
    sums["db"] += dz
    rounding = network.rounding
    dx_static, da, dq = da @ part.W_static, rounding.inputs(da), rounding.inputs(dq)
    sums["dW_ih"] += np.outer(da, rounding.inputs(step.x))
    sums["dW_hh"] += np.outer(dq, rounding.outputs(step.r))
    sums["dp"] += naive.peephole_gradient(dz, step.cell)
    sums["dW_hr"] += np.outer(dh_new, step.cell.h)
    dh_prev = step.k_h * dh + step.m * (dq @ part.W_hh)
    return da @ part.W_ih, dx_static, dh_prev, step.k_c * dc + dc_prev


# ---------------------------------------------------------------- one part


def falls(network, index):
    """Return whether a part runs from the last step to the first."""
    return network.reverse or index % directions(network) == 1


def ordered(network, index, times):
    """Return rising times in the order in which a part takes them."""
    return list(times)[::-1] if falls(network, index) else list(times)


def gaps(network, index, steps, resets, b):
    """Return for each step that row b takes, then for its end, whether it begins anew before."""
    T, found, pending = len(resets.at), [], False
    for t in ordered(network, index, range(T)):
        between = t + falls(network, index)
        pending = pending or (between < T and bool(resets.at[between, b]))
        if t in steps[b]:
            found.append(pending)
            pending = False
    return [*found, pending]


def run_part(network, index, x, x_static, h0, c0, steps, resets):
    """Return every `Step` that a part takes: a list per row, in the order they are taken."""
    part, rows = effective(network, index), []
    P, H = part.W_hr.shape
    for b, times in enumerate(steps):
        m = dropout(network.seed, network.recurrent_dropout, index, RECURRENT, b, 0, P)
        h, c, taken, anew = h0[b], c0[b], [], gaps(network, index, steps, resets, b)
        for n, t in enumerate(ordered(network, index, times)):
            if anew[n]:
                h, c = resets.h[index, b], resets.c[index, b]
            kept = zoneout(network, index, b, n, P, H)
            taken.append(take(part, network, t, anew[n], x[t, b], x_static[b], h, c, m,
                              *kept))  # fmt: skip
            h, c = taken[-1].h, taken[-1].c
        rows.append(taken)
    return rows


def outputs_at(network, index, taken, T):
    """Return for each t the number of the step whose h is the output there, None for zeros."""
    number = {step.t: n for n, step in enumerate(taken)}
    shown, last = [None] * T, None
    for t in ordered(network, index, range(T)):
        if t in number:
            last = number[t]
        if t in number or network.repeat:
            shown[t] = last
    return shown


def part_outputs(network, index, rows, T, P):
    """Return y (T, B, P) of a part."""
    y = np.zeros((T, len(rows), P))
    for b, taken in enumerate(rows):
        for t, n in enumerate(outputs_at(network, index, taken, T)):
            if n is not None:
                y[t, b] = taken[n].h
    return y


def empty_sums(part):
    """Return zeros in the place of every gradient of an effective part's weights."""
    sums = {f"d{name}": np.zeros_like(w) for name, w in part._asdict().items() if name != "norm"}
    return sums | {"dnorm": part.norm and tuple(map(np.zeros_like, part.norm))}


def to_reset(dresets, dh, dc, b):
    """Move the gradients of row b's state to that of its reset."""
    for total, d in zip(dresets, (dh, dc), strict=True):
        total[b] += d[b]
        d[b] = 0


def part_backward(network, index, rows, dy, dh, dc, dcells, dresets):
    """Take one part back through time; dh (B, P) and dc (B, H) become those of h0 and c0.

    Parameters
    ----------
    rows : as `run_part` returns it
    dy : (T, B, P), dcells : (T, B, H)
    dresets : (B, P) and (B, H), to which the gradients of the states of resets are added

    Returns
    -------
    dx : (T, B, I), dx_static : (B, S)
    sums : dict
        The gradients of the part's weights; None for what it lacks, but for b.
    """
    part, given = effective(network, index), network.parts[index]
    T, B, _ = dy.shape
    dx, sums = np.zeros((T, B, part.W_ih.shape[1])), empty_sums(part)
    dx_static = np.zeros((B, part.W_static.shape[1]))
    for b, taken in enumerate(rows):
        shown = outputs_at(network, index, taken, T)
        for n, step in reversed(list(enumerate(taken))):
            dh[b] += sum(dy[t, b] for t in range(T) if shown[t] == n)
            dc[b] += dcells[step.t, b]
            dx[step.t, b], d_static, dh[b], dc[b] = take_backward(
                part, network, step, dh[b], dc[b], sums
            )
            dx_static[b] += d_static
            if step.anew:
                to_reset(dresets, dh, dc, b)
            if n > 0 and network.truncate and n % network.truncate == 0:
                dh[b], dc[b] = 0, 0
    sums["dW_hh"] *= weight_factors(network, index)
    lacking = [name for name in ("p", "W_hr", "W_static") if getattr(given, name) is None]
    return dx, dx_static, sums | {f"d{name}": None for name in lacking}


# ---------------------------------------------------------------- the network


def spelt_out(network, x, steps, resets):
    """Return the steps of each row, and `Resets`, with what None stands for."""
    T, B, _ = x.shape
    P, H = effective(network, 0).W_hr.shape
    at, *states = resets or Resets(np.zeros((T, B), bool))
    shapes = [(len(network.parts), B, size) for size in (P, H)]
    states = [np.zeros(shape) if s is None else naive.double(s)
              for s, shape in zip(states, shapes, strict=True)]  # fmt: skip
    return [range(T)] * B if steps is None else steps, Resets(at, *states)


def static_of(x, x_static):
    """Return x_static (B, S) in float64; S is 0 without one."""
    return np.zeros((x.shape[1], 0)) if x_static is None else naive.double(x_static)


def trace(network, x, h0, c0, steps, resets, x_static):
    """Return the dropped input of each layer, then y, and of each part what `run_part` does."""
    T, B, _ = x.shape
    D, inputs, rows = directions(network), [naive.double(x)], []
    for layer in range(len(network.parts) // D):
        inputs[-1] = inputs[-1] * input_factors(network, layer, *inputs[-1].shape)
        sides = []
        for index in range(layer * D, layer * D + D):
            P, H = effective(network, index).W_hr.shape
            h = np.zeros((B, P)) if h0 is None else naive.double(h0[index])
            c = np.zeros((B, H)) if c0 is None else naive.double(c0[index])
            static = x_static if layer == 0 else np.zeros((B, 0))
            rows.append(run_part(network, index, inputs[-1], static, h, c, steps, resets))
            sides.append(part_outputs(network, index, rows[-1], T, P))
        inputs.append(np.concatenate(sides, axis=2))
    return inputs, rows


def read(network, inputs, rows, h0, c0, steps, resets):
    """Return the outputs of `forward` from what `trace` returns."""
    P, H = effective(network, 0).W_hr.shape
    D, T, shape = directions(network), len(inputs[-1]), (len(rows), len(rows[0]))
    h_n = np.zeros((*shape, P)) if h0 is None else naive.double(h0)
    c_n = np.zeros((*shape, H)) if c0 is None else naive.double(c0)
    for index, b in np.ndindex(shape):
        if rows[index][b]:
            h_n[index, b], c_n[index, b] = rows[index][b][-1].h, rows[index][b][-1].c
        if gaps(network, index, steps, resets, b)[-1]:
            h_n[index, b], c_n[index, b] = resets.h[index, b], resets.c[index, b]
    cells = np.zeros((T, shape[1], D * H))
    for side, b in np.ndindex(D, shape[1]):
        for step in rows[side - D][b]:
            cells[step.t, b, side * H : (side + 1) * H] = step.c
    return {"y": inputs[-1], "h_n": h_n, "c_n": c_n, "cells": cells}


def forward(network, x, h0=None, c0=None, steps=None, resets=None, x_static=None):
    """Run the network.

    Parameters
    ----------
    network : Network
    x : (T, B, I)
    h0 : (L*D, B, P), c0 : (L*D, B, H), or None for zeros
    steps : list of B rising lists of the time indices that each row takes; None: all
    resets : `Resets`, or None for none
    x_static : (B, S), where the first layer has W_static

    Returns
    -------
    dict of str to array
        ``y`` (T, B, D*P), ``h_n`` and ``c_n`` like h0 and c0, and ``cells`` (T, B, D*H): c of
        the last layer after every step taken, elsewhere zeros.
    """
    steps, resets = spelt_out(network, x, steps, resets)
    found = trace(network, x, h0, c0, steps, resets, static_of(x, x_static))
    return read(network, *found, h0, c0, steps, resets)


def backward(
    network, x, h0=None, c0=None, steps=None, resets=None, x_static=None, dy=None, dh_n=None,
    dc_n=None, dcells=None,
):  # fmt: skip
    """Return the gradient of the sum of the products of each upstream given with its output.

    Parameters
    ----------
    network, x, h0, c0, steps, resets, x_static
        As in `forward`.
    dy, dh_n, dc_n, dcells
        Shaped like the outputs y, h_n, c_n and cells; None for zeros.

    Returns
    -------
    dict
        ``dx, dx_static, dh0, dc0, dreset_h, dreset_c`` and ``parts``: for each part a dict
        ``dW_ih, dW_hh, db, dp, dW_hr, dnorm, dW_static``, dnorm a tuple of four; None for what the
        part lacks, but for b.
    """
    steps, resets = spelt_out(network, x, steps, resets)
    x_static = static_of(x, x_static)
    inputs, rows = trace(network, x, h0, c0, steps, resets, x_static)
    outputs = read(network, inputs, rows, h0, c0, steps, resets)
    given = {"y": dy, "h_n": dh_n, "c_n": dc_n, "cells": dcells}
    dy, dh, dc, dcells = (
        np.zeros_like(outputs[name]) if d is None else naive.double(d) for name, d in given.items()
    )
    D, parts = directions(network), [None] * len(rows)
    dresets, dx_static = (np.zeros_like(resets.h), np.zeros_like(resets.c)), np.zeros_like(x_static)
    for index, b in np.ndindex(len(rows), x.shape[1]):
        if gaps(network, index, steps, resets, b)[-1]:
            to_reset([d[index] for d in dresets], dh[index], dc[index], b)
    for layer in reversed(range(len(rows) // D)):
        dx = np.zeros_like(inputs[layer])
        for side in range(D):
            index, sides = layer * D + side, [np.split(d, D, axis=2) for d in (dy, dcells)]
            upstream = sides[0][side], dh[index], dc[index], sides[1][side]
            own = [d[index] for d in dresets]
            found = part_backward(network, index, rows[index], *upstream, own)
            dx_part, d_static, parts[index] = found
            dx += dx_part
            if layer == 0:
                dx_static += d_static
        dy = dx * input_factors(network, layer, *dx.shape)
        dcells = np.zeros_like(dcells)
    states = {"dh0": dh, "dc0": dc, "dreset_h": dresets[0], "dreset_c": dresets[1]}
    return {"dx": dy, "dx_static": dx_static, **states, "parts": parts}
