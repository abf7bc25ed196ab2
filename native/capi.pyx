# The C-level API (the manual is lstmfast/capi.pxd) and, included below, what Python calls.
#
# Checks are made here, once; kernels, native/schedule.c and ranges.c trust their arguments.

from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t, uintptr_t
from libc.stdlib cimport calloc, free, getenv
from libc.string cimport memcmp, memcpy, memmove, memset, strcmp

include "declarations.pxi"


cdef const char *lf_status_text(int status) noexcept nogil:
    if status == LF_OK:
        return "no error"
    if status == LF_ENULL:
        return "a pointer that is needed is NULL"
    if status == LF_ESIZE:
        return "a size or stride is not positive, or too large"
    if status == LF_EALIAS:
        return "the memory of an output overlaps another argument"
    if status == LF_EKEY:
        return "unknown configuration key"
    if status == LF_EVALUE:
        return "a value that this configuration key cannot take"
    if status == LF_ESTATE:
        return "weights are not loaded, or the handle was not built with training = 1"
    if status == LF_EMEMORY:
        return "out of memory"
    if status == LF_EWORK:
        return "the work space is too small"
    if status == LF_EVERSION:
        return "the size of lf_args, or of lf_weights, belongs to no known version of the structure"
    if status == LF_EKERNELS:
        return "no kernels for this processor"
    if status == LF_ELENGTH:
        return "a length is not in 0..T"
    if status == LF_EOPTION:
        return "an array, or a call, that the options of the handle do not allow"
    return "unknown status"


cdef int lf_abi_version() noexcept nogil:
    return 1


# ------------------------------------------------------------------ configuration


cdef lf_config *lf_config_create() noexcept nogil:
    cdef lf_config *config = <lf_config *> calloc(1, sizeof(lf_config))
    if config != NULL:
        lf_set_defaults(config)
    return config


cdef void lf_config_free(lf_config *config) noexcept nogil:
    free(config)


cdef int lf_config_set(lf_config *config, const char *key, double value) noexcept nogil:
    cdef int found
    if config == NULL or key == NULL:
        return LF_ENULL
    found = lf_set_key(config, key, value)
    if found == LF_UNKNOWN_KEY:
        return LF_EKEY
    return LF_EVALUE if found == LF_WRONG_VALUE else LF_OK


# ------------------------------------------------------------------ handle


cdef inline int64_t padded(int64_t bytes) noexcept nogil:
    """Rounded up to whole cache lines."""
    return (bytes + 63) // 64 * 64


cdef inline char *room(char **next, int64_t bytes) noexcept nogil:
    """The next bytes of some memory; from NULL on, `next` ends as how many are needed."""
    cdef char *p = next[0]
    next[0] = p + padded(bytes)
    return p


cdef inline void zero_padding(void *p, int64_t bytes) noexcept nogil:
    """Set what lies between the end of a room and the next: the same call leaves the same bytes."""
    if p != NULL:
        memset(<char *> p + bytes, 0, padded(bytes) - bytes)


cdef inline int64_t panels(int64_t columns, int64_t panel) noexcept nogil:
    return (columns + panel - 1) // panel


cdef inline int too_large(double a, double b, double c, double d) noexcept nogil:
    return a * b * c * d > 1e15


cdef int64_t packed_gates(const lf_part *l, int64_t K) noexcept nogil:
    """Bytes of a matrix (K, 4H) packed with the gates map."""
    return panels(l.H, l.width) * numbers(l, K) * 4 * l.width * l.item


cdef int64_t packed_back(const lf_part *l, int64_t columns) noexcept nogil:
    """Bytes of a matrix (4H, columns) packed for the way back."""
    return packed_plain(l, numbers(l, 4 * l.H), columns)


cdef int64_t packed_plain(const lf_part *l, int64_t K, int64_t columns) noexcept nogil:
    """Bytes of a matrix (K, columns) packed with the plain map."""
    return panels(columns, 4 * l.width) * K * 4 * l.width * l.item


cdef int sizes_are_possible(const lf_config *config) noexcept nogil:
    cdef double outputs = config.proj_size or config.hidden_size
    cdef double inputs = (config.input_size + config.static_size + 2 * outputs + config.hidden_size
                          + config.batch_size)
    if config.precision == 8 and max(config.input_size, 2 * outputs) > LF_LARGEST_SUM:
        return 0
    return (config.input_size >= 1 and config.hidden_size >= 1 and config.num_layers <= MOST_LAYERS
            and not too_large(inputs, config.hidden_size, 16, 8))


cdef int is_possible(const lf_config *config) noexcept nogil:
    if config.bidirectional and config.reverse:
        return 0
    if config.layer_dropout > 0 and config.num_layers == 1:
        return 0
    return not config.training or (lf_is_differentiable(config) and config.precision != 8)


cdef int lf_build(const lf_config *config, lf_lstm **lstm) noexcept nogil:
    cdef lf_lstm *l
    if config == NULL or lstm == NULL:
        return LF_ENULL
    if not sizes_are_possible(config):
        return LF_ESIZE
    if not is_possible(config):
        return LF_EVALUE
    if lf_kernels(LF_F32).project == NULL:
        return LF_EKERNELS
    l = <lf_lstm *> calloc(1, sizeof(lf_lstm))
    if l == NULL:
        return LF_EMEMORY
    l.config, l.training = config[0], config.training != 0
    l.layers, l.directions = <int64_t> config.num_layers, 2 if config.bidirectional else 1
    l.count, l.batch_size = l.layers * l.directions, <int64_t> config.batch_size
    l.I, l.H = <int64_t> config.input_size, <int64_t> config.hidden_size
    l.item = 8 if config.precision == 64 else 4
    l.P = <int64_t> config.proj_size or l.H
    if not place(l):
        lf_free(l)
        return LF_EMEMORY
    lstm[0] = l
    return LF_OK


cdef int place(lf_lstm *l) noexcept nogil:
    """Allocate all that a handle needs. False if that is not to be had."""
    cdef int64_t k
    l.parts = <lf_part *> calloc(l.count, sizeof(lf_part))
    if l.parts == NULL:
        return 0
    l.is_quick = (not lf_is_varied(&l.config) and l.directions == 1 and l.H < LF_LARGEST_STEP
                  and l.config.precision >= 32)
    for k in range(l.count):
        if not place_part(l, k):
            return 0
        l.is_quick = l.is_quick and l.parts[k].I < LF_LARGEST_STEP
        l.shares_step = l.shares_step or lf_shares_step(l.parts[k].I, l.H)
    if l.directions == 1:
        l.step_work_size = stack_step_work(l)
        l.step_work = <char *> lf_take(l.step_work_size)
    return l.directions > 1 or l.step_work != NULL


cdef int place_part(lf_lstm *l, int64_t k) noexcept nogil:
    cdef lf_part *part = &l.parts[k]
    cdef char *needed = NULL
    part.I, part.H, part.P = l.I if k < l.directions else l.directions * l.P, l.H, l.P
    part.index, part.item, part.training, part.config = k, l.item, l.training, l.config
    part.S = <int64_t> l.config.static_size if k < l.directions else 0
    part.reverse = k % 2 if l.directions == 2 else l.config.reverse != 0
    part.kernels = lf_kernels(LF_F64 if l.config.precision == 64 else LF_F32)
    part.products = part.kernels
    if is_narrow(part):
        part.products = lf_kernels(LF_I8 if is_quads(part) else LF_BF16)
    part.width = part.kernels.register_bytes // l.item
    weight_rooms(part, &needed)
    part.memory = <char *> lf_take(<int64_t> needed)
    needed = part.memory
    if needed != NULL:
        weight_rooms(part, &needed)
        part.step.I, part.step.H, part.step.b = part.I, part.H, part.step_rows if part.S else part.b
        part.step.w_ih, part.step.w_hh = part.w_ih, part.w_hh
    return part.memory != NULL


cdef void weight_rooms(lf_part *l, char **next) noexcept nogil:
    l.w_ih, l.w_hh = room(next, packed_gates(l, l.I)), room(next, packed_gates(l, l.P))
    l.b, l.step.next = room(next, 4 * l.H * l.item), room(next, l.H * l.item)
    l.p = room(next, 3 * l.H * l.item if l.config.peepholes else 0)
    l.norm = room(next, 10 * l.H * l.item if l.config.layer_norm else 0)
    l.w_hr = room(next, packed_plain(l, l.H, l.P)) if l.config.proj_size else NULL
    l.plain_w_hh = room(next, 4 * l.H * l.P * l.item) if l.config.weight_drop else NULL
    l.plain_w_static = room(next, 4 * l.H * l.S * l.item)
    l.step_rows = room(next, static_rows(l, <int64_t> l.config.batch_size))
    if l.training:
        l.w_ih_back = room(next, packed_back(l, l.I))
        l.w_hh_back = room(next, packed_back(l, l.P))
        l.w_hr_back = room(next, packed_plain(l, l.P, l.H)) if l.config.proj_size else NULL


cdef void lf_free(lf_lstm *lstm) noexcept nogil:
    cdef int64_t k
    if lstm == NULL:
        return
    for k in range(lstm.count if lstm.parts != NULL else 0):
        lf_give(lstm.parts[k].memory)
    lf_give(lstm.step_work)
    free(lstm.parts)
    free(lstm)


include "factors.pxi"
include "weights.pxi"
include "workspace.pxi"
include "checks.pxi"
include "dropout.pxi"
include "passes.pxi"
include "resets.pxi"
include "statics.pxi"
include "ragged.pxi"
include "lstm.pxi"
include "bindings.pxi"
include "bindings_lstm.pxi"
include "bindings_elements.pxi"
include "bindings_updates.pxi"
include "bindings_rnn.pxi"
include "bindings_xla.pxi"
include "bindings_layer.pxi"
