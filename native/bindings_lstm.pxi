# What lstmfast/ops/lstm.py calls: LSTM layers on NumPy arrays. Shapes, types and contiguity have been
# checked there; here arrays become pointers and the GIL is released.

cdef double LONG = 1e8        # operations of a call (some 0.5 ms) below which it is never stopped


cdef int weights_of(lf_weights *w, arrays, bint written) except -1:
    """(W_ih, W_hh, b, p, W_hr, gain_x, gain_h, gain_c, b_c, W_static), each an array or None."""
    cdef int flags = PyBUF_STRIDES | PyBUF_WRITABLE if written else PyBUF_STRIDES
    w.size = sizeof(lf_weights)
    w.W_ih, w.W_hh, w.b = address(arrays[0], flags), address(arrays[1], flags), address(arrays[2], flags)
    w.p, w.W_hr = address(arrays[3], flags), address(arrays[4], flags)
    w.gain_x, w.gain_h = address(arrays[5], flags), address(arrays[6], flags)
    w.gain_c, w.b_c = address(arrays[7], flags), address(arrays[8], flags)
    w.W_static = address(arrays[9], flags)
    return 0


cdef class Handle:
    """A handle of the C-level API: LSTM layers with packed weights.

    After `load` all forms of the weights are packed; after `borrow` the arrays are kept, unchanged
    by anyone, and a form is packed when a pass first needs it. Weights are tuples as in weights_of,
    one for each layer and direction.
    """

    cdef lf_lstm *lstm
    cdef lf_weights *weights    # of each part: where arrays lie that are borrowed, or gradients go
    cdef readonly int64_t input_size, hidden_size, state_size, output_size, parts
    cdef readonly bint is_double, training
    cdef readonly tuple arguments   # of the constructor
    cdef public bint fresh          # the state is zeros, whatever its arrays hold
    cdef readonly object x_static   # of `set_static`
    cdef object borrowed
    cdef bint found                 # `weights` are those borrowed
    cdef object h_array, c_array    # the state of the last `step`, and where it lies
    cdef void *h_state
    cdef void *c_state

    def __cinit__(self, int64_t input_size, int64_t hidden_size, bint is_double, bint training,
                  int64_t batch_size, dict options):
        """`options`: other keys of lf_config_set."""
        cdef lf_config *config = lf_config_create()
        if config == NULL:
            raise MemoryError("lstmfast: out of memory")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.is_double, self.training = is_double, training
        self.arguments = input_size, hidden_size, is_double, training, batch_size, options
        self.fresh = True
        try:
            check(lf_config_set(config, "input_size", input_size))
            check(lf_config_set(config, "hidden_size", hidden_size))
            check(lf_config_set(config, "batch_size", batch_size))
            check(lf_config_set(config, "precision", 64 if is_double else 32))
            check(lf_config_set(config, "training", training))
            for key, value in options.items():
                check(lf_config_set(config, key.encode(), value))
            check(lf_build(config, &self.lstm))
        finally:
            lf_config_free(config)
        self.parts, self.state_size = self.lstm.count, self.lstm.P
        self.output_size = self.lstm.directions * self.lstm.P
        self.weights = <lf_weights *> calloc(self.parts, sizeof(lf_weights))
        check(LF_EMEMORY if self.weights == NULL else LF_OK)

    def __dealloc__(self):
        lf_free(self.lstm)
        free(self.weights)

    def load(self, list weights):
        """Also to be called again, after an exception that came of a signal."""
        cdef lf_watch watch
        cdef int status
        self.find(weights, False)
        lf_watch_begin(&watch)
        with nogil:
            status = lf_load(self.lstm, self.weights)
        check(status | lf_watch_end(&watch))

    def borrow(self, list weights):
        cdef int64_t k
        self.find(weights, False)
        for k in range(self.parts):
            check(check_weights(&self.lstm.parts[k], &self.weights[k]))
            load_vectors(&self.lstm.parts[k], &self.weights[k])
            self.lstm.parts[k].source_w_hh = self.weights[k].W_hh
            self.lstm.parts[k].source_w_static = self.weights[k].W_static
        self.lstm.loaded = 1
        self.borrowed, self.found = weights, True

    def store(self, list rooms):
        """Write what has been loaded into arrays, a tuple of them for each part as for `load`.

        Needed are b and all that the options ask for.
        """
        cdef int64_t k
        check(LF_OK if self.lstm.loaded and self.borrowed is None else LF_ESTATE)
        self.find(rooms, True)
        for k in range(self.parts):
            check(check_weights(&self.lstm.parts[k], &self.weights[k]))
            check(LF_ENULL if self.weights[k].b == NULL else LF_OK)
            check(store(&self.lstm.parts[k], &self.weights[k]))

    cdef int find(self, list weights, bint written) except -1:
        cdef int64_t k
        check(LF_ESIZE if len(weights) != self.parts else LF_OK)
        self.found = False
        for k in range(self.parts):
            weights_of(&self.weights[k], weights[k], written)
        return 0

    cdef int pack(self, int64_t T, int64_t B, int which, int first) except -1:
        """For a pass `which` forms of the weights of all parts, but of the first layer `first`."""
        cdef lf_watch watch
        cdef lf_part *part
        cdef int64_t k
        cdef int forms
        if self.borrowed is None:
            return 0
        if not self.found:
            self.find(self.borrowed, False)
        lf_watch_begin(&watch)
        with nogil:
            for k in range(self.parts):
                part = &self.lstm.parts[k]
                forms = first if k < self.lstm.directions else which
                pack_weights(part, &self.weights[k], lend_weights(part, &self.weights[k], T, B, forms))
        return check(lf_watch_end(&watch))

    cdef bint is_long(self, int64_t rows) noexcept nogil:
        """May a call with so many rows of all steps be stopped on the way? (It need not be.)"""
        cdef double inputs = self.input_size + self.parts * (self.output_size + self.state_size)
        return 8.0 * rows * self.hidden_size * inputs > LONG

    def forward(self, int64_t T, int64_t B, x, x_strides, taken, h0, c0, y, y_strides, h_n, c_n,
                cells, cells_strides, reserve, int64_t seed, anew=None, x_static=None):
        """Strides are (t, b) in elements; reserve is `new_reserve` or None.

        taken: the steps that are taken, as (lengths, None, None) or (None, mask, strides); or None.
        anew: rows that begin anew, as (resets, strides, reset_h, reset_c); or None.
        """
        cdef lf_args a
        cdef bint past = T > 1 or h0 is not None or (anew is not None and anew[2] is not None)
        cdef int which = PACK_IH | PACK_HR | (PACK_HH if past else 0)
        begin_args(&a, T, B, x, x_strides, taken, h0, c0, reserve, anew)
        a.x_static = source(x_static)
        a.y, (a.y_t, a.y_b) = target(y), y_strides
        a.h_n, a.c_n, a.seed = target(h_n), target(c_n), seed
        a.cells, (a.cells_t, a.cells_b) = target(cells), cells_strides
        a.work_size = lf_forward_work(self.lstm, T, B)
        self.pack(T, B, which, which)
        run_pass(self.lstm, &a, 0)

    def backward(self, int64_t T, int64_t B, x, x_strides, taken, h0, c0, y, y_strides, reserve,
                 int64_t seed, dy, dy_strides, dh_n, dc_n, dcells, dcells_strides, dx, dx_strides,
                 dh0, dc0, list gradients, anew=None, dreset_h=None, dreset_c=None,
                 x_static=None, dx_static=None):
        cdef lf_args a
        cdef bint has_past = T > 1 or dh0 is not None or anew is not None
        cdef int past = PACK_HR_BACK | (PACK_HH_BACK if has_past else 0)
        begin_args(&a, T, B, x, x_strides, taken, h0, c0, reserve, anew)
        a.dreset_h, a.dreset_c = target(dreset_h), target(dreset_c)
        a.x_static, a.dx_static = source(x_static), target(dx_static)
        a.y, (a.y_t, a.y_b) = source(y), y_strides
        a.dy, (a.dy_t, a.dy_b) = source(dy), dy_strides
        a.dh_n, a.dc_n, a.seed = source(dh_n), source(dc_n), seed
        a.dcells, (a.dcells_t, a.dcells_b) = source(dcells), dcells_strides
        a.dx, (a.dx_t, a.dx_b) = target(dx), dx_strides
        a.dh0, a.dc0 = target(dh0), target(dc0)
        self.pack(T, B, past | PACK_IH_BACK, past | (PACK_IH_BACK if dx is not None else 0))
        self.find(gradients, True)
        a.gradients = self.weights
        a.work_size = lf_backward_work(self.lstm, T, B)
        run_pass(self.lstm, &a, 1)

    def new_reserve(self, int64_t T, int64_t B) -> Block:
        return Block(lf_reserve_size(self.lstm, T, B))

    def run(self, int64_t B, x, h, c, out) -> bool:
        """Move the state h, c on by the steps of x (T, B, I); h of every step goes to `out`.

        False, and nothing done, if x or out (T, B, H) is no contiguous array of the layer's kind of
        float. After an exception h and c are as they were.
        """
        cdef int64_t T = 0
        cdef lf_args a
        memset(&a, 0, sizeof(a))
        a.x = exact(x, &T, B, self.input_size, self.is_double, 0)
        if a.x != NULL:
            a.y = exact(out, &T, B, self.state_size, self.is_double, PyBUF_WRITABLE)
        if a.y == NULL:
            return False
        a.size, a.T, a.B = sizeof(lf_args), T, B
        a.x_t, a.x_b = B * self.input_size, self.input_size
        a.y_t, a.y_b = B * self.state_size, self.state_size
        a.h_n, a.c_n = target(h), target(c)
        if not self.fresh:
            a.h0, a.c0 = a.h_n, a.c_n
        a.x_static = source(self.x_static)
        a.work_size = lf_forward_work(self.lstm, T, B)
        before = (h.copy(), c.copy()) if self.is_long(T * B) else None
        try:
            run_pass(self.lstm, &a, 0)
        except BaseException:
            put_back(before, h, c)
            raise
        self.fresh = False
        return True

    def set_static(self, x_static):
        """Take (B, S) for `step` and `run`; the array is kept."""
        check(lf_set_static(self.lstm, len(x_static), source(x_static)))
        self.x_static = x_static

    def reset(self):
        """The next step or run begins from zeros, whatever h and c hold: no product with h is due."""
        self.fresh = True

    def clear_if_fresh(self, h, c):
        """The state becomes zeros if that is what it stands for, since `reset` or from the start."""
        if self.fresh:
            h[...] = 0
            c[...] = 0
            self.fresh = False

    def step(self, int64_t B, x, h, c, out) -> bool:
        """Move the state h, c one step on and copy h to `out`, unless that is None.

        False, and nothing done, if x is no contiguous (B, I) or `out` no contiguous (B, H) array
        of the layer's kind of float. (A test of that here costs a tenth of what it does in Python.)
        """
        cdef void *input = exact(x, NULL, B, self.input_size, self.is_double, 0)
        cdef void *output = NULL
        cdef void *h_state
        cdef void *c_state
        cdef int64_t bytes = B * self.state_size * (8 if self.is_double else 4)
        cdef lf_watch watch
        cdef int status
        if input != NULL and out is not None:
            output = exact(out, NULL, B, self.state_size, self.is_double, PyBUF_WRITABLE)
        if input == NULL or (output == NULL and out is not None):
            return False
        if h is not self.h_array or c is not self.c_array:
            self.h_state, self.c_state = target(h), target(c)
            self.h_array, self.c_array = h, c
        h_state, c_state = self.h_state, self.c_state  # (a signal's handler may step, too)
        if self.fresh:
            self.clear_if_fresh(h, c)
        before = (h.copy(), c.copy()) if self.is_long(B) else None
        lf_watch_begin(&watch)
        with nogil:
            status = lf_step(self.lstm, B, input, h_state, c_state)
            if status == LF_OK and output != NULL:
                memcpy(output, <char *> h_state + (self.parts - 1) * bytes, bytes)
        try:
            check(status | lf_watch_end(&watch))
        except BaseException:
            put_back(before, h, c)
            raise
        return True


cdef void *exact(object array, int64_t *T, int64_t B, int64_t columns, bint is_double, int flags):
    """The data of a contiguous native (T, B, columns) array of floats; NULL if it is none.

    T NULL means (B, columns); T 0 takes any and is set.
    """
    cdef Py_buffer view
    cdef int first = 0 if T == NULL else 1
    cdef bint fits
    cdef void *array_data
    cdef const char *kind
    try:
        PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags)
    except (BufferError, TypeError, ValueError):
        return NULL
    kind = view.format + (view.format[0] in b"<@")  # told to be little-endian, as x86 is
    fits = (view.ndim == first + 2 and view.shape[first] == B and view.shape[first + 1] == columns
            and kind[0] == (c"d" if is_double else c"f") and kind[1] == 0)
    if fits and first and T[0] == 0:
        T[0] = view.shape[0]
    fits = fits and (not first or (T[0] > 0 and view.shape[0] == T[0]))
    array_data = view.buf
    PyBuffer_Release(&view)
    return array_data if fits else NULL


cdef int begin_args(lf_args *a, int64_t T, int64_t B, x, x_strides, taken, h0, c0,
                    reserve, anew) except -1:
    memset(a, 0, sizeof(lf_args))
    a.size, a.T, a.B = sizeof(lf_args), T, B
    a.x, (a.x_t, a.x_b) = source(x), x_strides
    a.h0, a.c0 = source(h0), source(c0)
    if taken is not None:
        a.lengths, a.mask = <const int64_t *> source(taken[0]), <const uint8_t *> source(taken[1])
        if a.mask != NULL:
            a.mask_t, a.mask_b = taken[2]
    if anew is not None:
        a.resets, (a.resets_t, a.resets_b) = <const uint8_t *> source(anew[0]), anew[1]
        a.reset_h, a.reset_c = source(anew[2]), source(anew[3])
    if reserve is not None:
        a.reserve = (<Block?> reserve).start
    return 0


cdef int put_back(before, h, c) except -1:
    if before is not None:
        h[...], c[...] = before
    return 0


cdef int run_pass(const lf_lstm *lstm, lf_args *a, int backward) except -1:
    cdef lf_watch watch
    cdef int status = LF_EMEMORY
    lf_watch_begin(&watch)
    with nogil:
        a.work = lf_take(a.work_size)
        if a.work != NULL:
            status = lf_backward(lstm, a) if backward else lf_forward(lstm, a)
        lf_give(a.work)
    return check(status | lf_watch_end(&watch))
