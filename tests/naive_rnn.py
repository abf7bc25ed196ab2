"""The oracle of the plain recurrent layer: float64 NumPy, loops, one row of the batch at a time.

Arrays are time-major. Its backward pass is held against central differences in
``test_simple_rnn.py``. Activations are pairs (f, slope) of functions of the pre-activation.
"""

import numpy as np

TANH = (np.tanh, lambda z: 1 - np.tanh(z) ** 2)


def double(a):
    """Return a float64 copy of an array."""
    return np.array(a, dtype=np.float64)


def rnn_trace(x, W_ih, W_hh, b, h0, activation, mask):
    """Return all pre-activations and states: z (T, B, H), h (T + 1, B, H) with h0 first."""
    T, B, _ = x.shape
    H = W_hh.shape[0]
    z, h = np.zeros((T, B, H)), np.zeros((T + 1, B, H))
    b = np.zeros(H) if b is None else double(b)
    if h0 is not None:
        h[0] = h0
    for n in range(B):
        for t in range(T):
            h[t + 1, n] = h[t, n]
            if mask is None or mask[t, n]:
                z[t, n] = double(W_ih) @ double(x[t, n]) + double(W_hh) @ h[t, n] + b
                h[t + 1, n] = activation[0](z[t, n])
    return z, h


def rnn_forward(x, W_ih, W_hh, b=None, h0=None, activation=TANH, mask=None):
    """Run one layer.

    Parameters
    ----------
    x : (T, B, I)
    W_ih : (H, I), W_hh : (H, H), b : (H,) or None for zeros
    h0 : (B, H) or None for zeros
    activation : pair of functions
    mask : bool (T, B) or None for every step

    Returns
    -------
    h : (T, B, H), the state after each step, taken or not
    h_n : (B, H)
    """
    _, h = rnn_trace(x, W_ih, W_hh, b, h0, activation, mask)
    return h[1:], h[-1]


def rnn_backward(
    x, W_ih, W_hh, b=None, h0=None, activation=TANH, mask=None, dy=None, dh_n=None
):  # fmt: skip
    """Backpropagate through time; the gradient of sum(dy*h) + sum(dh_n*h_n).

    Returns
    -------
    dict of str to array
        ``dx, dh0, dW_ih, dW_hh, db``, each shaped like what it is the gradient of.
    """
    T, B, I = x.shape
    H = W_hh.shape[0]
    z, h = rnn_trace(x, W_ih, W_hh, b, h0, activation, mask)
    dy = np.zeros((T, B, H)) if dy is None else double(dy)
    dh = np.zeros((B, H)) if dh_n is None else double(dh_n)
    dx, db = np.zeros((T, B, I)), np.zeros(H)
    dW_ih, dW_hh = np.zeros((H, I)), np.zeros((H, H))
    for n in range(B):
        for t in reversed(range(T)):
            dh[n] += dy[t, n]
            if mask is None or mask[t, n]:
                dz = dh[n] * activation[1](z[t, n])
                dx[t, n] = dz @ double(W_ih)
                dh[n] = dz @ double(W_hh)
                dW_ih += np.outer(dz, double(x[t, n]))
                dW_hh += np.outer(dz, h[t, n])
                db += dz
    return {"dx": dx, "dh0": dh, "dW_ih": dW_ih, "dW_hh": dW_hh, "db": db}
