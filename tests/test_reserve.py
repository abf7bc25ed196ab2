"""What a call keeps and gives holds nothing of the memory that it lies on: every byte is written.

Two calls on memory full of different bytes must leave the same: frameworks keep reserves, write
them to files and compare them.
"""

import numpy as np
import pytest
from agreement import DTYPES, same_bits
from capi_direct import Direct
from capi_family import Run, handle_of
from family import OPTIONS, compatible, family_case

from lstmfast import capi, ops

SHAPE = T, B, I, H = 7, 5, 4, 21
LENGTHS = {
    "falling": [5, 4, 2, 1, 0],
    "short": [0, 2, 1, 2, 0],  # the longest ends before T
    "none": [0] * B,
    "all": [T] * B,
}
POISONS = (0x00, 0xFF, 0x5A)


def left_by(case, poison):
    """Every byte that forward and backward leave, on memory full of `poison`."""
    probe = Direct()
    lstm = handle_of(probe, case, int(case.keywords["training"]))
    run = Run(probe, case, lstm, poison=poison)
    status = run.status("forward", **({} if case.keywords["training"] else {"reserve": 0}))
    kept = run.arrays["reserve"].copy()
    if case.keywords["training"]:
        status |= run.status("backward")
    probe.free(lstm)
    assert status == 0
    return run.found() | ({"reserve": kept} if case.keywords["training"] else {})


def assert_nothing_shows(case):
    first, *others = (left_by(case, poison) for poison in POISONS)
    if not case.keywords["training"]:
        first = {name: first[name] for name in ("y", "h_n", "c_n", "cells")}
    for other in others:
        for name, array in first.items():
            assert same_bits(other[name], array), name


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("lengths", [None, *LENGTHS])
def test_bytes_do_not_depend_on_memory(option, lengths):
    chosen = OPTIONS[option]
    if lengths is not None and not compatible(chosen | {"lengths": True}):
        return
    dtype = DTYPES[len(option) % 2]
    case = family_case(SHAPE, dtype, **chosen | ({} if lengths is None else {"lengths": True}))
    if lengths is not None:
        case.keywords["lengths"] = np.array(LENGTHS[lengths])
    assert_nothing_shows(case)
    if "only" not in chosen:
        case.keywords["training"] = False
        assert_nothing_shows(case)


@pytest.mark.parametrize("chosen", ({}, {"layers": 2, "bidirectional": True}, {"proj": 9}), ids=str)
def test_reserve_of_is_the_same_each_time(chosen):
    """On memory that the pool keeps: what calls before have left there."""
    case = family_case((40, 16, 8, 33), "float32", lengths=True, **chosen)
    given = case.weights | case.keywords

    def reserve(byte):
        for size in (2 << 20, 1 << 20, 600 << 10, 300 << 10):  # all that the pool may give
            np.frombuffer(memoryview(capi.Block(size)), np.uint8)[:] = byte
        *_, cache, _ = ops.lstm_forward(case.x, h0=case.h0, c0=case.c0, **given)
        return ops.reserve_of(cache).copy()

    assert same_bits(reserve(0xFF), reserve(0x11))
