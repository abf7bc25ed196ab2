# What lf_forward and lf_backward check of their arguments before anything is written.


cdef struct span:
    const char *begin
    const char *end
    int written


cdef struct spans:
    span list[20]
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


cdef int read_args(const lf_lstm *l, const lf_args *args, lf_args *a) noexcept nogil:
    """Copy the caller's structure, once it is of a known version; check what both passes need.

    Fields that came later are zero for callers compiled before them.
    """
    cdef int status
    if l == NULL or args == NULL:
        return LF_ENULL
    if args.size != sizeof(lf_args) and args.size != LF_ARGS_1:
        return LF_EVERSION
    memset(a, 0, sizeof(lf_args))
    memcpy(a, args, args.size)
    if not sizes_fit(l, a.T, a.B):
        return LF_ESIZE
    if not l.loaded:
        return LF_ESTATE
    if a.x == NULL or a.work == NULL:
        return LF_ENULL
    status = check_lengths(l, a)
    return read_gradients(l, a) if status == LF_OK and a.gradients != NULL else status


cdef int check_lengths(const lf_lstm *l, const lf_args *a) noexcept nogil:
    cdef int64_t b
    if (a.lengths == NULL) == (a.mask == NULL):
        return LF_OK if a.lengths == NULL else LF_EOPTION
    if not l.config.lengths:
        return LF_EOPTION
    if a.mask != NULL and (a.mask_t < 0 or a.mask_b < 0
                           or too_large(<double> a.mask_t, a.T, 1, 1)
                           or too_large(<double> a.mask_b, a.B, 1, 1)):
        return LF_ESIZE
    for b in range(a.B if a.lengths != NULL else 0):
        if not 0 <= a.lengths[b] <= a.T:
            return LF_ELENGTH
    return LF_OK


cdef int read_gradients(const lf_lstm *l, lf_args *a) noexcept nogil:
    """Weight gradients, wherever the caller wants them: from now on in dW_ih, dW_hh and db."""
    if a.gradients.size != sizeof(lf_weights):
        return LF_EVERSION
    if a.dW_ih != NULL or a.dW_hh != NULL or a.db != NULL:
        return LF_EOPTION
    if a.gradients.p != NULL and not l.config.peepholes:
        return LF_EOPTION
    a.dW_ih, a.dW_hh, a.db = a.gradients.W_ih, a.gradients.W_hh, a.gradients.b
    return LF_OK


cdef void add_steps_taken(spans *s, const lf_args *a) noexcept nogil:
    if a.lengths != NULL:
        add_block(s, a.lengths, a.B * sizeof(int64_t), 0)
    if a.mask != NULL:
        add_block(s, a.mask, (a.T - 1) * a.mask_t + (a.B - 1) * a.mask_b + 1, 0)


cdef int check_forward(const lf_lstm *l, const lf_args *a) noexcept nogil:
    cdef spans s
    cdef int64_t state = a.B * l.H * l.item
    s.count = 0
    if a.reserve != NULL and a.y == NULL:
        return LF_ENULL
    if a.work_size < <size_t> forward_work(l, a.T, a.B):
        return LF_EWORK
    if not (add_strided(&s, a.x, a, a.x_t, a.x_b, l.I, l.item, 0)
            and add_strided(&s, a.y, a, a.y_t, a.y_b, l.H, l.item, 1)):
        return LF_ESIZE
    add_block(&s, a.h0 if a.h0 != a.h_n or a.reserve != NULL else NULL, state, 0)
    add_block(&s, a.c0 if a.c0 != a.c_n or a.reserve != NULL else NULL, state, 0)
    add_block(&s, a.h_n, state, 1)
    add_block(&s, a.c_n, state, 1)
    add_steps_taken(&s, a)
    add_block(&s, a.reserve, a.T * a.B * 5 * l.H * l.item, 1)
    add_block(&s, a.work, a.work_size, 1)
    return LF_EALIAS if overlap(&s) else LF_OK


cdef int check_backward(const lf_lstm *l, const lf_args *a) noexcept nogil:
    cdef spans s
    cdef int64_t state = a.B * l.H * l.item
    s.count = 0
    if not l.training:
        return LF_ESTATE
    if a.reserve == NULL or a.y == NULL or (a.db != NULL and a.dW_ih == NULL and a.dW_hh == NULL):
        return LF_ENULL
    if a.work_size < <size_t> backward_work(l, a.T, a.B, 1):
        return LF_EWORK
    if not (add_strided(&s, a.x, a, a.x_t, a.x_b, l.I, l.item, 0)
            and add_strided(&s, a.y, a, a.y_t, a.y_b, l.H, l.item, 0)
            and add_strided(&s, a.dy, a, a.dy_t, a.dy_b, l.H, l.item, 0)
            and add_strided(&s, a.dx, a, a.dx_t, a.dx_b, l.I, l.item, 1)):
        return LF_ESIZE
    add_block(&s, a.h0, state, 0)
    add_block(&s, a.c0, state, 0)
    add_block(&s, a.dh_n, state, 0)
    add_block(&s, a.dc_n, state, 0)
    add_block(&s, a.dh0, state, 1)
    add_block(&s, a.dc0, state, 1)
    add_block(&s, a.dW_ih, 4 * l.H * l.I * l.item, 1)
    add_block(&s, a.dW_hh, 4 * l.H * l.H * l.item, 1)
    add_block(&s, a.db, 4 * l.H * l.item, 1)
    if a.gradients != NULL:
        add_block(&s, a.gradients.p, 3 * l.H * l.item, 1)
    add_steps_taken(&s, a)
    add_block(&s, a.reserve, a.T * a.B * 5 * l.H * l.item, 1)
    add_block(&s, a.work, a.work_size, 1)
    return LF_EALIAS if overlap(&s) else LF_OK
