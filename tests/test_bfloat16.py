"""precision="bfloat16" on the CPU: factors of products are rounded, sums are not.

The oracle rounds what the kernels round. What is left are the rounding of float32 and, here and
there, a number that lies so near to the middle between two of bfloat16 that it is rounded to the
other one: by 2⁻⁸ of itself, once in some thousand numbers, in one term of a sum. So most results
agree as those of float32 do, and the largest errors stay far below what rounding as such costs.
"""

import copy
import pickle

import naive
import numpy as np
import pytest
from agreement import FORWARD_BAR, GRADIENT_BAR, forward_error, gradient_error, same_bits
from family import (
    OPTIONS,
    assert_same_at_any_number_of_threads,
    compatible,
    computed,
    expected,
    family_case,
)
from test_family import HANDFULS, SHAPES

from lstmfast import LSTMStream, PreparedLSTM, lstm_backward, lstm_forward

LARGEST = 2e-3, 1e-2  # of outputs, of gradients; measured: 0 and 0
STEEP = ("clip", "cell_clip", "recurrent_activation")  # a slope jumps: gradients of one side


def narrow(case):
    """The same case in bfloat16, for the library and for the oracle."""
    network = case.network._replace(rounded=naive.bfloat16)
    return case._replace(keywords=case.keywords | {"precision": "bfloat16"}, network=network)


def errors(found, wanted, measure):
    return {name: measure(found[name], ref) for name, ref in wanted.items() if ref.size}


def middle(found, wanted):
    """The median error of all numbers, relative to the largest of each array."""
    parts = [abs(found[name] - ref) / max(abs(ref).max(), 1e-30) for name, ref in wanted.items()]
    return float(np.median(np.concatenate([np.ravel(part) for part in parts])))


def assert_narrow_case_close(case, steep=False):
    case = narrow(case)
    outputs, gradients = computed(case)
    ref_outputs, ref_gradients = expected(case)
    assert outputs.keys() == ref_outputs.keys() and gradients.keys() == ref_gradients.keys()
    assert middle(outputs, ref_outputs) <= FORWARD_BAR["float32"]
    for name, error in errors(outputs, ref_outputs, forward_error).items():
        assert error <= LARGEST[0], name
    if gradients and not steep:
        assert middle(gradients, ref_gradients) <= GRADIENT_BAR["float32"]
        for name, error in errors(gradients, ref_gradients, gradient_error).items():
            assert error <= LARGEST[1], name


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OPTIONS)
def test_each_option(name, shape):
    assert_narrow_case_close(family_case(shape, "float32", **OPTIONS[name]), name in STEEP)


@pytest.mark.parametrize(("shape", "chosen"), HANDFULS[:30], ids=map(str, range(30)))
def test_handfuls(shape, chosen):
    assert_narrow_case_close(
        family_case(shape, "float32", **chosen), bool(set(STEEP) & set(chosen))
    )
