"""Every function of the C-level API as it is, for tests: pointers are whole numbers, 0 is NULL."""

from libc.stdint cimport int64_t, uintptr_t

from lstmfast cimport capi


def status_codes() -> dict:
    """The names and numbers of lf_status that the header declares."""
    return {
        "OK": capi.LF_OK, "ENULL": capi.LF_ENULL, "ESIZE": capi.LF_ESIZE, "EALIAS": capi.LF_EALIAS,
        "EKEY": capi.LF_EKEY, "EVALUE": capi.LF_EVALUE, "ESTATE": capi.LF_ESTATE,
        "EMEMORY": capi.LF_EMEMORY, "EWORK": capi.LF_EWORK, "EVERSION": capi.LF_EVERSION,
        "EKERNELS": capi.LF_EKERNELS, "EOPTION": capi.LF_EOPTION, "ELENGTH": capi.LF_ELENGTH,
    }


def status_text(int status) -> str:
    return capi.lf_status_text(status).decode()


def abi_version() -> int:
    return capi.lf_abi_version()


def args_size() -> int:
    return sizeof(capi.lf_args)


def config_create() -> int:
    return <uintptr_t> capi.lf_config_create()


def config_free(uintptr_t config):
    capi.lf_config_free(<capi.lf_config *> config)


def config_set(uintptr_t config, bytes key, double value) -> int:
    """A key of None is NULL."""
    cdef const char *text = NULL
    if key is not None:
        text = key
    return capi.lf_config_set(<capi.lf_config *> config, text, value)


def build(uintptr_t config, uintptr_t before=0) -> tuple:
    """(status, handle), where the handle's variable held `before`."""
    cdef capi.lf_lstm *lstm = <capi.lf_lstm *> before
    cdef int status = capi.lf_build(<capi.lf_config *> config, &lstm)
    return status, <uintptr_t> lstm


def build_nowhere(uintptr_t config) -> int:
    """lf_build with a NULL for the handle's variable."""
    return capi.lf_build(<capi.lf_config *> config, NULL)


def free(uintptr_t lstm):
    capi.lf_free(<capi.lf_lstm *> lstm)


def load_weights(uintptr_t lstm, uintptr_t W_ih, uintptr_t W_hh, uintptr_t b) -> int:
    return capi.lf_load_weights(<capi.lf_lstm *> lstm, <void *> W_ih, <void *> W_hh, <void *> b)


def load(uintptr_t lstm, uintptr_t weights) -> int:
    return capi.lf_load(<capi.lf_lstm *> lstm, <capi.lf_weights *> weights)


def weights_size() -> int:
    return sizeof(capi.lf_weights)


def activation_kinds() -> tuple:
    """The kinds that the header declares, by number."""
    return (
        capi.LF_SIGMOID, capi.LF_TANH, capi.LF_RELU, capi.LF_HARD_SIGMOID, capi.LF_AFFINE,
        capi.LF_LEAKY_RELU, capi.LF_THRESHOLDED_RELU, capi.LF_SCALED_TANH, capi.LF_ELU,
        capi.LF_SOFTSIGN, capi.LF_SOFTPLUS,
    )


def set_static(uintptr_t lstm, int64_t B, uintptr_t x_static) -> int:
    return capi.lf_set_static(<capi.lf_lstm *> lstm, B, <void *> x_static)


def step(uintptr_t lstm, int64_t B, uintptr_t x, uintptr_t h, uintptr_t c) -> int:
    return capi.lf_step(<capi.lf_lstm *> lstm, B, <void *> x, <void *> h, <void *> c)


def counted_steps(uintptr_t lstm, int64_t B, uintptr_t x, uintptr_t h, uintptr_t c, int64_t count,
                  uintptr_t counter) -> tuple:
    """(status, how far the long at `counter` moved) of `count` steps."""
    cdef long *calls = <long *> counter
    cdef long before = calls[0]
    cdef int status = 0
    with nogil:
        for _ in range(count):
            status |= capi.lf_step(<capi.lf_lstm *> lstm, B, <void *> x, <void *> h, <void *> c)
        before = calls[0] - before
    return status, before


def reserve_size(uintptr_t lstm, int64_t T, int64_t B) -> int:
    return capi.lf_reserve_size(<capi.lf_lstm *> lstm, T, B)


def forward_work(uintptr_t lstm, int64_t T, int64_t B) -> int:
    return capi.lf_forward_work(<capi.lf_lstm *> lstm, T, B)


def backward_work(uintptr_t lstm, int64_t T, int64_t B) -> int:
    return capi.lf_backward_work(<capi.lf_lstm *> lstm, T, B)


def forward(uintptr_t lstm, uintptr_t args) -> int:
    cdef int status
    with nogil:
        status = capi.lf_forward(<capi.lf_lstm *> lstm, <capi.lf_args *> args)
    return status


def backward(uintptr_t lstm, uintptr_t args) -> int:
    cdef int status
    with nogil:
        status = capi.lf_backward(<capi.lf_lstm *> lstm, <capi.lf_args *> args)
    return status
