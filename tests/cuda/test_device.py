"""The simulator stands in for a GPU in all that is asked of one."""

import time

from lstmfast.cuda.runtime import device


def test_the_simulator_answers_as_a_gpu_does():
    assert device.explain() is None
    device.require()
    assert device.name() == "Numba's simulator"
    assert device.sm_count() == 1
    assert device.shared_limit() == 49152
    assert device.memory_info() == (0, 0)
    assert not device.supports_cooperative()
    assert device.new_stream() is device.default_stream() is device.stream_from(5) is None


def test_events_take_the_time():
    first, second = device.Event(timed=True), device.Event(timed=True)
    first.record()
    time.sleep(0.01)
    second.record()
    second.hold()
    second.synchronize()
    assert 0.01 <= second.seconds_since(first) < 5
