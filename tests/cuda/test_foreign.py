"""Arrays of others in the simulator, where their memory is the host's; ours as others see them."""

import gc
import weakref

import numpy as np
import pytest

from lstmfast.cuda.runtime import array, dlpack, foreign
from lstmfast.cuda.runtime.array import BFLOAT16


class OnGpu:
    """An array of NumPy that says that it is on a GPU."""

    def __init__(self, values, **other):
        self.values = values
        typestr = "<V2" if values.dtype == BFLOAT16 else values.dtype.str
        self.__cuda_array_interface__ = {
            "shape": values.shape, "typestr": typestr, "data": (values.ctypes.data, False),
            "strides": values.strides, "version": 3, "stream": 1,
        } | other  # fmt: skip


def numbers(dtype=np.float32):
    return np.arange(24).reshape(4, 6).astype(dtype)


@pytest.mark.parametrize("dtype", (np.float64, np.float32, np.float16, BFLOAT16, np.int32))
def test_adopted_memory_is_shared(dtype):
    values = numbers(dtype)
    part = values[1:, ::2]
    adopted = foreign.adopt(OnGpu(part))
    assert adopted.shape == (3, 3) and adopted.dtype == dtype
    assert (adopted.copy_to_host() == part).all()
    adopted.copy_from_host(np.zeros((3, 3), dtype))
    assert not part.any() and values[0, 1] == 1


def test_adopted_memory_is_kept_alive():
    owner = OnGpu(numbers())
    watched = weakref.ref(owner)
    adopted = foreign.adopt(owner)
    del owner
    gc.collect()
    assert watched() is not None
    row = adopted[2]
    del adopted
    assert row.copy_to_host()[0] == 12
    del row
    gc.collect()
    assert watched() is None


def test_arrays_of_our_own_are_adopted_as_they_are():
    ours = array.zeros((2, 3), np.float32)
    assert foreign.adopt(ours) is ours
    made = foreign.like(ours).empty((2, 2), np.float16)
    assert made.dtype == np.float16
    assert foreign.like(ours).give(made) is made
    assert foreign.stream_of(ours) is None


def views():
    whole = array.from_host(numbers())
    return {
        "whole": (whole, numbers()),
        "part": (whole[1:3, ::2], numbers()[1:3, ::2]),
        "transposed": (whole.transpose(), numbers().T),
        "empty": (whole[:0], numbers()[:0]),
        "number": (whole[1, 2], numbers()[1, 2]),
    }


@pytest.mark.parametrize("name", views())
def test_numpy_takes_ours_by_dlpack(name):
    ours, expected = views()[name]
    found = np.from_dlpack(ours)
    assert found.dtype == expected.dtype and found.shape == np.shape(expected)
    assert (found == expected).all()


@pytest.mark.parametrize("name", views())
def test_torch_takes_ours_by_dlpack(name):
    torch = pytest.importorskip("torch")
    ours, expected = views()[name]
    found = torch.from_dlpack(ours)
    assert found.shape == np.shape(expected)
    assert (found.numpy() == expected).all()


@pytest.mark.parametrize(
    "dtype", (np.float64, np.float16, BFLOAT16, np.int64, np.int32, np.int8, np.uint8, np.bool_)
)
def test_torch_takes_every_dtype(dtype):
    torch = pytest.importorskip("torch")
    values = (numbers() % 2).astype(dtype)
    found = torch.from_dlpack(array.from_host(values))
    assert str(found.dtype) == f"torch.{values.dtype.name}"
    assert (found.double().numpy() == values.astype(float)).all()


def test_jax_takes_ours_by_dlpack():
    jax_dlpack = pytest.importorskip("jax.dlpack")
    found = jax_dlpack.from_dlpack(array.from_host(numbers(BFLOAT16)))
    assert found.dtype == BFLOAT16
    assert (np.asarray(found) == numbers(BFLOAT16)).all()


def test_what_was_given_lives_until_it_is_no_longer_used():
    ours = array.from_host(numbers())
    memory = weakref.ref(ours.memory)
    taken = np.from_dlpack(ours)
    refused = ours.__dlpack__()  # taken by nobody
    del ours
    gc.collect()
    assert memory() is not None and taken[0, 1] == 1
    dlpack.sweep()
    assert len(dlpack._given) == 2
    del taken, refused
    gc.collect()
    dlpack.sweep()
    assert memory() is None and not dlpack._given


def test_numpy_says_why_it_refuses_ours():
    """It lacks the dtype, and drops the capsule while its exception is set."""
    ours = array.from_host(numbers(BFLOAT16))
    for _ in range(2):
        with pytest.raises((BufferError, RuntimeError), match="Unsupported dtype"):
            np.from_dlpack(ours)
    dlpack.sweep()
    assert not dlpack._given


def test_dlpack_shares_and_never_copies():
    ours = array.zeros(3, np.float32)
    np.from_dlpack(ours, device=None, copy=None)
    with pytest.raises(BufferError, match="expected to share memory"):
        ours.__dlpack__(copy=True)
    with pytest.raises(BufferError, match="expected to share memory"):
        ours.__dlpack__(dl_device=(2, 0))


def test_the_simulator_has_no_array_on_a_gpu_for_others():
    assert not hasattr(array.zeros(3, np.float32), "__cuda_array_interface__")


def test_astype():
    ours = array.from_host(numbers())[:, ::2]
    for dtype in (BFLOAT16, np.float16, np.float64, np.int32):
        cast = ours.astype(dtype)
        assert cast.dtype == dtype and cast.is_contiguous
        assert (cast.copy_to_host() == numbers()[:, ::2].astype(dtype)).all()
    with pytest.raises(ValueError, match=r"dtype: expected one of float64, .*, got uint8"):
        ours.astype(np.uint8)


@pytest.mark.parametrize("step", (1, 2))
def test_copy_from_host(step):
    ours = array.zeros((4, 6), np.float32)
    part = ours[:, ::step]
    part.copy_from_host(numbers()[:, ::step])
    expected = np.zeros((4, 6))
    expected[:, ::step] = numbers()[:, ::step]
    assert (ours.copy_to_host() == expected).all()
    with pytest.raises(ValueError, match=r"values: expected \(4, .\) of float32, got \(6,\) of f"):
        part.copy_from_host(np.zeros(6, np.float32))


@pytest.mark.parametrize(
    ("values", "other", "message"),
    (
        (numbers(), {"mask": numbers()}, "x: expected an array without a mask"),
        (numbers(np.complex64), {}, "x: expected numbers, got dtype <c8"),
        (numbers(">f4"), {}, "x: expected numbers, got dtype >f4"),
        (numbers()[::-1], {}, r"x: expected strides from 0 on, got \(-24, 4\)"),
    ),
)
def test_what_has_no_place_here(values, other, message):
    with pytest.raises(ValueError, match=message):
        foreign.adopt(OnGpu(values, **other), "x")
