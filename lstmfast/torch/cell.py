"""`torch.nn.LSTMCell`, on lstmfast's kernels."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.fx import Proxy

from ..fallback import fall_back
from .eager import LSTMFunction, run
from .kept import KeepsWeights, kept_for
from .layout import Form, Layout, to_array
from .narrow import dtypes_of_results, precision_for
from .one_step import StepFunction
from .operators import in_graph
from .routes import (
    as_node,
    asked,
    is_traced,
    keeps,
    mode_against,
    needs_gradient,
    reason_against,
    state_of,
)

__all__ = ["LSTMCell"]

State = tuple[Tensor, Tensor]


class LSTMCell(KeepsWeights, nn.LSTMCell):
    """A `torch.nn.LSTMCell` with the same arguments, parameters, results and errors.

    What `lstmfast.torch.LSTM` says of kernels, shared tensors and packed weights holds here.
    """

    stands_for = nn.LSTMCell

    def forward(self, input: Tensor, hx: State | None = None) -> State:
        """See `torch.nn.LSTMCell.forward`."""
        if isinstance(input, Proxy):
            return as_node(self, input, hx)
        graph = is_traced()
        weights = self._weights()
        reason = asked(self._reason_against, input, hx, weights, graph)
        if reason is not None:
            found = super().forward(input, hx)  # its errors come first
            fall_back("lstmfast.torch.LSTMCell", reason)
            return found
        h, c = hx or (None, None)
        layout = _layout(input, c, weights, cell=True)
        if not (graph or input.is_cuda or needs_gradient((input, h, c, *weights))):
            kept = kept_for(self, layout.form, weights)
            h_n, c_n = kept.step(to_array(input), to_array(h), to_array(c))
            return layout.results(h_n, h_n, c_n)[1:]
        batched = input.dim() == 2
        is_plain = not (graph or input.is_cuda or layout.form.precision)
        if batched and h is not None and is_plain:
            self.invalidate()  # an update may follow
            return StepFunction.apply(layout, input, h, c, *weights)  # type: ignore[no-any-return]
        x = input.unsqueeze(0) if batched else input[None, None]
        h0, c0 = (s if s is None else s.unsqueeze(0) if batched else s[None, None] for s in (h, c))
        h_n, c_n = self._run(x, h0, c0, weights, graph)
        return (h_n[0], c_n[0]) if batched else (h_n[0, 0], c_n[0, 0])

    def _run(self, x: Tensor, h0: Any, c0: Any, weights: list[Tensor], graph: bool) -> State:
        """A sequence of one step (1, B, I) -> h_n and c_n (1, B, H)."""
        layout, given = _layout(x, c0, weights), (x, h0, c0, *weights)
        if graph:
            _, h_n, c_n = in_graph(layout, None, keeps(self, given), x, h0, c0, weights)
            return h_n, c_n
        if needs_gradient(given):
            self.invalidate()  # an update may follow
            return LSTMFunction.apply(layout, None, None, None, x, h0, c0, None, *weights)[1:]
        return run(layout, None, None, x, h0, c0, weights, training=False)[1:3]

    def _weights(self) -> list[Tensor]:
        both = [self.bias_ih, self.bias_hh]
        return [self.weight_ih, self.weight_hh, *(b for b in both if b is not None)]

    def _reason_against(self, x: Any, hx: Any, weights: list[Tensor], graph: bool) -> str | None:
        """Return why this call goes to PyTorch, which also knows what its errors say."""
        if not isinstance(x, Tensor) or x.dim() not in (1, 2):
            return "an input that is no row and no batch"
        if weights[0] is None or weights[1] is None or len(weights) == 3:
            return "a cell that lacks a weight"
        mode = mode_against(x, graph)
        if mode is not None or x.shape[-1] != self.input_size:
            return mode or "an input of another size"
        state = state_of(hx)
        shape = (*x.shape[:-1], self.hidden_size)
        if state is None or any(s is not None and s.shape != shape for s in state):
            return "states of other shapes"
        return reason_against((x, *state, *weights), graph)


def _layout(x: Tensor, c0: Any, weights: list[Tensor], cell: bool = False) -> Layout:
    form = Form(len(weights) > 2, False, False, cell, precision=precision_for(x))
    return Layout(form, False, dtypes=dtypes_of_results(x, c0, False, False))
