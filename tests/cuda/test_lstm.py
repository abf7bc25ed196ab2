"""Path one in the simulator: every option that it has, against the float64 oracle."""

import on_device
import pytest
from family import OPTIONS, assert_case_close, family_case

SHAPE = (3, 3, 2, 5)
BARRED = ("layer_norm", "recompute")
RUNS = {name: options for name, options in OPTIONS.items() if name not in BARRED}


@pytest.mark.parametrize("dtype", ("float64", "float32"))
@pytest.mark.parametrize("name", RUNS)
def test_each_option(name, dtype):
    assert_case_close(family_case(SHAPE, dtype, **RUNS[name]), by=on_device)
