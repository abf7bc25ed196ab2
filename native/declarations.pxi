# What capi.pyx uses of the C files beside it.

cdef extern from "kernel_table.h" nogil:
    enum:
        LF_BLOCK
        LF_GROUP
        LF_CHUNK
        LF_OUTER_PANELS
        LF_LARGEST_STEP
        LF_HEAD
        LF_LARGEST_SUM
        LF_ZONEOUT
        LF_RECURRENT
        LF_INPUT
        LF_WEIGHTS
    const double LF_LEAST
    const char *LF_ACTIVATION_NAMES
    ctypedef struct lf_layer:
        int64_t T, B, I, H, P, x_t, x_b, y_t, y_b, y_slots, r_t, r_b, r_slots, z_t, z_slots, c_t
        int64_t c_slots, raw_slots, out_t, keep, turn, fresh, dy_t, dy_b, dx_t, dx_b, dcells_t
        int64_t dcells_b, dproj_t, first, adds, b_row, row_cells, drawing, seed, stream
        int64_t turned, ih_panel, ih_row, hh_panel, hh_row
        void *x
        void *y
        void *r
        void *h0
        void *r0
        void *c0
        void *z
        void *zx
        void *zh
        void *c
        void *raw
        void *out
        void *w_ih
        void *w_hh
        void *b
        void *p
        void *w_hr
        void *mask
        void *gain_x
        void *gain_h
        void *b_norm
        void *gain_c
        void *b_c
        void *dy
        void *dh_n
        void *dc
        void *dh
        void *dh0
        void *dx
        void *dp
        void *dcells
        void *carry
        void *scratch
        void *dproj
        void *dout
        void *sums
        void *w_hh_back
        void *w_ih_back
        void *w_hr_back
        void *W_ih
        void *W_hh
        void *reset_h
        void *reset_r
        void *reset_c
        void *dreset_h
        void *dreset_c
        void *step_sums
        void *fx
        void *fh
        void *fh0
        void *fzx
        void *fzh
        int64_t multiply_gates, multiply_plain, quads, K_x, K_h, K_z, fx_t, fx_b, fh_t, fh_b, fh_slots
        int64_t fz_t, fz_b
        uint8_t *resets
        int64_t *lengths
        int64_t *offsets
        int64_t *active
        int64_t *row_ids
    ctypedef struct lf_sums:
        void *x
        void *sums
        int64_t rows, columns
    ctypedef struct lf_dropout:
        void *x
        void *plus
        void *y
        int64_t *row_ids
        int64_t T, B, columns, x_t, x_b, y_t, y_b, per_step, seed, stream, threshold
        double scale
    ctypedef struct lf_one_step:
        int64_t I, H
        void *x
        void *h
        void *c
        void *next
        void *w_ih
        void *w_hh
        void *b
    ctypedef struct lf_narrow:
        void *x
        void *y
        int64_t B, columns, x_t, x_b, y_b
        double least
    ctypedef struct lf_pack:
        void *source
        void *target
        int64_t k_stride, n_stride, K, columns, gates
    ctypedef struct lf_product:
        void *A
        void *B
        void *C
        void *bias
        void *scratch
        int64_t M, N, K, a_row, b_k, b_n, c_row, scratch_stride
    ctypedef struct lf_outer:
        void *A
        void *first
        void *rest
        void *C
        void *column_sums
        void *right_sums
        void *scratch
        int64_t *active
        int64_t count, T, B, M, N, a_row, first_row, rest_t, rest_b, c_row, by_columns, adds
        int64_t scratch_stride
    ctypedef struct lf_softmax:
        void *x
        void *targets
        void *totals
        void *shifted
        void *weights
        int64_t *labels
        uint8_t *correct
        int64_t N, x_row, target_row, gradient
        double scale
    ctypedef struct lf_scatter:
        void *dy
        void *table
        int64_t *ids
        int64_t M, E
    ctypedef struct lf_squares:
        void *x
        void *sums
        int64_t count
    ctypedef struct lf_update:
        void *w
        void *g
        void *m
        void *v
        void *h
        double rate, beta_1, beta_2, epsilon, gain, decay
        int64_t nesterov
    ctypedef struct lf_activation:
        void *x
        void *y
        int64_t kind
        double alpha, beta
    ctypedef struct lf_rnn:
        int64_t T, B, I, H, x_t, x_b, y_t, y_b, dy_t, dy_b, mask_t, mask_b, kind, t_begin, t_end
        void *x
        void *y
        void *h0
        void *b
        void *w_ih
        void *w_hh
        void *w_hh_back
        void *dy
        void *dz
        void *dh
        void *dh0
        uint8_t *mask
        double alpha, beta
    ctypedef struct lf_table:
        int64_t register_bytes
        void *project
        void *one_step
        void *pack
        void *multiply_gates
        void *multiply_plain
        void *narrow
        void *input_gradient
        void *peephole_gradient
        void *column_sums
        void *dropout
        void *softmax
        void *crossentropy
        void *scatter
        void *squares
        void *adam
        void *sgd
        void *rmsprop
        void *activation
        void *activation_backward
        void *rnn_steps
        void *rnn_steps_backward

cdef extern from "config.h" nogil:
    enum:
        LF_UNKNOWN_KEY
        LF_WRONG_VALUE
    ctypedef struct lf_config:
        double input_size, hidden_size, precision, training, batch_size, lengths, repeat, reverse
        double cells, peepholes, num_layers, bidirectional, proj_size, layer_norm, input_dropout
        double layer_dropout, recurrent_dropout, weight_drop, zoneout_h, zoneout_c, recompute, resets
        double static_size
    void lf_set_defaults(lf_config *config)
    int lf_set_key(lf_config *config, const char *key, double value)
    int lf_is_differentiable(const lf_config *config)
    int64_t lf_threshold(double rate)
    double lf_dropout_scale(double rate)
    int64_t lf_stream(int64_t part, int64_t purpose)
    int lf_is_varied(const lf_config *config)
    void lf_describe_cell(const lf_config *config, lf_layer *a)

cdef extern from "handles.h" nogil:
    ctypedef struct lf_part:
        int64_t I, H, P, S, index, item, width
        int training, reverse, turn
        lf_config config
        const lf_table *kernels
        const lf_table *products
        char *memory
        void *w_ih
        void *w_hh
        void *b
        void *p
        void *w_hr
        void *norm
        void *w_ih_back
        void *w_hh_back
        void *w_hr_back
        void *plain_w_hh
        const void *source_w_hh
        void *plain_w_static
        const void *source_w_static
        void *step_rows
        int turned, reads_forward, reads_backward, writes_turned
        const void *W_ih
        const void *W_hh
        lf_one_step step
    ctypedef struct lf_lstm:
        int64_t layers, directions, count, I, H, P, batch_size, item, step_work_size
        int64_t static_batch
        int training, loaded, is_quick, shares_step
        lf_config config
        lf_part *parts
        char *step_work

cdef extern from "dispatch.h" nogil:
    int lf_choose_isa(const char *wanted)
    const char *lf_best_isa()
    const char *lf_isa_name()
    enum:
        LF_F32
        LF_F64
        LF_BF16
        LF_I8
    const lf_table *lf_kernels(int kind)
    int lf_bind_kernel(int kind, const char *name, void *address)
    void lf_bind_isa(int64_t register_bytes)

cdef extern from "pool.h" nogil:
    void *lf_take(int64_t bytes)
    void lf_give(void *block)

cdef extern from "ragged.h" nogil:
    ctypedef struct lf_order:
        int64_t T, B, longest, reversed
        int64_t *lengths
        int64_t *offsets
        int64_t *active
        int64_t *row_ids
    ctypedef struct lf_sequences:
        const lf_order *order
        char *caller
        char *sorted
        int64_t t_stride, b_stride, columns, item, repeat
    int64_t lf_order_size(int64_t T, int64_t B)
    void lf_order_fill(lf_order *o, void *memory, const int64_t *lengths, const uint8_t *mask,
                       int64_t mask_t, int64_t mask_b)
    int lf_order_resets(const lf_order *o, const uint8_t *resets, int64_t t_stride,
                        int64_t b_stride, int masked, uint8_t *flags, uint8_t *ends)
    int64_t lf_segment_size(int64_t steps, int64_t B)
    void lf_order_segment(const lf_order *o, int64_t first, int64_t steps, void *memory,
                          lf_order *segment)
    void lf_sort_sequences(const lf_sequences *a)
    void lf_unsort_sequences(const lf_sequences *a)
    void lf_sort_states(const lf_order *o, const void *caller, void *sorted, int64_t bytes)
    void lf_unsort_states(const lf_order *o, const void *sorted, void *caller, int64_t bytes)

cdef extern from "flags.h" nogil:
    ctypedef unsigned int lf_flags
    lf_flags lf_use_kernel_flags()
    void lf_set_flags(lf_flags flags)

cdef extern from "team.h" nogil:
    ctypedef enum lf_pool:
        LF_ANY_POOL
        LF_OWN_POOL
        LF_OPENMP_POOL
    void lf_team_begin(lf_pool pool)
    int lf_team_keep_own(int own)
    const char *lf_team_openmp()
    int lf_team_is_lost()

cdef extern from "threads.h" nogil:
    enum:
        LF_MAX_THREADS
    int64_t lf_get_num_threads()
    void lf_set_num_threads(int64_t count)
    void lf_limit_num_threads(int64_t count, int64_t told)
    void lf_follow_num_threads(int64_t count)

cdef extern from "watch.h" nogil:
    enum:
        LF_STOPPED
    ctypedef struct lf_watch:
        pass
    void lf_watch_with(int (*look)() noexcept nogil)
    void lf_watch_begin(lf_watch *watch)
    int lf_watch_end(lf_watch *watch)
    lf_watch *lf_watch_for(double ns)

cdef extern from "ranges.h" nogil:
    const double SPEED "LF_SPEED"
    const double PIECE "LF_PIECE"
    ctypedef int (*lf_range_kernel)(void *, int64_t, int64_t, int64_t) noexcept
    int lf_run_range(lf_range_kernel kernel, void *a, int64_t count, int64_t grain, double cost,
                     int64_t workers)
    int lf_run_product(const lf_table *k, lf_product *a, int64_t workers)
    int lf_run_outer(const lf_table *k, lf_outer *a, int64_t workers)

cdef extern from "schedule.h" nogil:
    int lf_shares_step(int64_t I, int64_t H)
    int lf_run_forward(const lf_table *k, lf_layer *a, int64_t chunk)
    int lf_run_backward(const lf_table *k, lf_layer *a)

cdef extern from "turned.h" nogil:
    void lf_turn(const lf_part *part, const void *source, void *target, int64_t rows,
                 int64_t columns, void *room)

cdef extern from "xla_ffi.h" nogil:
    enum:
        LF_XLA_MAJOR
        LF_XLA_METADATA
        LF_XLA_EXECUTE
        LF_XLA_SCALAR
        LF_XLA_INTERNAL
        LF_XLA_BOOL
        LF_XLA_UINT8
        LF_XLA_FLOAT
        LF_XLA_DOUBLE
    ctypedef struct lf_xla_version:
        int major, minor
    ctypedef struct lf_xla_error_args:
        size_t size
        const char *message
        int code
    ctypedef struct lf_xla_api:
        lf_xla_version version
        void *(*create_error)(lf_xla_error_args *args) noexcept nogil
    ctypedef struct lf_xla_metadata:
        lf_xla_version version
    ctypedef struct lf_xla_extension:
        int type
        lf_xla_metadata *metadata
    ctypedef struct lf_xla_array:
        int dtype
        void *data
        int64_t rank
        int64_t *dims
    ctypedef struct lf_xla_arrays:
        int64_t count
        lf_xla_array **items
    ctypedef struct lf_xla_text:
        const char *start
        size_t size
    ctypedef struct lf_xla_scalar:
        int dtype
        void *value
    ctypedef struct lf_xla_attributes:
        int64_t count
        int *types
        lf_xla_text **names
        lf_xla_scalar **items
    ctypedef struct lf_xla_frame:
        void *extension
        const lf_xla_api *api
        int stage
        lf_xla_arrays arguments, results
        lf_xla_attributes attributes
