"""threadpoolctl sees lstmfast and limits it, whichever of the two is imported first.

`threadpool_limits(1)` reaches lstmfast like every other library; `user_api="lstmfast"` reaches it
alone, and a limit for "blas" or "openmp" leaves it as it is. A limit holds for all threads of the
process, as `set_num_threads` does.

threadpoolctl is never imported from here. It knows libraries by classes registered with it and asks
nobody for them: so where it comes second, a finder in front of `sys.meta_path` awaits its name.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from . import capi
from .config import __version__

NAME = "threadpoolctl"


def register(threadpoolctl: Any) -> None:
    """Register a controller of the compiled part (before threadpoolctl 3.2 there is no way)."""
    if not hasattr(threadpoolctl, "register"):
        return
    told = [0]  # what was asked before the last limit, of which there is one in the process

    class LSTMFastController(threadpoolctl.LibController):  # type: ignore[misc]
        user_api = internal_api = "lstmfast"
        filename_prefixes = ("capi.",)
        check_symbols = ("lf_get_num_threads",)  # other libraries named capi lack it

        def get_num_threads(self) -> int:
            told[0] = capi.get_num_threads()
            return told[0]

        def set_num_threads(self, num_threads: int) -> None:
            capi.limit_num_threads(num_threads, told[0])

        def get_version(self) -> str:
            return __version__

    threadpoolctl.register(LSTMFastController)


class Loader:
    """The loader of threadpoolctl, which registers after it has loaded and then is forgotten."""

    def __init__(self, loader: Any):
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        register(module)


class Finder:
    """Finds threadpoolctl by the other finders and nothing else."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return what the first finder that knows the name gives, its loader replaced."""
        if name != NAME:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = Loader(spec.loader)  # type: ignore[assignment]
                return spec
        return None


def watch() -> None:
    """Register with the threadpoolctl that is there, and with any that is imported later."""
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
    if sys.modules.get(NAME) is not None:
        register(importlib.import_module(NAME))  # waits where another thread is importing it
    main = sys.modules.get("__main__")
    if getattr(getattr(main, "__spec__", None), "name", None) == NAME:  # python -m threadpoolctl
        register(main)
