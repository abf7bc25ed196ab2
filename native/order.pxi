# Passes over rows of unlike lengths: brought into order, run, and brought back.


cdef inline int has_lengths(const lf_args *a) noexcept nogil:
    return a.lengths != NULL or a.mask != NULL


cdef inline char *room(char **work, int64_t bytes) noexcept nogil:
    """The next bytes of the work space."""
    cdef char *p = work[0]
    work[0] = p + padded(bytes)
    return p


cdef void order_of(const lf_lstm *l, const lf_args *a, lf_order *o, char **work) noexcept nogil:
    o.T, o.B, o.reversed = a.T, a.B, l.config.reverse != 0
    lf_order_fill(o, room(work, lf_order_size(a.T, a.B)), a.lengths, a.mask, a.mask_t, a.mask_b)


cdef void *sorted_state(const lf_lstm *l, const lf_order *o, const void *state,
                        char **work) noexcept nogil:
    cdef int64_t bytes = l.H * l.item
    cdef char *p
    if state == NULL:
        return NULL
    p = room(work, o.B * bytes)
    lf_sort_states(o, state, p, bytes)
    return p


cdef inline void *state_room(const lf_lstm *l, const lf_args *a, const void *wanted,
                             char **work) noexcept nogil:
    return NULL if wanted == NULL else room(work, a.B * l.H * l.item)


cdef void unsort_state(const lf_lstm *l, const lf_order *o, const void *state,
                       void *target) noexcept nogil:
    if target != NULL:
        lf_unsort_states(o, state, target, l.H * l.item)


cdef lf_rows rows_of(const lf_lstm *l, const lf_order *o, const void *p, int64_t t_stride,
                     int64_t b_stride, int64_t columns, char *sorted) noexcept nogil:
    cdef lf_rows a
    a.order, a.caller, a.sorted, a.columns, a.item = o, <char *> p, sorted, columns, l.item
    a.t_stride, a.b_stride, a.repeat = t_stride, b_stride, 0
    return a


cdef void *sorted_rows(const lf_lstm *l, const lf_args *a, const lf_order *o, const void *p,
                       int64_t t_stride, int64_t b_stride, int64_t columns, int repeat,
                       char **work) noexcept nogil:
    cdef lf_rows rows
    if p == NULL:
        return NULL
    rows = rows_of(l, o, p, t_stride, b_stride, columns,
                   room(work, a.T * a.B * columns * l.item))
    rows.repeat = repeat
    lf_sort_rows(&rows)
    return rows.sorted


cdef int forward_in_order(const lf_lstm *l, const lf_args *a) noexcept nogil:
    cdef lf_order o
    cdef lf_args s = a[0]
    cdef lf_rows y
    cdef char *work = aligned(a.work)
    cdef int status = LF_OK
    order_of(l, a, &o, &work)
    s.x_t, s.x_b, s.y_t, s.y_b, s.T = a.B * l.I, l.I, a.B * l.H, l.H, o.longest
    s.x = sorted_rows(l, a, &o, a.x, a.x_t, a.x_b, l.I, 0, &work)
    s.h0, s.c0 = sorted_state(l, &o, a.h0, &work), sorted_state(l, &o, a.c0, &work)
    s.h_n, s.c_n = state_room(l, a, a.h_n, &work), state_room(l, a, a.c_n, &work)
    if a.y != NULL:
        y = rows_of(l, &o, a.y, a.y_t, a.y_b, l.H, room(&work, a.T * a.B * l.H * l.item))
        s.y, y.repeat = y.sorted, l.config.repeat != 0
    s.work = work
    if o.longest > 0:
        status = run_forward(l, &s, &o, 0)
    else:
        no_steps(l, a.B, s.h0, s.h_n)
        no_steps(l, a.B, s.c0, s.c_n)
    if a.y != NULL:
        lf_unsort_rows(&y)
    unsort_state(l, &o, s.h_n, a.h_n)
    unsort_state(l, &o, s.c_n, a.c_n)
    return status


cdef void no_steps(const lf_lstm *l, int64_t B, const void *before, void *after) noexcept nogil:
    """A state, or the gradient to one, passes unchanged where no step is taken."""
    if after != NULL and before != NULL:
        memcpy(after, before, B * l.H * l.item)
    elif after != NULL:
        memset(after, 0, B * l.H * l.item)


cdef void no_gradients(const lf_lstm *l, const lf_args *a) noexcept nogil:
    if a.dW_ih != NULL:
        memset(a.dW_ih, 0, 4 * l.H * l.I * l.item)
    if a.dW_hh != NULL:
        memset(a.dW_hh, 0, 4 * l.H * l.H * l.item)
    if a.db != NULL:
        memset(a.db, 0, 4 * l.H * l.item)
    if a.gradients != NULL and a.gradients.p != NULL:
        memset(a.gradients.p, 0, 3 * l.H * l.item)


cdef int backward_in_order(const lf_lstm *l, const lf_args *a) noexcept nogil:
    cdef lf_order o
    cdef lf_args s = a[0]
    cdef lf_rows dx
    cdef char *work = aligned(a.work)
    cdef int status = LF_OK
    order_of(l, a, &o, &work)
    s.x_t, s.x_b, s.y_t, s.y_b, s.T = a.B * l.I, l.I, a.B * l.H, l.H, o.longest
    s.dx_t, s.dx_b, s.dy_t, s.dy_b = s.x_t, s.x_b, s.y_t, s.y_b
    s.x = sorted_rows(l, a, &o, a.x, a.x_t, a.x_b, l.I, 0, &work)
    s.y = sorted_rows(l, a, &o, a.y, a.y_t, a.y_b, l.H, 0, &work)
    s.dy = sorted_rows(l, a, &o, a.dy, a.dy_t, a.dy_b, l.H, l.config.repeat != 0, &work)
    s.h0, s.c0 = sorted_state(l, &o, a.h0, &work), sorted_state(l, &o, a.c0, &work)
    s.dh_n, s.dc_n = sorted_state(l, &o, a.dh_n, &work), sorted_state(l, &o, a.dc_n, &work)
    s.dh0, s.dc0 = state_room(l, a, a.dh0, &work), state_room(l, a, a.dc0, &work)
    if a.dx != NULL:
        dx = rows_of(l, &o, a.dx, a.dx_t, a.dx_b, l.I, room(&work, a.T * a.B * l.I * l.item))
        s.dx = dx.sorted
    s.work_size = a.work_size - (work - <char *> a.work)
    s.work = work
    if o.longest > 0:
        status = run_backward(l, &s, &o)
    else:
        no_gradients(l, a)
        no_steps(l, a.B, s.dh_n, s.dh0)
        no_steps(l, a.B, s.dc_n, s.dc0)
    if a.dx != NULL:
        lf_unsort_rows(&dx)
    unsort_state(l, &o, s.dh0, a.dh0)
    unsort_state(l, &o, s.dc0, a.dc0)
    return status
