"""One layer in one direction on the GPU, as one call runs it: what it is, and its buffers.

Buffers are time-major, in the order of t. Those of states have T + 1 slots: step t goes from slot t
to slot t + 1, or in reverse from t + 1 to t.

    z    (T, B, 4H)     W_ih x, then with what is added i, f, g, o, and on the way back dz
    r    (T + 1, B, P)  what W_hh is multiplied with: h, or h through recurrent dropout
    c    (T + 1, B, H)  the cell; raw (T, B, H): before zoneout, where that changes it
    h    (B, P)         the state, at first h0, at last h_n
    out  (T, B, H)      what is projected, to product_h (B, P)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ..kernels import elementwise
from ..kernels.cell_kind import CellKind
from ..kernels.copying import copy_into
from ..kernels.noise import make_dropout
from ..kernels.numbers import name_of
from ..kernels.philox import stream_of
from ..runtime import graphs
from ..runtime.array import DeviceArray, clear, empty
from ..runtime.products import product

__all__ = ["Part", "PartWeights", "Pass", "at", "blocks", "row_of"]


class PartWeights(NamedTuple):
    """Of one part, ready to be multiplied: matrices as operands, b and p as sums are kept."""

    W_ih: DeviceArray
    W_hh: DeviceArray
    b: DeviceArray | None = None
    p: DeviceArray | None = None
    W_hr: DeviceArray | None = None


@dataclass(frozen=True)
class Part:
    """A layer in one direction.

    Attributes
    ----------
    index : number of the part in its stack, by which random numbers are drawn
    precision : what `products.product` multiplies with
    dropout, weight_drop : rates of recurrent dropout and of dropped W_hh in this call
    """

    index: int
    kind: CellKind
    weights: PartWeights
    precision: str
    reverse: bool = False
    dropout: float = 0.0
    weight_drop: float = 0.0

    @property
    def H(self) -> int:
        return self.weights.W_ih.shape[0] // 4

    @property
    def P(self) -> int:
        return self.weights.W_hh.shape[1]


class Pass:
    """One forward pass of a part and its way back.

    Parameters
    ----------
    x : (T·B, I) operands
    T, B : steps and rows
    h0, c0 : (B, P), (B, H) or None: zeros
    counts : (T, B) of `kernels.order`, or None: every row takes every step
    seed : of what is drawn
    """

    def __init__(
        self, part: Part, stream: Any, x: DeviceArray, T: int, B: int, h0: DeviceArray | None,
        c0: DeviceArray | None, counts: DeviceArray | None, seed: int,
    ):  # fmt: skip
        self.part, self.stream, self.x, self.T, self.B = part, stream, x, T, B
        self.counts, self.seed, self.has_past = counts, seed, h0 is not None
        kind, real, operand = part.kind, str(part.kind.real), part.kind.numbers[1].dtype
        self.z = self.new((T, B, 4 * part.H), real)
        self.r = self.new((T + 1, B, part.P), operand)
        self.c = self.new((T + 1, B, part.H), real)
        self.h = self.new((B, part.P), real)
        self.raw = self.new((T, B, part.H), real) if kind.zoneout_c > 0 else None
        self.out = self.new((T, B, part.H), operand) if kind.projected else None
        self.product_h = self.new((B, part.P), real) if kind.projected else None
        self.mask = self._drawn_mask() if kind.masked else None
        self.W_hh = self._dropped_weights() if part.weight_drop else part.weights.W_hh
        self._start(h0, c0)

    def new(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        return empty(shape, dtype, self.stream)

    def slots(self, t: int) -> tuple[int, int]:
        """The slots of the state before step t and after it."""
        return (t + 1, t) if self.part.reverse else (t, t + 1)

    def times(self) -> list[int]:
        """Every t in the order of the steps."""
        forwards = list(range(self.T))
        return forwards[::-1] if self.part.reverse else forwards

    def counts_at(self, t: int) -> DeviceArray | None:
        return None if self.counts is None else self.counts[t]

    def product(self, out: Any, a: Any, b: Any, stream: Any = None, **how: bool) -> None:
        """`products.product` in the part's precision."""
        product(out, a, b, precision=self.part.precision, stream=stream or self.stream, **how)

    def key(self, *others: DeviceArray | None) -> Any:
        """All that the steps' launches depend on."""
        part = self.part
        arrays = (self.z, self.r, self.c, self.h, self.raw, self.out, self.mask, self.W_hh,
                  self.product_h, self.counts, *part.weights, *others)  # fmt: skip
        seed = self.seed if part.kind.drawing else 0  # of zoneout; masks are drawn before the steps
        return graphs.key_of(part.kind, part.precision, part.reverse, part.index, seed,
                             self.has_past, *arrays)  # fmt: skip

    @property
    def draws(self) -> tuple[int, int]:
        """The seed and the stream of zoneout."""
        return self.seed, stream_of(self.part.index, "ZONEOUT")

    def dropped(self, x: Any, y: Any, rate: float, purpose: str, x_row: int | None = None) -> None:
        """y (rows, columns) = x through a mask of dropout; x_row: its distance between rows."""
        rows, columns = y.shape
        kernel = make_dropout(name_of(x.dtype), name_of(y.dtype), rate, False)
        kernel.launch(
            self.stream, blocks(kernel, y.size), x, y, 1, rows, columns,
            0, columns if x_row is None else x_row, 0, columns,
            self.seed, stream_of(self.part.index, purpose),
        )  # fmt: skip

    def _drawn_mask(self) -> DeviceArray:
        """The mask (B, P) of recurrent dropout."""
        real, P = str(self.part.kind.real), self.part.P
        ones, mask = self.new((P,), real), self.new((self.B, P), real)
        elementwise.change("fill", ones, 1.0, self.stream)
        self.dropped(ones, mask, self.part.dropout, "RECURRENT", 0)
        return mask

    def _dropped_weights(self) -> DeviceArray:
        W_hh = self.part.weights.W_hh
        left = self.new(W_hh.shape, W_hh.dtype)
        self.dropped(W_hh, left, self.part.weight_drop, "WEIGHTS")
        return left

    def _start(self, h0: DeviceArray | None, c0: DeviceArray | None) -> None:
        """Put the initial state where the first step looks for it."""
        first, _ = self.slots(self.times()[0])
        for room, state in ((self.h, h0), (self.c[first], c0)):
            if state is None:
                clear(room, self.stream)
            else:
                copy_into(room, state, self.stream)
        if self.mask is None:
            copy_into(self.r[first], self.h, self.stream)
        else:
            self.dropped(self.h, self.r[first], self.part.dropout, "RECURRENT")


def at(array: DeviceArray | None, t: int) -> DeviceArray | None:
    """Step t of an array that may be missing."""
    return None if array is None else array[t]


def row_of(array: DeviceArray | None) -> int:
    """The distance between rows of (B, K), in elements."""
    return 0 if array is None else array.strides[0] // array.itemsize


def blocks(kernel: Any, count: int) -> int:
    """How many blocks have a thread for each of `count`."""
    return -(-count // kernel.threads)
