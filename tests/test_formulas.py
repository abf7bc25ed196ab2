"""Each formula has one home: nothing of its shape stands anywhere else in the package."""

import re
from pathlib import Path

import formula_shapes
import pytest

import lstmfast

PACKAGE = Path(lstmfast.__file__).parent
NATIVE = Path(__file__).parent.parent / "native"
HOMES = {
    "update": {
        "kernels/cell.py",
        "kernels/pointwise.py",  # Nadam: a share of the average and one of the gradient
        "cuda/kernels/updates.py",
        "cuda/kernels/broadcasting.py",  # places among strides
        "layers/normalization.py",  # moving means
        "optimizers/plain.py",  # moving means of rarer optimizers
    },
    "mix": {
        "kernels/cell.py",
        "constraints.py",  # MinMaxNorm with a rate: norms, no states
        "kernels/pointwise.py",  # weights and their moving average
        "cuda/kernels/updates.py",  # what decays
        "layers/normalization.py",  # moving means
        "metrics/confusion.py",  # the F score: of precision and recall
        "ops/row_losses.py",  # a binary cross-entropy's two sides
        "losses/focal.py",  # a focal loss: probabilities of two classes
        "layers/noise.py",  # AlphaDropout: a variance of two parts
        "examples/ppo.py",  # a mean of later rewards, whose weights fall
    },
    "step towards": {
        "kernels/pointwise.py",  # Adam's averages
        "cuda/kernels/updates.py",
        "layers/convolution.py",  # sizes: steps times strides
        "ops/convolution.py",
        "optimizers/schedules.py",  # a rate between two others
        "layers/data_normalization.py",  # means of batches, together
        "optimizers/plain.py",  # the same
    },
    "slope": {
        "kernels/activations.py",
        "ops/row_losses.py",  # a binary cross-entropy of probabilities
    },
    "truncation": {
        "kernels/cell.py",
        "callbacks/tensorboard.py",  # each so many batches
        "interop.py",  # the first direction of a layer but the lowest one
    },
    "philox": {"kernels/philox.py"},
    "round": {"kernels/philox.py", "cuda/kernels/philox.py"},  # one operation of a round, for each
    "scale": {  # of an LSTM's dropout: native/config.c
        "ops/noise.py",  # of the layer's
        "optimizers/adam.py",  # what sums of a beginning average lack
        "losses/focal.py",  # the same
        "layers/noise.py",  # deviations of what is drawn
    },
    "peepholes": {
        "kernels/cell.py",
        "kernels/pointwise.py",  # Nadam, with decay: sums of three products
        "cuda/kernels/updates.py",
        "kernels/vecmath.py",  # x less a multiple of ln 2, which is two numbers
        "losses/focal.py",  # the same: sums of products
        "activations.py",  # Taylor's series of the error function, and slopes
        "optimizers/plain.py",  # the same
    },
}
PLANTED = {
    "update": (
        "def step(f, i, g, c):\n    return f * c + i * g",
        "def step(a, b, z, old):\n    one, two = s(a) * old, s(b) * t(z)\n    return two + one",
        "def step(v, j):\n    c = v.c[j] * v.f[j]\n    c += v.i[j] * v.g[j]\n    return c",
        "def step(f, i, g, c):\n    return fma(f, c, i * g)",
        "def step(f, i, g, c):\n    new = i * g\n    return ptx.fma_rn(f, c, new)",
        "def step(b, f, i, g, c):\n    return b.fadd(b.fmul(f, c), b.fmul(i, g))",
        "def step(x, f, i, g, c):\n    x[0] = activate(clipped(np.multiply(f, c) + i * g, 2))",
        "def make(n):\n    def inner(f, i, g, c):\n        return f * c + i * g\n    return inner",
    ),
    "mix": (
        "def mix(k, a, b):\n    return k * a + (1 - k) * b",
        "def mix(p, a, b):\n    rest = real(1) - p\n    return fma(p, a, rest * b)",
        "def back(u, p, d):\n    store(u, j, p * d)\n    return (like(d, 1) - p) * d",
        "def back(p, d, zoned):\n    stays = p * d if zoned else zero\n    return d - stays",
        "def back(p, d):\n    stays = p * d\n    d -= stays\n    return d, stays",
    ),
    "step towards": (
        "def mix(k, a, b):\n    return b + k * (a - b)",
        "def mix(k, a, b):\n    return fma(a - b, splat(k), b)",
    ),
    "slope": (
        "def back(y, d):\n    return d * (y * (one(y, 1) - y))",
        "def back(y, d):\n    square = y * y\n    return d * (1 - square)",
    ),
    "truncation": (
        "def cut(every, n):\n    return every > 0 and n > 0 and n % every == 0",
        "def cut(a, t):\n    n = a.first + t\n    return a.every and not n % a.every",
        "def cut(k, n):\n    rest = n % k\n    if 0 < n:\n        if rest == 0:\n            f()",
    ),
    "philox": (
        "M = 0xD2511F53",
        "M = 3449720151",
        "def f(k):\n    return k + U64(0x9E3779B9)",
        "M = 0xBB67AE85",
        "from .philox import KEY_STEPS as k",
        "def f():\n    philox.ROUNDS",
    ),
    "round": (
        "def mix(a, b, c):\n    return a ^ b ^ c",
        "def mix(a, b, key):\n    high = a >> 32\n    mixed = high ^ b\n    return key ^ mixed",
        "def mix(b, x, y, key):\n    return b.xor(b.xor(x, y), key)",
    ),
    "scale": (
        "def make(rate):\n    return 1 / (1 - rate)",
        "def make(kind, x):\n    kept = real(1) - real(kind.dropout)\n    return x / kept",
        "def make(b, one, rate):\n    return b.fdiv(one, b.fsub(splat(real(1)), rate))",
    ),
    "peepholes": (
        "def see(v, z, p, c, new):\n    return z[0] + p[0] * c, z[1] + p[1] * c, z[2] + p[2] * new",
        "def sums(d, j, b, c, i, f, o):\n    i += d[j] * b\n    f += d[j + 1] * b\n"
        "    o += d[j + 2] * c\n    return i, f, o",
        "def sums(x, y, z, s, t, i, f, o):\n    return fma(s, x, i), fma(y, s, f), fma(z, t, o)",
        "def terms(d, at, H, b, c, p):\n    before = b[at]\n    p[0] = d[at] * before\n"
        "    p[1] = d[at + H] * before\n    p[2] = d[at + 3 * H] * c[at]",
    ),
}


@pytest.mark.parametrize("name", formula_shapes.SHAPES)
def test_a_formula_stands_in_its_home_alone(name):
    texts = {str(path.relative_to(PACKAGE)): path.read_text() for path in PACKAGE.rglob("*.py")}
    homes = {path for path, text in texts.items() if name in formula_shapes.found(text)}
    assert homes == HOMES[name]


@pytest.mark.parametrize(
    ("name", "planted"), [(name, text) for name, texts in PLANTED.items() for text in texts]
)
def test_a_second_home_is_found(name, planted):
    """In a copy of a file that has the formula not."""
    copy = (PACKAGE / "cuda" / "kernels" / "cells.py").read_text()
    assert formula_shapes.found(copy) == set()
    assert name in formula_shapes.found(f"{copy}\n\n{planted}\n")


def test_what_is_no_formula_is_not_found():
    """Positions, counts and other sums of products."""
    others = (
        "def f(p, t, s, b, r):\n    return p[t * s + b * r]",
        "def f(p, t, s, b, r):\n    here = t * s + b * r\n    return load_n(p, here, 4)",
        "def f(t, s, b):\n    return t * s + 4 * b",
        "def f(n, k):\n    return n % k == 0",
        "def f(d, k, x):\n    return (1 - k) * x",
        "def f(a, b):\n    return a ^ b",
    )
    assert [formula_shapes.found(text) for text in others] == [set()] * len(others)


def test_philox_thresholds_and_scales_in_c():
    """Rounds are the kernels' alone; what a rate says of words and of what is left, config.c's."""
    texts = {path.name: path.read_text() for path in NATIVE.iterdir() if path.suffix != ".pyc"
             and path.is_file() and path.name != "capi.c"}  # fmt: skip
    numbers = [form for n in formula_shapes.PHILOX for form in (f"{n:x}", str(n))]
    assert not [name for name, text in texts.items() if any(n in text.lower() for n in numbers)]
    shares = {name for name, text in texts.items() if "4294967296" in text}
    assert shares == {"config.c"}
    left = {name for name, text in texts.items() if re.search(r"/ *\(1(\.0*)? *- *[a-z]", text)}
    assert left == {"config.c"}
