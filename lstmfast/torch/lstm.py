"""`torch.nn.LSTM`, on lstmfast's kernels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn.utils.rnn import PackedSequence

from ..arguments import integer
from ..fallback import fall_back
from .eager import LSTMFunction, run
from .kept import KeepsWeights, kept_for
from .layout import Form, Layout
from .narrow import dtypes_of_results, precision_for
from .one_step import StepFunction
from .operators import in_graph
from .packed import Packing, is_consistent
from .routes import (
    as_node,
    asked,
    check_beside,
    drawn_seed,
    is_traced,
    keeps,
    mode_against,
    needs_gradient,
    reason_against,
    state_of,
)

__all__ = ["LSTM"]

State = tuple[Tensor, Tensor]
Found = tuple[Tensor, Tensor, Tensor]  # y, h_n, c_n


class LSTM(KeepsWeights, nn.LSTM):
    """A `torch.nn.LSTM` with the same arguments, parameters, results and errors.

    float32, float64 and bfloat16 tensors on the CPU, and CUDA tensors where `lstmfast[cuda]` can
    run, go to lstmfast's kernels; everything else goes to `torch.nn.LSTM` itself, or with
    LSTMFAST_STRICT=1 raises `FallbackError`. Tensors are shared, not copied, but those of bfloat16,
    which become float32 and back. CPU autocast to bfloat16 rounds what is multiplied.

    In evaluation weights stay packed until a parameter is assigned or changed in place. A change
    of a few numbers through `weight.data` or NumPy, which PyTorch does not count, must be told with
    `invalidate`. In training they are packed in each call.

    static_size : S, of inputs x_static (B, S) that are the same in every step; with it there are
        parameters weight_static_l0 (4H, S) and, with `bidirectional`, weight_static_l0_reverse,
        and W_static x_static joins W_ih x of the first layer.

    Dropout between layers draws its masks from a seed of PyTorch's generator: `torch.manual_seed`
    makes it reproducible, with masks other than those of `torch.nn.LSTM`.
    """

    stands_for = nn.LSTM
    static_size = 0

    def __init__(self, *arguments: Any, static_size: int = 0, **keywords: Any):
        super().__init__(*arguments, **keywords)
        if integer("static_size", static_size, 0):
            self.static_size = static_size
            self._add_static_weights()

    def forward(  # type: ignore[override]
        self, input: Any, hx: State | None = None, resets: Tensor | None = None, *,
        x_static: Tensor | None = None,
    ) -> Any:  # fmt: skip
        """See `torch.nn.LSTM.forward`.

        Parameters
        ----------
        resets : bool (T, B), with `batch_first` (B, T), (T,) of input without a batch; of a
            PackedSequence as of the sequences before they were packed. Where rows begin anew, from
            zeros, and no gradient passes: see `lstmfast.lstm_forward`. ValueError where
            torch.nn.LSTM would have to take the call, which has none.
        x_static : (B, S), (S,) of input without a batch; needed with `static_size`
        """
        if isinstance(input, Proxy):
            return as_node(self, input, hx, resets=resets, x_static=x_static)
        self._check_static(x_static)
        packed = isinstance(input, PackedSequence)
        x = input.data if packed else input
        graph = is_traced()
        if packed and torch.compiler.is_compiling():
            return _outside_of_graphs(self, input, hx, resets, x_static)
        weights = self._weights()
        given = weights if x_static is None else [*weights, x_static]
        reason = asked(self._reason_against, input, x, hx, given, graph)
        if reason is not None:
            found = super().forward(input, hx)  # its errors come first
            for name, own in (("resets", resets), ("x_static", x_static)):
                if own is not None:
                    expected = "None where torch.nn.LSTM is used"
                    raise ValueError(f"{name}: expected {expected}, for {reason}")
            fall_back("lstmfast.torch.LSTM", reason)
            return found
        if resets is not None or x_static is not None:
            self._check_own(input, x, resets, x_static)
        if packed:
            return self._forward_packed(input, hx, weights, resets, x_static)
        way = self._run_in_graph if graph else self._run
        if x.dim() == 3:
            y, h_n, c_n = way(x, hx, weights, resets=resets, x_static=x_static)
            return y, (h_n, c_n)
        axis = 0 if self.batch_first else 1
        state = None if hx is None else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))
        anew = None if resets is None else resets.unsqueeze(axis)
        static = None if x_static is None else x_static.unsqueeze(0)
        y, h_n, c_n = way(x.unsqueeze(axis), state, weights, resets=anew, x_static=static)
        return y.squeeze(axis), (h_n.squeeze(1), c_n.squeeze(1))

    # ------------------------------------------------------------ the ways

    def _forward_packed(
        self, input: PackedSequence, hx: Any, weights: list[Tensor], resets: Tensor | None,
        x_static: Tensor | None,
    ) -> Any:  # fmt: skip
        x, batch_sizes, order, back = input
        state = None if hx is None else self.permute_hidden(hx, order)
        if resets is not None:
            resets = resets.t() if self.batch_first else resets
            resets = resets if order is None else resets[:, order]
        if x_static is not None and order is not None:
            x_static = x_static[order]
        y, h_n, c_n = self._run(x, state, weights, Packing(batch_sizes), resets, x_static)
        return PackedSequence(y, batch_sizes, order, back), self.permute_hidden((h_n, c_n), back)

    def _run(
        self, x: Tensor, hx: State | None, weights: list[Tensor], packing: Packing | None = None,
        resets: Tensor | None = None, x_static: Tensor | None = None,
    ) -> Found:  # fmt: skip
        """Run on x (T, B, I) or (B, T, I), or on packed data (N, I)."""
        (h0, c0), drops = hx or (None, None), self._drops()
        layout = self._layout(x, c0, packing, drops)
        if drops or needs_gradient((x, h0, c0, x_static, *weights)):
            self.invalidate()  # an update may follow
            others = (packing, resets, x_static, layout.form.precision)
            is_plain = h0 is not None and all(one is None for one in others)
            if is_plain and self._is_one_step(x):
                return StepFunction.apply(layout, x, h0, c0, *weights)
            seed = int(drawn_seed()) if drops else None
            return LSTMFunction.apply(layout, packing, seed, resets, x, h0, c0, x_static, *weights)
        if x.is_cuda:
            return run(layout, packing, None, x, h0, c0, weights, False, resets, x_static)[:3]
        kept = kept_for(self, layout.form, weights)
        y, state = kept.forward(x, h0, c0, packing, layout.batch_first, resets, x_static)
        return layout.results(y, *state)

    def _run_in_graph(
        self, x: Tensor, hx: State | None, weights: list[Tensor], resets: Tensor | None = None,
        x_static: Tensor | None = None,
    ) -> Found:  # fmt: skip
        """One node, `torch.ops.lstmfast.lstm`."""
        (h0, c0), drops = hx or (None, None), self._drops()
        seed, keep = drawn_seed() if drops else None, keeps(self, (x, h0, c0, x_static, *weights))
        layout = self._layout(x, c0, None, drops)
        return in_graph(layout, seed, keep, x, h0, c0, weights, resets, x_static)

    # ------------------------------------------------------------ what there is

    def extra_repr(self) -> str:
        own = f", static_size={self.static_size}" if self.static_size else ""
        return super().extra_repr() + own

    def _static_names(self) -> list[str]:
        """Of the parameters that there are with static inputs."""
        ends = ("", "_reverse")[: 1 + self.bidirectional] if self.static_size else ()
        return [f"weight_static_l0{end}" for end in ends]

    def _add_static_weights(self) -> None:
        like: Any = self.weight_ih_l0
        bound = 1 / math.sqrt(self.hidden_size)
        for name in self._static_names():
            weight = nn.Parameter(like.new_empty(len(like), self.static_size))
            setattr(self, name, nn.init.uniform_(weight, -bound, bound))

    def _check_static(self, x_static: Any) -> None:
        if (x_static is None) == (self.static_size > 0):
            expected = f"a tensor (B, {self.static_size})" if self.static_size else "None"
            found = "None" if x_static is None else "one"
            raise ValueError(
                f"x_static: expected {expected}, as static_size={self.static_size}, got {found}"
            )

    def _check_own(self, input: Any, x: Tensor, resets: Any, x_static: Any) -> None:
        """Raise ValueError for what does not fit the input, as sequences are before packing."""
        leading: tuple[int, ...] = tuple(x.shape[:-1])
        if isinstance(input, PackedSequence):
            T, B = len(input.batch_sizes), int(input.batch_sizes[0])
            leading = (B, T) if self.batch_first else (T, B)
        if resets is not None:
            check_beside("resets", resets, x, leading)
        if x_static is not None:
            rows = leading[not self.batch_first :][:1] if len(leading) == 2 else ()
            check_beside("x_static", x_static, x, (*rows, self.static_size))

    def _weights(self) -> list[Any]:
        """Those that are set now, in the order of `Form`; None in the place of one deleted."""
        parameters: Any = self._parameters
        names = [*self._flat_weights_names, *self._static_names()]
        return [parameters[n] if n in parameters else getattr(self, n, None) for n in names]

    def _drops(self) -> bool:
        return self.training and self.dropout > 0 and self.num_layers > 1

    def _is_one_step(self, x: Tensor) -> bool:
        """One step of one layer on the CPU, as a loop in Python calls it?"""
        parts = self.num_layers * (1 + self.bidirectional)
        steps = x.size(1 if self.batch_first else 0)
        return parts == 1 and steps == 1 and not self.proj_size and not x.is_cuda

    def _layout(self, x: Tensor, c0: Any, packing: Packing | None, drops: bool) -> Layout:
        batch_first, dropout = self.batch_first and packing is None, self.dropout if drops else 0.0
        projected, static = self.proj_size > 0, self.static_size > 0
        form = Form(self.bias, projected, self.bidirectional, static=static,
                    precision=precision_for(x))  # fmt: skip
        fused = packing is None and not projected
        return Layout(form, batch_first, dropout, dtypes_of_results(x, c0, fused, projected))

    def _reason_against(
        self, input: Any, x: Any, hx: Any, weights: list[Tensor], graph: bool
    ) -> str | None:
        """Return why this call goes to PyTorch, which also knows what its errors say."""
        packed = x is not input
        if not isinstance(x, Tensor) or x.dim() not in ((2,) if packed else (2, 3)):
            return "an input that is no sequence"
        if any(weight is None for weight in weights):
            return "a layer that lacks a weight"
        mode = mode_against(x, graph)
        if mode is not None:
            return mode
        state = state_of(hx)
        if state is None or x.shape[-1] != self.input_size:
            return "arguments of other shapes"
        if packed and graph:
            return "a PackedSequence under a dispatch mode"
        if packed and not is_consistent(input):
            return "a PackedSequence that is not consistent"
        if self.dropout == 1 and self._drops():
            return "dropout=1"
        if state[0] is not None and not self._fits(state, input, x, packed):
            return "states of other shapes"
        return reason_against((x, *state, *weights), graph)

    def _fits(self, state: Any, input: Any, x: Tensor, packed: bool) -> bool:
        """Are h0 and c0 shaped as torch.nn.LSTM has them?"""
        leading: tuple[Any, ...] = (self.num_layers * (1 + self.bidirectional),)
        if packed:
            leading += (int(input.batch_sizes[0]),)
        elif x.dim() == 3:
            leading += (x.shape[0 if self.batch_first else 1],)
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)
        return all(one.shape == (*leading, K) for one, K in zip(state, sizes, strict=True))


@torch.compiler.disable
def _outside_of_graphs(
    module: LSTM, input: PackedSequence, hx: Any, resets: Any, x_static: Any
) -> Any:
    """Packed sequences are no part of a graph: their sizes are data."""
    return module(input, hx, resets, x_static=x_static)
