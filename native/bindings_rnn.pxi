# What lstmfast/ops/rnn.py calls: a plain recurrent layer (kernels/rnn.py). Arguments have been
# checked there. Arrays over time are views in order of the steps, (T, B, ...), of any strides.


cdef void *over_time(object array, int flags, int64_t *t, int64_t *b) except? NULL:
    """The first element, and the strides of time and batch in elements; None gives NULL."""
    cdef Py_buffer view
    cdef void *p
    if array is None:
        return NULL
    PyObject_GetBuffer(array, &view, PyBUF_STRIDES | flags)
    p, t[0], b[0] = view.buf, view.strides[0] // view.itemsize, view.strides[1] // view.itemsize
    PyBuffer_Release(&view)
    return p


cdef class Recurrence:
    """One call of the layer: the arrays that forward and backward read, and kernels' view of them.

    x (T, B, I), mask bool (T, B) or None, W_ih (H, I), W_hh (H, H), b (H,), h0 (B, H) or None;
    y (T, B, H) is written by `forward`.
    """

    cdef lf_rnn a
    cdef const lf_table *kernels
    cdef int64_t item, width
    cdef object arrays

    def __cinit__(self, bint is_double, int64_t T, int64_t B, int64_t I, int64_t H, x, mask, W_ih,
                  W_hh, b, h0, y, int64_t kind, double alpha, double beta):
        cdef lf_rnn *a = &self.a
        self.kernels = kernels_of(is_double)
        self.item = 8 if is_double else 4
        self.width = self.kernels.register_bytes // self.item
        self.arrays = (x, mask, W_ih, W_hh, b, h0, y)
        a.T, a.B, a.I, a.H, a.kind, a.alpha, a.beta = T, B, I, H, kind, alpha, beta
        a.x = over_time(x, 0, &a.x_t, &a.x_b)
        a.y = over_time(y, PyBUF_WRITABLE, &a.y_t, &a.y_b)
        a.mask = <uint8_t *> over_time(mask, 0, &a.mask_t, &a.mask_b)
        a.b, a.h0 = source(b), source(h0)

    def __reduce__(self):
        raise TypeError("lstmfast.capi.Recurrence: expected use by one call, got a copy of it")

    @property
    def has_h0(self) -> bool:
        return self.a.h0 != NULL

    cdef int64_t packed(self, int64_t K) noexcept nogil:
        """Bytes of a matrix (K, H), packed."""
        return padded(panels(self.a.H, 4 * self.width) * K * 4 * self.width * self.item)

    cdef void pack(self, void *weights, void *target, int64_t K, int64_t k_stride,
                   int64_t n_stride) noexcept nogil:
        cdef lf_pack p
        p.source, p.target, p.K, p.columns, p.gates = weights, target, K, self.a.H, 0
        p.k_stride, p.n_stride = k_stride, n_stride
        lf_run_range(<lf_range_kernel> self.kernels.pack, &p, panels(self.a.H, 4 * self.width), 1,
                     8.0 * K * self.a.H, lf_get_num_threads())

    cdef int run(self, void *kernel, double cost, bint back) noexcept nogil:
        """All steps; `cost` is that of one. Some at a time if a signal may end the call."""
        cdef lf_rnn *a = &self.a
        cdef int64_t n, some = a.T, left = a.T
        cdef int status = 0
        if lf_watch_for(a.T * cost * SPEED) != NULL:
            some = max(steps_at_once(a.T, a.B), <int64_t> (PIECE / 2 / cost))
        while left > 0 and not status & LF_STOPPED:
            n = min(some, left)
            a.t_begin = left - n if back else a.T - left
            a.t_end = a.t_begin + n
            status |= lf_run_range(<lf_range_kernel> kernel, a, a.B, 1, n * cost,
                                   lf_get_num_threads())
            left -= n
        return status

    def forward(self):
        cdef lf_rnn *a = &self.a
        cdef void *W_ih = source(self.arrays[2])
        cdef void *W_hh = source(self.arrays[3])
        cdef int64_t ih = self.packed(a.I), hh = self.packed(a.H)
        cdef Block work = Block(ih + hh + 64)
        cdef lf_watch watch
        cdef int status
        a.w_ih = aligned(work.start)
        a.w_hh = <char *> a.w_ih + ih
        lf_watch_begin(&watch)
        with nogil:
            self.pack(W_ih, a.w_ih, a.I, 1, a.I)
            if a.T > 1 or a.h0 != NULL:
                self.pack(W_hh, a.w_hh, a.H, 1, a.H)
            status = self.run(<void *> self.kernels.rnn_steps,
                              2.0 * a.B * a.H * (a.I + a.H + 10), False)
        a.w_ih, a.w_hh = NULL, NULL  # the work space goes
        check(status | lf_watch_end(&watch))

    def backward(self, dy, dh_n, dz, dh0, dW_ih, dW_hh, db, active):
        """dy (T, B, H) or None, dh_n (B, H) or None; the others are written.

        dz is contiguous, (T, B, H) in order of the steps. active: t·B + b of each step taken, in
        order of t and b; None: all are.
        """
        cdef lf_rnn *a = &self.a
        cdef lf_outer o
        cdef void *W_hh = source(self.arrays[3])
        cdef void *last = source(dh_n)
        cdef void *dW[2]
        cdef int64_t hh = self.packed(a.H), state = padded(a.B * a.H * self.item)
        cdef Block work = Block(hh + 2 * state + 64)
        cdef lf_watch watch
        cdef int status
        a.w_hh_back = aligned(work.start)
        a.dh = <char *> a.w_hh_back + hh
        memset(a.dh, 0, 2 * state)
        if last != NULL:
            memcpy(a.dh, last, a.B * a.H * self.item)
        a.dy, a.dz, a.dh0 = over_time(dy, 0, &a.dy_t, &a.dy_b), target(dz), target(dh0)
        o.active = <int64_t *> source(active)
        o.count = a.T * a.B if active is None else len(active)
        o.column_sums = target(db)
        dW[0], dW[1] = target(dW_ih), target(dW_hh)
        lf_watch_begin(&watch)
        with nogil:
            if a.T > 1 or a.dh0 != NULL:
                self.pack(W_hh, a.w_hh_back, a.H, a.H, 1)
            status = self.run(<void *> self.kernels.rnn_steps_backward,
                              2.0 * a.B * a.H * (a.H + 10), True)
            o.first, o.first_row = a.x, a.x_b
            o.rest, o.rest_t, o.rest_b = <char *> a.x + a.x_t * self.item, a.x_t, a.x_b
            status |= self.weight_gradient(&o, dW[0], a.I)
            o.first, o.first_row = a.h0, a.H
            if a.h0 == NULL:
                o.first = <char *> a.dh + state
            o.rest, o.rest_t, o.rest_b, o.column_sums = a.y, a.y_t, a.y_b, NULL
            status |= self.weight_gradient(&o, dW[1], a.H)
        a.w_hh_back, a.dh = NULL, NULL
        check(status | lf_watch_end(&watch))

    cdef int weight_gradient(self, lf_outer *o, void *target, int64_t columns) noexcept nogil:
        """target (H, columns) = Σ dz ⊗ what `o` tells."""
        cdef lf_rnn *a = &self.a
        cdef int64_t wide = panels(columns, 4 * self.width)
        if o.count == 0:
            memset(target, 0, a.H * columns * self.item)
            if o.column_sums != NULL:
                memset(o.column_sums, 0, a.H * self.item)
            return 0
        o.T, o.B, o.M, o.N = a.T, a.B, a.H, columns
        o.A, o.a_row, o.C, o.c_row, o.right_sums = a.dz, a.H, target, columns, NULL
        o.adds = 0
        o.by_columns = columns > a.H and wide >= 4 * lf_get_num_threads()
        return outer_with_scratch(self.kernels, o)
