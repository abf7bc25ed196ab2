"""Drop-ins for `torch.nn.LSTM` and `torch.nn.LSTMCell`: see docs/torch.md.

from lstmfast.torch import LSTM               # in place of torch.nn.LSTM
print(lstmfast.torch.accelerate(model))       # or: swaps those of a model in place
"""

from __future__ import annotations

from . import operators as _operators
from .cell import LSTMCell
from .compiling import watch as _watch
from .lstm import LSTM
from .swap import Swapped, accelerate, restore

_watch(LSTM)
del _operators

__all__ = ["LSTM", "LSTMCell", "Swapped", "accelerate", "restore"]
