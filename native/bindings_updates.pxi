# What lstmfast/optimizers and others call to change many arrays as one. Python answers signals
# between its own instructions, and there are none in here: either all has changed or nothing has.

from libc.stdlib cimport calloc, free, malloc


cdef struct lf_change:
    lf_update update
    lf_range_kernel kernel  # NULL: w becomes g, or zeros
    const int64_t *rows  # NULL, or which rows of w, m, v and h are meant: `count` of g's
    int64_t size, count, width, item  # elements; of a row; bytes of one
    double cost


cdef enum:
    LF_AHEAD = 2  # rows
    LF_WAIT = 20000  # what it costs to have a row brought, in operations


cdef extern from * nogil:
    void __builtin_prefetch(const void *address, int written)


cdef void fetch(void *row, int64_t bytes) noexcept nogil:
    """Have a row that is soon to be changed brought nearer, or the first 512 bytes of it."""
    cdef int64_t i
    if row != NULL:
        for i in range(0, min(bytes, 512), 64):
            __builtin_prefetch(<char *> row + i, 1)


cdef void *moved(void *array, int64_t bytes) noexcept nogil:
    return NULL if array == NULL else <char *> array + bytes


cdef int change_rows(void *change, int64_t begin, int64_t end, int64_t worker) noexcept nogil:
    """The update of rows begin..end of g."""
    cdef lf_change *c = <lf_change *> change
    cdef lf_update row
    cdef int64_t r, at, bytes = c.width * c.item
    for r in range(begin, end):
        if r + LF_AHEAD < end:
            at = c.rows[r + LF_AHEAD] * bytes
            fetch(moved(c.update.w, at), bytes)
            fetch(moved(c.update.m, at), bytes)
            fetch(moved(c.update.v, at), bytes)
            fetch(moved(c.update.h, at), bytes)
        row, at = c.update, c.rows[r] * bytes
        row.g = moved(row.g, r * bytes)
        row.w, row.m = moved(row.w, at), moved(row.m, at)
        row.v, row.h = moved(row.v, at), moved(row.h, at)
        c.kernel(&row, 0, c.width, worker)
    return 0


cdef void run_change(lf_change *c) noexcept nogil:
    cdef int threads = lf_get_num_threads()
    if c.size == 0 or c.count == 0:
        return
    if c.kernel == NULL and c.update.g == NULL:
        memset(c.update.w, 0, <size_t> (c.size * c.item))
    elif c.kernel == NULL:
        memcpy(c.update.w, c.update.g, <size_t> (c.size * c.item))
    elif c.rows == NULL:
        lf_run_range(c.kernel, &c.update, c.size, 1024, c.cost * c.size, threads)
    else:
        lf_run_range(change_rows, c, c.count, 1, c.count * (LF_WAIT + c.cost * c.width), threads)


cdef int read_change(object change, lf_change *c) except -1:
    """A `Change` of lstmfast/optimizers/changes.py."""
    cdef const lf_table *k
    name, w, g, m, v, h, rows, decay, numbers = change
    k = kernels_of(w.itemsize == 8)
    if name == "adam":
        c.kernel, c.cost = <lf_range_kernel> k.adam, 20.0
    elif name == "sgd":
        c.kernel, c.cost = <lf_range_kernel> k.sgd, 10.0
    elif name == "rmsprop":
        c.kernel, c.cost = <lf_range_kernel> k.rmsprop, 20.0
    elif name != "copy":
        raise KeyError(name)
    c.size, c.item = w.size, w.itemsize
    c.update.w, c.update.g = target(w), source(g)
    c.update.m, c.update.v, c.update.h = target(m), target(v), target(h)
    c.rows = <const int64_t *> source(rows)
    c.update.decay = decay
    (c.update.rate, c.update.beta_1, c.update.beta_2, c.update.epsilon, c.update.gain,
     c.update.nesterov) = numbers
    c.count = c.size
    if rows is not None:
        c.count, c.width = rows.size, w.size // max(w.shape[0], 1)
    return 0


def change_all(list changes, list attributes=[]):
    """Make all changes, in order: updates of arrays, C-contiguous, by one of the kernels.

    changes: `Change`s of lstmfast/optimizers/changes.py. Attributes, a list of (object, name,
    value), are set together with them.
    """
    cdef Py_ssize_t i, count = len(changes)
    cdef lf_change *found = <lf_change *> calloc(count + 1, sizeof(lf_change))
    try:
        if found == NULL:
            raise MemoryError("lstmfast: out of memory")
        for i in range(count):
            read_change(changes[i], &found[i])
        for owner, name, value in attributes:  # what could fail has been done
            setattr(owner, name, value)
        with nogil:
            for i in range(count):
                run_change(&found[i])
    finally:
        free(found)


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
