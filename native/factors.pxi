# What the weights of a part are multiplied with (kernels/factors.py): x, h and dz as they are, or, where
# the precision is bfloat16 or int8, copies of them as pairs or quads of such numbers.


cdef struct factors:
    void *x     # (T, B) rows
    void *h     # two steps of B rows, and those before the first
    void *h0
    void *zx    # (T, B) rows
    void *zh


cdef inline int is_narrow(const lf_part *l) noexcept nogil:
    return l.config.precision < 32


cdef inline int is_quads(const lf_part *l) noexcept nogil:
    return l.config.precision == 8


cdef inline int64_t quads(int64_t K) noexcept nogil:
    """Numbers of a row of K in int8."""
    return LF_HEAD + panels(K, 4)


cdef inline int64_t numbers(const lf_part *l, int64_t K) noexcept nogil:
    """Of l.item bytes, in a row of K."""
    return quads(K) if is_quads(l) else panels(K, 2) if is_narrow(l) else K


cdef inline int64_t row_size(const lf_part *l, int64_t K) noexcept nogil:
    """Bytes of a row of K as a copy; 0 if there are no copies."""
    return numbers(l, K) * l.item if is_narrow(l) else 0


cdef void forward_factor_rooms(const lf_part *l, int64_t T, int64_t B, factors *f,
                               char **next) noexcept nogil:
    f.x = room(next, T * B * row_size(l, l.I))
    f.h, f.h0 = room(next, 2 * B * row_size(l, l.P)), room(next, B * row_size(l, l.P))


cdef void backward_factor_rooms(const lf_part *l, int64_t T, int64_t B, factors *f,
                                char **next) noexcept nogil:
    """Also those for activations that are computed again."""
    cdef int64_t gradients = T * B * row_size(l, 4 * l.H)
    if l.config.recompute:
        forward_factor_rooms(l, T, B, f, next)
    f.zx = f.zh = room(next, gradients)
    if l.config.layer_norm:
        f.zh = room(next, gradients)


cdef int describe_forward_factors(const lf_part *l, const factors *f, lf_layer *r) noexcept nogil:
    """x, r and r0 are described."""
    r.K_x, r.K_h = numbers(l, l.I), numbers(l, l.P)
    r.fx, r.fx_t, r.fx_b, r.fh0 = r.x, r.x_t, r.x_b, r.r0
    r.fh, r.fh_t, r.fh_b, r.fh_slots = r.r, r.r_t, r.r_b, r.r_slots
    if not is_narrow(l):
        return LF_OK
    r.multiply_gates, r.quads = <int64_t> l.products.multiply_gates, is_quads(l)
    r.fx, r.fx_t, r.fx_b = f.x, r.B * r.K_x, r.K_x
    r.fh, r.fh_t, r.fh_b, r.fh_slots, r.fh0 = f.h, r.B * r.K_h, r.K_h, 2, f.h0
    memset(f.h, 0, 2 * r.B * r.K_h * l.item)  # kernels leave what is behind a row's last number
    return (narrow_rows(l, r.x, r.x_t, r.x_b, r.T, r.B, l.I, LF_LEAST, f.x)
            | narrow_rows(l, r.r0, 0, l.P, 1, r.B, l.P, LF_LEAST if r.row_cells else 1, f.h0))


cdef void describe_backward_factors(const lf_part *l, const factors *f, lf_layer *r) noexcept nogil:
    r.K_z = numbers(l, 4 * l.H)
    r.fzx, r.fzh, r.fz_t, r.fz_b = r.zx, r.zh, r.z_t, 4 * l.H
    if is_narrow(l):
        r.multiply_plain = <int64_t> l.products.multiply_plain
        r.fzx, r.fzh, r.fz_t, r.fz_b = f.zx, f.zh, r.B * r.K_z, r.K_z


cdef int narrow_rows(const lf_part *l, const void *x, int64_t x_t, int64_t x_b, int64_t T, int64_t B,
                     int64_t columns, double least, void *y) noexcept nogil:
    """y (T·B, pairs or quads) = x; `least` as in lf_narrow."""
    cdef lf_narrow a
    a.x, a.x_t, a.x_b, a.B, a.columns = <void *> x, x_t, x_b, B, columns
    a.y, a.y_b, a.least = y, numbers(l, columns), least
    return lf_run_range(<lf_range_kernel> l.products.narrow, &a, T * B, 1, 4.0 * T * B * columns,
                        lf_get_num_threads())
