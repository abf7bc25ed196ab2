"""Host arrays of other libraries, in and out: PyTorch, JAX, TensorFlow, whatever tells of itself.

They come in as arrays of NumPy on the same memory. Results are made on NumPy's memory and go out as
arrays of the kind of a call's first one, handed over without a copy where the library allows it.
A library is never imported: an array of it shows that it is there. For arrays in a GPU's memory
there is `lstmfast.cuda.runtime.foreign`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import Array
from .checks import describe
from .lstm import LSTMCache
from .placement import library_of, on_device
from .rnn import RNNCache

__all__ = ["NATIVE", "Lent", "adopt", "adopt_all", "as_like", "is_foreign", "lend", "like"]

NATIVE = (np.ndarray, LSTMCache, RNNCache)  # first arguments of calls that are NumPy's alone
PLAIN = (np.ndarray, np.generic, bool, int, float, str)  # what is no array of another library
IMMUTABLE = ("jax", "tensorflow")  # libraries that share or reuse memory as if it never changed
ALIGNED = 64  # bytes: TensorFlow ends the process over a tensor of another alignment

Give = Callable[[Array], Any]
"""Turns an array of NumPy that nobody else has into one of another library."""


@dataclass(eq=False, slots=True)
class Lent:
    """The cache of a call on another library's arrays, and what its gradients are to become."""

    cache: Any
    give: Give


def is_foreign(value: Any) -> bool:
    """Is this an array, wherever it lies, that is not NumPy's? Or a sequence that has one?"""
    if value is None or isinstance(value, PLAIN):
        return False
    if isinstance(value, (list, tuple)):
        return any(map(is_foreign, value))
    return (
        hasattr(value, "__dlpack__")
        or hasattr(value, "__array_interface__")
        or hasattr(value, "__cuda_array_interface__")
        or (library_of(value) == "tensorflow" and hasattr(value, "__array__"))  # its variables
    )


# ---------------------------------------------------------------- in


def adopt(name: str, value: Any) -> Array:
    """Return an array of NumPy that shares the memory of `value` and keeps it alive.

    It is read-only if the library's arrays are. JAX and TensorFlow are waited for; an array of JAX
    that is on many devices and a variable of TensorFlow may be copied.

    Parameters
    ----------
    name : what errors call it
    value : one array for which `is_foreign` holds

    Raises
    ------
    ValueError
        It is on a GPU, needs a gradient, holds no values (traced, symbolic), is not strided, or is
        of a dtype that NumPy lacks.
    """
    if on_device(value):
        raise ValueError(f"{name}: expected an array on the host, got {describe(value)}")
    library = library_of(value)
    if library == "torch":
        _check_tensor(name, value)
    try:
        array = _shared(library, value)
    except Exception as error:  # of whatever type a library finds right
        reason = str(error).partition("\n")[0]
        expected = "an array whose memory can be read"
        raise ValueError(f"{name}: expected {expected}, got {_kind(value)}: {reason}") from error
    if array.dtype.kind not in "biufc":
        _refuse_dtype(name, array.dtype)
    return array


def adopt_all(name: str, value: Any) -> Any:
    """`adopt` the arrays of other libraries in nested sequences; leave anything else as it is."""
    if isinstance(value, (list, tuple)):
        return _each(name, value, adopt_all)
    return adopt(name, value) if is_foreign(value) else value


def _each(name: str, values: Sequence[Any], change: Callable[[str, Any], Any]) -> Any:
    """`values` in a sequence of the same type, each changed; names are `W_ih[0]`, `norm.b_c`."""
    fields = getattr(values, "_fields", None)
    if fields is None:
        changed = [change(f"{name}[{k}]", one) for k, one in enumerate(values)]
        return changed if isinstance(values, list) else tuple(changed)
    named = zip(fields, values, strict=True)
    return type(values)(*(change(f"{name}.{field}", one) for field, one in named))


def _shared(library: str, value: Any) -> Array:
    if library == "torch":
        return (value.detach() if value.requires_grad else value).numpy()  # type: ignore[no-any-return]
    if library not in IMMUTABLE and not hasattr(value, "__array_interface__"):
        return np.from_dlpack(value)
    array = np.asarray(value)
    if library in IMMUTABLE:
        array = array.view()
        array.flags.writeable = False
    return array


def _check_tensor(name: str, tensor: Any) -> None:
    """Raise ValueError if a gradient would be lost, or for types that NumPy lacks."""
    if tensor.requires_grad and sys.modules["torch"].is_grad_enabled():
        remedy = f"pass {name}.detach(), or use lstmfast.torch"
        raise ValueError(
            f"{name}: expected a tensor that needs no gradient, got one that does: {remedy}"
        )
    dtype = str(tensor.dtype).removeprefix("torch.")
    if not hasattr(np, dtype):
        _refuse_dtype(name, dtype)


def _refuse_dtype(name: str, dtype: Any) -> None:
    raise ValueError(f"{name}: expected dtype float32 or float64, or integers, got {dtype}")


def _kind(value: Any) -> str:
    return f"{type(value).__module__.partition('.')[0]}'s {type(value).__name__}"


# ---------------------------------------------------------------- out


def like(x: Any) -> Give | None:
    """Return what makes arrays of the kind of `x`, or of its first; None for NumPy's.

    A library that is not known by name is asked for its `from_dlpack` (the array API standard).
    """
    if isinstance(x, (list, tuple)):
        return like(x[0]) if x else None
    if isinstance(x, Lent):
        return x.give
    if x is None or isinstance(x, NATIVE):
        return None
    known = KINDS.get(library_of(x))
    if known is not None and is_foreign(x):
        return known
    ask = getattr(x, "__array_namespace__", None)
    take = None if ask is None else getattr(ask(), "from_dlpack", None)
    return None if take is None else _Taken(take)


@dataclass(frozen=True)
class _Taken:
    """A library's `from_dlpack`; an object, so that what holds it can be pickled."""

    take: Give

    def __call__(self, array: Array) -> Any:
        return self.take(_plain(array))


def as_like(x: Any, array: Array) -> Any:
    """Return a new array of NumPy as one of the kind of `x`."""
    give = like(x)
    return array if give is None else give(array)


def _plain(array: Array) -> Array:
    """The array, or a copy that is C-contiguous and may be written, as all libraries take it."""
    flags = array.flags
    return array if flags.c_contiguous and flags.writeable else array.copy(order="C")


def _to_torch(array: Array) -> Any:
    usable = array.flags.writeable and min(array.strides, default=0) >= 0
    return sys.modules["torch"].from_numpy(array if usable else array.copy(order="C"))


def _to_jax(array: Array) -> Any:
    """It copies what is not aligned as it wants."""
    from jax import dlpack

    return dlpack.from_dlpack(_plain(array))


def _to_tensorflow(array: Array) -> Any:
    tensorflow, array = sys.modules["tensorflow"], _plain(array)
    if array.size and array.ctypes.data % ALIGNED == 0:
        return tensorflow.experimental.dlpack.from_dlpack(array.__dlpack__())
    with tensorflow.device("CPU:0"):
        return tensorflow.convert_to_tensor(array)


KINDS: dict[str, Give] = {"torch": _to_torch, "jax": _to_jax, "tensorflow": _to_tensorflow}


# ---------------------------------------------------------------- a call


def lend(
    function: Callable[..., Any],
    names: Sequence[str],
    first: Any,
    arguments: Sequence[Any],
    keywords: dict[str, Any],
    written: Collection[str] = (),
) -> Any:
    """Call a function of NumPy's arrays on arrays of any library.

    Parameters
    ----------
    function : what is called
    names : of its parameters
    first : the argument whose kind the results get
    arguments, keywords : what it was given
    written : names of parameters that are changed in place

    Raises
    ------
    ValueError
        As `adopt`, or an array that is to be changed is read-only.
    """
    call = _Call(first, written)
    labels = [*names, *(f"argument {k}" for k in range(len(names), len(arguments)))]
    positional = [call.take(*one) for one in zip(labels, arguments, strict=False)]
    named = {name: call.take(name, value) for name, value in keywords.items()}
    found = function(*positional, **named)
    for value in call.changed:
        _tell_changed(value)
    return call.give(found)


class _Call:
    """The arrays of one call: which of NumPy's stands for whose."""

    def __init__(self, first: Any, written: Collection[str]):
        self.kind, self.written = like(first), written
        self.owners: dict[int, tuple[Array, Any]] = {}  # by id: an array, and what it stands for
        self.changed: list[Any] = []

    def take(self, name: str, value: Any) -> Any:
        """An argument as the function takes it."""
        if isinstance(value, Lent):
            return value.cache
        if isinstance(value, (list, tuple)):
            return _each(name, value, self.take)
        array = value
        if is_foreign(value):
            array = adopt(name, value)
            if name.partition("[")[0] in self.written:
                self._check_writable(name, value, array)
        if isinstance(array, np.ndarray):
            self.owners[id(array)] = array, value
        return array

    def _check_writable(self, name: str, value: Any, array: Array) -> None:
        if not array.flags.writeable:
            expected = "an array that can be changed in place"
            raise ValueError(f"{name}: expected {expected}, got {_kind(value)}, which is read-only")
        self.changed.append(value)

    def give(self, found: Any) -> Any:
        """Results as arrays of the kind of the first; an array that was given is given back."""
        if isinstance(found, np.ndarray):
            if id(found) in self.owners:
                return self.owners[id(found)][1]
            return found if self.kind is None else self.kind(found)
        if isinstance(found, (LSTMCache, RNNCache)) and self.kind is not None:
            return Lent(found, self.kind)
        if not isinstance(found, (list, tuple)):
            return found
        given = _each("", found, lambda _, one: self.give(one))
        for name, value in getattr(found, "__dict__", {}).items():  # dp and others of LSTMGradients
            setattr(given, name, self.give(value))
        return given


def _tell_changed(value: Any) -> None:
    """Count a change of a tensor, as PyTorch does for its own operations in place."""
    if library_of(value) == "torch" and not value.is_inference():
        sys.modules["torch"].autograd.graph.increment_version(value)
