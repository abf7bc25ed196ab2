# Inputs that are the same in every step: W_static x_static + b of each row takes the place of b in the
# kernels of a first layer's parts, and the sum of dz over the steps leads back.


cdef inline int64_t static_rows(const lf_part *l, int64_t B) noexcept nogil:
    """Bytes of (B, 4H); 0 without static inputs."""
    return B * 4 * l.H * l.item if l.S else 0


cdef inline int64_t static_scratch(const lf_part *l) noexcept nogil:
    """Bytes that a product on one thread packs into."""
    return LF_GROUP * LF_BLOCK * 4 * l.width * l.item if l.S else 0


cdef int project_static(const lf_part *l, int64_t B, const void *x, void *rows,
                        void *scratch) noexcept nogil:
    """rows (B, 4H) = W_static x + b; with a layer_norm b comes later."""
    cdef lf_product p
    p.A, p.B, p.C, p.scratch = <void *> x, <void *> l.source_w_static, rows, scratch
    p.bias = NULL if l.config.layer_norm else l.b
    p.M, p.N, p.K, p.a_row, p.c_row, p.scratch_stride = B, 4 * l.H, l.S, l.S, 4 * l.H, 0
    p.b_k, p.b_n = 1, l.S
    return lf_run_product(l.kernels, &p, 1)


cdef int use_static(const lf_part *l, const lf_args *a, void *rows, void *scratch) noexcept nogil:
    """Project what the call was given, into `rows`."""
    if l.S == 0 or a.x_static == NULL:
        return LF_OK
    return project_static(l, a.B, a.x_static, rows, scratch)


cdef inline void describe_static(const lf_part *l, const lf_args *a, void *rows,
                                 lf_layer *r) noexcept nogil:
    if l.S:
        r.b, r.b_row = rows if a.x_static != NULL else l.step_rows, 4 * l.H


cdef void begin_step_sums(const lf_part *l, const lf_args *a, backward_rooms *k) noexcept nogil:
    """From zero, or not at all."""
    if a.dx_static == NULL and a.gradients.W_static == NULL:
        k.step_sums = NULL
    if k.step_sums != NULL:
        memset(k.step_sums, 0, 2 * static_rows(l, a.B))


cdef int static_gradients(const lf_part *l, const lf_args *a, const backward_rooms *k,
                          int64_t workers) noexcept nogil:
    """dx_static = sums W_static and dW_static = Σ sums ⊗ x_static, of rows."""
    cdef lf_product p
    cdef lf_outer o
    cdef int status = LF_OK
    if k.step_sums == NULL:
        return LF_OK
    if a.dx_static != NULL:
        p.A, p.B, p.C, p.bias = k.step_sums, <void *> l.source_w_static, a.dx_static, NULL
        p.M, p.N, p.K, p.a_row, p.c_row = a.B, l.S, 4 * l.H, 4 * l.H, l.S
        p.b_k, p.b_n, p.scratch, p.scratch_stride = l.S, 1, k.static_scratch, 0
        status = lf_run_product(l.kernels, &p, 1)
    if a.gradients.W_static != NULL:
        o.A, o.first, o.rest, o.C = k.step_sums, <void *> a.x_static, NULL, a.gradients.W_static
        o.T, o.B, o.M, o.N, o.a_row, o.c_row = 1, a.B, 4 * l.H, l.S, 4 * l.H, l.S
        o.first_row, o.rest_t, o.rest_b, o.by_columns, o.adds = l.S, 0, 0, 0, 0
        o.active, o.count, o.column_sums, o.right_sums = NULL, a.B, NULL, NULL
        o.scratch, o.scratch_stride = k.outer, outer_scratch(l) // l.item
        status |= lf_run_outer(l.kernels, &o, workers)
    return status


cdef void no_static_gradient(const lf_part *l, const lf_args *a) noexcept nogil:
    """Of a call in which no row takes a step."""
    if a.dx_static != NULL:
        memset(a.dx_static, 0, a.B * l.S * l.item)


# ------------------------------------------------------------------ both directions


cdef inline int64_t static_gradient(const lf_lstm *l, int64_t B) noexcept nogil:
    """Bytes of one direction's dx_static, where there are two."""
    return padded(B * l.parts[0].S * l.item) if l.directions > 1 else 0


cdef int combine_static(const lf_lstm *l, const lf_args *a, const lf_args *layer) noexcept nogil:
    """dx_static: the sum of what both directions have left."""
    cdef lf_dropout d
    if a.dx_static == NULL or l.directions == 1:
        return LF_OK
    memset(&d, 0, sizeof(lf_dropout))
    d.T, d.B, d.columns = 1, a.B, l.parts[0].S
    d.x, d.plus, d.y = layer.dx_static, nth(layer.dx_static, 1, static_gradient(l, a.B)), a.dx_static
    d.x_b, d.y_b = d.columns, d.columns
    return draw(l.parts[0].kernels, &d, 0, 0, 0)


# ------------------------------------------------------------------ one step


cdef int lf_set_static(lf_lstm *lstm, int64_t B, const void *x_static) noexcept nogil:
    cdef lf_part *part
    cdef void *scratch
    cdef int status
    if lstm == NULL or x_static == NULL:
        return LF_ENULL
    part = &lstm.parts[0]
    if part.S == 0 or lstm.step_work == NULL:
        return LF_EOPTION
    if B < 1 or B > lstm.batch_size:
        return LF_ESIZE
    if not lstm.loaded:
        return LF_ESTATE
    scratch = lf_take(static_scratch(part))
    if scratch == NULL:
        return LF_EMEMORY
    status = project_static(part, B, x_static, part.step_rows, scratch)
    lf_give(scratch)
    lstm.static_batch = B if status == LF_OK else 0
    return status
