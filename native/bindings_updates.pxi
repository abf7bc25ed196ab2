# What lstmfast/optimizers.py and others call to change many arrays as one. Python answers signals
# between its own instructions, and there are none in here: either all has changed or nothing has.

from libc.stdlib cimport free, malloc


cdef lf_update *updates_of(list w, list g, list m, list v) except? NULL:
    """A description of the update of each array, to be freed; m or v empty: NULL."""
    cdef Py_ssize_t i, count = len(w)
    cdef lf_update *found = <lf_update *> malloc((count + 1) * sizeof(lf_update))
    if found == NULL:
        raise MemoryError("lstmfast: out of memory")
    try:
        for i in range(count):
            found[i].w, found[i].g = target(w[i]), source(g[i])
            found[i].m = target(m[i]) if m else NULL
            found[i].v = target(v[i]) if v else NULL
    except BaseException:
        free(found)
        raise
    return found


cdef int take_updates(bint adam, object owner, object slots, object iterations, list w, list g,
                      list m, list v, lf_update *how) except -1:
    """Run the update on all arrays and let owner.slots and owner.iterations be these."""
    cdef Py_ssize_t i, count = len(w)
    cdef const lf_table *singles = kernels_of(False)
    cdef const lf_table *doubles = kernels_of(True)
    cdef const lf_table *k
    cdef int64_t *sizes = <int64_t *> malloc((count + 1) * sizeof(int64_t))
    cdef uint8_t *is_double = <uint8_t *> malloc(count + 1)
    cdef lf_update *updates = NULL
    try:
        if sizes == NULL or is_double == NULL:
            raise MemoryError("lstmfast: out of memory")
        for i in range(count):
            sizes[i], is_double[i] = w[i].size, w[i].itemsize == 8
        updates = updates_of(w, g, m, v)
        owner.slots, owner.iterations = slots, iterations  # what could fail has been done
        for i in range(count):
            k = doubles if is_double[i] else singles
            updates[i].rate, updates[i].epsilon, updates[i].nesterov = (
                how.rate, how.epsilon, how.nesterov)
            updates[i].beta_1, updates[i].beta_2 = how.beta_1, how.beta_2
            if sizes[i] == 0:
                continue
            with nogil:
                lf_run_range(<lf_range_kernel> (k.adam if adam else k.sgd), &updates[i], sizes[i],
                             1024, (20.0 if adam else 10.0) * sizes[i], lf_get_num_threads())
    finally:
        free(updates)
        free(sizes)
        free(is_double)
    return 0


def adam_step(owner, dict slots, iterations, list w, list g, list m, list v, double rate,
              double beta_1, double beta_2, double epsilon):
    """One step of Adam on all of w, float32 or float64; owner.slots and .iterations change with it."""
    cdef lf_update how
    how.rate, how.beta_1, how.beta_2, how.epsilon, how.nesterov = rate, beta_1, beta_2, epsilon, 0
    take_updates(True, owner, slots, iterations, w, g, m, v, &how)


def sgd_step(owner, dict slots, iterations, list w, list g, list velocity, double rate,
             double momentum, bint nesterov):
    """One step of gradient descent on all of w, as `adam_step`; velocity may be empty."""
    cdef lf_update how
    how.rate, how.beta_1, how.beta_2, how.epsilon, how.nesterov = rate, momentum, 0, 0, nesterov
    take_updates(False, owner, slots, iterations, w, g, velocity, [], &how)


def copy_all(list targets, list sources, list attributes=[]):
    """Copy the bytes of each source, C-contiguous, into its target of that size.

    Attributes, a list of (object, name, value), are set together with them.
    """
    cdef Py_ssize_t i, count = len(targets)
    cdef void **pointers = <void **> malloc((2 * count + 1) * sizeof(void *))
    try:
        if pointers == NULL:
            raise MemoryError("lstmfast: out of memory")
        for i in range(count):
            pointers[2 * i], pointers[2 * i + 1] = target(targets[i]), source(sources[i])
        sizes = [array.nbytes for array in targets]
        for owner, name, value in attributes:
            setattr(owner, name, value)
        for i in range(count):
            memcpy(pointers[2 * i], pointers[2 * i + 1], <size_t> sizes[i])
    finally:
        free(pointers)
