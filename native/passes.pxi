# The two passes of one part over a batch, from the C-level arguments to what kernels read.

# ------------------------------------------------------------------ what both passes tell kernels


cdef struct segment:
    int64_t first, T        # of the steps that are taken
    const void *h0          # the state before, or NULL: zeros
    const void *c0
    const lf_order *order   # of these steps, or NULL


cdef inline char *aligned(void *p) noexcept nogil:
    return <char *> p + (64 - <uintptr_t> p % 64) % 64


cdef inline void *from_step(const lf_part *l, const lf_args *a, const segment *s, const void *p,
                            int64_t *stride) noexcept nogil:
    """Where the segment's first step lies; `stride` then leads to the next one."""
    cdef char *first = <char *> p
    if p == NULL:
        return NULL
    if l.reverse and s.order == NULL:
        stride[0] = -stride[0]
        first -= (a.T - 1) * stride[0] * l.item
    return first + s.first * stride[0] * l.item


cdef void describe(const lf_part *l, const lf_args *a, const segment *s, lf_layer *r, void *zero,
                   void *no_bias) noexcept nogil:
    """`zero`: room for a state of zeros."""
    r.T, r.B, r.I, r.H, r.P = s.T, a.B, l.I, l.H, l.P
    r.x_t, r.x_b, r.y_t, r.y_b, r.y_slots = a.x_t, a.x_b, a.y_t, a.y_b, s.T
    r.x, r.y = from_step(l, a, s, a.x, &r.x_t), from_step(l, a, s, a.y, &r.y_t)
    r.first = s.first
    if s.order != NULL:
        r.lengths, r.offsets, r.active = s.order.lengths, s.order.offsets, s.order.active
        r.rows = s.order.rows
    r.z_t, r.c_t = a.B * 4 * l.H, a.B * l.H
    lf_describe_cell(&l.config, r)
    r.drawing, r.seed, r.stream = a.reserve != NULL, a.seed, lf_stream(l.index, LF_ZONEOUT)
    describe_weights(l, r, no_bias)
    if s.h0 == NULL or s.c0 == NULL:
        memset(zero, 0, a.B * max(l.H, l.P) * l.item)
    r.h0 = <void *> s.h0 if s.h0 != NULL else zero
    r.fresh = s.h0 == NULL
    r.c0 = <void *> s.c0 if s.c0 != NULL else zero


cdef void describe_weights(const lf_part *l, lf_layer *r, void *no_bias) noexcept nogil:
    cdef char *norm = <char *> l.norm
    cdef int64_t width = l.H * l.item
    r.w_ih, r.w_hh, r.b, r.p, r.w_hr = l.w_ih, l.w_hh, l.b, l.p, l.w_hr
    r.w_ih_back, r.w_hh_back, r.w_hr_back = l.w_ih_back, l.w_hh_back, l.w_hr_back
    if l.config.layer_norm:
        memset(no_bias, 0, 4 * width)
        r.b, r.b_norm = no_bias, l.b
        r.gain_x, r.gain_h, r.gain_c, r.b_c = norm, norm + 4 * width, norm + 8 * width, norm + 9 * width


# ------------------------------------------------------------------ forward


cdef void read_last_state(const lf_layer *r, int64_t item, void *h_n, void *c_n) noexcept nogil:
    """Copy each row's h and c after its last step to h_n and c_n, unless they are NULL."""
    cdef int64_t b, t, of_h = r.P * item, of_c = r.H * item
    cdef char *h
    cdef char *c
    for b in range(r.B):
        t = (r.lengths[b] if r.lengths != NULL else r.T) - 1
        h = <char *> r.h0 + b * of_h
        c = <char *> r.c0 + b * of_c
        if t >= 0:
            h = <char *> r.y + (t % r.y_slots * r.y_t + b * r.y_b) * item
            c = <char *> r.c + (t % r.c_slots * r.c_t + b * r.H) * item
        if h_n != NULL:
            memmove(<char *> h_n + b * of_h, h, of_h)
        if c_n != NULL:
            memmove(<char *> c_n + b * of_c, c, of_c)


cdef void read_cells(const lf_part *l, const lf_args *a, const segment *s,
                     const lf_layer *r) noexcept nogil:
    """Copy c of every step to the caller's cells."""
    cdef int64_t t, b, stride = a.cells_t
    cdef char *cells = <char *> from_step(l, a, s, a.cells, &stride)
    if cells == NULL:
        return
    for t in range(s.T):
        for b in range(a.B):
            memcpy(cells + (t * stride + b * a.cells_b) * l.item,
                   <char *> r.c + (t * r.c_t + b * r.H) * l.item, r.H * l.item)


cdef int forward_segment(const lf_part *l, const lf_args *a, const segment *s, forward_rooms *f,
                         lf_layer *r, void *y, void *h_n, void *c_n) noexcept nogil:
    """Run some steps; `r` says where their activations go, `y` (T, B, P) their outputs, unless NULL."""
    cdef int status
    describe(l, a, s, r, f.zero, f.no_bias)
    use_dropped_weights(r, &f.drawn, a)
    if y != NULL or a.y == NULL:
        r.y, r.y_t, r.y_b = y if y != NULL else f.y, a.B * l.P, l.P
        r.y_slots = s.T if y != NULL else 2
    status = draw_recurrent(l, a, r, &f.drawn, 0)
    status |= lf_run_forward(l.kernels, r, steps_at_once(s.T, a.B))
    if status & LF_STOPPED:
        return status
    read_cells(l, a, s, r)
    read_last_state(r, l.item, h_n, c_n)
    return status


cdef int part_forward(const lf_part *l, const lf_args *a, const lf_order *order,
                     int turn) noexcept nogil:
    cdef lf_layer r
    cdef forward_rooms f
    cdef segment s
    cdef char *work = aligned(a.work)
    cdef char *reserve = <char *> a.reserve
    cdef int status
    s.first, s.T, s.h0, s.c0, s.order = 0, a.T, a.h0, a.c0, order
    memset(&r, 0, sizeof(lf_layer))
    r.turn = turn
    rooms_of_forward(l, a.B, &f, &work)
    status = drop_weights(l, a, &f.drawn, 0)
    if reserve != NULL and l.config.recompute:
        return status | forward_in_segments(l, a, order, &f, work)
    if reserve != NULL:
        activation_rooms(l, a.T, a.B, &r, &reserve)
        settle_ends(l, a.T, a.B, &r)
        if order != NULL:
            settle_rows(l, order, &r)
            settle_rest(l, a, order.T, reserve)
    else:
        inference_rooms(l, a.T, a.B, &r, &work)
        if a.cells != NULL:
            r.c, r.c_slots = room(&work, a.T * a.B * l.H * l.item), a.T
        elif a.c_n != NULL:
            r.c = a.c_n
        if not is_zoned(l):
            r.raw, r.raw_slots = r.c, r.c_slots
    return status | forward_segment(l, a, &s, &f, &r, NULL, a.h_n, a.c_n)


cdef int forward_in_segments(const lf_part *l, const lf_args *a, const lf_order *order,
                             forward_rooms *f, char *work) noexcept nogil:
    """As inference, but for the random numbers; the reserve takes the state before each segment."""
    cdef int64_t steps = segment_steps(l, a.T), outputs = a.B * l.P * l.item, first, n
    cdef int64_t state = padded(outputs + a.B * l.H * l.item)
    cdef char *before = <char *> a.reserve
    cdef char *rooms
    cdef void *h_n
    cdef void *c_n
    cdef segment s
    cdef lf_order part
    cdef lf_layer r
    cdef int status = LF_OK
    keep_state(before, a.h0, outputs)
    keep_state(before + outputs, a.c0, a.B * l.H * l.item)
    s.order = NULL
    for n in range(panels(a.T, steps)):
        first = n * steps
        s.first, s.T = first, min(steps, a.T - first)
        s.h0, s.c0 = before if first > 0 or a.h0 != NULL else NULL, before + outputs
        rooms = work
        memset(&r, 0, sizeof(lf_layer))
        if order != NULL:
            lf_order_segment(order, first, s.T, room(&rooms, lf_segment_size(s.T, a.B)), &part)
            s.order = &part
        inference_rooms(l, s.T, a.B, &r, &rooms)
        if a.cells != NULL:
            r.c, r.c_slots = room(&rooms, s.T * a.B * l.H * l.item), s.T
        if not is_zoned(l):
            r.raw, r.raw_slots = r.c, r.c_slots
        h_n, c_n = before + state, before + state + outputs
        if first + s.T == a.T:
            h_n, c_n = a.h_n, a.c_n
        status |= forward_segment(l, a, &s, f, &r, NULL, h_n, c_n)
        if status & LF_STOPPED:
            return status
        settle_end(before, outputs + a.B * l.H * l.item)
        before += state
    if order != NULL:
        settle_rest(l, a, order.T, before)
    return status


cdef inline void keep_state(void *target, const void *state, int64_t bytes) noexcept nogil:
    if state == NULL:
        memset(target, 0, bytes)
    else:
        memcpy(target, state, bytes)


# ------------------------------------------------------------------ backward


cdef int weight_gradient(const lf_part *l, const lf_layer *r, lf_outer *a, void *target,
                         int64_t rows, int64_t columns, int64_t workers) noexcept nogil:
    """target (rows, columns) = Σ A[t] ⊗ X[t]; where A and X lie is set."""
    a.T, a.B, a.M, a.N = r.T, r.B, rows, columns
    a.a_row, a.C, a.c_row = rows, target, columns
    a.active, a.count = r.active, r.offsets[r.T] if r.offsets != NULL else r.T * r.B
    a.scratch_stride, a.adds = outer_scratch(l) // l.item, r.adds
    return lf_run_outer(l.kernels, a, workers)


cdef int weight_gradients(const lf_part *l, const lf_args *a, const lf_layer *r, void *scratch,
                          int64_t workers) noexcept nogil:
    """dW_ih = Σ dz[t] ⊗ x[t], dW_hh = Σ dz[t] ⊗ h[t-1], db = Σ dz[t], dW_hr = Σ dy[t] ⊗ out[t]."""
    cdef const lf_weights *g = a.gradients
    cdef void *db = g.b if not l.config.layer_norm else NULL
    cdef lf_outer o
    cdef int status = 0
    o.scratch, o.right_sums, o.by_columns = scratch, NULL, 0
    if g.W_ih != NULL:
        o.A, o.column_sums = r.zx, db
        o.first, o.first_row = r.x, r.x_b
        o.rest, o.rest_t, o.rest_b = <char *> r.x + r.x_t * l.item, r.x_t, r.x_b
        status |= weight_gradient(l, r, &o, g.W_ih, 4 * l.H, l.I, workers)
    if g.W_hh != NULL and a.T == 1 and a.h0 == NULL and (g.W_ih != NULL or db == NULL):
        memset(g.W_hh, 0, 4 * l.H * l.P * l.item)
    elif g.W_hh != NULL:
        o.A, o.column_sums = r.zh, db if g.W_ih == NULL else NULL
        o.first, o.first_row = r.r0, l.P
        o.rest, o.rest_t, o.rest_b = r.r, r.r_t, r.r_b
        status |= weight_gradient(l, r, &o, g.W_hh, 4 * l.H, l.P, workers)
    if g.W_hr != NULL:
        o.A, o.column_sums, o.first, o.first_row = r.dproj, NULL, r.out, l.H
        o.rest, o.rest_t, o.rest_b = <char *> r.out + r.out_t * l.item, r.out_t, l.H
        status |= weight_gradient(l, r, &o, g.W_hr, l.P, l.H, workers)
    if g.p != NULL:
        status |= lf_run_range(<lf_range_kernel> l.kernels.peephole_gradient, <void *> r,
                               panels(l.H, l.width), 1, 6.0 * r.T * r.B * l.H,
                               lf_get_num_threads())
    return status


cdef int norm_gradients(const lf_part *l, const lf_args *a, const backward_rooms *k) noexcept nogil:
    """Those of gains and biases, which rows have summed up each on its own."""
    cdef const lf_weights *g = a.gradients
    cdef int64_t width = l.H * l.item
    cdef char *totals = <char *> k.totals
    cdef lf_sums s
    cdef int status
    if not l.config.layer_norm:
        return LF_OK
    s.x, s.sums, s.rows, s.columns = k.sums, totals, a.B, 14 * l.H
    status = lf_run_range(<lf_range_kernel> l.kernels.column_sums, &s,
                          panels(s.columns, l.width), 1, 1.0 * s.rows * s.columns,
                          lf_get_num_threads())
    take_total(g.gain_x, totals, 4 * width)
    take_total(g.gain_h, totals + 4 * width, 4 * width)
    take_total(g.b, totals + 8 * width, 4 * width)
    take_total(g.gain_c, totals + 12 * width, width)
    take_total(g.b_c, totals + 13 * width, width)
    return status


cdef inline void take_total(void *target, const void *total, int64_t bytes) noexcept nogil:
    if target != NULL:
        memcpy(target, total, bytes)


cdef int backward_segment(const lf_part *l, const lf_args *a, const segment *s, backward_rooms *k,
                          lf_layer *r, void *dh0, int64_t workers) noexcept nogil:
    """Run some steps backwards, from the gradients to their last state: r.dh_n and k.dc, which
    becomes that to the state before them."""
    cdef int status
    cdef int64_t taken
    describe(l, a, s, r, k.zero, k.no_bias)
    use_dropped_weights(r, &k.drawn, a)
    if l.config.recompute:
        r.y, r.y_t, r.y_b = k.y, a.B * l.P, l.P
    status = draw_recurrent(l, a, r, &k.drawn, 1)
    r.dy_t, r.dy_b, r.dx_t, r.dx_b = a.dy_t, a.dy_b, a.dx_t, a.dx_b
    r.dcells_t, r.dcells_b = a.dcells_t, a.dcells_b
    r.dy, r.dx = from_step(l, a, s, a.dy, &r.dy_t), from_step(l, a, s, a.dx, &r.dx_t)
    r.dcells = from_step(l, a, s, a.dcells, &r.dcells_t)
    r.dh, r.dc, r.dh0, r.dp = k.dh, k.dc, dh0, a.gradients.p
    r.carry, r.scratch, r.sums = k.carry, k.scratch, k.sums
    r.dproj, r.dproj_t, r.dout = k.dproj, a.B * l.P, k.dout
    status |= lf_run_backward(l.kernels, r)
    if status & LF_STOPPED:
        return status
    status |= weight_gradients(l, a, r, k.outer, workers)
    if a.dx != NULL:
        taken = r.offsets[s.T] if r.offsets != NULL else s.T * a.B
        status |= lf_run_range(<lf_range_kernel> l.kernels.input_gradient, r, taken, 1,
                               8.0 * taken * l.H * l.I, lf_get_num_threads())
    return status


cdef int part_backward(const lf_part *l, const lf_args *a, const lf_order *order) noexcept nogil:
    cdef lf_layer r
    cdef backward_rooms k
    cdef segment s
    cdef char *work = aligned(a.work)
    cdef char *reserve = <char *> a.reserve
    cdef char *segments
    cdef int64_t workers, steps = segment_steps(l, a.T)
    cdef int status
    memset(&r, 0, sizeof(lf_layer))
    s.first, s.T, s.h0, s.c0, s.order = 0, a.T, a.h0, a.c0, order
    activation_rooms(l, steps, a.B, &r, &work if l.config.recompute else &reserve)
    segments = room(&work, lf_segment_size(steps, a.B) if l.config.recompute and order != NULL else 0)
    rooms_of_backward(l, steps, a.B, &k, &work)
    workers = (<char *> a.work + a.work_size - <char *> k.outer) // outer_scratch(l)
    workers = min(workers, lf_get_num_threads())
    if a.dc0 != NULL:
        k.dc = a.dc0
    keep_state(k.dc, a.dc_n, a.B * l.H * l.item)
    if l.config.layer_norm:
        memset(k.sums, 0, 14 * a.B * l.H * l.item)
    status = drop_weights(l, a, &k.drawn, 1)
    r.dh_n = <void *> a.dh_n
    if l.config.recompute:
        status |= backward_in_segments(l, a, order, &k, &r, segments, workers)
    else:
        status |= backward_segment(l, a, &s, &k, &r, a.dh0, workers)
    return status | norm_gradients(l, a, &k) | mask_weight_gradient(l, a)


cdef int backward_in_segments(const lf_part *l, const lf_args *a, const lf_order *order,
                              backward_rooms *k, const lf_layer *kept, char *segments,
                              int64_t workers) noexcept nogil:
    """From the last segment to the first: its steps forward again, then back."""
    cdef int64_t steps = segment_steps(l, a.T), outputs = a.B * l.P * l.item
    cdef int64_t state = padded(outputs + a.B * l.H * l.item), n = panels(a.T, steps)
    cdef char *before
    cdef segment s
    cdef lf_order part
    cdef lf_layer r
    cdef int status = LF_OK
    s.order = NULL
    while n > 0:
        n -= 1
        r = kept[0]
        before = <char *> a.reserve + n * state
        s.first, s.T = n * steps, min(steps, a.T - n * steps)
        s.h0, s.c0 = before if n > 0 or a.h0 != NULL else NULL, before + outputs
        if order != NULL:
            lf_order_segment(order, s.first, s.T, segments, &part)
            s.order = &part
        status |= forward_again(l, a, &s, k, &r)
        if status & LF_STOPPED:
            return status
        r.adds = (n + 1) * steps < a.T
        if r.adds:  # (dh0 of the segment behind)
            memcpy(k.dh_n, k.dh0, outputs)
            r.dh_n = k.dh_n
        status |= backward_segment(l, a, &s, k, &r, a.dh0 if n == 0 else k.dh0, workers)
    return status


cdef int forward_again(const lf_part *l, const lf_args *a, const segment *s, backward_rooms *k,
                       lf_layer *r) noexcept nogil:
    """The activations of a segment, and its outputs in k.y."""
    cdef lf_args again = a[0]
    cdef forward_rooms f
    f.zero, f.no_bias, f.drawn = k.zero, k.no_bias, k.drawn
    again.cells = NULL
    return forward_segment(l, &again, s, &f, r, k.y, NULL, NULL)
