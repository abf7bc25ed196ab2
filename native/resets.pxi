# Rows that begin anew inside a sequence: which do, in the order in which a part takes its steps, and
# what kernels are told of it (kernels/resets.py).
#
# The caller's reset at t stands between t - 1 and t, whichever of them a part takes first. Where none
# is in a part's way, the pass is the one without resets.


cdef inline int64_t resets_work(const lf_part *l, int64_t T, int64_t B) noexcept nogil:
    """Flags of steps and of rows' ends; two states and, in their order, their gradients."""
    if not l.config.resets:
        return 0
    return (padded(T * B) + padded(B) + 2 * padded(B * l.P * l.item)
            + 2 * padded(B * l.H * l.item))


cdef inline int has_reset(const lf_args *a, int64_t t, int64_t b) noexcept nogil:
    return a.resets[t * a.resets_t + b * a.resets_b] != 0


cdef void flag_steps(const lf_part *l, lf_args *s, char **work) noexcept nogil:
    """s.resets (T, B) of a part all of whose rows take all steps; NULL if no row begins anew."""
    cdef uint8_t *flags
    cdef int64_t t, b, found = 0
    if s.resets == NULL:
        return
    flags = <uint8_t *> room(work, s.T * s.B)
    for t in range(s.T):
        for b in range(s.B):
            if l.reverse:
                flags[t * s.B + b] = t > 0 and has_reset(s, s.T - t, b)
            else:
                flags[t * s.B + b] = has_reset(s, t, b)
            found |= flags[t * s.B + b]
    s.resets = flags if found else NULL


cdef uint8_t *flag_sorted_steps(const lf_part *l, const lf_order *o, lf_args *s,
                                char **work) noexcept nogil:
    """The same of sorted rows, and the states they begin from; returns who begins anew at the end."""
    cdef uint8_t *flags
    cdef uint8_t *ends
    if s.resets == NULL:
        return NULL
    flags = <uint8_t *> room(work, o.T * o.B)
    ends = <uint8_t *> room(work, o.B)
    memset(flags, 0, o.T * o.B)  # of steps that rows do not take, too
    if not lf_order_resets(o, s.resets, s.resets_t, s.resets_b, s.mask != NULL, flags, ends):
        flags = NULL
    s.resets = flags
    s.reset_h = sorted_state(l, o, s.reset_h, l.P, work)
    s.reset_c = sorted_state(l, o, s.reset_c, l.H, work)
    return ends


cdef void end_anew(const lf_part *l, const lf_order *o, const uint8_t *ends, const void *anew,
                   int64_t columns, void *state) noexcept nogil:
    """The last state of rows that begin anew after their last step is the one they would go on from."""
    cdef int64_t r, bytes = columns * l.item
    for r in range(o.B if ends != NULL and state != NULL else 0):
        if ends[r]:
            copy_state(<char *> state + r * bytes, nth(anew, r, bytes), bytes)


cdef void begin_ended(const lf_part *l, const lf_order *o, const uint8_t *ends, void *upstream,
                      int64_t columns, void *target) noexcept nogil:
    """The gradient to such a state goes to `target`, unless this is NULL, and nowhere else."""
    cdef int64_t r, bytes = columns * l.item
    cdef char *row
    for r in range(o.B if ends != NULL and upstream != NULL else 0):
        if ends[r]:
            row = <char *> upstream + r * bytes
            if target != NULL:
                memcpy(<char *> target + r * bytes, row, bytes)
            memset(row, 0, bytes)


cdef void no_reset_gradients(const lf_part *l, const lf_args *s) noexcept nogil:
    """They are sums, from zero."""
    if s.dreset_h != NULL:
        memset(s.dreset_h, 0, s.B * l.P * l.item)
    if s.dreset_c != NULL:
        memset(s.dreset_c, 0, s.B * l.H * l.item)


# ------------------------------------------------------------------ what kernels are told


cdef void describe_resets(const lf_part *l, const lf_args *a, const segment *s, lf_layer *r,
                          void *zero) noexcept nogil:
    """`zero`: a state of zeros, if there is none for rows to begin from."""
    if a.resets == NULL:
        return
    if a.reset_h == NULL or a.reset_c == NULL:
        memset(zero, 0, a.B * max(l.H, l.P) * l.item)
    r.resets = <uint8_t *> a.resets + s.first * a.B
    r.reset_h = <void *> a.reset_h if a.reset_h != NULL else zero
    r.reset_c = <void *> a.reset_c if a.reset_c != NULL else zero
    r.fresh = r.fresh and a.reset_h == NULL


cdef void copy_recurrent(const lf_part *l, lf_layer *r, const masks *m) noexcept nogil:
    """What W_hh is multiplied with becomes another array than y and h0 (kernels/fields.py)."""
    cdef int64_t b, bytes = r.P * l.item
    cdef const char *source
    for b in range(r.B):
        source = <const char *> (r.reset_r if r.resets[b] else r.r0) + b * bytes
        memmove(<char *> m.r0 + b * bytes, source, bytes)
    r.r0, r.r, r.r_t, r.r_b, r.r_slots = m.r0, m.r, r.B * r.P, r.P, 2


cdef int64_t split_terms(const lf_layer *r, int64_t *terms) noexcept nogil:
    """Number the steps taken that go on from the one before, then those that begin anew; how many do not."""
    cdef int64_t n, term, first = 0, count = steps_taken(r), last = count
    for n in range(count):
        term = r.active[n] if r.active != NULL else n
        if r.resets[term]:
            last -= 1
            terms[last] = term
        else:
            terms[first] = term
            first += 1
    return first
