"""A small GPU for kernels whose threads and blocks work together: their Python text is run as is.

Numba's simulator runs one block after the other and has no tensor cores, so a persistent kernel
would wait for ever. Here every CUDA thread is a thread of Python, all blocks are there at once, and
one thread runs at a time: which one goes on is drawn wherever a thread waits for others, so that a
seed stands for one order of events and other seeds for others. What is emulated on purpose:

- memory of the GPU: a block sees what another wrote only after that released it, and reading or
  writing outside an array is an error; shared and local memory start as NaN;
- `mma` of the 32 lanes of a warp by the fragment layouts of the PTX ISA, written down here anew;
- threads that wait for ever, or for different things, are an error.
"""

from __future__ import annotations

import random
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import ml_dtypes
import numpy as np
from numba.cuda.simulator.kernel import _push_kernel_context
from numba.np import numpy_support

from lstmfast.cuda.kernels import ptx
from lstmfast.cuda.kernels.persistent import backward as persistent_backward
from lstmfast.cuda.kernels.persistent import dots, exchange, fragments, thread_cells
from lstmfast.cuda.kernels.persistent import forward as persistent_forward
from lstmfast.cuda.runtime.kernel import Kernel

MODULES = (
    dots, exchange, fragments, persistent_backward, persistent_forward, thread_cells,
)  # fmt: skip
PATIENCE = 20_000  # looks at a counter, of all threads, that nobody has changed in between


def dtype_of(kind):
    """NumPy's dtype of a type of Numba; the simulator's float16 is NumPy's own."""
    return np.dtype(kind) if isinstance(kind, type) else numpy_support.as_dtype(kind)


class Stop(BaseException):
    """Ends a thread after another one failed."""


class Memory:
    """An array in the GPU's memory: what is released, and what each block has not released yet."""

    def __init__(self, flat, machine):
        self.flat, self.machine, self.unreleased = flat, machine, {}

    def _own(self):
        return self.unreleased.setdefault(self.machine.me().block, {})

    def _checked(self, index):
        if not 0 <= index < len(self.flat):
            raise IndexError(f"element {index} of {len(self.flat)}")
        return int(index)

    def __getitem__(self, index):
        index = self._checked(index)
        return self._own().get(index, self.flat[index])

    def __setitem__(self, index, value):
        kept = np.empty(1, self.flat.dtype)
        kept[0] = value
        self._own()[self._checked(index)] = kept[0]

    def release(self, block):
        for index, value in self.unreleased.pop(block, {}).items():
            self.flat[index] = value

    def words(self, chunk):
        """Four uint32, as another block's L2 and this block's own writes make them."""
        length = 16 // self.flat.itemsize
        values = [self[int(chunk) * length + i] for i in range(length)]
        return tuple(np.array(values, self.flat.dtype).view(np.uint32))


class Block:
    def __init__(self, index, threads, shared):
        self.index, self.threads = index, threads
        self.shared = np.full(shared, 0xFF, np.uint8)


class Meeting:
    """Where `size` threads wait for each other: a warp's or a block's."""

    def __init__(self, size):
        self.size, self.arrived, self.what = size, {}, None


class CudaThread(threading.Thread):
    def __init__(self, machine, block, index, body):
        super().__init__(daemon=True)
        self.machine, self.block, self.index, self.body = machine, block, index, body
        self.turn, self.result = threading.Semaphore(0), None

    def run(self):
        self.turn.acquire()
        try:
            if self.machine.failure is None:
                self.body()
        except Stop:
            pass
        except BaseException as failure:
            self.machine.failure = self.machine.failure or failure
        self.machine.leave(self)


class Machine:
    """One launch; it takes the place of the module `numba.cuda` in the kernels' text."""

    def __init__(self, seed):
        self.draw, self.failure, self.looks = random.Random(seed), None, 0
        self.shared = SimpleNamespace(array=self._shared_array)
        self.local = SimpleNamespace(array=self._local_array)

    def run(self, function, blocks, threads, shared, arguments):
        self.memories = [a for a in arguments if isinstance(a, Memory)]
        self.alive, self.ready, self.done = 0, [], threading.Semaphore(0)
        everyone = []
        for b in range(blocks):
            block = Block(b, threads, shared)
            block.meetings = {None: Meeting(threads)}
            for warp in range(threads // 32):
                block.meetings[warp] = Meeting(32)
            for t in range(threads):
                everyone.append(CudaThread(self, block, t, lambda: function(*arguments)))
        self.everyone, self.alive, self.ready = everyone, len(everyone), list(everyone)
        for thread in everyone:
            thread.start()
        self._next()
        self.done.acquire()
        if self.failure is not None:
            raise self.failure
        for memory in self.memories:
            for block in list(memory.unreleased):
                memory.release(block)

    # whose turn it is

    def me(self):
        return threading.current_thread()

    def _next(self):
        at = self.draw.randrange(len(self.ready))
        self.ready[at], self.ready[-1] = self.ready[-1], self.ready[at]
        thread = self.ready.pop()
        if thread is not self.me():
            thread.turn.release()
        return thread

    def _wait(self):
        """Let others go on; return when it is this thread's turn again."""
        if not self.ready and self.failure is None:
            self.failure = RuntimeError("all threads wait for others")
        if self.failure is not None:
            raise Stop
        if self._next() is not self.me():
            self.me().turn.acquire()
        if self.failure is not None:
            raise Stop

    def leave(self, thread):
        self.alive -= 1
        if self.failure is not None:
            self.ready = []
            if not getattr(self, "stopping", False):
                self.stopping = True
                for other in self.everyone:
                    other.turn.release()
        if self.alive == 0:
            self.done.release()
        elif self.failure is None:
            if self.ready:
                self._next()
            else:
                self.failure = RuntimeError("threads wait for others that have ended")
                self.alive += 1
                self.leave(thread)

    def meet(self, where, what, value=None, together=None):
        """Wait for all threads of the warp or block; each gets its result of together(values)."""
        thread = self.me()
        meeting = thread.block.meetings[where]
        if meeting.arrived and meeting.what != what:
            raise RuntimeError(f"threads meet for {meeting.what} and for {what}")
        meeting.what = what
        meeting.arrived[thread.index % meeting.size] = thread, value
        if len(meeting.arrived) < meeting.size:
            self._wait()
            return thread.result
        present = [meeting.arrived[i] for i in range(meeting.size)]
        results = together([v for _, v in present]) if together else [None] * meeting.size
        for (other, _), result in zip(present, results, strict=True):
            other.result = result
            if other is not thread:
                self.ready.append(other)
        meeting.arrived = {}
        return thread.result

    # what kernels call as `cuda`

    @property
    def threadIdx(self):
        return SimpleNamespace(x=self.me().index)

    @property
    def blockIdx(self):
        return SimpleNamespace(x=self.me().block.index)

    def syncthreads(self):
        self.meet(None, "syncthreads")

    def _shared_array(self, shape, kind):
        assert shape == 0, "only dynamic shared memory is emulated"
        return self.me().block.shared.view(dtype_of(kind))

    def _local_array(self, shape, kind):
        dtype = dtype_of(kind)
        return np.full(shape * dtype.itemsize, 0xFF, np.uint8).view(dtype)

    # what they call as `ptx`

    def load_acquire(self, p, index):
        self.looks += 1
        if self.looks > PATIENCE:
            raise RuntimeError("a counter is waited for in vain")
        self.ready.append(self.me())
        self._wait()
        return p.flat[int(index)]

    def add_release(self, p, index, value):
        self.looks = 0
        for memory in self.memories:
            memory.release(self.me().block)
        p.flat[int(index)] += value

    def load_words(self, p, chunk):
        return p.words(chunk)

    def shared_words(self, array, index):
        assert index % 4 == 0 and 0 <= index <= len(array) - 4, f"words from {index}"
        return tuple(array[int(index) : int(index) + 4])

    def store_shared_words(self, array, index, a, b, c, d):
        assert index % 4 == 0 and 0 <= index <= len(array) - 4, f"words from {index}"
        array[int(index) : int(index) + 4] = a, b, c, d

    def mma_bfloat16(self, *words):
        return self._mma(words, lambda word: word.view(ml_dtypes.bfloat16))

    def mma_float16(self, *words):
        return self._mma(words, lambda word: word.view(np.float16))

    def mma_tf32(self, *words):
        return self._mma(words, lambda word: (word & np.uint32(0xFFFFE000)).view(np.float32))

    def _mma(self, words, numbers):
        what = f"mma {numbers.__code__.co_firstlineno}"
        values = words[:6], words[6:]

        def together(lanes):
            a_b = np.array([v[0] for v in lanes], np.uint32)
            decoded = numbers(a_b.reshape(-1)).reshape(32, 6, -1).astype(np.float64)
            return tile_product(decoded[:, :4], decoded[:, 4:], np.array([v[1] for v in lanes]))

        return self.meet(self.me().index // 32, what, values, together)


def tile_product(a, b, d):
    """D = A B + D by the PTX ISA's layouts: a (32, 4, e), b (32, 2, e), d (32, 4) of the lanes."""
    g, q, e = np.arange(32) // 4, np.arange(32) % 4, a.shape[-1]
    A, B = np.empty((16, 8, e)), np.empty((8, 8, e))  # (output, word), (word, row)
    for i in range(4):
        A[g + 8 * (i % 2), q + 4 * (i // 2)] = a[:, i]
    for i in range(2):
        B[q + 4 * i, g] = b[:, i]
    D = np.einsum("mke,kne->mn", A, B)
    made = np.stack([D[g + 8 * (i // 2), 2 * q + i % 2] for i in range(4)], axis=1)
    return [tuple(np.float32(row)) for row in made + d]


def of_machine(name):
    """The function of ptx of this name: what the machine of the thread that calls it does."""
    return lambda *arguments: getattr(threading.current_thread().machine, name)(*arguments)


PTX = {
    name: of_machine(name)
    for name in (
        "load_acquire", "add_release", "load_words", "shared_words", "store_shared_words",
        "mma_bfloat16", "mma_float16", "mma_tf32",
    )
}  # fmt: skip


@contextmanager
def emulated(monkeypatch, seed=0):
    """Within it, kernels are made for this machine, and run on it when they are launched."""

    def simulate(kernel, blocks, given, shared):
        machine = Machine(seed)
        arguments = [*convert(machine, given, kernel.arguments)]
        with _push_kernel_context(machine), monkeypatch.context() as patch:
            for module in MODULES:
                patch.setattr(module, "cuda", machine)
            machine.run(kernel.function, blocks, kernel.threads, shared, arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Kernel, "_simulate", simulate)
        for name, function in PTX.items():
            patch.setattr(ptx, name, function)
        yield


def convert(machine, given, kinds):
    """The arguments of a kernel: one Memory for all pointers to the same address."""
    memories = {}
    for value, kind in zip(given, kinds, strict=True):
        if not hasattr(kind, "dtype"):
            yield int(value)
        elif value is None:
            yield Memory(np.empty(0), machine)
        else:
            dtype = dtype_of(kind.dtype)
            flat = value.flat_memory()[: value.size].view(dtype)
            yield memories.setdefault((value.address, dtype), Memory(flat, machine))
