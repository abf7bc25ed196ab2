# Keras's LSTM as operations of XLA on the CPU: functions that XLA calls, from any thread and without
# the interpreter. They take what lstmfast/keras/jax_bridge.py gives them, on XLA's own memory: x
# (B, T, I), kernel (I, 4H), recurrent kernel (H, 4H), b (4H,), h0 and c0 (B, H) and, with the key
# "lengths", a mask (B, T). Attributes are keys of lf_config_set. Signals wait until a call is done,
# as they do in XLA's own operations.

from cpython.pycapsule cimport PyCapsule_New


cdef struct xla_arrays:
    lf_xla_array **items
    int64_t count, next
    int dtype       # of numbers
    int status      # LF_ESIZE once one was not what it should be


cdef struct xla_call:
    lf_lstm *lstm
    lf_args a
    lf_weights w            # both kernels as Keras has them, and b
    lf_weights results      # their gradients, as Keras has them
    lf_weights gradients    # and as the handle has them
    xla_arrays given, wanted
    void *turning           # room for gradients on their way there
    const void *kept        # the forward pass's reserve
    bint need_dx, need_weights
    bint as_ours            # kernels and their gradients are W_ih (4H, I) and W_hh (4H, H)
    char *memory            # all that the call needs beside


cdef int64_t NO_AXIS = -1


cdef void *take_array(xla_arrays *r, int dtype, int64_t d0, int64_t d1, int64_t d2) noexcept nogil:
    """The data of the next array, which must have these axes."""
    cdef int64_t[3] shape
    cdef int64_t k, rank = 1 + (d1 != NO_AXIS) + (d2 != NO_AXIS)
    cdef lf_xla_array *array = r.items[r.next] if r.next < r.count else NULL
    cdef bint fits = array != NULL and array.dtype == dtype and array.rank == rank
    shape[0], shape[1], shape[2] = d0, d1, d2
    for k in range(rank if fits else 0):
        fits = fits and array.dims[k] == shape[k]
    r.next += 1
    if not fits:
        r.status = LF_ESIZE
        return NULL
    return array.data


cdef inline void *take_matrix(xla_arrays *r, int64_t rows, int64_t columns) noexcept nogil:
    return take_array(r, r.dtype, rows, columns, NO_AXIS)


cdef inline void *take_sequence(xla_arrays *r, const lf_args *a, int64_t columns) noexcept nogil:
    return take_array(r, r.dtype, a.B, a.T, columns)


cdef void begin_arrays(xla_arrays *r, const lf_xla_arrays *arrays, int dtype) noexcept nogil:
    r.items, r.count, r.next, r.dtype, r.status = arrays.items, arrays.count, 0, dtype, LF_OK


cdef inline int status_of(const xla_call *c) noexcept nogil:
    """LF_OK if all arrays, and no others, were what they should be."""
    if c.given.next != c.given.count or c.wanted.next != c.wanted.count:
        return LF_ESIZE
    return c.given.status or c.wanted.status


cdef int set_attribute(lf_config *config, const lf_xla_text *name, int type,
                       const lf_xla_scalar *value) noexcept nogil:
    cdef char[32] key
    if type != LF_XLA_SCALAR or value.dtype != LF_XLA_DOUBLE or name.size >= sizeof(key):
        return LF_EKEY
    memcpy(key, name.start, name.size)
    key[name.size] = 0
    return lf_config_set(config, key, (<double *> value.value)[0])


cdef int configure(const lf_xla_frame *f, bint as_ours, lf_config *config) noexcept nogil:
    """The layer that attributes and the sizes of x and the recurrent kernel tell."""
    cdef const lf_xla_attributes *attributes = &f.attributes
    cdef lf_xla_array *x
    cdef lf_xla_array *recurrent
    cdef int64_t k
    cdef int status = LF_OK
    lf_set_defaults(config)
    if f.arguments.count < 6:
        return LF_ENULL
    x, recurrent = f.arguments.items[0], f.arguments.items[2]
    if x.rank != 3 or recurrent.rank != 2 or x.dtype not in (LF_XLA_FLOAT, LF_XLA_DOUBLE):
        return LF_ESIZE
    config.input_size, config.hidden_size = x.dims[2], recurrent.dims[as_ours]
    config.precision = 64 if x.dtype == LF_XLA_DOUBLE else 32
    for k in range(attributes.count):
        status = status or set_attribute(config, attributes.names[k], attributes.types[k],
                                         attributes.items[k])
    return status


cdef int begin_call(const lf_xla_frame *f, int training, xla_call *c) noexcept nogil:
    """A handle for this call alone, and the tensors of the layer among the arguments."""
    cdef lf_config config
    cdef int status = configure(f, c.as_ours, &config)
    config.training = training
    if status == LF_OK:
        status = lf_build(&config, &c.lstm)
    if status != LF_OK:
        return status
    begin_arrays(&c.given, &f.arguments, f.arguments.items[0].dtype)
    begin_arrays(&c.wanted, &f.results, c.given.dtype)
    c.a.size, c.a.B, c.a.T = sizeof(lf_args), f.arguments.items[0].dims[0], f.arguments.items[0].dims[1]
    take_tensors(c, c.lstm.I, c.lstm.H)
    c.w.size, c.lstm.parts[0].turned = sizeof(lf_weights), not c.as_ours
    load_vectors(&c.lstm.parts[0], &c.w)
    c.lstm.loaded = 1
    return c.given.status


cdef void take_kernels(const xla_call *c, xla_arrays *r, lf_weights *w) noexcept nogil:
    """Both, or their gradients, as the caller has them."""
    cdef int64_t I = c.lstm.I, H = c.lstm.H, gates = 4 * H
    if c.as_ours:
        w.W_ih, w.W_hh = take_matrix(r, gates, I), take_matrix(r, gates, H)
    else:
        w.W_ih, w.W_hh = take_matrix(r, I, gates), take_matrix(r, H, gates)


cdef inline int is_zero(const void *p, int64_t bytes) noexcept nogil:
    return (<const char *> p)[0] == 0 and memcmp(p, <const char *> p + 1, bytes - 1) == 0


cdef void take_tensors(xla_call *c, int64_t I, int64_t H) noexcept nogil:
    cdef lf_args *a = &c.a
    a.x, a.x_t, a.x_b = take_sequence(&c.given, a, I), I, a.T * I
    take_kernels(c, &c.given, &c.w)
    c.w.b = take_array(&c.given, c.given.dtype, 4 * H, NO_AXIS, NO_AXIS)
    a.h0, a.c0 = take_matrix(&c.given, a.B, H), take_matrix(&c.given, a.B, H)
    if c.given.status == LF_OK and is_zero(a.h0, a.B * H * c.lstm.item):
        a.h0 = NULL  # Keras's layers begin so: no product is due
    a.y_t, a.y_b, a.mask_b = H, a.T * H, a.T
    if c.lstm.config.lengths:
        a.mask, a.mask_t = <uint8_t *> take_array(&c.given, LF_XLA_BOOL, a.B, a.T, NO_AXIS), 1


cdef void pack_kernels(xla_call *c, int which) noexcept nogil:
    cdef lf_part *part = &c.lstm.parts[0]
    pack_weights(part, &c.w, lend_weights(part, &c.w, c.a.T, c.a.B, which))


cdef void free_call(xla_call *c) noexcept nogil:
    lf_give(c.memory)
    lf_free(c.lstm)


cdef const char *text_of(int status) noexcept nogil:
    if status == LF_ESIZE:
        return "lstmfast: an array has another shape or dtype than the layer's"
    if status == LF_EMEMORY:
        return "lstmfast: out of memory"
    return lf_status_text(status)


cdef void *end_call(const lf_xla_frame *f, xla_call *c, int status) noexcept nogil:
    """Free what the call had; what XLA wants to be told."""
    cdef lf_xla_error_args error
    free_call(c)
    if status == LF_OK:
        return NULL
    memset(&error, 0, sizeof(error))
    error.size, error.message, error.code = sizeof(error), text_of(status), LF_XLA_INTERNAL
    return f.api.create_error(&error)


cdef bint tells_version(const lf_xla_frame *f) noexcept nogil:
    """Does XLA ask for our version? We say the one that asks, if only the minor one is newer."""
    cdef lf_xla_extension *extension = <lf_xla_extension *> f.extension
    if extension == NULL or extension.type != LF_XLA_METADATA:
        return False
    extension.metadata.version.major = LF_XLA_MAJOR
    extension.metadata.version.minor = f.api.version.minor
    return True


cdef void *xla_call_of(lf_xla_frame *f, int (*run)(const lf_xla_frame *, xla_call *) noexcept nogil
                       ) noexcept nogil:
    cdef xla_call c
    cdef int before, status
    memset(&c, 0, sizeof(c))
    if tells_version(f) or f.stage != LF_XLA_EXECUTE:
        return NULL
    before = lf_team_keep_own(1)  # this may be any of XLA's threads
    status = run(f, &c)
    lf_team_keep_own(before)
    return end_call(f, &c, status)


# ------------------------------------------------------------------ forward: [y,] h_n, c_n[, reserve]


cdef int forward_run(const lf_xla_frame *f, xla_call *c) noexcept nogil:
    cdef int status = begin_call(f, f.results.count > 3, c)
    if status == LF_OK:
        status = take_outputs(c)
    if status == LF_OK:
        status = place_forward(c)
    if status == LF_OK:
        pack_kernels(c, PACK_FORWARD)
        status = lf_forward(c.lstm, &c.a)
    return status


cdef int take_outputs(xla_call *c) noexcept nogil:
    cdef lf_args *a = &c.a
    cdef int64_t H = c.lstm.H
    if c.wanted.count > 2:
        a.y = take_sequence(&c.wanted, a, H)
    a.h_n, a.c_n = take_matrix(&c.wanted, a.B, H), take_matrix(&c.wanted, a.B, H)
    if c.wanted.count > 3:
        a.reserve = take_reserve(c, &c.wanted)
    return status_of(c)


cdef inline void *take_reserve(xla_call *c, xla_arrays *r) noexcept nogil:
    return take_array(r, LF_XLA_UINT8, lf_reserve_size(c.lstm, c.a.T, c.a.B), NO_AXIS, NO_AXIS)


cdef int place_forward(xla_call *c) noexcept nogil:
    c.a.work_size = lf_forward_work(c.lstm, c.a.T, c.a.B)
    c.a.work = c.memory = <char *> lf_take(<int64_t> c.a.work_size)
    return LF_OK if c.memory != NULL else LF_EMEMORY


cdef void *xla_forward(lf_xla_frame *f) noexcept nogil:
    return xla_call_of(f, forward_run)


# ------------------------------------------------------------------ backward
#
# Arguments: the tensors of the layer, y, reserve, which gradients are needed (dx, those of weights)
# and the upstream gradients of [y,] h_n and c_n. Results: dx, both kernels', db, dh0, dc0.


cdef int backward_run(const lf_xla_frame *f, xla_call *c) noexcept nogil:
    cdef int status = begin_call(f, 1, c)
    if status == LF_OK:
        status = take_kept(c)
    if status == LF_OK:
        status = take_gradients(c)
    if status == LF_OK:
        pack_kernels(c, PACK_HH_BACK | (PACK_IH_BACK if c.need_dx else 0))
        status = place_backward(c)
    if status == LF_OK:
        status = lf_backward(c.lstm, &c.a)
    if status == LF_OK and c.need_weights and turns_after(c):
        turn_gradients(c)
    return status


cdef int take_kept(xla_call *c) noexcept nogil:
    """What the forward pass left, which gradients are needed, and those of its outputs."""
    cdef lf_args *a = &c.a
    cdef const uint8_t *needs
    a.y, c.kept = take_sequence(&c.given, a, c.lstm.H), take_reserve(c, &c.given)
    needs = <const uint8_t *> take_array(&c.given, LF_XLA_BOOL, 2, NO_AXIS, NO_AXIS)
    if needs != NULL:
        c.need_dx, c.need_weights = needs[0], needs[1]
    if c.given.count - c.given.next > 2:
        a.dy, a.dy_t, a.dy_b = take_sequence(&c.given, a, c.lstm.H), a.y_t, a.y_b
    a.dh_n, a.dc_n = take_matrix(&c.given, a.B, c.lstm.H), take_matrix(&c.given, a.B, c.lstm.H)
    return c.given.status


cdef int take_gradients(xla_call *c) noexcept nogil:
    """Where results go; those that are not needed are zeros, and XLA does not look at them."""
    cdef lf_args *a = &c.a
    cdef lf_weights *g = &c.results
    cdef int64_t I = c.lstm.I, H = c.lstm.H, item = c.lstm.item
    a.dx, a.dx_t, a.dx_b = take_sequence(&c.wanted, a, I), I, a.T * I
    take_kernels(c, &c.wanted, g)
    g.b = take_array(&c.wanted, c.wanted.dtype, 4 * H, NO_AXIS, NO_AXIS)
    a.dh0, a.dc0 = take_matrix(&c.wanted, a.B, H), take_matrix(&c.wanted, a.B, H)
    if status_of(c) == LF_OK and not c.need_dx:
        memset(a.dx, 0, a.B * a.T * I * item)
        a.dx = NULL
    if status_of(c) == LF_OK and not c.need_weights:
        memset(g.W_ih, 0, 4 * H * I * item)
        memset(g.W_hh, 0, 4 * H * H * item)
        memset(g.b, 0, 4 * H * item)
    return status_of(c)


cdef inline int turns_after(const xla_call *c) noexcept nogil:
    """Do gradients of kernels have to be turned after the pass?"""
    cdef const lf_part *part = &c.lstm.parts[0]
    return part.turned and not part.writes_turned


cdef void turn_gradients(xla_call *c) noexcept nogil:
    """From the handle's layout into results."""
    cdef lf_part *part = &c.lstm.parts[0]
    lf_turn(part, c.gradients.W_ih, c.results.W_ih, 4 * part.H, part.I, c.turning)
    lf_turn(part, c.gradients.W_hh, c.results.W_hh, 4 * part.H, part.H, c.turning)


cdef int place_backward(xla_call *c) noexcept nogil:
    """Memory for a copy of the reserve, which is used up, and for gradients of kernels, as W has them."""
    cdef lf_args *a = &c.a
    cdef char *next = NULL
    a.work_size = lf_backward_work(c.lstm, a.T, a.B)
    rooms_of_gradients(c, &next)
    c.memory = next = <char *> lf_take(<int64_t> next)
    if next == NULL:
        return LF_EMEMORY
    rooms_of_gradients(c, &next)
    memcpy(a.reserve, c.kept, lf_reserve_size(c.lstm, a.T, a.B))
    c.gradients.size, a.gradients = sizeof(lf_weights), &c.gradients
    c.gradients.b = c.results.b
    if not turns_after(c):
        c.gradients.W_ih, c.gradients.W_hh = c.results.W_ih, c.results.W_hh
    if not c.need_weights:
        c.gradients.W_ih = c.gradients.W_hh = c.gradients.b = NULL
    return LF_OK


cdef void rooms_of_gradients(xla_call *c, char **next) noexcept nogil:
    cdef const lf_part *part = &c.lstm.parts[0]
    cdef int64_t rows = 4 * part.H * part.item
    c.a.work, c.a.reserve = room(next, c.a.work_size), room(next, lf_reserve_size(c.lstm, c.a.T, c.a.B))
    if not turns_after(c):
        return
    c.gradients.W_ih, c.gradients.W_hh = room(next, rows * c.lstm.I), room(next, rows * c.lstm.H)
    c.turning = room(next, packed_plain(part, max(part.I, part.H), 4 * part.H))


cdef void *xla_backward(lf_xla_frame *f) noexcept nogil:
    return xla_call_of(f, backward_run)


def xla_functions() -> dict:
    """What XLA is to be given, by the names of operations: capsules of functions."""
    return {"lstmfast_forward": PyCapsule_New(<void *> xla_forward, NULL, NULL),
            "lstmfast_backward": PyCapsule_New(<void *> xla_backward, NULL, NULL)}
