# The C-level API (the manual is lstmfast/capi.pxd) and, included below, what Python calls.
#
# Checks are made here, once; kernels and native/layer.c trust their arguments.

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uintptr_t
from libc.stdlib cimport calloc, free, getenv
from libc.string cimport memcpy, memmove, memset

include "declarations.pxi"


cdef const char *lf_status_text(int status) noexcept nogil:
    if status == LF_OK:
        return "no error"
    if status == LF_ENULL:
        return "a pointer that is needed is NULL"
    if status == LF_ESIZE:
        return "a size or stride is not positive, or too large"
    if status == LF_EALIAS:
        return "the memory of an output overlaps another argument"
    if status == LF_EKEY:
        return "unknown configuration key"
    if status == LF_EVALUE:
        return "a value that this configuration key cannot take"
    if status == LF_ESTATE:
        return "weights are not loaded, or the handle was not built with training = 1"
    if status == LF_EMEMORY:
        return "out of memory"
    if status == LF_EWORK:
        return "the work space is too small"
    if status == LF_EVERSION:
        return "lf_args.size belongs to no known version of the structure"
    if status == LF_EKERNELS:
        return "no kernels for this processor"
    if status == LF_ELENGTH:
        return "a length is not in 0..T"
    if status == LF_EOPTION:
        return "an array for an option that the handle was not built with"
    return "unknown status"


cdef int lf_abi_version() noexcept nogil:
    return 1


# ------------------------------------------------------------------ configuration


cdef lf_config *lf_config_create() noexcept nogil:
    cdef lf_config *config = <lf_config *> calloc(1, sizeof(lf_config))
    if config != NULL:
        lf_set_defaults(config)
    return config


cdef void lf_config_free(lf_config *config) noexcept nogil:
    free(config)


cdef int lf_config_set(lf_config *config, const char *key, double value) noexcept nogil:
    cdef int found
    if config == NULL or key == NULL:
        return LF_ENULL
    found = lf_set_key(config, key, value)
    if found == LF_UNKNOWN_KEY:
        return LF_EKEY
    return LF_EVALUE if found == LF_WRONG_VALUE else LF_OK


# ------------------------------------------------------------------ handle


cdef inline int64_t padded(int64_t bytes) noexcept nogil:
    """Rounded up to whole cache lines."""
    return (bytes + 63) // 64 * 64


cdef inline int64_t panels(int64_t columns, int64_t panel) noexcept nogil:
    return (columns + panel - 1) // panel


cdef inline int too_large(double a, double b, double c, double d) noexcept nogil:
    return a * b * c * d > 1e15


cdef int64_t packed_gates(const lf_lstm *l, int64_t K) noexcept nogil:
    """Bytes of a matrix (K, 4H) packed with the gates map."""
    return padded(panels(l.H, l.width) * K * 4 * l.width * l.item)


cdef int64_t packed_plain(const lf_lstm *l, int64_t columns) noexcept nogil:
    """Bytes of a matrix (4H, columns) packed with the plain map."""
    return padded(panels(columns, 4 * l.width) * 4 * l.H * 4 * l.width * l.item)


cdef int lf_build(const lf_config *config, lf_lstm **lstm) noexcept nogil:
    cdef lf_lstm *l
    if config == NULL or lstm == NULL:
        return LF_ENULL
    if config.input_size < 1 or config.hidden_size < 1:
        return LF_ESIZE
    if too_large(config.input_size + config.hidden_size + config.batch_size, config.hidden_size, 16, 8):
        return LF_ESIZE
    if config.training and not lf_is_differentiable(config):
        return LF_EVALUE
    if lf_kernels(config.precision == 64).project == NULL:
        return LF_EKERNELS
    l = <lf_lstm *> calloc(1, sizeof(lf_lstm))
    if l == NULL:
        return LF_EMEMORY
    l.I, l.H = <int64_t> config.input_size, <int64_t> config.hidden_size
    l.batch_size, l.item = <int64_t> config.batch_size, <int64_t> config.precision // 8
    l.training, l.config = config.training != 0, config[0]
    l.kernels = lf_kernels(config.precision == 64)
    l.width = l.kernels.register_bytes // l.item
    if not place(l):
        free(l)
        return LF_EMEMORY
    lstm[0] = l
    return LF_OK


cdef int place(lf_lstm *l) noexcept nogil:
    """Allocate the handle's one block of memory and divide it. False if there is none."""
    cdef int64_t ih = packed_gates(l, l.I), hh = packed_gates(l, l.H), b = padded(4 * l.H * l.item)
    cdef int64_t p = padded(3 * l.H * l.item) if l.config.peepholes else 0
    cdef int64_t ih_back = packed_plain(l, l.I) if l.training else 0
    cdef int64_t hh_back = packed_plain(l, l.H) if l.training else 0
    l.step_work_size = forward_work(l, 1, l.batch_size)
    l.memory = <char *> lf_take(ih + hh + b + p + ih_back + hh_back + l.step_work_size)
    if l.memory == NULL:
        return 0
    l.w_ih = l.memory
    l.w_hh = <char *> l.w_ih + ih
    l.b = <char *> l.w_hh + hh
    l.p = <char *> l.b + b
    l.w_ih_back = <char *> l.p + p
    l.w_hh_back = <char *> l.w_ih_back + ih_back
    l.step_work = <char *> l.w_hh_back + hh_back
    return 1


cdef void lf_free(lf_lstm *lstm) noexcept nogil:
    if lstm != NULL:
        lf_give(lstm.memory)
        free(lstm)


cdef void pack(const lf_lstm *l, const void *source, void *target, int64_t K,
               int64_t columns, int gates) noexcept nogil:
    """Pack (K, columns) of 4H-row weights: turned (gates map) or as they are (plain map)."""
    cdef lf_pack a
    cdef int64_t W = l.width, count
    a.source, a.target, a.K, a.columns, a.gates = <void *> source, target, K, columns, gates
    if gates:  # columns of the product are rows of the source: n = v·H + j
        a.k_stride, a.n_stride = 1, K
        count = panels(l.H, W)
    else:
        a.k_stride, a.n_stride = columns, 1
        count = panels(columns, 4 * W)
    lf_run_range(<lf_range_kernel> l.kernels.pack, &a, count, 1, 8.0 * K * columns,
                 lf_get_num_threads())


cdef enum:
    PACK_IH = 1         # the packed forms of the weights: for z = W_ih x + W_hh h
    PACK_HH = 2
    PACK_IH_BACK = 4    # and for dx = dz W_ih, dh = dz W_hh
    PACK_HH_BACK = 8


cdef void pack_weights(const lf_lstm *l, const void *W_ih, const void *W_hh,
                       int which) noexcept nogil:
    if which & PACK_IH:
        pack(l, W_ih, l.w_ih, l.I, 4 * l.H, 1)
    if which & PACK_HH:
        pack(l, W_hh, l.w_hh, l.H, 4 * l.H, 1)
    if which & PACK_IH_BACK:
        pack(l, W_ih, l.w_ih_back, 4 * l.H, l.I, 0)
    if which & PACK_HH_BACK:
        pack(l, W_hh, l.w_hh_back, 4 * l.H, l.H, 0)


cdef int check_weights(const lf_lstm *l, const lf_weights *w) noexcept nogil:
    """Of weights to load: are all there that the configuration asks for, and no others?"""
    if w.size != sizeof(lf_weights):
        return LF_EVERSION
    if w.W_ih == NULL or w.W_hh == NULL or (l.config.peepholes and w.p == NULL):
        return LF_ENULL
    return LF_EOPTION if w.p != NULL and not l.config.peepholes else LF_OK


cdef void load_vectors(lf_lstm *l, const lf_weights *w) noexcept nogil:
    """Copy what is not packed."""
    if w.b == NULL:
        memset(l.b, 0, 4 * l.H * l.item)
    else:
        memcpy(l.b, w.b, 4 * l.H * l.item)
    if w.p != NULL:
        memcpy(l.p, w.p, 3 * l.H * l.item)
    l.loaded = 1


cdef int lf_load(lf_lstm *lstm, const lf_weights *weights) noexcept nogil:
    cdef int status
    if lstm == NULL or weights == NULL:
        return LF_ENULL
    status = check_weights(lstm, weights)
    if status == LF_OK:
        pack_weights(lstm, weights.W_ih, weights.W_hh, PACK_IH | PACK_HH)
        if lstm.training:
            pack_weights(lstm, weights.W_ih, weights.W_hh, PACK_IH_BACK | PACK_HH_BACK)
        load_vectors(lstm, weights)
    return status


cdef int lf_load_weights(lf_lstm *lstm, const void *W_ih, const void *W_hh,
                         const void *b) noexcept nogil:
    cdef lf_weights weights
    memset(&weights, 0, sizeof(weights))
    weights.size = sizeof(weights)
    weights.W_ih, weights.W_hh, weights.b = <void *> W_ih, <void *> W_hh, <void *> b
    return lf_load(lstm, &weights)


# ------------------------------------------------------------------ sizes


cdef inline int64_t steps_at_once(int64_t T, int64_t B) noexcept nogil:
    """Steps whose projections are made together: about 64 rows, which stay in L2."""
    cdef int64_t steps = (63 + B) // B
    return steps if steps < T else T


cdef inline int64_t projected_steps(int64_t T, int64_t B) noexcept nogil:
    """Steps whose projections are kept: of two chunks, one made while the other is used."""
    cdef int64_t steps = steps_at_once(T, B)
    return min(T, 2 * steps) if steps > 1 else 1


cdef int64_t plain_forward_work(const lf_lstm *l, int64_t T, int64_t B) noexcept nogil:
    """Inference: projections of some steps, h of two steps, c, zeros. Training: the zeros."""
    cdef int64_t state = padded(B * l.H * l.item)
    return padded(projected_steps(T, B) * B * 4 * l.H * l.item) + 4 * state + 64


cdef int64_t forward_work(const lf_lstm *l, int64_t T, int64_t B) noexcept nogil:
    """Rows of unlike lengths: also the order, x and y in that order, and four states."""
    cdef int64_t work = plain_forward_work(l, T, B)
    if l.config.lengths:
        work += padded(lf_order_size(T, B)) + 4 * padded(B * l.H * l.item)
        work += padded(T * B * l.I * l.item) + padded(T * B * l.H * l.item)
    return work


cdef int64_t outer_scratch(const lf_lstm *l) noexcept nogil:
    """Bytes of one worker's packed factors."""
    return LF_BLOCK * (3 + 4 * LF_OUTER_PANELS) * l.width * l.item


cdef int64_t plain_backward_work(const lf_lstm *l, int64_t B, int64_t workers) noexcept nogil:
    """dh, dc, zeros, and the scratch of each worker."""
    return 3 * padded(B * l.H * l.item) + workers * outer_scratch(l) + 64


cdef int64_t backward_work(const lf_lstm *l, int64_t T, int64_t B, int64_t workers) noexcept nogil:
    """Rows of unlike lengths: also the order, x, y, dx and dy in that order, and six states."""
    cdef int64_t work = plain_backward_work(l, B, workers)
    if l.config.lengths:
        work += padded(lf_order_size(T, B)) + 6 * padded(B * l.H * l.item)
        work += 2 * padded(T * B * l.I * l.item) + 2 * padded(T * B * l.H * l.item)
    return work


cdef int64_t workers_with_scratch(const lf_lstm *l, const lf_args *a) noexcept nogil:
    """How many threads the work space serves, if the number set has changed since it was sized."""
    cdef int64_t room = (<int64_t> a.work_size - plain_backward_work(l, a.B, 0)) // outer_scratch(l)
    return min(room, lf_get_num_threads())


cdef int sizes_fit(const lf_lstm *l, int64_t T, int64_t B) noexcept nogil:
    return 1 <= T and 1 <= B and not too_large(T, B, 5 * l.H + l.I, l.item)


cdef int64_t lf_reserve_size(const lf_lstm *lstm, int64_t T, int64_t B) noexcept nogil:
    cdef const lf_lstm *l = lstm
    if l == NULL or not sizes_fit(l, T, B):
        return -1
    return T * B * 5 * l.H * l.item


cdef int64_t lf_forward_work(const lf_lstm *lstm, int64_t T, int64_t B) noexcept nogil:
    cdef const lf_lstm *l = lstm
    return -1 if l == NULL or not sizes_fit(l, T, B) else forward_work(l, T, B)


cdef int64_t lf_backward_work(const lf_lstm *lstm, int64_t T, int64_t B) noexcept nogil:
    cdef const lf_lstm *l = lstm
    return -1 if l == NULL or not sizes_fit(l, T, B) else backward_work(
        l, T, B, lf_get_num_threads())


include "checks.pxi"


include "passes.pxi"
include "order.pxi"
include "python.pxi"
