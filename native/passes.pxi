# The two passes of one part over a batch, from the C-level arguments to what kernels read. Each goes
# through segments of the sequence; unless activations are computed again, all of it is one segment.

# ------------------------------------------------------------------ what both passes tell kernels


cdef struct segment:
    int64_t first, T        # of the steps that are taken
    const void *h0          # the state before, or NULL: zeros
    const void *c0
    const lf_order *order   # of these steps, or NULL
    lf_order own            # what `order` points to if that is not the whole sequence's


cdef inline int is_last(const lf_args *a, const segment *s) noexcept nogil:
    return s.first + s.T == a.T


cdef inline char *state_before(const lf_part *l, const lf_args *a, int64_t n) noexcept nogil:
    """The state before segment n, h and then c: in the reserve of those that are computed again."""
    return <char *> a.reserve + n * padded(state_size(l, a.B))


cdef void find_segment(const lf_part *l, const lf_args *a, const lf_order *order, int64_t n,
                       void *memory, segment *s) noexcept nogil:
    """Segment n; `memory`: lf_segment_size bytes, for its order."""
    cdef int64_t steps = segment_length(l, a)
    s.first, s.T = n * steps, min(steps, a.T - n * steps)
    s.h0, s.c0, s.order = a.h0, a.c0, order
    if not is_recomputed(l, a):
        return
    s.h0 = state_before(l, a, n) if n > 0 or a.h0 != NULL else NULL
    s.c0 = state_before(l, a, n) + a.B * l.P * l.item
    if order != NULL:
        lf_order_segment(order, s.first, s.T, memory, &s.own)
        s.order = &s.own


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
        r.row_ids = s.order.row_ids
    r.z_t, r.c_t = a.B * 4 * l.H, a.B * l.H
    lf_describe_cell(&l.config, r)
    r.drawing, r.seed, r.stream = a.reserve != NULL, a.seed, lf_stream(l.index, LF_ZONEOUT)
    describe_weights(l, r, no_bias)
    if s.h0 == NULL or s.c0 == NULL:
        memset(zero, 0, a.B * max(l.H, l.P) * l.item)
    r.h0 = <void *> s.h0 if s.h0 != NULL else zero
    r.fresh = s.h0 == NULL
    r.c0 = <void *> s.c0 if s.c0 != NULL else zero
    describe_resets(l, a, s, r, zero)


cdef inline int64_t steps_taken(const lf_layer *r) noexcept nogil:
    """By all rows together."""
    return r.offsets[r.T] if r.offsets != NULL else r.T * r.B


cdef void describe_weights(const lf_part *l, lf_layer *r, void *no_bias) noexcept nogil:
    cdef char *norm = <char *> l.norm
    cdef int64_t width = l.H * l.item
    r.w_ih, r.w_hh, r.b, r.p, r.w_hr = l.w_ih, l.w_hh, l.b, l.p, l.w_hr
    r.w_ih_back, r.w_hh_back, r.w_hr_back = l.w_ih_back, l.w_hh_back, l.w_hr_back
    r.ih_row = r.hh_row = 4 * l.width
    r.ih_panel = r.hh_panel = numbers(l, 4 * l.H) * 4 * l.width
    if l.reads_forward:
        r.W_ih, r.W_hh, r.turned = <void *> l.W_ih, <void *> l.W_hh, l.turned
    if l.reads_backward:
        r.w_ih_back, r.w_hh_back = <void *> l.W_ih, <void *> l.W_hh
        r.ih_panel, r.ih_row, r.hh_panel, r.hh_row = 4 * l.width, l.I, 4 * l.width, l.P
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


cdef void leave_state(const lf_part *l, const lf_args *a, const segment *s, int64_t n,
                      const lf_layer *r) noexcept nogil:
    """The state after segment n becomes the caller's, or that before the next one."""
    cdef char *next
    if is_last(a, s):
        read_last_state(r, l.item, a.h_n, a.c_n)
    else:
        next = state_before(l, a, n + 1)
        read_last_state(r, l.item, next, next + a.B * l.P * l.item)
        zero_padding(next, state_size(l, a.B))


cdef int describe_forward(const lf_part *l, const lf_args *a, const segment *s,
                          const forward_rooms *f, lf_layer *r) noexcept nogil:
    """All that kernels read; `r` says where activations go."""
    describe(l, a, s, r, f.zero, f.no_bias)
    describe_static(l, a, f.static_rows, r)
    use_dropped_weights(r, &f.drawn, a)
    if f.y != NULL:
        r.y, r.y_t, r.y_b, r.y_slots = f.y, a.B * l.P, l.P, f.y_slots
    return draw_recurrent(l, a, r, &f.drawn, 0) | describe_forward_factors(l, &f.products, r)


cdef int part_forward(const lf_part *l, const lf_args *a, const lf_order *order,
                      int turn) noexcept nogil:
    """`order` NULL: all rows take all steps."""
    cdef lf_layer r
    cdef forward_rooms f
    cdef segment s
    cdef char *work = aligned(a.work)
    cdef char *rest
    cdef void *memory
    cdef int64_t n, steps = segment_length(l, a)
    cdef int status
    rooms_of_forward(l, steps, a.B, &f, &work)
    memory = room(&work, lf_segment_size(steps, a.B)) if order != NULL else NULL
    if a.y != NULL:
        f.y = NULL
    status = drop_weights(l, a, &f.drawn, 0) | use_static(l, a, f.static_rows, f.static_scratch)
    if is_recomputed(l, a):
        save_first_state(l, a, order)
    for n in range(panels(a.T, steps)):
        rest = work
        find_segment(l, a, order, n, memory, &s)
        memset(&r, 0, sizeof(lf_layer))
        r.turn = turn
        place_activations(l, a, s.T, order, &r, &rest)
        status |= describe_forward(l, a, &s, &f, &r)
        status |= lf_run_forward(l.kernels, &r, steps_at_once(s.T, a.B))
        if status & LF_STOPPED:
            return status
        read_cells(l, a, &s, &r)
        leave_state(l, a, &s, n, &r)
    return status


cdef void save_first_state(const lf_part *l, const lf_args *a, const lf_order *order) noexcept nogil:
    """That before the first segment; behind the last one's, what fewer steps than T leave is zeros."""
    cdef char *before = <char *> a.reserve
    copy_state(before, a.h0, a.B * l.P * l.item)
    copy_state(before + a.B * l.P * l.item, a.c0, a.B * l.H * l.item)
    zero_padding(before, state_size(l, a.B))
    if order != NULL:
        zero_rest(l, a, order.T, state_before(l, a, panels(a.T, segment_length(l, a))))


cdef inline void copy_state(void *target, const void *state, int64_t bytes) noexcept nogil:
    """NULL: zeros."""
    if state == NULL:
        memset(target, 0, bytes)
    else:
        memcpy(target, state, bytes)


# ------------------------------------------------------------------ backward


cdef int weight_gradient(const lf_part *l, const lf_layer *r, lf_outer *a, void *target,
                         int64_t rows, int64_t columns, int64_t workers) noexcept nogil:
    """target (rows, columns) = Σ A[t] ⊗ X[t]; where A, without gaps, and X lie is set."""
    a.a_row, a.active, a.count, a.adds = rows, r.active, steps_taken(r), r.adds
    return sum_outer(l, l.products, r, a, target, rows, columns, workers)


cdef int sum_outer(const lf_part *l, const lf_table *kernels, const lf_layer *r, lf_outer *a,
                   void *target, int64_t rows, int64_t columns, int64_t workers) noexcept nogil:
    """The same; also set are the steps that are summed, and whether they are added."""
    if a.count == 0:
        no_gradient(l, target if not a.adds else NULL, rows * columns)
        no_gradient(l, a.column_sums if not a.adds else NULL, rows)
        return LF_OK
    a.T, a.B, a.M, a.N = r.T, r.B, rows, columns
    a.C, a.c_row = target, columns
    a.scratch_stride = outer_scratch(l) // l.item
    return lf_run_outer(kernels, a, workers)


cdef int recurrent_gradient(const lf_part *l, const lf_args *a, const lf_layer *r,
                            const backward_rooms *k, lf_outer *o, int64_t workers) noexcept nogil:
    """dW_hh; where rows begin anew, h[t-1] is what they begin from."""
    cdef void *target = a.gradients.W_hh
    cdef int64_t count
    cdef int status
    o.first, o.first_row = r.r0, l.P
    o.rest, o.rest_t, o.rest_b = r.r, r.r_t, r.r_b
    if r.resets == NULL:
        return weight_gradient(l, r, o, target, 4 * l.H, l.P, workers)
    count, o.a_row = split_terms(r, k.terms), 4 * l.H
    o.active, o.count, o.adds = k.terms, count, r.adds
    status = sum_outer(l, l.products, r, o, target, 4 * l.H, l.P, workers)
    if a.reset_h == NULL and o.column_sums == NULL:
        return status
    o.first, o.rest, o.rest_t, o.rest_b = r.reset_r, r.reset_r, 0, l.P
    o.active, o.count, o.adds = k.terms + count, steps_taken(r) - count, 1
    return status | sum_outer(l, l.products, r, o, target, 4 * l.H, l.P, workers)


cdef int weight_gradients(const lf_part *l, const lf_args *a, const lf_layer *r,
                          const backward_rooms *k, int64_t workers) noexcept nogil:
    """dW_ih = Σ dz[t] ⊗ x[t], dW_hh = Σ dz[t] ⊗ h[t-1], db = Σ dz[t], dW_hr = Σ dy[t] ⊗ out[t]."""
    cdef const lf_weights *g = a.gradients
    cdef void *db = g.b if not l.config.layer_norm else NULL
    cdef lf_outer o
    cdef int status = 0
    o.scratch, o.right_sums, o.by_columns = k.outer, NULL, 0
    if g.W_ih != NULL:
        o.A, o.column_sums = r.zx, db
        o.first, o.first_row = r.x, r.x_b
        o.rest, o.rest_t, o.rest_b = <char *> r.x + r.x_t * l.item, r.x_t, r.x_b
        status |= weight_gradient(l, r, &o, g.W_ih, 4 * l.H, l.I, workers)
    if g.W_hh != NULL and a.T == 1 and a.h0 == NULL and a.reset_h == NULL and (
            g.W_ih != NULL or db == NULL):
        memset(g.W_hh, 0, 4 * l.H * l.P * l.item)
    elif g.W_hh != NULL:
        o.A, o.column_sums = r.zh, db if g.W_ih == NULL else NULL
        status |= recurrent_gradient(l, a, r, k, &o, workers)
    if g.W_hr != NULL:
        o.A, o.column_sums, o.first, o.first_row = r.dproj, NULL, r.out, l.H
        o.rest, o.rest_t, o.rest_b = <char *> r.out + r.out_t * l.item, r.out_t, l.H
        o.a_row, o.active, o.count, o.adds = l.P, r.active, steps_taken(r), r.adds
        status |= sum_outer(l, l.kernels, r, &o, g.W_hr, l.P, l.H, workers)
    if g.p != NULL:
        status |= lf_run_range(<lf_range_kernel> l.kernels.peephole_gradient, <void *> r,
                               panels(l.H, l.width), 1, 6.0 * r.T * r.B * l.H,
                               lf_get_num_threads())
    return status


cdef int turned_gradients(const lf_part *l, const lf_args *a, const lf_layer *r, void *scratch,
                          int64_t workers) noexcept nogil:
    """Of one step of a plain cell dW_ih = Σ x ⊗ dz, dW_hh = Σ h0 ⊗ dz, db = Σ dz, as Keras has them."""
    cdef const lf_weights *g = a.gradients
    cdef lf_outer o
    cdef int status = 0
    memset(&o, 0, sizeof(o))
    o.scratch, o.first, o.first_row, o.rest = scratch, r.z, 4 * l.H, r.z
    o.active, o.count, o.adds = r.active, steps_taken(r), r.adds
    if g.W_ih != NULL:
        o.A, o.a_row, o.right_sums = r.x, r.x_b, g.b
        status |= sum_outer(l, l.kernels, r, &o, g.W_ih, l.I, 4 * l.H, workers)
    if g.W_hh != NULL and a.h0 == NULL:
        memset(g.W_hh, 0, 4 * l.H * l.H * l.item)
    elif g.W_hh != NULL:
        o.A, o.a_row, o.right_sums = r.r0, l.H, NULL
        status |= sum_outer(l, l.kernels, r, &o, g.W_hh, l.H, 4 * l.H, workers)
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


cdef int describe_backward(const lf_part *l, const lf_args *a, const segment *s,
                           const backward_rooms *k, lf_layer *r) noexcept nogil:
    """All that kernels read; the gradient to the state behind is in k.dc and in dh_n or k.dh0."""
    describe(l, a, s, r, k.zero, k.no_bias)
    use_dropped_weights(r, &k.drawn, a)
    if l.config.recompute:
        r.y, r.y_t, r.y_b = k.y, a.B * l.P, l.P
    r.dy_t, r.dy_b, r.dx_t, r.dx_b = a.dy_t, a.dy_b, a.dx_t, a.dx_b
    r.dcells_t, r.dcells_b = a.dcells_t, a.dcells_b
    r.dy, r.dx = from_step(l, a, s, a.dy, &r.dy_t), from_step(l, a, s, a.dx, &r.dx_t)
    r.dcells = from_step(l, a, s, a.dcells, &r.dcells_t)
    r.dh, r.dc, r.dp, r.adds = k.dh, k.dc, a.gradients.p, not is_last(a, s)
    r.dh_n, r.dh0 = <void *> a.dh_n, a.dh0 if s.first == 0 else k.dh0
    if r.adds:
        memcpy(k.dh_n, k.dh0, a.B * l.P * l.item)
        r.dh_n = k.dh_n
    r.carry, r.scratch, r.sums = k.carry, k.scratch, k.sums
    r.dproj, r.dproj_t, r.dout = k.dproj, a.B * l.P, k.dout
    r.dreset_h, r.dreset_c, r.step_sums = a.dreset_h, a.dreset_c, k.step_sums
    if r.resets != NULL and r.dh0 == NULL:
        r.dh0 = k.dh0
    describe_backward_factors(l, &k.products, r)
    return draw_recurrent(l, a, r, &k.drawn, 1)


cdef int input_gradient(const lf_part *l, lf_layer *r) noexcept nogil:
    """dx[t] = W_ihᵀ dz[t] of the steps that are taken."""
    cdef int64_t taken = steps_taken(r)
    if r.dx == NULL:
        return LF_OK
    return lf_run_range(<lf_range_kernel> l.kernels.input_gradient, r, taken, 1,
                        8.0 * taken * l.H * l.I, lf_get_num_threads())


cdef int part_backward(const lf_part *l, const lf_args *a, const lf_order *order) noexcept nogil:
    """From the last segment to the first. One that has kept no activations runs forward again."""
    cdef lf_layer kept, r
    cdef backward_rooms k
    cdef segment s
    cdef char *work = aligned(a.work)
    cdef char *reserve = <char *> a.reserve
    cdef void *memory
    cdef int64_t n, workers, steps = segment_length(l, a)
    cdef int status
    memset(&kept, 0, sizeof(lf_layer))
    activation_rooms(l, steps, a.B, &kept, &work if l.config.recompute else &reserve)
    memory = room(&work, lf_segment_size(steps, a.B)) if order != NULL else NULL
    rooms_of_backward(l, steps, a.B, &k, &work)
    workers = (<char *> a.work + a.work_size - <char *> k.outer) // outer_scratch(l)
    workers = min(workers, lf_get_num_threads())
    begin_backward(l, a, &k)
    status = drop_weights(l, a, &k.drawn, 1)
    if l.config.recompute:
        status |= use_static(l, a, k.static_rows, k.static_scratch)
    for n in range(panels(a.T, steps) - 1, -1, -1):
        r = kept
        find_segment(l, a, order, n, memory, &s)
        if l.config.recompute:
            status |= forward_again(l, a, &s, &k, &r)
            if status & LF_STOPPED:
                return status
        status |= describe_backward(l, a, &s, &k, &r)
        status |= lf_run_backward(l.kernels, &r)
        if status & LF_STOPPED:
            return status
        if l.writes_turned:
            status |= turned_gradients(l, a, &r, k.outer, workers)
        else:
            status |= weight_gradients(l, a, &r, &k, workers)
        status |= input_gradient(l, &r)
    status |= static_gradients(l, a, &k, workers)
    return status | norm_gradients(l, a, &k) | mask_weight_gradient(l, a)


cdef void begin_backward(const lf_part *l, const lf_args *a, backward_rooms *k) noexcept nogil:
    """dc from dc_n, in place of dc0 if that is wanted; sums from zero."""
    if a.dc0 != NULL:
        k.dc = a.dc0
    copy_state(k.dc, a.dc_n, a.B * l.H * l.item)
    if l.config.layer_norm:
        memset(k.sums, 0, 14 * a.B * l.H * l.item)
    begin_step_sums(l, a, k)


cdef int forward_again(const lf_part *l, const lf_args *a, const segment *s,
                       const backward_rooms *k, lf_layer *r) noexcept nogil:
    """The activations of a segment, and its outputs in k.y."""
    cdef forward_rooms f
    cdef int status
    f.zero, f.no_bias, f.drawn, f.y, f.y_slots = k.zero, k.no_bias, k.drawn, k.y, s.T
    f.static_rows, f.products = k.static_rows, k.products
    status = describe_forward(l, a, s, &f, r)
    return status | lf_run_forward(l.kernels, r, steps_at_once(s.T, a.B))
