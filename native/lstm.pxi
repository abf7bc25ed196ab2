# Layers on layers, in one direction or both: parts that run one after another, each as if alone.
#
# In training the outputs between layers are kept in the reserve, behind what parts keep; what
# dropout makes of them is made again for the way back.


cdef inline void *nth(const void *p, int64_t k, int64_t bytes) noexcept nogil:
    """The k-th of some arrays of so many bytes, if they are there."""
    return NULL if p == NULL else <char *> p + k * bytes


cdef void *kept_output(const lf_lstm *l, const lf_args *a, int64_t layer) noexcept nogil:
    """y (T, B, D·P) of a layer but the last, in the reserve."""
    cdef char *p = <char *> a.reserve + layer * layer_output(l, a.T, a.B)
    cdef int64_t k
    for k in range(l.count):
        p += part_reserve(&l.parts[k], a.T, a.B)
    return p


cdef void *kept_activations(const lf_lstm *l, const lf_args *a, int64_t part) noexcept nogil:
    cdef char *p = <char *> a.reserve
    cdef int64_t k
    if p != NULL:
        for k in range(part):
            p += part_reserve(&l.parts[k], a.T, a.B)
    return p


cdef void use_output(const lf_lstm *l, lf_args *s, const void *y) noexcept nogil:
    """The outputs of a layer become the inputs of the next."""
    s.x, s.x_t, s.x_b = y, s.B * l.directions * l.P, l.directions * l.P


cdef double input_rate(const lf_lstm *l, const lf_args *a, int64_t layer) noexcept nogil:
    """The dropout of a layer's inputs in this call."""
    if a.reserve == NULL:
        return 0
    return l.config.layer_dropout if layer > 0 else l.config.input_dropout


cdef void describe_mask(const lf_lstm *l, const lf_args *a, int64_t layer,
                        lf_dropout *d) noexcept nogil:
    """Of a layer's inputs: one for all steps of the first layer, one for each step of the others."""
    memset(d, 0, sizeof(lf_dropout))
    d.T, d.B, d.columns = a.T, a.B, l.parts[layer * l.directions].I
    d.per_step = layer > 0


cdef int mask_inputs(const lf_lstm *l, lf_args *s, int64_t layer, char **work) noexcept nogil:
    """Inputs with some of them dropped take the inputs' place."""
    cdef double rate = input_rate(l, s, layer)
    cdef lf_dropout d
    if rate == 0:
        return LF_OK
    describe_mask(l, s, layer, &d)
    d.x, d.x_t, d.x_b = <void *> s.x, s.x_t, s.x_b
    d.y, d.y_t, d.y_b = room(work, s.T * s.B * d.columns * l.item), s.B * d.columns, d.columns
    s.x, s.x_t, s.x_b = d.y, d.y_t, d.y_b
    return draw(l.parts[0].kernels, &d, rate, s.seed, lf_stream(layer * l.directions, LF_INPUT))


cdef int stack_forward(const lf_lstm *l, const lf_args *a) noexcept nogil:
    cdef lf_args s = a[0]
    cdef char *outputs[2]
    cdef char *work = aligned(a.work)
    cdef char *rest
    cdef void *y = NULL
    cdef int64_t i
    cdef int status = LF_OK
    for i in range(min(l.layers - 1, 2)):
        outputs[i] = room(&work, layer_output(l, a.T, a.B))
    for i in range(l.layers):
        rest = work
        if i > 0:
            use_output(l, &s, y)
        status |= mask_inputs(l, &s, i, &rest)
        if i == l.layers - 1:
            y, s.y_t, s.y_b = a.y, a.y_t, a.y_b
        else:
            y = outputs[i % 2] if a.reserve == NULL else kept_output(l, a, i)
            if a.reserve != NULL:
                settle_end(y, a.T * a.B * l.directions * l.P * l.item)
            s.y_t, s.y_b = a.B * l.directions * l.P, l.directions * l.P
        s.work, s.work_size = rest, a.work_size - (rest - <char *> a.work)
        status |= layer_forward(l, a, &s, i, y)
        if status & LF_STOPPED:
            break
    return status


cdef int layer_forward(const lf_lstm *l, const lf_args *a, lf_args *s, int64_t layer,
                       void *y) noexcept nogil:
    cdef int64_t of_h = a.B * l.P * l.item, of_c = a.B * l.H * l.item, d, k
    cdef int status = LF_OK
    for d in range(l.directions):
        k = layer * l.directions + d
        s.y = nth(y, d, l.P * l.item)
        s.h0, s.c0 = nth(a.h0, k, of_h), nth(a.c0, k, of_c)
        s.h_n, s.c_n = nth(a.h_n, k, of_h), nth(a.c_n, k, of_c)
        s.cells = nth(a.cells, d, l.H * l.item) if layer == l.layers - 1 else NULL
        s.reserve = kept_activations(l, a, k)
        if has_lengths(s):
            status |= ragged_forward(&l.parts[k], s)
        else:
            status |= part_forward(&l.parts[k], s, NULL, 0)
    return status


cdef int stack_backward(const lf_lstm *l, const lf_args *a) noexcept nogil:
    cdef lf_args s = a[0]
    cdef char *between[2]
    cdef char *work = aligned(a.work)
    cdef char *rest
    cdef void *dx = NULL
    cdef int64_t i, outputs = l.directions * l.P
    cdef int status = LF_OK
    for i in range(min(l.layers - 1, 2)):
        between[i] = room(&work, layer_output(l, a.T, a.B))
    for i in range(l.layers - 1, -1, -1):
        rest = work
        s.x, s.x_t, s.x_b = a.x, a.x_t, a.x_b
        if i > 0:
            use_output(l, &s, kept_output(l, a, i - 1))
        status |= mask_inputs(l, &s, i, &rest)
        if i < l.layers - 1:
            s.y, s.y_t, s.y_b = kept_output(l, a, i), a.B * outputs, outputs
            s.dy, s.dy_t, s.dy_b = dx, a.B * outputs, outputs
        dx, s.dx_t, s.dx_b = a.dx, a.dx_t, a.dx_b
        if i > 0:
            dx, s.dx_t, s.dx_b = between[(i - 1) % 2], a.B * outputs, outputs
        status |= layer_backward(l, a, &s, i, dx, rest)
        if status & LF_STOPPED:
            break
    return status


cdef int layer_backward(const lf_lstm *l, const lf_args *a, const lf_args *of_layer, int64_t layer,
                        void *dx, char *work) noexcept nogil:
    """Each direction leaves a dx; their sum, or that through the mask, goes to `dx`."""
    cdef int64_t of_h = a.B * l.P * l.item, of_c = a.B * l.H * l.item, d, k
    cdef int64_t columns = l.parts[layer * l.directions].I
    cdef int combined = dx != NULL and (l.directions > 1 or input_rate(l, a, layer) > 0)
    cdef lf_weights gradients
    cdef lf_args s = of_layer[0]
    cdef void *found[2]
    cdef int status = LF_OK
    found[0] = found[1] = NULL
    for d in range(l.directions):
        found[d] = room(&work, a.T * a.B * columns * l.item) if combined else dx
    if combined:
        s.dx_t, s.dx_b = a.B * columns, columns
    s.work, s.work_size = work, a.work_size - (work - <char *> a.work)
    for d in range(l.directions):
        k = layer * l.directions + d
        s.y = nth(of_layer.y, d, l.P * l.item)
        s.dy = nth(of_layer.dy, d, l.P * l.item)
        s.h0, s.c0 = nth(a.h0, k, of_h), nth(a.c0, k, of_c)
        s.dh_n, s.dc_n = nth(a.dh_n, k, of_h), nth(a.dc_n, k, of_c)
        s.dh0, s.dc0 = nth(a.dh0, k, of_h), nth(a.dc0, k, of_c)
        s.dcells = nth(a.dcells, d, l.H * l.item) if layer == l.layers - 1 else NULL
        s.reserve, s.dx = kept_activations(l, a, k), found[d]
        part_gradients(l, a, k, &gradients)
        s.gradients = &gradients
        if has_lengths(&s):
            status |= ragged_backward(&l.parts[k], &s)
        else:
            status |= part_backward(&l.parts[k], &s, NULL)
    return status | combine(l, of_layer, layer, found, dx) if combined else status


cdef int combine(const lf_lstm *l, const lf_args *a, int64_t layer, void **found,
                 void *dx) noexcept nogil:
    cdef lf_dropout d
    describe_mask(l, a, layer, &d)
    d.x, d.plus, d.x_t, d.x_b = found[0], found[1], a.B * d.columns, d.columns
    d.y, d.y_t, d.y_b = dx, a.dx_t, a.dx_b
    return draw(l.parts[0].kernels, &d, input_rate(l, a, layer), a.seed,
                lf_stream(layer * l.directions, LF_INPUT))


# ------------------------------------------------------------------ what others call


cdef int lf_forward(const lf_lstm *lstm, const lf_args *args) noexcept nogil:
    cdef lf_args a
    cdef int status = read_args(lstm, args, &a)
    if status == LF_OK:
        status = check_forward(lstm, &a)
    return stack_forward(lstm, &a) if status == LF_OK else status


cdef int lf_backward(const lf_lstm *lstm, const lf_args *args) noexcept nogil:
    cdef lf_args a
    cdef int status = read_args(lstm, args, &a)
    if status == LF_OK:
        status = check_backward(lstm, &a)
    return stack_backward(lstm, &a) if status == LF_OK else status


cdef int lf_step(lf_lstm *lstm, int64_t B, const void *x, void *h, void *c) noexcept nogil:
    cdef lf_lstm *l = lstm
    cdef lf_part *part
    cdef lf_args a
    cdef int64_t k
    cdef int status = check_step(l, B, x, h, c)
    if status != LF_OK:
        return status
    memset(&a, 0, sizeof(a))
    a.T, a.B, a.x = 1, B, x
    a.work, a.work_size = l.step_work, l.step_work_size
    for k in range(l.count):
        part = &l.parts[k]
        part.turn = 1 - part.turn
        a.x_b, a.h_n, a.c_n = part.I, h, c
        a.h0, a.c0 = h, c
        status |= part_forward(part, &a, NULL, part.turn)
        a.x = h
        h, c = <char *> h + B * l.P * l.item, <char *> c + B * l.H * l.item
    return status
