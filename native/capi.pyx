# The C-level API (the manual is lstmfast/capi.pxd) and, included below, what Python calls.
#
# Checks are made here, once; kernels and native/layer.c trust their arguments.

from libc.math cimport floor
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uintptr_t
from libc.stdlib cimport calloc, free, getenv
from libc.string cimport memcpy, memset, strcmp

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
    return "unknown status"


cdef int lf_abi_version() noexcept nogil:
    return 1


# ------------------------------------------------------------------ configuration


cdef lf_config *lf_config_create() noexcept nogil:
    cdef lf_config *config = <lf_config *> calloc(1, sizeof(lf_config))
    if config != NULL:
        config.precision = 32
        config.batch_size = 1
    return config


cdef void lf_config_free(lf_config *config) noexcept nogil:
    free(config)


cdef int64_t *field_of(lf_config *config, const char *key) noexcept nogil:
    """Where the configuration keeps a key; NULL for an unknown one."""
    if strcmp(key, "input_size") == 0:
        return &config.input_size
    if strcmp(key, "hidden_size") == 0:
        return &config.hidden_size
    if strcmp(key, "batch_size") == 0:
        return &config.batch_size
    if strcmp(key, "precision") == 0:
        return &config.precision
    if strcmp(key, "training") == 0:
        return &config.training
    return NULL


cdef int lf_config_set(lf_config *config, const char *key, double value) noexcept nogil:
    cdef int64_t *field
    cdef int fits
    if config == NULL or key == NULL:
        return LF_ENULL
    field = field_of(config, key)
    if field == NULL:
        return LF_EKEY
    if field == &config.precision:
        fits = value == 32 or value == 64
    elif field == &config.training:
        fits = value == 0 or value == 1
    else:
        fits = 1 <= value <= (1 << 24) and floor(value) == value
    if not fits:
        return LF_EVALUE
    field[0] = <int64_t> value
    return LF_OK


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
    if lf_kernels(config.precision == 64).project == NULL:
        return LF_EKERNELS
    l = <lf_lstm *> calloc(1, sizeof(lf_lstm))
    if l == NULL:
        return LF_EMEMORY
    l.I, l.H, l.batch_size = config.input_size, config.hidden_size, config.batch_size
    l.item, l.training = config.precision // 8, config.training
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
    cdef int64_t ih_back = packed_plain(l, l.I) if l.training else 0
    cdef int64_t hh_back = packed_plain(l, l.H) if l.training else 0
    cdef char *p
    l.step_work_size = forward_work(l, 1, l.batch_size)
    l.memory = <char *> lf_take(ih + hh + b + ih_back + hh_back + l.step_work_size)
    if l.memory == NULL:
        return 0
    p = l.memory
    l.w_ih = p
    l.w_hh = p + ih
    l.b = p + ih + hh
    l.w_ih_back = p + ih + hh + b
    l.w_hh_back = p + ih + hh + b + ih_back
    l.step_work = p + ih + hh + b + ih_back + hh_back
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


cdef void load_bias(lf_lstm *l, const void *b) noexcept nogil:
    if b == NULL:
        memset(l.b, 0, 4 * l.H * l.item)
    else:
        memcpy(l.b, b, 4 * l.H * l.item)
    l.loaded = 1


cdef int lf_load_weights(lf_lstm *lstm, const void *W_ih, const void *W_hh,
                         const void *b) noexcept nogil:
    if lstm == NULL or W_ih == NULL or W_hh == NULL:
        return LF_ENULL
    pack_weights(lstm, W_ih, W_hh, PACK_IH | PACK_HH)
    if lstm.training:
        pack_weights(lstm, W_ih, W_hh, PACK_IH_BACK | PACK_HH_BACK)
    load_bias(lstm, b)
    return LF_OK


# ------------------------------------------------------------------ sizes


cdef inline int64_t steps_at_once(int64_t T, int64_t B) noexcept nogil:
    """Steps whose projections are made together: about 64 rows, which stay in L2."""
    cdef int64_t steps = (63 + B) // B
    return steps if steps < T else T


cdef inline int64_t projected_steps(int64_t T, int64_t B) noexcept nogil:
    """Steps whose projections are kept: of two chunks, one made while the other is used."""
    cdef int64_t steps = steps_at_once(T, B)
    return min(T, 2 * steps) if steps > 1 else 1


cdef int64_t forward_work(const lf_lstm *l, int64_t T, int64_t B) noexcept nogil:
    """Inference: projections of some steps, h of two steps, c, zeros. Training: the zeros."""
    cdef int64_t state = padded(B * l.H * l.item)
    return padded(projected_steps(T, B) * B * 4 * l.H * l.item) + 4 * state + 64


cdef int64_t outer_scratch(const lf_lstm *l) noexcept nogil:
    """Bytes of one worker's packed factors."""
    return LF_BLOCK * (3 + 4 * LF_OUTER_PANELS) * l.width * l.item


cdef int64_t backward_work(const lf_lstm *l, int64_t B, int64_t workers) noexcept nogil:
    """dh, dc, zeros, and the scratch of each worker."""
    return 3 * padded(B * l.H * l.item) + workers * outer_scratch(l) + 64


cdef int64_t workers_with_scratch(const lf_lstm *l, const lf_args *a) noexcept nogil:
    """How many threads the work space serves, if the number set has changed since it was sized."""
    cdef int64_t room = (<int64_t> a.work_size - backward_work(l, a.B, 0)) // outer_scratch(l)
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
        l, B, lf_get_num_threads())


include "checks.pxi"


# ------------------------------------------------------------------ forward


cdef inline char *aligned(void *p) noexcept nogil:
    return <char *> p + (64 - <uintptr_t> p % 64) % 64


cdef void *zeros(void *p, int64_t bytes) noexcept nogil:
    memset(p, 0, bytes)
    return p


cdef void describe(const lf_lstm *l, const lf_args *a, lf_layer *r, char *zero) noexcept nogil:
    """What both passes tell the kernels. `zero`: room for a state of zeros."""
    memset(r, 0, sizeof(lf_layer))
    r.T, r.B, r.I, r.H = a.T, a.B, l.I, l.H
    r.x, r.x_t, r.x_b = <void *> a.x, a.x_t, a.x_b
    r.y, r.y_t, r.y_b, r.y_slots = a.y, a.y_t, a.y_b, a.T
    r.z_t, r.c_t = a.B * 4 * l.H, a.B * l.H
    r.w_ih, r.w_hh, r.b = l.w_ih, l.w_hh, l.b
    r.w_ih_back, r.w_hh_back = l.w_ih_back, l.w_hh_back
    if a.h0 == NULL or a.c0 == NULL:
        zeros(zero, a.B * l.H * l.item)
    r.h0 = <void *> a.h0 if a.h0 != NULL else zero
    r.fresh = a.h0 == NULL
    r.c0 = <void *> a.c0 if a.c0 != NULL else zero
    if a.reserve != NULL:
        r.z, r.z_slots, r.keep = a.reserve, a.T, 1
        r.c, r.c_slots = <char *> a.reserve + a.T * r.z_t * l.item, a.T


cdef int run_forward(const lf_lstm *l, const lf_args *a, int turn) noexcept nogil:
    cdef lf_layer r
    cdef int64_t state = padded(a.B * l.H * l.item), b, steps = steps_at_once(a.T, a.B)
    cdef char *work = aligned(a.work)
    cdef char *h
    cdef int status
    describe(l, a, &r, work + 3 * state)
    r.turn = turn
    if a.y == NULL:
        r.y, r.y_t, r.y_b, r.y_slots = work, a.B * l.H, l.H, 2
    if a.reserve == NULL:
        r.c, r.c_slots = a.c_n if a.c_n != NULL else work + 2 * state, 1
        r.z, r.z_slots = work + 4 * state, projected_steps(a.T, a.B)
    status = lf_run_forward(l.kernels, &r, steps)
    h = <char *> r.y + (a.T - 1) % r.y_slots * r.y_t * l.item
    if a.h_n != NULL:
        for b in range(a.B):
            memcpy(<char *> a.h_n + b * l.H * l.item, h + b * r.y_b * l.item, l.H * l.item)
    if a.c_n != NULL and a.reserve != NULL:
        memcpy(a.c_n, <char *> r.c + (a.T - 1) * r.c_t * l.item, a.B * l.H * l.item)
    return status


cdef int lf_forward(const lf_lstm *lstm, const lf_args *args) noexcept nogil:
    cdef lf_args a
    cdef int status = read_args(lstm, args, &a)
    if status == LF_OK:
        status = check_forward(lstm, &a)
    if status == LF_OK:
        status = run_forward(lstm, &a, 0)
    return status


cdef int lf_step(lf_lstm *lstm, int64_t B, const void *x, void *h, void *c) noexcept nogil:
    cdef lf_lstm *l = lstm
    cdef lf_args a
    cdef spans s
    if l == NULL or x == NULL or h == NULL or c == NULL:
        return LF_ENULL
    if B < 1 or B > l.batch_size:
        return LF_ESIZE
    if not l.loaded:
        return LF_ESTATE
    s.count = 0
    add_block(&s, x, B * l.I * l.item, 0)
    add_block(&s, h, B * l.H * l.item, 1)
    add_block(&s, c, B * l.H * l.item, 1)
    if overlap(&s):
        return LF_EALIAS
    memset(&a, 0, sizeof(a))
    a.T, a.B = 1, B
    a.x, a.x_b, a.h0, a.h_n, a.c0, a.c_n = x, l.I, h, h, c, c
    a.work, a.work_size = l.step_work, l.step_work_size
    l.turn = 1 - l.turn
    return run_forward(l, &a, l.turn)


# ------------------------------------------------------------------ backward


cdef int weight_gradient(const lf_lstm *l, const lf_layer *r, lf_outer *a, void *target,
                         int64_t columns, int64_t workers) noexcept nogil:
    a.T, a.B, a.M, a.N = r.T, r.B, 4 * l.H, columns
    a.A, a.a_row, a.C, a.c_row = r.z, 4 * l.H, target, columns
    a.scratch_stride = outer_scratch(l) // l.item
    return lf_run_range(<lf_range_kernel> l.kernels.outer, a, panels(4 * l.H, l.width), 1,
                        8.0 * r.T * r.B * l.H * columns, workers)


cdef int weight_gradients(const lf_lstm *l, const lf_args *a, const lf_layer *r,
                          void *scratch) noexcept nogil:
    """dW_ih = Σ dz[t] ⊗ x[t], dW_hh = Σ dz[t] ⊗ h[t-1], db = Σ dz[t]."""
    cdef lf_outer o
    cdef int64_t workers = workers_with_scratch(l, a)
    cdef int status = 0
    o.scratch, o.right_sums, o.by_columns = scratch, NULL, 0
    if a.dW_ih != NULL:
        o.column_sums = a.db
        o.first, o.first_row = r.x, r.x_b
        o.rest, o.rest_t, o.rest_b = <char *> r.x + r.x_t * l.item, r.x_t, r.x_b
        status |= weight_gradient(l, r, &o, a.dW_ih, l.I, workers)
    if a.dW_hh != NULL and a.T == 1 and a.h0 == NULL and (a.dW_ih != NULL or a.db == NULL):
        memset(a.dW_hh, 0, 4 * l.H * l.H * l.item)
    elif a.dW_hh != NULL:
        o.column_sums = a.db if a.dW_ih == NULL else NULL
        o.first, o.first_row = r.h0, l.H
        o.rest, o.rest_t, o.rest_b = r.y, r.y_t, r.y_b
        status |= weight_gradient(l, r, &o, a.dW_hh, l.H, workers)
    return status


cdef int run_backward(const lf_lstm *l, const lf_args *a) noexcept nogil:
    cdef lf_layer r
    cdef int64_t state = padded(a.B * l.H * l.item)
    cdef char *work = aligned(a.work)
    cdef int status
    describe(l, a, &r, work + 2 * state)
    r.dy, r.dy_t, r.dy_b, r.dh_n = <void *> a.dy, a.dy_t, a.dy_b, <void *> a.dh_n
    r.dx, r.dx_t, r.dx_b, r.dh0 = a.dx, a.dx_t, a.dx_b, a.dh0
    r.dh, r.dc = work, a.dc0 if a.dc0 != NULL else work + state
    if a.dc_n != NULL:
        memcpy(r.dc, a.dc_n, a.B * l.H * l.item)
    else:
        zeros(r.dc, a.B * l.H * l.item)
    status = lf_run_backward(l.kernels, &r)
    status |= weight_gradients(l, a, &r, work + 3 * state)
    if a.dx != NULL:
        status |= lf_run_range(<lf_range_kernel> l.kernels.input_gradient, &r, a.T * a.B, 1,
                               8.0 * a.T * a.B * l.H * l.I, lf_get_num_threads())
    return status


cdef int lf_backward(const lf_lstm *lstm, const lf_args *args) noexcept nogil:
    cdef lf_args a
    cdef int status = read_args(lstm, args, &a)
    if status == LF_OK:
        status = check_backward(lstm, &a)
    if status == LF_OK:
        status = run_backward(lstm, &a)
    return status


include "python.pxi"
