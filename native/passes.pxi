# The two passes over a batch, from the C-level arguments to what kernels read.

# ------------------------------------------------------------------ forward


cdef inline char *aligned(void *p) noexcept nogil:
    return <char *> p + (64 - <uintptr_t> p % 64) % 64


cdef void *zeros(void *p, int64_t bytes) noexcept nogil:
    memset(p, 0, bytes)
    return p


cdef inline void *first_step(const lf_lstm *l, const lf_args *a, const lf_order *order,
                             const void *p, int64_t *stride) noexcept nogil:
    """Where the step lies that is taken first; `stride` then leads to the next one."""
    if p == NULL or not l.config.reverse or order != NULL:
        return <void *> p
    stride[0] = -stride[0]
    return <char *> p - (a.T - 1) * stride[0] * l.item


cdef void describe(const lf_lstm *l, const lf_args *a, const lf_order *order, lf_layer *r,
                   char *zero) noexcept nogil:
    """What both passes tell the kernels. `zero`: room for a state of zeros."""
    memset(r, 0, sizeof(lf_layer))
    r.T, r.B, r.I, r.H = a.T, a.B, l.I, l.H
    r.x_t, r.x_b, r.y_t, r.y_b, r.y_slots = a.x_t, a.x_b, a.y_t, a.y_b, a.T
    r.x = first_step(l, a, order, a.x, &r.x_t)
    r.y = first_step(l, a, order, a.y, &r.y_t)
    if order != NULL:
        r.lengths, r.offsets, r.active = order.lengths, order.offsets, order.active
    r.z_t, r.c_t = a.B * 4 * l.H, a.B * l.H
    lf_describe_cell(&l.config, r)
    r.w_ih, r.w_hh, r.b, r.p = l.w_ih, l.w_hh, l.b, l.p
    r.w_ih_back, r.w_hh_back = l.w_ih_back, l.w_hh_back
    if a.h0 == NULL or a.c0 == NULL:
        zeros(zero, a.B * l.H * l.item)
    r.h0 = <void *> a.h0 if a.h0 != NULL else zero
    r.fresh = a.h0 == NULL
    r.c0 = <void *> a.c0 if a.c0 != NULL else zero
    if a.reserve != NULL:
        r.z, r.z_slots, r.keep = a.reserve, a.T, 1
        r.c, r.c_slots = <char *> a.reserve + a.T * r.z_t * l.item, a.T


cdef void read_last_state(const lf_layer *r, int64_t item, void *h_n, void *c_n) noexcept nogil:
    """Copy each row's h and c after its last step to h_n and c_n, unless they are NULL."""
    cdef int64_t b, t, bytes = r.H * item
    cdef char *h
    cdef char *c
    for b in range(r.B):
        t = (r.lengths[b] if r.lengths != NULL else r.T) - 1
        h = <char *> r.h0 + b * bytes
        c = <char *> r.c0 + b * bytes
        if t >= 0:
            h = <char *> r.y + (t % r.y_slots * r.y_t + b * r.y_b) * item
            c = <char *> r.c + (t % r.c_slots * r.c_t + b * r.H) * item
        if h_n != NULL:
            memmove(<char *> h_n + b * bytes, h, bytes)
        if c_n != NULL:
            memmove(<char *> c_n + b * bytes, c, bytes)


cdef int run_forward(const lf_lstm *l, const lf_args *a, const lf_order *order,
                     int turn) noexcept nogil:
    cdef lf_layer r
    cdef int64_t state = padded(a.B * l.H * l.item), steps = steps_at_once(a.T, a.B)
    cdef char *work = aligned(a.work)
    cdef int status
    describe(l, a, order, &r, work + 3 * state)
    r.turn = turn
    if a.y == NULL:
        r.y, r.y_t, r.y_b, r.y_slots = work, a.B * l.H, l.H, 2
    if a.reserve == NULL:
        r.c, r.c_slots = a.c_n if a.c_n != NULL else work + 2 * state, 1
        r.z, r.z_slots = work + 4 * state, projected_steps(a.T, a.B)
    status = lf_run_forward(l.kernels, &r, steps)
    read_last_state(&r, l.item, a.h_n, a.c_n)
    return status


cdef int lf_forward(const lf_lstm *lstm, const lf_args *args) noexcept nogil:
    cdef lf_args a
    cdef int status = read_args(lstm, args, &a)
    if status == LF_OK:
        status = check_forward(lstm, &a)
    if status == LF_OK and has_lengths(&a):
        return forward_in_order(lstm, &a)
    if status == LF_OK:
        status = run_forward(lstm, &a, NULL, 0)
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
    return run_forward(l, &a, NULL, l.turn)


# ------------------------------------------------------------------ backward


cdef int weight_gradient(const lf_lstm *l, const lf_layer *r, lf_outer *a, void *target,
                         int64_t columns, int64_t workers) noexcept nogil:
    a.T, a.B, a.M, a.N = r.T, r.B, 4 * l.H, columns
    a.A, a.a_row, a.C, a.c_row = r.z, 4 * l.H, target, columns
    a.active, a.count = r.active, r.offsets[r.T] if r.offsets != NULL else r.T * r.B
    a.scratch_stride = outer_scratch(l) // l.item
    return lf_run_range(<lf_range_kernel> l.kernels.outer, a, panels(4 * l.H, l.width), 1,
                        8.0 * a.count * l.H * columns, workers)


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
    if a.gradients != NULL and a.gradients.p != NULL:
        status |= lf_run_range(<lf_range_kernel> l.kernels.peephole_gradient, <void *> r,
                               panels(l.H, l.width), 1, 6.0 * r.T * r.B * l.H,
                               lf_get_num_threads())
    return status


cdef int run_backward(const lf_lstm *l, const lf_args *a, const lf_order *order) noexcept nogil:
    cdef lf_layer r
    cdef int64_t state = padded(a.B * l.H * l.item), taken
    cdef char *work = aligned(a.work)
    cdef int status
    describe(l, a, order, &r, work + 2 * state)
    r.dy_t, r.dy_b, r.dx_t, r.dx_b = a.dy_t, a.dy_b, a.dx_t, a.dx_b
    r.dy = first_step(l, a, order, a.dy, &r.dy_t)
    r.dx = first_step(l, a, order, a.dx, &r.dx_t)
    r.dh_n, r.dh0 = <void *> a.dh_n, a.dh0
    r.dp = a.gradients.p if a.gradients != NULL else NULL
    r.dh, r.dc = work, a.dc0 if a.dc0 != NULL else work + state
    if a.dc_n != NULL:
        memcpy(r.dc, a.dc_n, a.B * l.H * l.item)
    else:
        zeros(r.dc, a.B * l.H * l.item)
    status = lf_run_backward(l.kernels, &r)
    status |= weight_gradients(l, a, &r, work + 3 * state)
    if a.dx != NULL:
        taken = order.offsets[a.T] if order != NULL else a.T * a.B
        status |= lf_run_range(<lf_range_kernel> l.kernels.input_gradient, &r, taken, 1,
                               8.0 * taken * l.H * l.I, lf_get_num_threads())
    return status


cdef int lf_backward(const lf_lstm *lstm, const lf_args *args) noexcept nogil:
    cdef lf_args a
    cdef int status = read_args(lstm, args, &a)
    if status == LF_OK:
        status = check_backward(lstm, &a)
    if status == LF_OK and has_lengths(&a):
        return backward_in_order(lstm, &a)
    if status == LF_OK:
        status = run_backward(lstm, &a, NULL)
    return status
