# Weights of a part: packed from the caller's arrays as kernels read them, and written back.

cdef enum:
    PACK_IH = 1         # the packed forms of the weights: for z = W_ih x + W_hh h, y = W_hr out
    PACK_HH = 2
    PACK_IH_BACK = 4    # and for dx = dz W_ih, dh = dz W_hh, dout = dy W_hr
    PACK_HH_BACK = 8
    PACK_HR = 16
    PACK_HR_BACK = 32
    PACK_FORWARD = 1 | 2 | 16
    PACK_ALL = 63


cdef void pack(const lf_part *l, const lf_table *kernels, const void *source, void *target,
               int64_t K, int64_t columns, int64_t k_stride, int64_t n_stride,
               int gates) noexcept nogil:
    """Pack a matrix whose element (k, n) lies at k·k_stride + n·n_stride."""
    cdef lf_pack a
    cdef int64_t count = panels(l.H, l.width) if gates else panels(columns, 4 * l.width)
    a.source, a.target, a.K, a.columns, a.gates = <void *> source, target, K, columns, gates
    a.k_stride, a.n_stride = k_stride, n_stride
    lf_run_range(<lf_range_kernel> kernels.pack, &a, count, 1, 8.0 * K * columns,
                 lf_get_num_threads())


cdef inline void pack_for_gates(const lf_part *l, const void *W, void *target,
                                int64_t columns) noexcept nogil:
    """W (4H, columns), by which inputs or outputs are multiplied: its rows are the gates."""
    if l.turned:
        pack(l, l.products, W, target, columns, 4 * l.H, 4 * l.H, 1, 1)
    else:
        pack(l, l.products, W, target, columns, 4 * l.H, 1, columns, 1)


cdef inline void pack_for_inputs(const lf_part *l, const lf_table *kernels, const void *W,
                                 void *target, int64_t rows, int64_t columns) noexcept nogil:
    """W (rows, columns), by which gradients are multiplied from the left."""
    if l.turned:
        pack(l, kernels, W, target, rows, columns, 1, rows, 0)
    else:
        pack(l, kernels, W, target, rows, columns, columns, 1, 0)


cdef void pack_weights(const lf_part *l, const lf_weights *w, int which) noexcept nogil:
    if which & PACK_IH:
        pack_for_gates(l, w.W_ih, l.w_ih, l.I)
    if which & PACK_HH:
        pack_for_gates(l, w.W_hh, l.w_hh, l.P)
    if which & PACK_IH_BACK:
        pack_for_inputs(l, l.products, w.W_ih, l.w_ih_back, 4 * l.H, l.I)
    if which & PACK_HH_BACK:
        pack_for_inputs(l, l.products, w.W_hh, l.w_hh_back, 4 * l.H, l.P)
    if l.config.proj_size and which & PACK_HR:
        pack(l, l.kernels, w.W_hr, l.w_hr, l.H, l.P, 1, l.H, 0)
    if l.config.proj_size and which & PACK_HR_BACK:
        pack_for_inputs(l, l.kernels, w.W_hr, l.w_hr_back, l.P, l.H)


cdef enum:
    FEW_ROWS = 64       # that do not make up for packing weights, if they take one step


cdef int lend_weights(lf_part *l, const lf_weights *w, int64_t T, int64_t B, int which) noexcept nogil:
    """Lend W as it is to the kernels of a call of one step; return what is left to be packed.

    T is that of the call: of rows that end, the longest may take fewer steps.
    """
    cdef int whole_vectors = l.I % l.width == 0 and l.P % l.width == 0
    l.W_ih, l.W_hh, l.writes_turned = w.W_ih, w.W_hh, l.turned and T == 1
    l.reads_forward = T == 1 and B <= FEW_ROWS and not is_narrow(l) and not (
        l.config.proj_size or l.config.layer_norm or l.config.weight_drop)
    l.reads_backward = l.reads_forward and not l.turned and whole_vectors
    if l.reads_forward:
        which &= ~(PACK_IH | PACK_HH)
    if l.reads_backward:
        which &= ~(PACK_IH_BACK | PACK_HH_BACK)
    return which


cdef size_t LF_WEIGHTS_1 = <size_t> &(<lf_weights *> 0).W_hr  # the first version ended there
cdef size_t LF_WEIGHTS_2 = <size_t> &(<lf_weights *> 0).W_static


cdef int check_weights(const lf_part *l, const lf_weights *w) noexcept nogil:
    """Of weights to load: are all there that the configuration asks for, and no others?"""
    cdef int projected = l.config.proj_size > 0, normed = l.config.layer_norm != 0
    if w.W_ih == NULL or w.W_hh == NULL or (l.config.peepholes and w.p == NULL):
        return LF_ENULL
    if l.S and w.W_static == NULL:
        return LF_ENULL
    if (projected and w.W_hr == NULL) or (normed and (
            w.gain_x == NULL or w.gain_h == NULL or w.gain_c == NULL or w.b_c == NULL)):
        return LF_ENULL
    return unwanted_weights(l, w)


cdef int unwanted_weights(const lf_part *l, const lf_weights *w) noexcept nogil:
    """Are there arrays, of weights or gradients, for options that are not set?"""
    if w.p != NULL and not l.config.peepholes:
        return LF_EOPTION
    if (w.W_hr != NULL and not l.config.proj_size) or (w.W_static != NULL and not l.S):
        return LF_EOPTION
    if not l.config.layer_norm and (
            w.gain_x != NULL or w.gain_h != NULL or w.gain_c != NULL or w.b_c != NULL):
        return LF_EOPTION
    return LF_OK


cdef int read_weights(const lf_lstm *l, const lf_weights *weights, int64_t k,
                      lf_weights *w) noexcept nogil:
    """Copy the k-th structure of the caller's, of a version that is known."""
    cdef const lf_weights *given = weights
    memset(w, 0, sizeof(lf_weights))
    if weights.size == LF_WEIGHTS_2:  # these, too, may lie side by side
        given = <const lf_weights *> (<const char *> weights + k * LF_WEIGHTS_2)
    elif weights.size == sizeof(lf_weights):
        given = weights + k
    if given.size != weights.size or (given.size == LF_WEIGHTS_1 and l.count > 1) or given.size not in (
            LF_WEIGHTS_1, LF_WEIGHTS_2, sizeof(lf_weights)):
        return LF_EVERSION
    memcpy(w, given, given.size)
    return LF_OK


cdef int unpack(const lf_part *l, const void *packed, void *W, int64_t K, int64_t columns, int gates,
                int narrow) noexcept nogil:
    """Give W (columns, K) back as it was packed (`narrow`: as it was rounded), column by column.

    Where they lie, a row of numbers 1, 2, ... tells, packed alike; what is past the end is 0 there.
    """
    cdef int64_t lanes = (panels(l.H, l.width) if gates else panels(columns, 4 * l.width)) * 4 * l.width
    cdef char *row = <char *> lf_take(columns * l.item)
    cdef char *where = <char *> lf_take(lanes * l.item)
    cdef const char *source
    cdef int64_t lane, column, panel = 4 * l.width, rows = numbers(l, K) if narrow else K
    if row != NULL and where != NULL:
        for column in range(columns):
            put_number(l, row, column, column + 1)
        memset(where, 0, lanes * l.item)  # the last panel is not filled
        pack(l, l.kernels, row, where, 1, columns, 1, 1, gates)
        for lane in range(lanes):
            column = number_at(l, where, lane) - 1
            source = <const char *> packed + (lane // panel * rows * panel + lane % panel) * l.item
            if column >= 0 and narrow and is_quads(l):
                read_quads(<float *> W + column * K, K, <const uint32_t *> source, panel)
            elif column >= 0 and narrow:
                read_pairs(<float *> W + column * K, K, <const uint32_t *> source, panel)
            elif column >= 0:
                read_lane(<char *> W + column * K * l.item, K, source, panel, l.item)
    lf_give(row)
    lf_give(where)
    return LF_OK if row != NULL and where != NULL else LF_EMEMORY


cdef void read_lane(char *W, int64_t K, const char *source, int64_t panel,
                    int64_t item) noexcept nogil:
    cdef int64_t k
    for k in range(K):
        memcpy(W + k * item, source + k * panel * item, item)


cdef void read_pairs(float *W, int64_t K, const uint32_t *source, int64_t panel) noexcept nogil:
    cdef int64_t k
    cdef uint32_t bits
    for k in range(K):
        bits = source[k // 2 * panel]
        bits = bits >> 16 << 16 if k % 2 else bits << 16
        memcpy(W + k, &bits, sizeof(float))


cdef void read_quads(float *W, int64_t K, const uint32_t *source, int64_t panel) noexcept nogil:
    cdef int64_t k
    cdef uint32_t bits
    cdef float scale
    memcpy(&scale, source, sizeof(float))
    for k in range(K):
        bits = source[(LF_HEAD + k // 4) * panel] >> 8 * (k % 4)
        W[k] = scale * <int8_t> (bits & 255)


cdef inline void put_number(const lf_part *l, void *array, int64_t at, int64_t n) noexcept nogil:
    if l.item == 8:
        (<double *> array)[at] = n
    else:
        (<float *> array)[at] = n


cdef inline int64_t number_at(const lf_part *l, const void *array, int64_t at) noexcept nogil:
    return <int64_t> (<const double *> array)[at] if l.item == 8 else <int64_t> (<const float *> array)[at]


cdef int store(const lf_part *l, const lf_weights *w) noexcept nogil:
    """Write loaded weights into the arrays of w, all that the configuration asks for."""
    cdef const char *norm = <const char *> l.norm
    cdef int64_t H = l.H
    cdef int status = unpack(l, l.w_ih, w.W_ih, l.I, 4 * H, 1, is_narrow(l))
    if status == LF_OK:
        status = unpack(l, l.w_hh, w.W_hh, l.P, 4 * H, 1, is_narrow(l))
    if status == LF_OK and l.config.proj_size:
        status = unpack(l, l.w_hr, w.W_hr, H, l.P, 0, 0)
    memcpy(w.b, l.b, 4 * H * l.item)
    if l.S:
        memcpy(w.W_static, l.plain_w_static, 4 * H * l.S * l.item)
    if l.config.peepholes:
        memcpy(w.p, l.p, 3 * H * l.item)
    if l.config.layer_norm:
        memcpy(w.gain_x, norm, 4 * H * l.item)
        memcpy(w.gain_h, norm + 4 * H * l.item, 4 * H * l.item)
        memcpy(w.gain_c, norm + 8 * H * l.item, H * l.item)
        memcpy(w.b_c, norm + 9 * H * l.item, H * l.item)
    return status


cdef void load_vector(const lf_part *l, void *target, const void *source,
                      int64_t count) noexcept nogil:
    if source == NULL:
        memset(target, 0, count * l.item)
    else:
        memcpy(target, source, count * l.item)


cdef void load_vectors(const lf_part *l, const lf_weights *w) noexcept nogil:
    """Copy what is not packed."""
    cdef char *norm = <char *> l.norm
    cdef int64_t H = l.H
    load_vector(l, l.b, w.b, 4 * H)
    if l.config.peepholes:
        load_vector(l, l.p, w.p, 3 * H)
    if l.config.layer_norm:
        load_vector(l, norm, w.gain_x, 4 * H)
        load_vector(l, norm + 4 * H * l.item, w.gain_h, 4 * H)
        load_vector(l, norm + 8 * H * l.item, w.gain_c, H)
        load_vector(l, norm + 9 * H * l.item, w.b_c, H)


cdef int lf_load(lf_lstm *lstm, const lf_weights *weights) noexcept nogil:
    cdef lf_weights w
    cdef lf_part *part
    cdef int64_t k
    cdef int status = LF_ENULL if lstm == NULL or weights == NULL else LF_OK
    for k in range(lstm.count if status == LF_OK else 0):
        status = read_weights(lstm, weights, k, &w)
        if status == LF_OK:
            status = check_weights(&lstm.parts[k], &w)
        if status != LF_OK:
            return status
    for k in range(lstm.count if status == LF_OK else 0):
        part = &lstm.parts[k]
        part.reads_forward = part.reads_backward = 0
        read_weights(lstm, weights, k, &w)
        pack_weights(part, &w, PACK_ALL if lstm.training else PACK_FORWARD)
        load_vectors(part, &w)
        if lstm.config.weight_drop:
            memcpy(part.plain_w_hh, w.W_hh, 4 * part.H * part.P * part.item)
            part.source_w_hh = part.plain_w_hh
        if part.S:
            memcpy(part.plain_w_static, w.W_static, 4 * part.H * part.S * part.item)
            part.source_w_static = part.plain_w_static
        lstm.loaded, lstm.static_batch = 1, 0
    return status


cdef int lf_load_weights(lf_lstm *lstm, const void *W_ih, const void *W_hh,
                         const void *b) noexcept nogil:
    cdef lf_weights weights
    if lstm != NULL and lstm.count > 1:
        return LF_EOPTION
    memset(&weights, 0, sizeof(weights))
    weights.size = sizeof(weights)
    weights.W_ih, weights.W_hh, weights.b = <void *> W_ih, <void *> W_hh, <void *> b
    return lf_load(lstm, &weights)
