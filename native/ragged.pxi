# Passes over rows of unlike lengths: brought into order, run, and brought back.


cdef inline int has_lengths(const lf_args *a) noexcept nogil:
    return a.lengths != NULL or a.mask != NULL


cdef void order_of(const lf_part *l, const lf_args *a, lf_order *o, char **work) noexcept nogil:
    o.T, o.B, o.reversed = a.T, a.B, l.reverse
    lf_order_fill(o, room(work, lf_order_size(a.T, a.B)), a.lengths, a.mask, a.mask_t, a.mask_b)


cdef void *sorted_state(const lf_part *l, const lf_order *o, const void *state, int64_t columns,
                        char **work) noexcept nogil:
    cdef int64_t bytes = columns * l.item
    cdef char *p
    if state == NULL:
        return NULL
    p = room(work, o.B * bytes)
    lf_sort_states(o, state, p, bytes)
    return p


cdef inline void *state_room(const lf_part *l, const lf_args *a, const void *wanted,
                             int64_t columns, char **work) noexcept nogil:
    return NULL if wanted == NULL else room(work, a.B * columns * l.item)


cdef void unsort_state(const lf_part *l, const lf_order *o, const void *state, int64_t columns,
                       void *target) noexcept nogil:
    if target != NULL:
        lf_unsort_states(o, state, target, columns * l.item)


cdef lf_sequences sequences_of(const lf_part *l, const lf_order *o, const void *p,
                               int64_t t_stride, int64_t b_stride, int64_t columns,
                               char *sorted) noexcept nogil:
    cdef lf_sequences a
    a.order, a.caller, a.sorted, a.columns, a.item = o, <char *> p, sorted, columns, l.item
    a.t_stride, a.b_stride, a.repeat = t_stride, b_stride, 0
    return a


cdef void *sorted_sequences(const lf_part *l, const lf_args *a, const lf_order *o, const void *p,
                            int64_t t_stride, int64_t b_stride, int64_t columns, int repeat,
                            char **work) noexcept nogil:
    cdef lf_sequences found
    if p == NULL:
        return NULL
    found = sequences_of(l, o, p, t_stride, b_stride, columns,
                         room(work, a.T * a.B * columns * l.item))
    found.repeat = repeat
    lf_sort_sequences(&found)
    return found.sorted


cdef int ragged_forward(const lf_part *l, const lf_args *a) noexcept nogil:
    cdef lf_order o
    cdef lf_args s = a[0]
    cdef lf_sequences y, cells
    cdef char *work = aligned(a.work)
    cdef const uint8_t *ends
    cdef int status = LF_OK
    order_of(l, a, &o, &work)
    sort_strides(l, &s)
    s.T = o.longest
    s.x = sorted_sequences(l, a, &o, a.x, a.x_t, a.x_b, l.I, 0, &work)
    s.h0, s.c0 = sorted_state(l, &o, a.h0, l.P, &work), sorted_state(l, &o, a.c0, l.H, &work)
    s.h_n, s.c_n = state_room(l, a, a.h_n, l.P, &work), state_room(l, a, a.c_n, l.H, &work)
    s.x_static = sorted_state(l, &o, a.x_static, l.S, &work)
    ends = flag_sorted_steps(l, &o, &s, &work)
    if a.y != NULL:
        y = sequences_of(l, &o, a.y, a.y_t, a.y_b, l.P, room(&work, a.T * a.B * l.P * l.item))
        s.y, y.repeat = y.sorted, l.config.repeat != 0
    if a.cells != NULL:
        cells = sequences_of(l, &o, a.cells, a.cells_t, a.cells_b, l.H,
                             room(&work, a.T * a.B * l.H * l.item))
        s.cells = cells.sorted
    s.work = work
    if o.longest > 0:
        status = part_forward(l, &s, &o, 0)
    else:
        if a.reserve != NULL:
            zero_rest(l, a, a.T, <char *> a.reserve)
        no_steps(l, a.B, s.h0, s.h_n, l.P)
        no_steps(l, a.B, s.c0, s.c_n, l.H)
    if status & LF_STOPPED:
        return status
    if a.y != NULL:
        lf_unsort_sequences(&y)
    if a.cells != NULL:
        lf_unsort_sequences(&cells)
    end_anew(l, &o, ends, s.reset_h, l.P, s.h_n)
    end_anew(l, &o, ends, s.reset_c, l.H, s.c_n)
    unsort_state(l, &o, s.h_n, l.P, a.h_n)
    unsort_state(l, &o, s.c_n, l.H, a.c_n)
    return status


cdef void sort_strides(const lf_part *l, lf_args *s) noexcept nogil:
    """Sorted arrays are contiguous, step by step."""
    s.x_t, s.x_b, s.y_t, s.y_b = s.B * l.I, l.I, s.B * l.P, l.P
    s.dx_t, s.dx_b, s.dy_t, s.dy_b = s.x_t, s.x_b, s.y_t, s.y_b
    s.cells_t, s.cells_b, s.dcells_t, s.dcells_b = s.B * l.H, l.H, s.B * l.H, l.H


cdef void no_steps(const lf_part *l, int64_t B, const void *before, void *after,
                   int64_t columns) noexcept nogil:
    """A state, or the gradient to one, passes unchanged where no step is taken."""
    if after != NULL:
        copy_state(after, before, B * columns * l.item)


cdef void no_gradients(const lf_part *l, const lf_weights *g) noexcept nogil:
    cdef int64_t H = l.H, P = l.P
    no_gradient(l, g.W_ih, 4 * H * l.I)
    no_gradient(l, g.W_hh, 4 * H * P)
    no_gradient(l, g.b, 4 * H)
    no_gradient(l, g.p, 3 * H)
    no_gradient(l, g.W_hr, P * H)
    no_gradient(l, g.W_static, 4 * H * l.S)
    no_gradient(l, g.gain_x, 4 * H)
    no_gradient(l, g.gain_h, 4 * H)
    no_gradient(l, g.gain_c, H)
    no_gradient(l, g.b_c, H)


cdef inline void no_gradient(const lf_part *l, void *target, int64_t count) noexcept nogil:
    if target != NULL:
        memset(target, 0, count * l.item)


cdef int ragged_backward(const lf_part *l, const lf_args *a) noexcept nogil:
    cdef lf_order o
    cdef lf_args s = a[0]
    cdef lf_sequences dx
    cdef char *work = aligned(a.work)
    cdef const uint8_t *ends
    cdef int status = LF_OK
    order_of(l, a, &o, &work)
    sort_strides(l, &s)
    s.T = o.longest
    s.x = sorted_sequences(l, a, &o, a.x, a.x_t, a.x_b, l.I, 0, &work)
    s.y = sorted_sequences(l, a, &o, a.y, a.y_t, a.y_b, l.P, 0, &work)
    s.dy = sorted_sequences(l, a, &o, a.dy, a.dy_t, a.dy_b, l.P, l.config.repeat != 0, &work)
    s.dcells = sorted_sequences(l, a, &o, a.dcells, a.dcells_t, a.dcells_b, l.H, 0, &work)
    s.h0, s.c0 = sorted_state(l, &o, a.h0, l.P, &work), sorted_state(l, &o, a.c0, l.H, &work)
    s.dh_n, s.dc_n = sorted_state(l, &o, a.dh_n, l.P, &work), sorted_state(l, &o, a.dc_n, l.H, &work)
    s.dh0, s.dc0 = state_room(l, a, a.dh0, l.P, &work), state_room(l, a, a.dc0, l.H, &work)
    s.x_static = sorted_state(l, &o, a.x_static, l.S, &work)
    s.dx_static = state_room(l, a, a.dx_static, l.S, &work)
    ends = flag_sorted_steps(l, &o, &s, &work)
    s.dreset_h = state_room(l, a, a.dreset_h, l.P, &work)
    s.dreset_c = state_room(l, a, a.dreset_c, l.H, &work)
    no_reset_gradients(l, &s)
    begin_ended(l, &o, ends, <void *> s.dh_n, l.P, s.dreset_h)
    begin_ended(l, &o, ends, <void *> s.dc_n, l.H, s.dreset_c)
    if a.dx != NULL:
        dx = sequences_of(l, &o, a.dx, a.dx_t, a.dx_b, l.I, room(&work, a.T * a.B * l.I * l.item))
        s.dx = dx.sorted
    s.work_size = a.work_size - (work - <char *> a.work)
    s.work = work
    if o.longest > 0:
        status = part_backward(l, &s, &o)
    else:
        no_gradients(l, a.gradients)
        no_static_gradient(l, &s)
        no_steps(l, a.B, s.dh_n, s.dh0, l.P)
        no_steps(l, a.B, s.dc_n, s.dc0, l.H)
    if status & LF_STOPPED:
        return status
    if a.dx != NULL:
        lf_unsort_sequences(&dx)
    unsort_state(l, &o, s.dh0, l.P, a.dh0)
    unsort_state(l, &o, s.dc0, l.H, a.dc0)
    unsort_state(l, &o, s.dx_static, l.S, a.dx_static)
    unsort_state(l, &o, s.dreset_h, l.P, a.dreset_h)
    unsort_state(l, &o, s.dreset_c, l.H, a.dreset_c)
    return status
