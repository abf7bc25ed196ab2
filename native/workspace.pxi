# Where everything lies in the work space and in the reserve: functions that take rooms from some
# memory one after another. From NULL on they only tell how much is needed.


cdef enum:
    MOST_LAYERS = 64


cdef inline int64_t steps_at_once(int64_t T, int64_t B) noexcept nogil:
    """Steps whose projections are made together: about 64 rows, which stay in L2."""
    cdef int64_t steps = (63 + B) // B
    return steps if steps < T else T


cdef inline int64_t projected_steps(int64_t T, int64_t B) noexcept nogil:
    """Steps whose projections are kept: of two chunks, one made while the other is used."""
    cdef int64_t steps = steps_at_once(T, B)
    return min(T, 2 * steps) if steps > 1 else 1


cdef inline int64_t segment_steps(const lf_part *l, int64_t T) noexcept nogil:
    """Steps whose activations are kept at a time: all, unless they are computed again."""
    return min(T, <int64_t> l.config.recompute) if l.config.recompute else T


cdef inline int is_recomputed(const lf_part *l, const lf_args *a) noexcept nogil:
    """Will backward compute the activations of this call again?"""
    return a.reserve != NULL and l.config.recompute > 0


cdef inline int64_t segment_length(const lf_part *l, const lf_args *a) noexcept nogil:
    return segment_steps(l, a.T) if a.reserve != NULL else a.T


cdef inline int64_t state_size(const lf_part *l, int64_t B) noexcept nogil:
    """Bytes of h (B, P) and c (B, H)."""
    return B * (l.H + l.P) * l.item


cdef inline int is_zoned(const lf_part *l) noexcept nogil:
    return l.config.zoneout_h > 0 or l.config.zoneout_c > 0


# ------------------------------------------------------------------ activations of steps


cdef void activation_rooms(const lf_part *l, int64_t T, int64_t B, lf_layer *r,
                           char **next) noexcept nogil:
    """z, c and what else backward needs of T steps."""
    cdef int64_t units = T * B * l.H * l.item
    r.z, r.z_slots, r.keep = room(next, 4 * units), T, 1
    r.c, r.c_slots = room(next, units), T
    r.raw, r.raw_slots = r.c, T
    if is_zoned(l):
        r.raw = room(next, units)
    r.zx, r.zh = r.z, r.z
    if l.config.layer_norm:
        r.zx, r.zh = room(next, 4 * units), room(next, 4 * units)
    if l.config.proj_size:
        r.out, r.out_t = room(next, units), B * l.H


cdef void zero_paddings(const lf_part *l, int64_t T, int64_t B, const lf_layer *r) noexcept nogil:
    """Behind the rooms that activation_rooms has taken from a reserve."""
    cdef int64_t units = T * B * l.H * l.item
    zero_padding(r.z, 4 * units)
    zero_padding(r.zx, 4 * units)
    zero_padding(r.zh, 4 * units)
    zero_padding(r.c, units)
    zero_padding(r.raw, units)
    zero_padding(r.out, units)


cdef void zero_ended_rows(const lf_part *l, const lf_order *o, const lf_layer *r) noexcept nogil:
    """In them, where rows have ended: nobody else writes there."""
    zero_ended(o, r.z, 4 * l.H * l.item)
    if r.zx != r.z:
        zero_ended(o, r.zx, 4 * l.H * l.item)
        zero_ended(o, r.zh, 4 * l.H * l.item)
    zero_ended(o, r.c, l.H * l.item)
    if r.raw != r.c:
        zero_ended(o, r.raw, l.H * l.item)
    zero_ended(o, r.out, l.H * l.item)


cdef void zero_ended(const lf_order *o, void *p, int64_t bytes) noexcept nogil:
    cdef int64_t t, rows
    for t in range(o.longest if p != NULL else 0):
        rows = o.offsets[t + 1] - o.offsets[t]
        memset(<char *> p + (t * o.B + rows) * bytes, 0, (o.B - rows) * bytes)


cdef void zero_rest(const lf_part *l, const lf_args *a, int64_t T, const char *used) noexcept nogil:
    """What lies between `used` and the end of a part's reserve, made for T steps of the caller."""
    cdef int64_t before = used - <char *> a.reserve
    memset(<void *> used, 0, part_reserve(l, T, a.B) - before)


cdef int64_t part_reserve(const lf_part *l, int64_t T, int64_t B) noexcept nogil:
    """Activations; or, where they are computed again, the state before every segment."""
    cdef lf_layer r
    cdef char *needed = NULL
    if l.config.recompute:
        return panels(T, segment_steps(l, T)) * padded(state_size(l, B))
    activation_rooms(l, T, B, &r, &needed)
    return <int64_t> needed


# ------------------------------------------------------------------ forward


cdef void inference_rooms(const lf_part *l, int64_t T, int64_t B, lf_layer *r,
                          char **next) noexcept nogil:
    """The same, of the steps that are at work alone."""
    cdef int64_t state = B * l.H * l.item, steps = projected_steps(T, B)
    r.z, r.z_slots = room(next, 4 * steps * state), steps
    r.c, r.c_slots = room(next, state), 1
    r.raw, r.raw_slots = r.c, 1
    if is_zoned(l):
        r.raw = room(next, state)
    r.zx, r.zh = r.z, r.z
    if l.config.layer_norm:
        r.zh = room(next, 4 * steps * state)
    if l.config.proj_size:
        r.out, r.out_t = room(next, state), 0


cdef void place_activations(const lf_part *l, const lf_args *a, int64_t T, const lf_order *order,
                            lf_layer *r, char **next) noexcept nogil:
    """Of T steps forward: in the reserve, or only those at work in the rooms from `next` on."""
    cdef char *reserve = <char *> a.reserve
    if reserve != NULL and not l.config.recompute:
        activation_rooms(l, T, a.B, r, &reserve)
        zero_paddings(l, T, a.B, r)
        if order != NULL:
            zero_ended_rows(l, order, r)
            zero_rest(l, a, order.T, reserve)
        return
    inference_rooms(l, T, a.B, r, next)
    if a.cells != NULL:
        r.c, r.c_slots = room(next, T * a.B * l.H * l.item), T
    elif a.c_n != NULL:
        r.c = a.c_n
    if not is_zoned(l):
        r.raw, r.raw_slots = r.c, r.c_slots


cdef struct masks:  # what is drawn anew in every call of training
    void *recurrent     # (B, P): the mask of recurrent dropout
    void *r0            # (B, P), and what rows that begin anew have in its place
    void *reset_r
    void *r             # rows of (B, P)
    void *W_hh          # (4H, P) with weights dropped, and its packed forms
    void *w_hh
    void *w_hh_back


cdef void mask_rooms(const lf_part *l, int64_t B, int64_t r_steps, int backward, masks *m,
                     char **next) noexcept nogil:
    cdef int64_t outputs = B * l.P * l.item
    memset(m, 0, sizeof(masks))
    if l.config.recurrent_dropout:
        m.recurrent, m.reset_r = room(next, outputs), room(next, outputs)
    if l.config.recurrent_dropout or l.config.resets:
        m.r0 = room(next, outputs)
        m.r = room(next, (r_steps if l.config.recurrent_dropout else min(r_steps, 2)) * outputs)
    if l.config.weight_drop:
        m.W_hh = room(next, 4 * l.H * l.P * l.item)
        m.w_hh = room(next, packed_gates(l, l.P))
        if backward:
            m.w_hh_back = room(next, packed_back(l, l.P))


cdef struct forward_rooms:
    void *zero          # a state of zeros
    void *no_bias       # (4H,) zeros, with a layer_norm
    void *y             # h of so many steps, unless they go to the caller
    int64_t y_slots
    void *static_rows       # (B, 4H), and what their product packs into
    void *static_scratch
    factors products
    masks drawn


cdef void rooms_of_forward(const lf_part *l, int64_t T, int64_t B, forward_rooms *f,
                           char **next) noexcept nogil:
    """T steps at a time."""
    f.zero = room(next, B * max(l.H, l.P) * l.item)
    f.no_bias = room(next, 4 * l.H * l.item if l.config.layer_norm else 0)
    f.y, f.y_slots = room(next, 2 * B * l.P * l.item), 2
    f.static_rows, f.static_scratch = room(next, static_rows(l, B)), room(next, static_scratch(l))
    forward_factor_rooms(l, T, B, &f.products, next)
    mask_rooms(l, B, 2, 0, &f.drawn, next)


cdef int64_t plain_forward_work(const lf_part *l, int64_t T, int64_t B) noexcept nogil:
    cdef forward_rooms f
    cdef lf_layer r
    cdef char *needed = NULL
    rooms_of_forward(l, T, B, &f, &needed)
    inference_rooms(l, T, B, &r, &needed)
    return <int64_t> needed


cdef int64_t order_work(const lf_part *l, int64_t T, int64_t B) noexcept nogil:
    """An order, a segment of it, x, y and cells in that order, and four states."""
    if not l.config.lengths:
        return 0
    return (padded(lf_order_size(T, B)) + padded(lf_segment_size(T, B)) + padded(B * l.S * l.item)
            + padded(T * B * l.I * l.item) + padded(T * B * l.P * l.item)
            + padded(T * B * l.H * l.item)
            + 2 * padded(B * l.P * l.item) + 2 * padded(B * l.H * l.item))


cdef int64_t forward_work(const lf_part *l, int64_t T, int64_t B) noexcept nogil:
    """Cells of every step, too, if they may be asked for."""
    cdef int64_t cells = padded(T * B * l.H * l.item) if l.config.cells else 0
    return plain_forward_work(l, T, B) + order_work(l, T, B) + resets_work(l, T, B) + cells + 64


# ------------------------------------------------------------------ backward


cdef struct backward_rooms:
    void *zero
    void *no_bias
    void *dh
    void *dc
    void *carry
    void *scratch   # of a layer_norm
    void *sums
    void *totals
    void *dproj
    void *dout
    void *y         # of a segment that is computed again, and the gradients to its last state
    void *dh_n
    void *dh0
    int64_t *terms  # of dW_hh, where some rows begin anew
    void *static_rows
    void *static_scratch
    void *step_sums
    factors products
    masks drawn
    void *outer     # of each worker


cdef int64_t outer_scratch(const lf_part *l) noexcept nogil:
    """Bytes of one worker's packed factors."""
    return LF_BLOCK * (3 + 4 * LF_OUTER_PANELS) * l.width * l.item


cdef void rooms_of_backward(const lf_part *l, int64_t T, int64_t B, backward_rooms *k,
                            char **next) noexcept nogil:
    """T steps at a time; `outer` comes last."""
    cdef int64_t units = B * l.H * l.item, outputs = B * l.P * l.item
    memset(k, 0, sizeof(backward_rooms))
    k.zero, k.dh, k.dc = room(next, max(units, outputs)), room(next, outputs), room(next, units)
    k.carry = room(next, outputs if is_zoned(l) else 0)
    if l.config.layer_norm:
        k.no_bias, k.scratch = room(next, 4 * l.H * l.item), room(next, units)
        k.sums, k.totals = room(next, 14 * units), room(next, 14 * l.H * l.item)
    if l.config.proj_size:
        k.dproj, k.dout = room(next, T * outputs), room(next, units)
    if l.config.recompute:
        k.y, k.dh_n = room(next, T * outputs), room(next, outputs)
    if l.config.recompute or l.config.resets:
        k.dh0 = room(next, outputs)
    k.terms = <int64_t *> room(next, T * B * sizeof(int64_t) if l.config.resets else 0)
    if l.S:
        k.static_rows = room(next, static_rows(l, B) if l.config.recompute else 0)
        k.static_scratch, k.step_sums = room(next, static_scratch(l)), room(next, 2 * static_rows(l, B))
    backward_factor_rooms(l, T, B, &k.products, next)
    mask_rooms(l, B, T, 1, &k.drawn, next)
    k.outer = next[0]


cdef int64_t plain_backward_work(const lf_part *l, int64_t T, int64_t B,
                                 int64_t workers) noexcept nogil:
    cdef backward_rooms k
    cdef lf_layer r
    cdef char *needed = NULL
    cdef int64_t steps = segment_steps(l, T)
    if l.config.recompute:
        activation_rooms(l, steps, B, &r, &needed)
    rooms_of_backward(l, steps, B, &k, &needed)
    return <int64_t> needed + workers * outer_scratch(l)


cdef int64_t backward_work(const lf_part *l, int64_t T, int64_t B, int64_t workers) noexcept nogil:
    """Rows of unlike lengths: also dx, dy and dcells in their order, and as many states again."""
    cdef int64_t order = order_work(l, T, B)
    return (plain_backward_work(l, T, B, workers) + 2 * resets_work(l, T, B) + 64
            + (2 * order - padded(lf_order_size(T, B)) if order else 0))


# ------------------------------------------------------------------ the whole stack


cdef int sizes_fit(const lf_lstm *l, int64_t T, int64_t B) noexcept nogil:
    cdef double columns = <double> l.count * (20 * l.H + 2 * l.P) + l.I + l.config.static_size
    return 1 <= T and 1 <= B and not too_large(T, B, columns, l.item)


cdef inline int64_t layer_output(const lf_lstm *l, int64_t T, int64_t B) noexcept nogil:
    """Bytes of y (T, B, D·P) between two layers."""
    return padded(T * B * l.directions * l.P * l.item)


cdef inline int64_t layer_input(const lf_lstm *l, int64_t T, int64_t B) noexcept nogil:
    """Bytes of the largest x or dx of a layer."""
    return padded(T * B * max(l.I, l.directions * l.P if l.layers > 1 else 0) * l.item)


cdef inline int drops_inputs(const lf_lstm *l) noexcept nogil:
    return l.config.input_dropout > 0 or (l.layers > 1 and l.config.layer_dropout > 0)


cdef int64_t stack_step_work(const lf_lstm *l) noexcept nogil:
    cdef int64_t k, most = 0
    for k in range(l.count):
        most = max(most, plain_forward_work(&l.parts[k], 1, l.batch_size) + 64)
    return most


cdef int64_t stack_forward_work(const lf_lstm *l, int64_t T, int64_t B) noexcept nogil:
    """What one part needs, the outputs between layers, and x with some of it dropped."""
    cdef int64_t k, most = 0
    for k in range(l.count):
        most = max(most, forward_work(&l.parts[k], T, B))
    most += min(l.layers - 1, 2) * layer_output(l, T, B)
    return most + (layer_input(l, T, B) if drops_inputs(l) else 0) + 64


cdef int64_t stack_backward_work(const lf_lstm *l, int64_t T, int64_t B,
                                 int64_t workers) noexcept nogil:
    """What one part needs, two dx between layers, dropped x, and the dx that are combined."""
    cdef int64_t drops = drops_inputs(l), combined = l.directions if drops or l.directions > 1 else 0
    cdef int64_t k, most = 0
    for k in range(l.count):
        most = max(most, backward_work(&l.parts[k], T, B, workers))
    most += min(l.layers - 1, 2) * layer_output(l, T, B)
    most += (drops + combined) * layer_input(l, T, B) + 2 * static_gradient(l, B)
    return most + 64


cdef int64_t stack_reserve(const lf_lstm *l, int64_t T, int64_t B) noexcept nogil:
    cdef int64_t k, total = (l.layers - 1) * layer_output(l, T, B)
    for k in range(l.count):
        total += part_reserve(&l.parts[k], T, B)
    return total


cdef int64_t lf_reserve_size(const lf_lstm *lstm, int64_t T, int64_t B) noexcept nogil:
    return -1 if lstm == NULL or not sizes_fit(lstm, T, B) else stack_reserve(lstm, T, B)


cdef int64_t lf_forward_work(const lf_lstm *lstm, int64_t T, int64_t B) noexcept nogil:
    return -1 if lstm == NULL or not sizes_fit(lstm, T, B) else stack_forward_work(lstm, T, B)


cdef int64_t lf_backward_work(const lf_lstm *lstm, int64_t T, int64_t B) noexcept nogil:
    if lstm == NULL or not sizes_fit(lstm, T, B):
        return -1
    return stack_backward_work(lstm, T, B, lf_get_num_threads())
