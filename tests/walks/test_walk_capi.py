"""Walks over handles of the C-level API: several at once, in any order of calls.

What a handle has done before (steps, loads, refusals, other handles on the same pool of memory)
must not show: each result is held, bit by bit, against that of a fresh handle, and now and then
against the oracle.
"""

import ctypes
from concurrent.futures import ThreadPoolExecutor

import family
import numpy as np
import pytest
from agreement import DTYPES, same_bits
from capi_calls import address, new_config
from capi_direct import Direct
from capi_family import Run, all_parts, differences, handle_of, keys_of, structures
from family import compatible, family_case
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from lstmfast import ops

MOST, ROWS = 4, 4  # handles at a time; "batch_size"
OF_HANDLE = (
    "num_layers", "bidirectional", "projection", "peepholes", "coupled", "clip", "cell_clip",
    "activation", "recurrent_activation", "output_activation", "layer_norm", "repeat", "reverse",
    "input_dropout", "layer_dropout", "recurrent_dropout", "weight_drop", "zoneout_h", "zoneout_c",
    "truncate", "recompute", "no bias", "resets", "resets to zeros", "static",
    "bfloat16",
)  # fmt: skip
OF_CALL = ("lengths", "mask", "batch_first", "no state", "no dx", "dy alone")
# Fields of lf_args, and values that no call may have.
REFUSED = (
    ("x", 0), ("work", 0), ("size", 0), ("size", 1), ("work_size", 0), ("T", 0), ("T", -1),
    ("T", 2**31), ("T", 2**62), ("B", 0), ("B", -(2**63)), ("B", 2**62), ("x_b", 2**62),
)  # fmt: skip
SIZES = st.integers(1, 5), st.integers(1, ROWS)
SEEDS = st.integers(0, 7)
CALLS = st.sets(st.sampled_from(OF_CALL), max_size=3)

probe = Direct()


def together(names):
    """Some options of the family that go with each other."""
    chosen = {}
    for name in sorted(names):
        if compatible(chosen | family.OPTIONS[name]):
            chosen |= family.OPTIONS[name]
    return chosen


def set_static(lstm, case):
    """Of a handle with static inputs, for its next step; one without weights refuses that."""
    if case.x_static is not None:
        probe.set_static(lstm, len(case.x_static), address(case.x_static))


class Handle:
    """A handle, how it was made, and the case whose weights it has."""

    def __init__(self, size, dtype, training, chosen):
        self.size, self.dtype, self.training, self.chosen = size, dtype, training, chosen
        self.lstm, self.source = 0, None
        self.state = None

    def case(self, T, B, seed, training, of_call=()):
        """A call's case with the weights that are loaded."""
        chosen = self.chosen | together(of_call)
        case = family_case((T, B, *self.size), self.dtype, training, seed, **chosen)
        if self.source is None:
            return case
        network = case.network._replace(parts=self.source.network.parts)
        return case._replace(weights=self.source.weights, network=network)

    def load(self, seed, missing=False):
        """Take new weights; a refused load leaves those before."""
        before, self.source = self.source, None
        source = self.case(1, 1, seed, self.training)
        self.source, held = before, structures(all_parts(source))
        if missing:
            held[0][-1].W_hh = None
            assert probe.load(self.lstm, ctypes.addressof(held[0]))
            return
        assert probe.load(self.lstm, ctypes.addressof(held[0])) == 0
        self.source = source

    def configuration(self):
        """Keys of a handle that takes lengths, too, in place of those of one call."""
        keys = keys_of(self.case(1, 1, 0, self.training, ("lengths",)), int(self.training))
        sizes = {"input_size": self.size[0], "hidden_size": self.size[1], "batch_size": ROWS}
        return sizes | {"precision": np.dtype(self.dtype).itemsize * 8} | keys


class Handles(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.handles, self.pending = [], []
        self.threads = ops.get_num_threads()

    def teardown(self):
        for handle in self.handles:
            probe.free(handle.lstm)
        ops.set_num_threads(self.threads)

    def pick(self, number):
        return self.handles[number % len(self.handles)]

    @rule(size=st.tuples(st.integers(1, 9), st.sampled_from((2, 3, 8, 17))), training=st.booleans(),
          dtype=st.sampled_from(DTYPES), names=st.sets(st.sampled_from(OF_HANDLE), max_size=5),
          again=st.booleans(), seed=st.integers(-1, 7), data=st.data())  # fmt: skip
    def build(self, size, training, dtype, names, again, seed, data):
        """Keys in any order, refused ones between; the configuration changes or goes afterwards."""
        if len(self.handles) == MOST:
            return
        handle = Handle(size, dtype, training, together(names))
        config = new_config(probe)
        for key, value in data.draw(st.permutations(sorted(handle.configuration().items()))):
            assert probe.config_set(config, b"no such key", value)
            assert probe.config_set(config, key.encode(), value) == 0
            assert probe.config_set(config, key.encode(), float("nan"))
        status, handle.lstm = probe.build(config)
        assert status == 0
        if again:
            assert probe.config_set(config, b"hidden_size", 2**24) == 0
            assert probe.build(config, before=7)[1] in (7, 0)
        probe.config_free(config)
        self.handles.append(handle)
        if seed >= 0:
            handle.load(seed)

    @precondition(lambda self: self.handles)
    @rule(number=SEEDS, seed=SEEDS, missing=st.booleans())
    def load(self, number, seed, missing):
        self.pick(number).load(seed, missing)

    @precondition(lambda self: self.handles)
    @rule(number=SEEDS, T=SIZES[0], B=SIZES[1], seed=SEEDS, wanted=st.booleans(),
          of_call=CALLS, back=st.booleans(), oracle=st.integers(0, 4))  # fmt: skip
    def forward(self, number, T, B, seed, wanted, of_call, back, oracle):
        """In training, backward follows at once or at some time."""
        handle = self.pick(number)
        training = wanted and handle.training
        case = handle.case(T, B, seed, training, of_call - (set() if training else {"dy alone"}))
        run = Run(probe, case, handle.lstm)
        status = run.status("forward", **({} if training else {"reserve": 0}))
        if handle.source is None:
            assert status == probe.status_codes()["ESTATE"]
        elif training:
            assert status == 0
            self.pending.append((handle, handle.source, run, case))
            if back:
                self.backward(-1)
        else:
            assert status == 0 and differences(run, case) == []
        holds = case.x.dtype == np.float64 or not case.weights["norm"]  # as in test_family.py
        if handle.source is not None and oracle == 0 and holds:
            family.assert_case_close(case, slack=4)

    @precondition(lambda self: self.pending)
    @rule(number=SEEDS)
    def backward(self, number):
        """Later than forward, with what came between; not after a load of other weights."""
        handle, source, run, case = self.pending.pop(number % len(self.pending))
        if handle.source is source and handle in self.handles:
            assert run.status("backward") == 0
            assert differences(run, case) == []

    @precondition(lambda self: self.handles)
    @rule(number=SEEDS, T=SIZES[0], B=SIZES[1], seed=SEEDS)
    def forward_in_threads(self, number, T, B, seed):
        """Two at once on the same handle."""
        handle = self.pick(number)
        if handle.source is None:
            return
        cases = [handle.case(T + k, B, seed + k, handle.training) for k in range(2)]
        runs = [Run(probe, case, handle.lstm) for case in cases]
        change = {} if handle.training else {"reserve": 0}
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(run.status, "forward", **change) for run in runs]
        assert [job.result() for job in jobs] == [0, 0]
        if handle.training:
            self.pending += [(handle, handle.source, *of) for of in zip(runs, cases, strict=True)]
        else:
            assert all(differences(*of) == [] for of in zip(runs, cases, strict=True))

    @precondition(lambda self: self.handles)
    @rule(number=SEEDS, seed=SEEDS, B=SIZES[1])
    def step(self, number, seed, B):
        """The state moves on as it does with a fresh handle."""
        handle = self.pick(number)
        case = handle.case(1, B, seed, False)
        h, c = (a.copy() for a in (case.h0, case.c0))
        if handle.state is not None and handle.state[0].shape == h.shape:
            h, c = handle.state
        given = [case.x[0].copy(), h.copy(), c.copy()]
        set_static(handle.lstm, case)
        status = probe.step(handle.lstm, B, *map(address, given))
        codes = probe.status_codes()
        if handle.source is None or handle.chosen.get("bidirectional"):
            assert status == codes["ESTATE" if handle.source is None else "EOPTION"]
            assert same_bits(given[1], h) and same_bits(given[2], c)
            return
        fresh = handle_of(probe, case, 0)
        wanted = [case.x[0].copy(), h.copy(), c.copy()]
        set_static(fresh, case)
        assert status == probe.step(fresh, B, *map(address, wanted)) == 0
        probe.free(fresh)
        assert all(map(same_bits, given, wanted))
        handle.state = given[1:]

    @precondition(lambda self: self.handles)
    @rule(
        number=SEEDS, change=st.sampled_from(REFUSED), way=st.sampled_from(("forward", "backward"))
    )
    def refused(self, number, change, way):
        """A status, and not one byte written."""
        handle = self.pick(number)
        run = Run(probe, handle.case(2, 2, 0, handle.training), handle.lstm)
        before = {name: a.copy() for name, a in run.arrays.items()}
        assert run.status(way, **dict([change])) != 0
        assert all(same_bits(run.arrays[name], a) for name, a in before.items())

    @precondition(lambda self: self.handles)
    @rule(number=SEEDS)
    def free(self, number):
        handle = self.pick(number)
        self.handles.remove(handle)
        probe.free(handle.lstm)
        probe.free(0)

    @rule(count=st.integers(1, 3))
    def set_threads(self, count):
        ops.set_num_threads(count)


TestHandles = Handles.TestCase
TestHandles.settings = settings(stateful_step_count=20)


@pytest.mark.parametrize("hidden", (2.0**20, 2.0**24, 2.0**31, 2.0**62, -1.0, float("inf")))
@pytest.mark.parametrize("layers", (0, 1, 64, 65, 2.0**40))
def test_sizes_beyond_all_limits(hidden, layers):
    """A status, never a crash."""
    config = new_config(probe, input_size=2**24)
    probe.config_set(config, b"hidden_size", hidden)
    probe.config_set(config, b"num_layers", layers)
    status, lstm = probe.build(config)
    assert (status == 0) == (lstm != 0)
    for size in (probe.reserve_size, probe.forward_work, probe.backward_work):
        for T, B in ((1, 1), (2**31, 2**31), (2**62, 2), (2**24, 2**24), (1, 2**63 - 1)):
            assert lstm or size(lstm, T, B) == -1
            assert size(lstm, T, B) >= -1
    probe.free(lstm)
    probe.config_free(config)
