"""Every option of the LSTM family, every pair of them, and handfuls, against the oracle."""

import os
from itertools import combinations

import pytest
from agreement import DTYPES
from family import OPTIONS, assert_case_close, compatible, family_case

SHAPES = ((5, 4, 6, 19), (3, 7, 3, 8), (1, 1, 5, 16), (6, 3, 4, 33))
EVERY_SHAPE = bool(os.environ.get("LSTMFAST_EVERY_PAIR"))  # .ci/full
PAIRS = {f"{a}+{b}": OPTIONS[a] | OPTIONS[b] for a, b in combinations(OPTIONS, 2)}
PAIRS = {name: options for name, options in PAIRS.items() if compatible(options)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_each_option(options, shape, dtype):
    assert_case_close(family_case(shape, dtype, **options))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
def test_each_pair(name, dtype):
    """One shape for each pair, or all of them where there is time."""
    first = sum(map(ord, name)) % len(SHAPES)
    for shape in SHAPES if EVERY_SHAPE else SHAPES[first : first + 1]:
        assert_case_close(family_case(shape, dtype, **PAIRS[name]))
