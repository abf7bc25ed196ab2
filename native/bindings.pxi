# What all bindings share: arrays as pointers, errors, calls that Ctrl-C ends; and what Python asks of
# kernels, threads and memory.

from cpython.exc cimport PyErr_CheckSignals
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, Py_buffer, PyBuffer_FillInfo,
    PyBuffer_Release, PyObject_GetBuffer,
)


CHUNK = LF_CHUNK              # elements behind one sum of `squares`
MAX_THREADS = LF_MAX_THREADS
MAX_LAYERS = MOST_LAYERS
LARGEST_SUM = LF_LARGEST_SUM  # terms of a sum in int8
ACTIVATIONS = tuple(LF_ACTIVATION_NAMES.decode().split())  # by kind


cdef void *address(object array, int flags) except? NULL:
    """The first element of a buffer that the caller keeps alive; None gives NULL."""
    cdef Py_buffer view
    cdef void *p
    if array is None:
        return NULL
    PyObject_GetBuffer(array, &view, flags)
    p = view.buf
    PyBuffer_Release(&view)
    return p


cdef inline void *source(object array) except? NULL:
    return address(array, PyBUF_STRIDES)


cdef inline void *target(object array) except? NULL:
    return address(array, PyBUF_STRIDES | PyBUF_WRITABLE)


cdef int check(int status) except -1:
    if status & LF_STOPPED:
        raise_interrupt()
    if status == LF_EMEMORY:
        raise MemoryError("lstmfast: out of memory")
    if status != LF_OK:
        raise ValueError(f"lstmfast: {lf_status_text(status).decode()}")
    return 0


# ------------------------------------------------------------------ calls that Ctrl-C ends (watch.h)


cdef object interrupt = None  # what a signal's handler raised in the call under way


cdef int look_at_signals() noexcept nogil:
    """Run the handlers of signals that have come; true if one raised: KeyboardInterrupt, mostly."""
    global interrupt
    with gil:
        try:
            PyErr_CheckSignals()
            check_same_process()
        except BaseException as error:
            interrupt = error
            return 1
    return 0


cdef int check_same_process() except -1:
    if lf_team_is_lost():
        raise RuntimeError("fork: expected a child that ends in the signal's handler, got one that "
                           "goes on in a call whose threads are its parent's")
    return 0


cdef int raise_interrupt() except -1:
    global interrupt
    error, interrupt = interrupt, None
    raise error


lf_watch_with(look_at_signals)


# ------------------------------------------------------------------ kernels, threads, memory


def _choose_isa():
    """Bind the linked kernels as LSTMFAST_ISA says; False where there are none to bind."""
    cdef const char *wanted = getenv("LSTMFAST_ISA")
    if wanted != NULL and wanted[0] == 0:
        wanted = NULL
    if lf_choose_isa(wanted) != 0:
        raise ImportError(
            f"LSTMFAST_ISA: expected an instruction set up to this processor's own "
            f"({lf_best_isa().decode()}), found {wanted.decode() if wanted != NULL else 'none'!r}"
        )
    return lf_kernels(0).project != NULL


def best_isa() -> str:
    """The best instruction set of this processor: v4bf16, v4vnni, v4, v3, v2, neon, none."""
    return lf_best_isa().decode()


def isa() -> str:
    """The instruction set of the kernels in use; "jit" for those compiled at run time."""
    return lf_isa_name().decode()


def bind_kernel(int kind, str name, size_t pointer):
    """Put a kernel compiled at run time into the table of a kind of numbers (dispatch.h)."""
    if lf_bind_kernel(kind, name.encode(), <void *> pointer):
        raise KeyError(name)


def bind_isa(int64_t register_bytes):
    """Use the table that bind_kernel has filled."""
    lf_bind_isa(register_bytes)


def threshold(double rate) -> int:
    """The number that a share `rate` of all 32-bit words is below."""
    return lf_threshold(rate)


def dropout_scale(double rate) -> float:
    """The factor of what dropout leaves."""
    return lf_dropout_scale(rate)


def stream(int64_t part, int64_t purpose) -> int:
    """The number of the stream of a part's random numbers; purposes: kernels/philox.py."""
    return lf_stream(part, purpose)


def _choose_pool():
    """Whose threads regions may have, as LSTMFAST_THREAD_POOL says."""
    cdef const char *wanted = getenv("LSTMFAST_THREAD_POOL")
    pools = {"": LF_ANY_POOL, "own": LF_OWN_POOL, "openmp": LF_OPENMP_POOL}
    name = wanted.decode(errors="replace") if wanted != NULL else ""
    if name not in pools:
        raise ImportError(f"LSTMFAST_THREAD_POOL: expected own or openmp, found {name!r}")
    lf_team_begin(pools[name])
    return name


cdef str chosen_pool = _choose_pool()


def thread_pool() -> str:
    """Whose threads do the work: "own", or "openmp: " and the runtime's file."""
    cdef const char *path = lf_team_openmp()
    if path == NULL:
        return "openmp: none is loaded" if chosen_pool == "openmp" else "own"
    return "openmp: " + path.decode(errors="surrogateescape")


def call_keeping_own(function, *arguments):
    """Call a function from a thread whose work is for threads of lstmfast's own (lf_team_keep_own)."""
    before = lf_team_keep_own(1)
    try:
        return function(*arguments)
    finally:
        lf_team_keep_own(before)


def get_num_threads() -> int:
    lf_team_openmp()  # whose number may be the answer
    return lf_get_num_threads()


def set_num_threads(int64_t count):
    lf_set_num_threads(count)


def limit_num_threads(int64_t count, int64_t told):
    """A number for a time, which the number that was told before ends."""
    lf_limit_num_threads(count, told)


def follow_num_threads(int64_t count):
    """The number of threads that a framework was told, for all calls; 0: nothing."""
    lf_follow_num_threads(count)


cdef class Block:
    """Memory from the pool: a reserve, or what a NumPy array lies on (it has the buffer protocol)."""

    cdef void *start
    cdef int64_t size

    def __cinit__(self, int64_t size):
        check(LF_ESIZE if size < 0 else LF_OK)
        self.start, self.size = lf_take(size), size
        check(LF_EMEMORY if self.start == NULL else LF_OK)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.start, self.size, 0, flags)

    def __reduce__(self):
        raise TypeError("lstmfast.capi.Block: expected a copy of its bytes, got one of itself")

    def __dealloc__(self):
        lf_give(self.start)
