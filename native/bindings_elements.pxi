# What lstmfast/ops/ calls: matrices, rows and elements of NumPy arrays, checked there.

cdef const lf_table *kernels_of(int kind) except NULL:
    """Of LF_F32 (0, as of what is no double), LF_F64 (1), LF_BF16 (2) or LF_I8 (3)."""
    cdef const lf_table *k = lf_kernels(kind)
    if k.project == NULL:
        check(LF_EKERNELS)
    return k


def product(int kind, int64_t M, int64_t N, int64_t K, A, int64_t a_row, B, int64_t b_k,
            int64_t b_n, C, bias):
    """C (M, N) = A (M, K) · B (K, N) + bias, with strides in elements; C is contiguous.

    kind: as for kernels_of; with LF_BF16 and LF_I8 arrays of floats, of which A and B are rounded.
    """
    cdef const lf_table *k = kernels_of(kind)
    cdef lf_product a
    cdef lf_watch watch
    cdef int status
    a.A, a.B, a.C, a.bias = source(A), source(B), target(C), source(bias)
    a.M, a.N, a.K, a.a_row, a.b_k, a.b_n, a.c_row = M, N, K, a_row, b_k, b_n, N
    lf_watch_begin(&watch)
    with nogil:
        if kind == LF_I8:
            status = quads_product(k, &a)
        elif kind == LF_BF16:
            status = narrow_product(k, &a, panels(K, 2))
        else:
            status = product_with_scratch(k, &a)
    check(status | lf_watch_end(&watch))


cdef int narrow_product(const lf_table *k, lf_product *a, int64_t row) noexcept nogil:
    """A as pairs or quads, rows of `row` floats, then the product; B of quads is packed."""
    cdef lf_narrow n
    cdef int status
    n.x, n.x_t, n.x_b, n.B, n.columns, n.y_b, n.least = a.A, 0, a.a_row, a.M, a.K, row, LF_LEAST
    n.y = lf_take(a.M * n.y_b * sizeof(float))
    if n.y == NULL:
        return LF_EMEMORY
    status = lf_run_range(<lf_range_kernel> k.narrow, &n, a.M, 1, 4.0 * a.M * a.K,
                          lf_get_num_threads())
    a.A, a.a_row = n.y, n.y_b
    if k == lf_kernels(LF_I8):
        a.scratch, a.scratch_stride = NULL, 0
        status |= lf_run_product(k, a, lf_get_num_threads())
    else:
        status |= product_with_scratch(k, a)
    lf_give(n.y)
    return status


cdef int64_t quads_size(const lf_table *k, int64_t K, int64_t N) noexcept nogil:
    """Bytes of a matrix (K, N) packed in int8."""
    return panels(N, k.register_bytes) * quads(K) * 4 * k.register_bytes


cdef int pack_quads(const lf_table *k, const lf_product *a, void *target) noexcept nogil:
    """B packed; an lf_product's, whose strides are set."""
    cdef lf_pack p
    p.source, p.target, p.K, p.columns, p.gates = a.B, target, a.K, a.N, 0
    p.k_stride, p.n_stride = a.b_k, a.b_n
    return lf_run_range(<lf_range_kernel> k.pack, &p, panels(a.N, k.register_bytes), 1,
                        16.0 * a.K * a.N, lf_get_num_threads())


cdef int quads_product(const lf_table *k, lf_product *a) noexcept nogil:
    """B packed, A as quads, then the product."""
    cdef void *packed = lf_take(quads_size(k, a.K, a.N))
    cdef int status
    if packed == NULL:
        return LF_EMEMORY
    status = pack_quads(k, a, packed)
    a.B = packed
    status |= narrow_product(k, a, quads(a.K))
    lf_give(packed)
    return status


cdef int product_with_scratch(const lf_table *k, lf_product *a) noexcept nogil:
    cdef int64_t workers = lf_get_num_threads(), bytes = LF_GROUP * LF_BLOCK * 4 * k.register_bytes
    cdef int status
    a.scratch = lf_take(bytes * workers)
    if a.scratch == NULL:
        return LF_EMEMORY
    a.scratch_stride = bytes // (8 if k == lf_kernels(1) else 4)
    status = lf_run_product(k, a, workers)
    lf_give(a.scratch)
    return status


cdef class PackedQuads:
    """A matrix (K, N) packed in int8, for products with many left factors."""

    cdef void *start
    cdef int64_t K, N

    def __cinit__(self, int64_t K, int64_t N, B, int64_t b_k, int64_t b_n):
        cdef const lf_table *k = kernels_of(LF_I8)
        cdef lf_product a
        cdef int status
        self.K, self.N = K, N
        self.start = lf_take(quads_size(k, K, N))
        check(LF_EMEMORY if self.start == NULL else LF_OK)
        a.B, a.K, a.N, a.b_k, a.b_n = source(B), K, N, b_k, b_n
        with nogil:
            status = pack_quads(k, &a, self.start)
        check(status)

    def product(self, int64_t M, A, int64_t a_row, C, bias):
        """C (M, N) = A (M, K) · B + bias."""
        cdef lf_product a
        cdef lf_watch watch
        cdef int status
        a.A, a.B, a.C, a.bias = source(A), self.start, target(C), source(bias)
        a.M, a.N, a.K, a.a_row, a.b_k, a.b_n, a.c_row = M, self.N, self.K, a_row, 0, 0, self.N
        lf_watch_begin(&watch)
        with nogil:
            status = narrow_product(lf_kernels(LF_I8), &a, quads(self.K))
        check(status | lf_watch_end(&watch))

    def __reduce__(self):
        raise TypeError("lstmfast.capi.PackedQuads: expected a copy of the matrix, got one of itself")

    def __dealloc__(self):
        lf_give(self.start)


def outer(int kind, int64_t R, int64_t M, int64_t N, A, X, C, right_sums):
    """C (M, N) = Aᵀ · X and right_sums (N,) = Σ rows of X, for A (R, M), X (R, N) contiguous."""
    cdef const lf_table *k = kernels_of(kind)
    cdef int64_t columns = panels(N, 4 * k.register_bytes // (8 if kind == LF_F64 else 4))
    cdef lf_outer a
    cdef lf_watch watch
    cdef int status
    a.adds = 0
    a.T, a.B, a.M, a.N, a.a_row, a.c_row = 1, R, M, N, M, N
    a.A, a.first, a.C = source(A), source(X), target(C)
    a.column_sums, a.right_sums = NULL, target(right_sums)
    a.active, a.count = NULL, R
    a.by_columns = N > M and columns >= 4 * lf_get_num_threads()
    a.first_row, a.rest, a.rest_t, a.rest_b = N, a.first, 0, N
    lf_watch_begin(&watch)
    with nogil:
        status = outer_with_scratch(k, &a)
    check(status | lf_watch_end(&watch))


cdef int outer_with_scratch(const lf_table *k, lf_outer *a) noexcept nogil:
    cdef int64_t workers = lf_get_num_threads()
    cdef int64_t bytes = LF_BLOCK * (3 + 4 * LF_OUTER_PANELS) * k.register_bytes
    cdef int status
    a.scratch = lf_take(bytes * workers)
    if a.scratch == NULL:
        return LF_EMEMORY
    a.scratch_stride = bytes // (8 if k == lf_kernels(1) else 4)
    status = lf_run_outer(k, a, workers)
    lf_give(a.scratch)
    return status


# What follows passes over memory a few times: soon done, and never left half-done by a signal.


def softmax(bint is_double, int64_t M, int64_t N, x):
    """Rows of x (M, N) become their softmax."""
    cdef const lf_table *k = kernels_of(is_double)
    cdef lf_softmax a
    a.x, a.N, a.x_row = target(x), N, N
    with nogil:
        lf_run_range(<lf_range_kernel> k.softmax, &a, M, 1, 20.0 * M * N,
                     lf_get_num_threads())


def crossentropy(bint is_double, int64_t M, int64_t N, x, labels, targets, totals, shifted, weights,
                 correct, bint gradient, double scale):
    """kernels/softmax.py, SOFTMAX: labels (M,) int64 or targets (M, N), the other None."""
    cdef const lf_table *k = kernels_of(is_double)
    cdef lf_softmax a
    a.x = target(x) if gradient else source(x)
    a.labels, a.targets = <int64_t *> source(labels), source(targets)
    a.totals, a.shifted, a.weights = target(totals), target(shifted), target(weights)
    a.correct = <uint8_t *> target(correct)
    a.N, a.x_row, a.target_row, a.gradient, a.scale = N, N, N, gradient, scale
    with nogil:
        lf_run_range(<lf_range_kernel> k.crossentropy, &a, M, 1, 20.0 * M * N,
                     lf_get_num_threads())


def scatter(bint is_double, int64_t M, int64_t E, ids, dy, table):
    """table[ids[r]] += dy[r] for M rows of E numbers, in order of r."""
    cdef const lf_table *k = kernels_of(is_double)
    cdef int64_t width = k.register_bytes // (8 if is_double else 4)
    cdef lf_scatter a
    a.ids, a.dy, a.table = <int64_t *> source(ids), source(dy), target(table)
    a.M, a.E = M, E
    with nogil:
        lf_run_range(<lf_range_kernel> k.scatter, &a, panels(E, width), 1, 4.0 * M * E,
                     lf_get_num_threads())


def squares(bint is_double, int64_t count, x, sums):
    """sums[i] = the sum of squares of the i-th CHUNK elements of x."""
    cdef const lf_table *k = kernels_of(is_double)
    cdef lf_squares a
    a.x, a.sums, a.count = source(x), target(sums), count
    with nogil:
        lf_run_range(<lf_range_kernel> k.squares, &a, panels(count, LF_CHUNK), 1, 4.0 * count,
                     lf_get_num_threads())


def adam(bint is_double, int64_t count, w, g, m, v, double rate, double beta_1, double beta_2,
         double epsilon):
    cdef const lf_table *k = kernels_of(is_double)
    cdef lf_update a
    a.w, a.g, a.m, a.v, a.h = target(w), source(g), target(m), target(v), NULL
    a.rate, a.beta_1, a.beta_2, a.epsilon = rate, beta_1, beta_2, epsilon
    a.gain, a.decay = 0, 0
    with nogil:
        lf_run_range(<lf_range_kernel> k.adam, &a, count, 1024, 20.0 * count,
                     lf_get_num_threads())


def sgd(bint is_double, int64_t count, w, g, velocity, double rate, double momentum, bint nesterov):
    cdef const lf_table *k = kernels_of(is_double)
    cdef lf_update a
    a.w, a.g, a.m = target(w), source(g), target(velocity)
    a.rate, a.beta_1, a.nesterov, a.decay = rate, momentum, nesterov, 0
    with nogil:
        lf_run_range(<lf_range_kernel> k.sgd, &a, count, 1024, 10.0 * count,
                     lf_get_num_threads())


def activation(bint is_double, int64_t count, int64_t kind, double alpha, double beta, x, y):
    """y = f(x), element by element."""
    cdef const lf_table *k = kernels_of(is_double)
    cdef lf_activation a
    a.x, a.y = source(x), target(y)
    a.kind, a.alpha, a.beta = kind, alpha, beta
    with nogil:
        lf_run_range(<lf_range_kernel> k.activation, &a, count, 1024, 20.0 * count,
                     lf_get_num_threads())


def activation_backward(bint is_double, int64_t count, int64_t kind, double alpha, double beta, dy,
                        y):
    """dy becomes the gradient to f's input, y being f's output."""
    cdef const lf_table *k = kernels_of(is_double)
    cdef lf_activation a
    a.x, a.y = target(dy), source(y)
    a.kind, a.alpha, a.beta = kind, alpha, beta
    with nogil:
        lf_run_range(<lf_range_kernel> k.activation_backward, &a, count, 1024, 5.0 * count,
                     lf_get_num_threads())


# ------------------------------------------------------------------ are two arrays the same?


def same_arrays(list ours, list theirs) -> bool:
    """Has each of ours shape, type and bytes of each of theirs? None is None; none is strided."""
    return len(ours) == len(theirs) and all([same_array(*two) for two in zip(ours, theirs)])


def same_array(one, other) -> bool:
    cdef Py_buffer a, b
    cdef int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT
    if one is None or other is None:
        return one is other
    try:
        PyObject_GetBuffer(one, &a, flags)
    except (BufferError, TypeError, ValueError):
        return False
    try:
        PyObject_GetBuffer(other, &b, flags)
        try:
            return same_kind(&a, &b) and same_bytes(<const char *> a.buf, <const char *> b.buf, a.len)
        finally:
            PyBuffer_Release(&b)
    finally:
        PyBuffer_Release(&a)


cdef bint same_kind(const Py_buffer *a, const Py_buffer *b) noexcept:
    return (a.ndim == b.ndim and strcmp(a.format, b.format) == 0
            and memcmp(a.shape, b.shape, a.ndim * sizeof(Py_ssize_t)) == 0)


cdef struct two_arrays:
    const char *one
    const char *other


cdef int differ(void *arrays, int64_t begin, int64_t end, int64_t worker) noexcept nogil:
    cdef two_arrays *a = <two_arrays *> arrays
    return memcmp(a.one + begin, a.other + begin, end - begin) != 0


cdef bint same_bytes(const char *one, const char *other, int64_t count) except -1:
    cdef two_arrays a
    cdef lf_watch watch
    cdef int unlike
    a.one, a.other = one, other
    if one == other:
        return True
    lf_watch_begin(&watch)
    with nogil:
        unlike = lf_run_range(differ, &a, count, 4096, 4.0 * count, lf_get_num_threads())
    check(lf_watch_end(&watch))
    return unlike == 0
