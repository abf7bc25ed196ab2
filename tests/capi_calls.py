"""Calls of the C-level API, with every array at its own place in one poisoned block of memory.

The block shows whatever a call writes. Its poison is NaN in either precision, so whoever reads
what nobody wrote returns NaN. Nothing in it is aligned to more than one number.
"""

import ctypes
import re
import weakref
from pathlib import Path

import numpy as np
from agreement import lstm_case

import lstmfast

POISON = 0xFF
C_TYPES = {
    "size_t": ctypes.c_size_t,
    "int64_t": ctypes.c_int64,
    "void *": ctypes.c_void_p,
    "const void *": ctypes.c_void_p,
    "lf_weights *": ctypes.c_void_p,
    "const int64_t *": ctypes.c_void_p,
    "const uint8_t *": ctypes.c_void_p,
}
# How a (T, B, n) array lies in memory: the shape there, and the array seen through it.
LAYOUTS = {
    "time-major": (lambda T, B, n: (T, B, n), lambda a, B, n: a),
    "batch-first": (lambda T, B, n: (B, T, n), lambda a, B, n: a.swapaxes(0, 1)),
    "padded rows": (lambda T, B, n: (T, B + 2, n + 3), lambda a, B, n: a[:, :B, :n]),
}


def header_fields(struct):
    """Return the fields of a struct, as lstmfast/capi.pxd declares them, for ctypes."""
    text = Path(lstmfast.__file__).with_name("capi.pxd").read_text()
    body = re.split(r"\n(?=\S|\n)", text.split(f"cdef struct {struct}:\n")[1])[0]
    fields = re.findall(r"^    ((?:const )?\w+(?: \*)?) ?(\w+)", body, re.MULTILINE)
    return [(name, C_TYPES[kind]) for kind, name in fields]


class Arguments(ctypes.Structure):
    """lf_args."""

    _fields_ = header_fields("lf_args")


class Weights(ctypes.Structure):
    """lf_weights, holding on to the arrays whose addresses it has."""

    _fields_ = header_fields("lf_weights")

    def __init__(self, **arrays):
        super().__init__(ctypes.sizeof(Weights), **{n: address(a) for n, a in arrays.items()})
        self.arrays = arrays


def new_config(probe, **values):
    """Return a configuration with these keys set; free it with `probe.config_free`."""
    config = probe.config_create()
    assert config
    for key, value in values.items():
        assert probe.config_set(config, key.encode(), value) == 0, key
    return config


def new_handle(probe, I, H, dtype, **values):
    """Return a handle without weights; free it with `probe.free`."""
    values = {"precision": np.dtype(dtype).itemsize * 8} | values
    config = new_config(probe, input_size=I, hidden_size=H, **values)
    status, lstm = probe.build(config)
    probe.config_free(config)
    assert status == 0
    return lstm


def address(array):
    """Return where an array begins; 0 of None."""
    return 0 if array is None else array.ctypes.data


class Call:
    """A handle, a case of `agreement.lstm_case`, and memory for each pointer of lf_args.

    `forward` and `backward` take changes of lf_args' fields for one call and return the status'
    name. Results are read from `arrays`. Another call's handle may be shared.
    """

    def __init__(
        self, probe, shape, dtype="float32", layout="time-major", training=1, lstm=None, seed=0
    ):
        T, B, I, H = self.shape = shape
        self.probe, self.case = probe, lstm_case(*shape, dtype, seed)
        self.names = {number: name for name, number in probe.status_codes().items()}
        self.lstm = lstm or new_handle(probe, I, H, dtype, training=training, batch_size=B)
        if lstm is None:
            weakref.finalize(self, probe.free, self.lstm)
            self.load_weights()
        self.args = Arguments(size=ctypes.sizeof(Arguments), T=T, B=B)
        self._place(np.dtype(dtype), *LAYOUTS[layout])
        for group in self.case:
            for name in group.keys() & self.arrays.keys():
                self.arrays[name][...] = group[name]

    def load_weights(self):
        """Load the case's weights, from copies that are poisoned afterwards."""
        copies = [self.case.inputs[name].copy() for name in ("W_ih", "W_hh", "b")]
        assert self.probe.load_weights(self.lstm, *map(address, copies)) == 0
        for copy in copies:
            copy.fill(np.nan)

    def sizes(self):
        """Return the bytes of reserve and work that the handle asks for."""
        probe, (T, B, *_) = self.probe, self.shape
        reserve = probe.reserve_size(self.lstm, T, B)
        works = probe.forward_work(self.lstm, T, B), probe.backward_work(self.lstm, T, B)
        return reserve, max(works)

    def _place(self, dtype, stored, seen):
        T, B, I, H = self.shape
        reserve, self.args.work_size = self.sizes()
        strided = {"x": I, "y": H, "dy": H, "dx": I}
        shapes = {name: stored(T, B, n) for name, n in strided.items()}
        shapes |= dict.fromkeys(("h0", "c0", "h_n", "c_n", "dh_n", "dc_n", "dh0", "dc0"), (B, H))
        shapes |= {"dW_ih": (4 * H, I), "dW_hh": (4 * H, H), "db": (4 * H,)}
        shapes["reserve"] = (reserve // dtype.itemsize,)
        shapes["work"] = (-(-self.args.work_size // dtype.itemsize),)
        self._lay_out(shapes, dtype)
        for name, n in strided.items():
            array = self.arrays[name] = seen(self.arrays[name], B, n)
            for axis, stride in zip("tb", array.strides, strict=False):
                setattr(self.args, f"{name}_{axis}", stride // dtype.itemsize)

    def _lay_out(self, shapes, dtype):
        """Put arrays into the block, work last, with room between for any of the others."""
        counts = {name: int(np.prod(shape)) for name, shape in shapes.items()}
        gap = max(count for name, count in counts.items() if name != "work") + 1
        self.block = np.full(
            (sum(counts.values()) + gap * (len(counts) + 1)) * dtype.itemsize, POISON, np.uint8
        )
        numbers, at, self.arrays, self.extents = self.block.view(dtype), gap, {}, {}
        for name, shape in shapes.items():
            self.arrays[name] = numbers[at : at + counts[name]].reshape(shape)
            setattr(self.args, name, address(self.arrays[name]))
            self.extents[name] = self.arrays[name].nbytes
            at += counts[name] + gap

    def forward(self, **changes):
        """lf_forward; reserve=0 makes it inference."""
        return self._run(self.probe.forward, changes)

    def backward(self, **changes):
        """lf_backward; reserve and y must be as forward left them."""
        return self._run(self.probe.backward, changes)

    def _run(self, function, changes):
        args = Arguments.from_buffer_copy(self.args)
        for name, value in changes.items():
            setattr(args, name, value)
        return self.names[function(self.lstm, ctypes.addressof(args))]

    def results(self, *names):
        """Return copies of arrays by name."""
        return {name: self.arrays[name].copy() for name in names}

    def assert_refused(self, run, status, **changes):
        """Hold that "forward" or "backward" returns `status` and writes nothing at all."""
        before = self.block.copy()
        assert getattr(self, run)(**changes) == status, changes
        assert np.array_equal(self.block, before), changes


OUTPUTS = ("y", "h_n", "c_n")
GRADIENTS = ("dx", "dh0", "dc0", "dW_ih", "dW_hh", "db")
