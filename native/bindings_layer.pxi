# The passes of bindings_xla.pxi on arrays of NumPy: for frameworks that call Python for a whole layer.


cdef enum:
    MOST_ARRAYS = 16    # of arguments, or results
    MOST_KEYS = 32


cdef struct array_list:
    lf_xla_array[MOST_ARRAYS] arrays
    lf_xla_array *items[MOST_ARRAYS]
    int64_t[3 * MOST_ARRAYS] dims


cdef int dtype_of(const char *format) noexcept:
    """XLA's number for it; 0 for one that no pass takes."""
    cdef const char *kind = format + (format[0] in b"<@=")
    if kind[0] == 0 or kind[1] != 0:
        return 0
    return (LF_XLA_FLOAT if kind[0] == c"f" else LF_XLA_DOUBLE if kind[0] == c"d"
            else LF_XLA_BOOL if kind[0] == c"?" else LF_XLA_UINT8 if kind[0] == c"B" else 0)


cdef int list_arrays(lf_xla_arrays *r, array_list *list, arrays, int flags) except -1:
    """Arrays that the caller keeps alive."""
    cdef Py_buffer view
    cdef lf_xla_array *a
    cdef int64_t k, n = len(arrays)
    check(LF_ESIZE if n > MOST_ARRAYS else LF_OK)
    r.count, r.items = n, list.items
    for n, array in enumerate(arrays):
        a = list.items[n] = &list.arrays[n]
        PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags)
        a.data, a.rank, a.dims = view.buf, min(view.ndim, 3), &list.dims[3 * n]
        a.dtype = dtype_of(view.format) if view.ndim <= 3 else 0
        for k in range(a.rank):
            a.dims[k] = view.shape[k]
        PyBuffer_Release(&view)
    return 0


cdef struct key_list:
    lf_xla_text[MOST_KEYS] texts
    lf_xla_text *names[MOST_KEYS]
    double[MOST_KEYS] values
    lf_xla_scalar[MOST_KEYS] scalars
    lf_xla_scalar *items[MOST_KEYS]
    int[MOST_KEYS] types


cdef int list_keys(lf_xla_attributes *r, key_list *list, tuple names, values) except -1:
    """Keys and their values; `names`, bytes, are kept alive by the caller."""
    cdef int k
    check(LF_ESIZE if len(names) > MOST_KEYS else LF_OK)
    for k, name in enumerate(names):
        list.texts[k].start, list.texts[k].size = name, len(name)
        list.scalars[k].dtype, list.scalars[k].value = LF_XLA_DOUBLE, &list.values[k]
        list.names[k], list.items[k], list.types[k] = &list.texts[k], &list.scalars[k], LF_XLA_SCALAR
    for k, value in enumerate(values):
        list.values[k] = value
    r.count, r.types, r.names, r.items = len(names), list.types, list.names, list.items
    return 0


def layer_pass(bint back, bint as_ours, dict keys, arrays, results):
    """A pass on contiguous arrays, as XLA gives and takes them; ValueError where one does not fit.

    `as_ours`: the kernels are W_ih (4H, I) and W_hh (4H, H), and so are their gradients.
    """
    cdef lf_xla_frame f
    cdef xla_call c
    cdef array_list given, wanted
    cdef key_list listed
    cdef lf_watch watch
    cdef int status
    cdef tuple names = tuple([key.encode() for key in keys])
    memset(&f, 0, sizeof(f))
    list_arrays(&f.arguments, &given, arrays, 0)
    list_arrays(&f.results, &wanted, results, PyBUF_WRITABLE)
    list_keys(&f.attributes, &listed, names, keys.values())
    memset(&c, 0, sizeof(c))
    c.as_ours = as_ours
    lf_watch_begin(&watch)
    with nogil:
        status = backward_run(&f, &c) if back else forward_run(&f, &c)
        free_call(&c)
    check(status | lf_watch_end(&watch))
