# What is drawn in training: the masks of recurrent dropout and of dropped weights, by coordinates
# (kernels/philox.py), so that both passes draw the same.


cdef int draw(const lf_table *k, lf_dropout *d, double rate, int64_t seed,
              int64_t stream) noexcept nogil:
    """Multiply by a mask. The rest of `d` is set."""
    cdef int64_t count = d.T * d.B if d.per_step else d.B
    d.seed, d.stream, d.threshold, d.scale = seed, stream, lf_threshold(rate), lf_dropout_scale(rate)
    return lf_run_range(<lf_range_kernel> k.dropout, d, count, 1, 10.0 * d.T * d.B * d.columns,
                        lf_get_num_threads())


cdef int draw_recurrent(const lf_part *l, const lf_args *a, lf_layer *r, const masks *m,
                        int backward) noexcept nogil:
    """What W_hh is multiplied with: h, or h times the mask of recurrent dropout."""
    cdef int status = LF_OK
    r.r, r.r_t, r.r_b, r.r_slots, r.r0 = r.y, r.y_t, r.y_b, r.y_slots, r.h0
    r.reset_r = r.reset_h
    if a.reserve != NULL and l.config.recurrent_dropout > 0:
        status = draw_mask(l, a, r, m, backward)
    if r.resets != NULL and not backward:
        copy_recurrent(l, r, m)
    return status


cdef int draw_mask(const lf_part *l, const lf_args *a, lf_layer *r, const masks *m,
                   int backward) noexcept nogil:
    """The mask, and states from which rows begin times it; backward also all of h times it."""
    cdef lf_dropout d
    cdef int64_t stream = lf_stream(l.index, LF_RECURRENT)
    cdef double rate = l.config.recurrent_dropout
    cdef int status
    memset(&d, 0, sizeof(d))
    d.T, d.B, d.columns, d.x_b, d.y_b, d.row_ids = 1, r.B, r.P, r.P, r.P, r.row_ids
    r.mask, r.r0 = m.recurrent, m.r0
    d.y = m.recurrent
    status = draw(l.kernels, &d, rate, a.seed, stream)
    d.x, d.y = r.h0, m.r0
    status |= draw(l.kernels, &d, rate, a.seed, stream)
    if r.resets != NULL:
        r.reset_r, d.x, d.y = m.reset_r, r.reset_h, m.reset_r
        status |= draw(l.kernels, &d, rate, a.seed, stream)
    r.r, r.r_t, r.r_b, r.r_slots = m.r, r.B * r.P, r.P, r.T if backward else 2
    if backward:
        d.T, d.x, d.x_t, d.x_b, d.y, d.y_t = r.T, r.y, r.y_t, r.y_b, m.r, r.r_t
        status |= draw(l.kernels, &d, rate, a.seed, stream)
    return status


cdef int drop_weights(const lf_part *l, const lf_args *a, masks *m, int backward) noexcept nogil:
    """W_hh with some of its weights dropped, packed."""
    cdef lf_dropout d
    cdef int status
    if a.reserve == NULL or l.config.weight_drop == 0:
        return LF_OK
    memset(&d, 0, sizeof(d))
    d.T, d.B, d.columns, d.x_b, d.y_b = 1, 4 * l.H, l.P, l.P, l.P
    d.x, d.y = <void *> l.source_w_hh, m.W_hh
    status = draw(l.kernels, &d, l.config.weight_drop, a.seed, lf_stream(l.index, LF_WEIGHTS))
    pack_for_gates(l, m.W_hh, m.w_hh, l.P)
    if backward:
        pack_for_inputs(l, l.products, m.W_hh, m.w_hh_back, 4 * l.H, l.P)
    return status


cdef inline void use_dropped_weights(lf_layer *r, const masks *m, const lf_args *a) noexcept nogil:
    if a.reserve != NULL and m.W_hh != NULL:
        r.w_hh, r.w_hh_back = m.w_hh, m.w_hh_back


cdef int mask_weight_gradient(const lf_part *l, const lf_args *a) noexcept nogil:
    """dW_hh is zero where the weight was dropped."""
    cdef lf_dropout d
    if l.config.weight_drop == 0 or a.gradients.W_hh == NULL:
        return LF_OK
    memset(&d, 0, sizeof(d))
    d.T, d.B, d.columns, d.x_b, d.y_b = 1, 4 * l.H, l.P, l.P, l.P
    d.x, d.y = a.gradients.W_hh, a.gradients.W_hh
    return draw(l.kernels, &d, l.config.weight_drop, a.seed, lf_stream(l.index, LF_WEIGHTS))
