"""The cost of each variant; benches/variants.py says how. Rows are in `extra_info`."""

import pytest

import lstmfast
from benches import variants
from benches.conftest import THREADS
from benches.shapes import Shape

SMALL = Shape(T=7, B=3, I=20, H=33)


@pytest.mark.parametrize("count", THREADS)
def test_variants(benchmark, count):
    before = lstmfast.get_num_threads()
    lstmfast.set_num_threads(count)
    size = (SMALL, 1) if benchmark.disabled else (variants.SHAPE, variants.ROUNDS)
    try:
        rows = benchmark.pedantic(lambda: variants.measure(*size), rounds=1, iterations=1)
    finally:
        lstmfast.set_num_threads(before)
    assert {row["variant"] for row in rows} >= variants.options(SMALL).keys()
    benchmark.extra_info.update(kind="variants", shape=size[0]._asdict(), rows=rows)
