"""Lets torch.compile trace lstmfast's modules, and them only.

Dynamo breaks its graph at every instance of torch.nn.LSTM unless `torch._dynamo.config.allow_rnn`
is set, which would also unroll PyTorch's own. It is set for the moment in which Dynamo looks at a
module of ours. Dynamo takes a second to import, so this waits until somebody does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from typing import Any

__all__ = ["watch"]

BUILDER = "torch._dynamo.variables.builder"


def watch(kind: type) -> None:
    """Have Dynamo trace instances of `kind`, a subclass of torch.nn.LSTM."""
    if BUILDER in sys.modules:
        _admit(sys.modules[BUILDER], kind)
    else:
        sys.meta_path.insert(0, _Watch(lambda module: _admit(module, kind)))


class _Watch(MetaPathFinder):
    """Calls a function on the builder's module as soon as that is imported."""

    def __init__(self, then: Callable[[Any], None]):
        self.then = then

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != BUILDER:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                self.then(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _admit(builder: Any, kind: type) -> None:
    """Wrap the method that would refuse; without it graphs break at the module, as they would."""
    own = getattr(getattr(builder, "VariableBuilder", None), "wrap_module", None)
    if own is None:
        return

    @wraps(own)
    def wrap_module(self: Any, value: Any) -> Any:
        if not isinstance(value, kind):
            return own(self, value)
        config = import_module("torch._dynamo.config")
        with config.patch(allow_rnn=True):
            return own(self, value)

    builder.VariableBuilder.wrap_module = wrap_module
