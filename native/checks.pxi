# What lf_forward and lf_backward check of their arguments before anything is written.


cdef struct span:
    const char *begin
    const char *end
    int written


cdef struct spans:
    span *list
    int count


cdef void add_block(spans *s, const void *p, int64_t bytes, int written) noexcept nogil:
    if p != NULL:
        s.list[s.count].begin = <const char *> p
        s.list[s.count].end = <const char *> p + bytes
        s.list[s.count].written = written
        s.count += 1


cdef int add_strided(spans *s, const void *p, const lf_args *a, int64_t t, int64_t b,
                     int64_t columns, int64_t item, int written) noexcept nogil:
    """False if the rows of the array overlap each other or its strides are out of range."""
    if p == NULL:
        return 1
    if (a.T > 1 and t < columns) or (a.B > 1 and b < columns):
        if written or t < 0 or b < 0:
            return 0
    if too_large(<double> t, a.T - 1, item, 1) or too_large(<double> b, a.B - 1, item, 1):
        return 0
    if written and a.T > 1 and a.B > 1:
        if (t < b * (a.B - 1) + columns) and (b < t * (a.T - 1) + columns):
            return 0
    add_block(s, p, (((a.T - 1) * t if a.T > 1 else 0) + ((a.B - 1) * b if a.B > 1 else 0)
                     + columns) * item, written)
    return 1


cdef int overlap(const spans *s) noexcept nogil:
    cdef int i, j
    for i in range(s.count):
        for j in range(i):
            if (s.list[i].written or s.list[j].written) and s.list[i].begin < s.list[j].end \
                    and s.list[j].begin < s.list[i].end:
                return 1
    return 0


cdef size_t LF_ARGS_1 = <size_t> &(<lf_args *> 0).gradients  # the first version ended there
cdef size_t LF_ARGS_2 = <size_t> &(<lf_args *> 0).cells
cdef size_t LF_ARGS_3 = <size_t> &(<lf_args *> 0).resets


cdef int read_args(const lf_lstm *l, const lf_args *args, lf_args *a) noexcept nogil:
    """Copy the caller's structure, once it is of a known version; check what both passes need.

    Fields that came later are zero for callers compiled before them.
    """
    cdef int status
    if l == NULL or args == NULL:
        return LF_ENULL
    if args.size not in (sizeof(lf_args), LF_ARGS_1, LF_ARGS_2, LF_ARGS_3):
        return LF_EVERSION
    memset(a, 0, sizeof(lf_args))
    memcpy(a, args, args.size)
    if not sizes_fit(l, a.T, a.B):
        return LF_ESIZE
    if not l.loaded:
        return LF_ESTATE
    if a.x == NULL or a.work == NULL:
        return LF_ENULL
    if (a.cells != NULL or a.dcells != NULL) and not l.config.cells:
        return LF_EOPTION
    if l.config.static_size > 0 and a.x_static == NULL:
        return LF_ENULL
    if l.config.static_size == 0 and (a.x_static != NULL or a.dx_static != NULL):
        return LF_EOPTION
    status = check_resets(l, a)
    return check_lengths(l, a) if status == LF_OK else status


cdef inline int strides_fit(const lf_args *a, int64_t t, int64_t b) noexcept nogil:
    """Those of an array of flags."""
    return (t >= 0 and b >= 0 and not too_large(<double> t, a.T, 1, 1)
            and not too_large(<double> b, a.B, 1, 1))


cdef int check_resets(const lf_lstm *l, const lf_args *a) noexcept nogil:
    if a.resets == NULL:
        return LF_EOPTION if (a.reset_h != NULL or a.reset_c != NULL or a.dreset_h != NULL
                              or a.dreset_c != NULL) else LF_OK
    if not l.config.resets:
        return LF_EOPTION
    return LF_OK if strides_fit(a, a.resets_t, a.resets_b) else LF_ESIZE


cdef int check_lengths(const lf_lstm *l, const lf_args *a) noexcept nogil:
    cdef int64_t b
    if (a.lengths == NULL) == (a.mask == NULL):
        return LF_OK if a.lengths == NULL else LF_EOPTION
    if not l.config.lengths:
        return LF_EOPTION
    if a.mask != NULL and not strides_fit(a, a.mask_t, a.mask_b):
        return LF_ESIZE
    for b in range(a.B if a.lengths != NULL else 0):
        if not 0 <= a.lengths[b] <= a.T:
            return LF_ELENGTH
    return LF_OK


cdef int part_gradients(const lf_lstm *l, const lf_args *a, int64_t k,
                        lf_weights *g) noexcept nogil:
    """Where the caller wants the gradients of a part's weights."""
    if a.gradients != NULL:
        return read_weights(l, a.gradients, k, g)
    memset(g, 0, sizeof(lf_weights))
    g.W_ih, g.W_hh, g.b = a.dW_ih, a.dW_hh, a.db
    return LF_OK


cdef int check_gradients(const lf_lstm *l, const lf_args *a) noexcept nogil:
    cdef int apart = a.dW_ih != NULL or a.dW_hh != NULL or a.db != NULL
    cdef lf_weights g
    cdef int64_t k
    cdef int status
    if apart and (a.gradients != NULL or l.count > 1):
        return LF_EOPTION
    for k in range(l.count):
        status = part_gradients(l, a, k, &g)
        if status == LF_OK:
            status = unwanted_weights(&l.parts[k], &g)
        if status != LF_OK:
            return status
        if g.b != NULL and g.W_ih == NULL and g.W_hh == NULL and not l.config.layer_norm:
            return LF_ENULL
    return LF_OK


cdef void add_gradients(spans *s, const lf_lstm *l, const lf_args *a) noexcept nogil:
    cdef lf_weights g
    cdef int64_t k, H = l.H * l.item
    for k in range(l.count):
        part_gradients(l, a, k, &g)
        add_block(s, g.W_ih, 4 * H * l.parts[k].I, 1)
        add_block(s, g.W_hh, 4 * H * l.P, 1)
        add_block(s, g.b, 4 * H, 1)
        add_block(s, g.p, 3 * H, 1)
        add_block(s, g.W_hr, l.P * H, 1)
        add_block(s, g.gain_x, 4 * H, 1)
        add_block(s, g.gain_h, 4 * H, 1)
        add_block(s, g.gain_c, H, 1)
        add_block(s, g.b_c, H, 1)
        add_block(s, g.W_static, 4 * H * l.parts[k].S, 1)


cdef void add_steps_taken(spans *s, const lf_args *a) noexcept nogil:
    if a.lengths != NULL:
        add_block(s, a.lengths, a.B * sizeof(int64_t), 0)
    if a.mask != NULL:
        add_block(s, a.mask, (a.T - 1) * a.mask_t + (a.B - 1) * a.mask_b + 1, 0)


cdef void add_resets(spans *s, const lf_args *a, int64_t of_h, int64_t of_c) noexcept nogil:
    if a.resets != NULL:
        add_block(s, a.resets, (a.T - 1) * a.resets_t + (a.B - 1) * a.resets_b + 1, 0)
    add_block(s, a.reset_h, of_h, 0)
    add_block(s, a.reset_c, of_c, 0)


cdef enum:
    OTHER_SPANS = 24  # arguments that are not gradients of weights
    GRADIENTS = 10    # of each part: the arrays of lf_weights, as add_gradients lists them


cdef int check_forward(const lf_lstm *l, const lf_args *a) noexcept nogil:
    cdef span found[OTHER_SPANS]
    cdef spans s
    cdef int64_t of_h = l.count * a.B * l.P * l.item, of_c = l.count * a.B * l.H * l.item
    cdef int64_t D = l.directions
    s.list, s.count = found, 0
    if a.reserve != NULL and a.y == NULL:
        return LF_ENULL
    if a.work_size < <size_t> stack_forward_work(l, a.T, a.B):
        return LF_EWORK
    if not (add_strided(&s, a.x, a, a.x_t, a.x_b, l.I, l.item, 0)
            and add_strided(&s, a.y, a, a.y_t, a.y_b, D * l.P, l.item, 1)
            and add_strided(&s, a.cells, a, a.cells_t, a.cells_b, D * l.H, l.item, 1)):
        return LF_ESIZE
    add_block(&s, a.h0 if a.h0 != a.h_n or a.reserve != NULL else NULL, of_h, 0)
    add_block(&s, a.c0 if a.c0 != a.c_n or a.reserve != NULL else NULL, of_c, 0)
    add_block(&s, a.x_static, a.B * l.parts[0].S * l.item, 0)
    add_block(&s, a.h_n, of_h, 1)
    add_block(&s, a.c_n, of_c, 1)
    add_steps_taken(&s, a)
    add_resets(&s, a, of_h, of_c)
    add_block(&s, a.reserve, stack_reserve(l, a.T, a.B), 1)
    add_block(&s, a.work, a.work_size, 1)
    return LF_EALIAS if overlap(&s) else LF_OK


cdef int check_backward(const lf_lstm *l, const lf_args *a) noexcept nogil:
    cdef span found[OTHER_SPANS + 4 * GRADIENTS]
    cdef spans s
    cdef int status = LF_OK
    if not l.training:
        return LF_ESTATE
    if a.reserve == NULL or a.y == NULL:
        return LF_ENULL
    status = check_gradients(l, a)
    if status != LF_OK:
        return status
    if a.work_size < <size_t> stack_backward_work(l, a.T, a.B, 1):
        return LF_EWORK
    s.list, s.count = found, 0
    if l.count > 4:
        s.list = <span *> calloc(OTHER_SPANS + l.count * GRADIENTS, sizeof(span))
        if s.list == NULL:
            return LF_EMEMORY
    status = check_memory_of_backward(l, a, &s)
    if s.list != found:
        free(s.list)
    return status


cdef int check_memory_of_backward(const lf_lstm *l, const lf_args *a, spans *s) noexcept nogil:
    cdef int64_t of_h = l.count * a.B * l.P * l.item, of_c = l.count * a.B * l.H * l.item
    cdef int64_t D = l.directions
    if not (add_strided(s, a.x, a, a.x_t, a.x_b, l.I, l.item, 0)
            and add_strided(s, a.y, a, a.y_t, a.y_b, D * l.P, l.item, 0)
            and add_strided(s, a.dy, a, a.dy_t, a.dy_b, D * l.P, l.item, 0)
            and add_strided(s, a.dcells, a, a.dcells_t, a.dcells_b, D * l.H, l.item, 0)
            and add_strided(s, a.dx, a, a.dx_t, a.dx_b, l.I, l.item, 1)):
        return LF_ESIZE
    add_block(s, a.h0, of_h, 0)
    add_block(s, a.c0, of_c, 0)
    add_block(s, a.dh_n, of_h, 0)
    add_block(s, a.dc_n, of_c, 0)
    add_block(s, a.dh0, of_h, 1)
    add_block(s, a.dc0, of_c, 1)
    add_gradients(s, l, a)
    add_steps_taken(s, a)
    add_resets(s, a, of_h, of_c)
    add_block(s, a.x_static, a.B * l.parts[0].S * l.item, 0)
    add_block(s, a.dx_static, a.B * l.parts[0].S * l.item, 1)
    add_block(s, a.dreset_h, of_h, 1)
    add_block(s, a.dreset_c, of_c, 1)
    add_block(s, a.reserve, stack_reserve(l, a.T, a.B), 1)
    add_block(s, a.work, a.work_size, 1)
    return LF_EALIAS if overlap(s) else LF_OK


cdef int check_step(const lf_lstm *l, int64_t B, const void *x, const void *h,
                    const void *c) noexcept nogil:
    cdef span found[3]
    cdef spans s
    if l == NULL or x == NULL or h == NULL or c == NULL:
        return LF_ENULL
    if B < 1 or B > l.batch_size:
        return LF_ESIZE
    if not l.loaded:
        return LF_ESTATE
    if l.step_work == NULL:
        return LF_EOPTION
    if l.parts[0].S and B > l.static_batch:
        return LF_ESTATE
    s.list, s.count = found, 0
    add_block(&s, x, B * l.I * l.item, 0)
    add_block(&s, h, l.count * B * l.P * l.item, 1)
    add_block(&s, c, l.count * B * l.H * l.item, 1)
    return LF_EALIAS if overlap(&s) else LF_OK
