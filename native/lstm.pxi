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


cdef char *between_layers(const lf_lstm *l, const lf_args *a, void **found) noexcept nogil:
    """Room in the work space for what two neighbours of a layer hand on; returns what is behind."""
    cdef char *work = aligned(a.work)
    cdef int64_t i
    for i in range(min(l.layers - 1, 2)):
        found[i] = room(&work, layer_output(l, a.T, a.B))
    return work


cdef void use_work(const lf_args *a, lf_args *s, char *work) noexcept nogil:
    s.work, s.work_size = work, a.work_size - (work - <char *> a.work)


cdef void describe_part(const lf_lstm *l, const lf_args *a, const lf_args *layer, int64_t k,
                        lf_args *s) noexcept nogil:
    """The arguments of the k-th part: its own of the call's, and of its layer's."""
    cdef int64_t of_h = a.B * l.P * l.item, of_c = a.B * l.H * l.item, d = k % l.directions
    cdef int is_top = k >= l.count - l.directions
    s[0] = layer[0]
    s.y, s.dy = nth(layer.y, d, l.P * l.item), nth(layer.dy, d, l.P * l.item)
    s.dx = nth(layer.dx, d, padded(a.T * a.B * l.parts[k].I * l.item))
    s.h0, s.c0 = nth(a.h0, k, of_h), nth(a.c0, k, of_c)
    s.h_n, s.c_n = nth(a.h_n, k, of_h), nth(a.c_n, k, of_c)
    s.dh_n, s.dc_n = nth(a.dh_n, k, of_h), nth(a.dc_n, k, of_c)
    s.dh0, s.dc0 = nth(a.dh0, k, of_h), nth(a.dc0, k, of_c)
    s.reset_h, s.reset_c = nth(a.reset_h, k, of_h), nth(a.reset_c, k, of_c)
    s.dreset_h, s.dreset_c = nth(a.dreset_h, k, of_h), nth(a.dreset_c, k, of_c)
    s.x_static = a.x_static if l.parts[k].S else NULL
    s.dx_static = nth(layer.dx_static, d, static_gradient(l, a.B)) if l.parts[k].S else NULL
    s.cells = nth(a.cells, d, l.H * l.item) if is_top else NULL
    s.dcells = nth(a.dcells, d, l.H * l.item) if is_top else NULL
    s.reserve = kept_activations(l, a, k)


# ------------------------------------------------------------------ forward


cdef int begin_layer_forward(const lf_lstm *l, const lf_args *a, int64_t i,
                             lf_args *s) noexcept nogil:
    """The arguments of layer i, from those of the layer below in `s`: x is its y."""
    cdef void *between[2]
    cdef char *work = between_layers(l, a, between)
    cdef int64_t outputs = l.directions * l.P
    cdef int status
    if i > 0:
        use_output(l, s, s.y)
    status = mask_inputs(l, s, i, &work)
    use_work(a, s, work)
    s.y, s.y_t, s.y_b = a.y, a.y_t, a.y_b
    if i < l.layers - 1:
        s.y = between[i % 2] if a.reserve == NULL else kept_output(l, a, i)
        s.y_t, s.y_b = a.B * outputs, outputs
        if a.reserve != NULL:
            zero_padding(s.y, a.T * a.B * outputs * l.item)
    return status


cdef int run_part_forward(const lf_part *l, lf_args *s) noexcept nogil:
    cdef char *work = aligned(s.work)
    if has_lengths(s):
        return ragged_forward(l, s)
    flag_steps(l, s, &work)
    s.work = work
    return part_forward(l, s, NULL, 0)


cdef int lf_forward(const lf_lstm *lstm, const lf_args *args) noexcept nogil:
    cdef lf_args a, layer, s
    cdef int64_t k
    cdef int status = read_args(lstm, args, &a)
    if status == LF_OK:
        status = check_forward(lstm, &a)
    if status != LF_OK:
        return status
    layer = a
    for k in range(lstm.count):
        if k % lstm.directions == 0:
            status |= begin_layer_forward(lstm, &a, k // lstm.directions, &layer)
        describe_part(lstm, &a, &layer, k, &s)
        status |= run_part_forward(&lstm.parts[k], &s)
        if status & LF_STOPPED:
            break
    return status


# ------------------------------------------------------------------ backward


cdef int is_combined(const lf_lstm *l, const lf_args *a, int64_t i) noexcept nogil:
    """Is the dx of layer i made of what its directions leave, or of what a mask leaves?"""
    return (i > 0 or a.dx != NULL) and (l.directions > 1 or input_rate(l, a, i) > 0)


cdef int begin_layer_backward(const lf_lstm *l, const lf_args *a, int64_t i,
                              lf_args *s) noexcept nogil:
    """The arguments of layer i, its dx still to be combined; dy is what the layer above has left."""
    cdef void *between[2]
    cdef char *work = between_layers(l, a, between)
    cdef int64_t outputs = l.directions * l.P, columns = l.parts[i * l.directions].I
    cdef int status
    s.x, s.x_t, s.x_b = a.x, a.x_t, a.x_b
    s.dx, s.dx_t, s.dx_b = a.dx, a.dx_t, a.dx_b
    if i > 0:
        use_output(l, s, kept_output(l, a, i - 1))
        s.dx, s.dx_t, s.dx_b = between[(i - 1) % 2], a.B * outputs, outputs
    if i < l.layers - 1:
        s.y, s.y_t, s.y_b = kept_output(l, a, i), a.B * outputs, outputs
        s.dy, s.dy_t, s.dy_b = between[i % 2], a.B * outputs, outputs
    status = mask_inputs(l, s, i, &work)
    if is_combined(l, a, i):
        s.dx = room(&work, l.directions * padded(a.T * a.B * columns * l.item))
        s.dx_t, s.dx_b = a.B * columns, columns
    s.dx_static = a.dx_static
    if i == 0 and a.dx_static != NULL and l.directions > 1:
        s.dx_static = room(&work, 2 * static_gradient(l, a.B))
    use_work(a, s, work)
    return status


cdef int combine(const lf_lstm *l, const lf_args *a, int64_t i, const lf_args *layer) noexcept nogil:
    """dx of layer i: the sum of what its directions have left, or that through the mask."""
    cdef void *between[2]
    cdef lf_dropout d
    if not is_combined(l, a, i):
        return LF_OK
    describe_mask(l, a, i, &d)
    d.x, d.x_t, d.x_b = layer.dx, layer.dx_t, layer.dx_b
    if l.directions > 1:
        d.plus = nth(layer.dx, 1, padded(a.T * a.B * d.columns * l.item))
    d.y, d.y_t, d.y_b = a.dx, a.dx_t, a.dx_b
    if i > 0:
        between_layers(l, a, between)
        d.y, d.y_t, d.y_b = between[(i - 1) % 2], layer.dx_t, layer.dx_b
    return draw(l.parts[0].kernels, &d, input_rate(l, a, i), a.seed,
                lf_stream(i * l.directions, LF_INPUT))


cdef int run_part_backward(const lf_part *l, lf_args *s) noexcept nogil:
    cdef char *work = aligned(s.work)
    if has_lengths(s):
        return ragged_backward(l, s)
    flag_steps(l, s, &work)
    no_reset_gradients(l, s)
    use_work(s, s, work)
    return part_backward(l, s, NULL)


cdef int lf_backward(const lf_lstm *lstm, const lf_args *args) noexcept nogil:
    cdef lf_args a, layer, s
    cdef lf_weights gradients
    cdef int64_t i, k, directions
    cdef int status = read_args(lstm, args, &a)
    if status == LF_OK:
        status = check_backward(lstm, &a)
    if status != LF_OK:
        return status
    layer, directions = a, lstm.directions
    for i in range(lstm.layers - 1, -1, -1):
        status |= begin_layer_backward(lstm, &a, i, &layer)
        for k in range(i * directions, (i + 1) * directions):
            describe_part(lstm, &a, &layer, k, &s)
            part_gradients(lstm, &a, k, &gradients)
            s.gradients = &gradients
            status |= run_part_backward(&lstm.parts[k], &s)
        status |= combine(lstm, &a, i, &layer)
        if i == 0:
            status |= combine_static(lstm, &a, &layer)
        if status & LF_STOPPED:
            break
    return status


# ------------------------------------------------------------------ one step


ctypedef int (*step_kernel)(lf_one_step *) noexcept nogil


cdef inline int apart(const void *p, int64_t bytes, const void *q, int64_t others) noexcept nogil:
    return <const char *> p + bytes <= <const char *> q or <const char *> q + others <= <const char *> p


cdef int quick_step(lf_lstm *l, const void *x, void *h, void *c) noexcept nogil:
    """lf_step of one row: all that a call decides was decided when the handle was built."""
    cdef int64_t k, of_x = l.I * l.item, of_state = l.H * l.item, of_states = l.count * of_state
    cdef lf_flags flags
    cdef lf_one_step *s
    if x == NULL or h == NULL or c == NULL:
        return LF_ENULL
    if not l.loaded or (l.parts[0].S and l.static_batch < 1):
        return LF_ESTATE
    if not (apart(x, of_x, h, of_states) and apart(x, of_x, c, of_states)
            and apart(h, of_states, c, of_states)):
        return LF_EALIAS
    flags = lf_use_kernel_flags()
    for k in range(l.count):
        s = &l.parts[k].step
        s.x, s.h, s.c = <void *> x, <char *> h + k * of_state, <char *> c + k * of_state
        (<step_kernel> l.parts[k].kernels.one_step)(s)
        x = s.h
    lf_set_flags(flags)
    return LF_OK


cdef int lf_step(lf_lstm *lstm, int64_t B, const void *x, void *h, void *c) noexcept nogil:
    cdef lf_lstm *l = lstm
    cdef lf_part *part
    cdef lf_args a
    cdef int64_t k
    cdef int status
    if l != NULL and l.is_quick and B == 1 and not (l.shares_step and lf_get_num_threads() > 1):
        return quick_step(l, x, h, c)
    status = check_step(l, B, x, h, c)
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
