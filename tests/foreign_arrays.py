"""Libraries whose arrays the tests lend to lstmfast; small classes that have one protocol each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Interface:
    """An array with nothing but `__array_interface__`."""

    def __init__(self, values):
        self.values = values

    @property
    def __array_interface__(self):
        return self.values.__array_interface__


class Capsule:
    """An array with nothing but DLPack."""

    def __init__(self, values):
        self.values = values

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()

    def __dlpack__(self, **asked):
        return self.values.__dlpack__(**asked)


class Legacy(Capsule):
    """The same before DLPack 1.0, which cannot say that memory may be written."""

    def __dlpack__(self, stream=None):
        return self.values.__dlpack__()


class Standard(Capsule):
    """An array of a library that keeps to the array API standard, and is its namespace."""

    def __array_namespace__(self, api_version=None):
        return Standard

    @staticmethod
    def from_dlpack(array):
        return Standard(np.from_dlpack(array))


class OnGpu:
    """Says that it is in a GPU's memory."""

    shape, device = (2, 3), "cuda:0"

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, **asked):
        raise AssertionError("nobody may touch it")


class Library(NamedTuple):
    """make: an array of it with NumPy's values, on memory of its own; values: the way back."""

    name: str
    make: Callable[[Any], Any]
    values: Callable[[Any], Any]
    result: type  # of what calls return
    immutable: bool = False


def own(values):
    """Return a copy that is as strided as what was given, but for negative strides."""
    return np.copy(values, order="K")


def torch_library():
    import torch

    return Library("torch", lambda v: torch.from_numpy(own(v)), lambda t: t.numpy(), torch.Tensor)


def jax_library():
    import jax

    return Library("jax", jax.numpy.asarray, np.asarray, jax.Array, immutable=True)


def tensorflow_library():
    import tensorflow as tf

    return Library("tensorflow", tf.constant, np.asarray, tf.Tensor, immutable=True)


def taken(array):
    return array if isinstance(array, np.ndarray) else array.values


SMALL = (
    Library("interface", lambda v: Interface(own(v)), taken, np.ndarray),
    Library("dlpack", lambda v: Capsule(own(v)), taken, np.ndarray),
    Library("legacy", lambda v: Legacy(own(v)), taken, np.ndarray, immutable=True),
    Library("standard", lambda v: Standard(own(v)), taken, Standard),
)
