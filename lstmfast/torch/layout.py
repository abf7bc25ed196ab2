"""How torch.nn's modules hold what `lstm_forward` takes: tensors as arrays, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..ops.options import QUIET, Noise

__all__ = ["Form", "Layout", "to_array", "to_tensor"]


class Form(NamedTuple):
    """What a module's arguments say of its weights, for all calls alike.

    The weights come in torch.nn's order, for each layer and direction: weight_ih (4H, I), weight_hh
    (4H, P), with `bias` bias_ih (4H,) and bias_hh (4H,), and if `projected` weight_hr (P, H).
    """

    bias: bool
    projected: bool
    bidirectional: bool
    cell: bool = False  # states have no axis of layers
    static: bool = False  # behind them weight_static (4H, S) of the first layer's directions
    precision: str | None = None  # as `lstm_forward` takes it: "bfloat16" of such tensors

    @property
    def kinds(self) -> int:
        """The number of weights of each part."""
        return 2 + 2 * self.bias + self.projected

    def parts(self, tensors: Sequence[Tensor]) -> int:
        """The number of layers and directions that these weights have."""
        return (len(tensors) - self.static * (1 + self.bidirectional)) // self.kinds

    def weights(self, tensors: Sequence[Tensor]) -> dict[str, Any]:
        """Return the keywords W_ih, W_hh, b, ...: lists of arrays that share their memory.

        Only b is new: the sum of both biases.
        """
        arrays = list(map(to_array, tensors))
        end = self.parts(tensors) * self.kinds
        arrays, static = arrays[:end], arrays[end:]
        each = [arrays[k :: self.kinds] for k in range(self.kinds)]
        found = {"W_ih": each[0], "W_hh": each[1]}
        if self.bias:
            found["b"] = [b_ih + b_hh for b_ih, b_hh in zip(each[2], each[3], strict=True)]
        if self.projected:
            found["W_hr"] = each[-1]
        if self.static:
            found["W_static"] = static
        return found

    def gradients(self, found: Any) -> list[Tensor]:
        """Return those of `lstm_backward` in the order of the weights; both biases' are alike."""
        each = [found.dW_ih, found.dW_hh]
        each += [found.db, found.db] if self.bias else []
        each += [found.dW_hr] if self.projected else []
        parts = len(found.dW_ih)
        tensors = [to_tensor(kind[k]) for k in range(parts) for kind in each]
        for k in range(3, len(tensors), self.kinds) if self.bias else ():
            tensors[k] = tensors[k].clone()  # two parameters must not share one .grad
        static = found.dW_static if isinstance(found.dW_static, list) else [found.dW_static]
        return tensors + ([to_tensor(one) for one in static] if self.static else [])


class Layout(NamedTuple):
    """How one call is made: the weights' form, and what belongs to the call alone."""

    form: Form
    batch_first: bool
    dropout: float = 0.0
    dtypes: tuple[torch.dtype, torch.dtype] | None = None  # of h and c, if not the arrays'

    def noise(self) -> Noise:
        return Noise(layer_dropout=self.dropout) if self.dropout else QUIET

    def results(self, y: Any, h_n: Any, c_n: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Return arrays as tensors, of the dtypes in which the caller has results."""
        found = to_tensor(y), to_tensor(h_n), to_tensor(c_n)
        if self.dtypes is None:
            return found
        of_h, of_c = self.dtypes
        return found[0].to(of_h), found[1].to(of_h), found[2].to(of_c)


def to_array(tensor: Tensor | None) -> Any:
    """Return NumPy's view of a tensor on the CPU; on a GPU the tensor without its history.

    Of bfloat16, which NumPy has not, a copy in float32.
    """
    if tensor is None:
        return None
    tensor = tensor.detach()
    if tensor.is_cuda:
        return tensor
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor.resolve_neg()).numpy()


def to_tensor(array: Any) -> Tensor:
    return torch.from_numpy(array) if isinstance(array, np.ndarray) else array
