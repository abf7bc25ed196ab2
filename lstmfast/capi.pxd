# The C-level API of lstmfast, for `from lstmfast.capi cimport ...`. This header is the manual.
#
# Every function is `noexcept nogil` and returns a status: LF_OK (0) or what is wrong, which
# lf_status_text() says in words. A call that fails leaves every output as it was.
#
#     cdef lf_config *config = lf_config_create()
#     lf_config_set(config, "input_size", 128)
#     lf_config_set(config, "hidden_size", 256)
#     status = lf_build(config, &lstm)            # then lf_config_free(config)
#     status = lf_load_weights(lstm, W_ih, W_hh, b)
#     status = lf_step(lstm, 1, x, h, c)          # h and c move one step on
#     lf_free(lstm)
#
# Dimensions: T steps, B batch rows, I inputs, H hidden units, P outputs of a layer (H, or
# "proj_size"), D directions, L·D parts: layer 0 forward, layer 0 backward, layer 1 forward ... Gates
# lie in the order i, f, g, o.
# Data pointers are float* or double*, as the configuration's "precision" says; strides count
# elements, not bytes, and the last axis is always contiguous.
# Distinct handles may be used from distinct threads at once. One handle may be shared by concurrent
# lf_forward and lf_backward calls (each with its own work space), not by lf_step or
# lf_load_weights.
#
# A handle is freed once, by lf_free, and its pointer not used afterwards: nothing can tell that it was.
# Calls are never ended by a signal.
#
# Options that come later are new keys and new fields at the end of lf_args: code compiled today
# goes on working.

from libc.stdint cimport int64_t, uint8_t

cdef enum lf_status:
    LF_OK = 0
    LF_ENULL = 1        # a pointer that is needed is NULL
    LF_ESIZE = 2        # a size is not positive, a stride negative (written: rows meet), or too large
    LF_EALIAS = 3       # memory of an output overlaps another argument
    LF_EKEY = 4         # a key that this version does not know
    LF_EVALUE = 5       # a value that the key cannot take
    LF_ESTATE = 6       # weights not loaded, or "training" not set in the configuration
    LF_EMEMORY = 7      # out of memory
    LF_EWORK = 8        # work_size is less than lf_forward_work() or lf_backward_work() asks for;
                        # work made for fewer threads than now set serves: fewer are used
    LF_EVERSION = 9     # lf_args.size, or lf_weights.size, is not that of this version or of an earlier
                        # one; several lf_weights side by side must be of this version
    LF_EKERNELS = 10    # no kernels for this processor (see lstmfast.show_config())
    LF_EOPTION = 11     # an array for an option that the handle was not built with, or gradients
                        # asked for in two places, or both lengths and a mask, or a call that the
                        # options rule out
    LF_ELENGTH = 12     # a length is not in 0..T

cdef const char *lf_status_text(int status) noexcept nogil

# 1 for this header. It grows when a signature here changes; new keys and fields leave it.
cdef int lf_abi_version() noexcept nogil

# ---- configuration: opaque, owned by the caller until lf_config_free

# (Declared in C as well: Cython alone would leave the names unknown to the functions below.)
cdef extern from *:
    """
    typedef struct lf_config lf_config;
    typedef struct lf_lstm lf_lstm;
    """
    ctypedef struct lf_config
    ctypedef struct lf_lstm

# NULL if out of memory.
cdef lf_config *lf_config_create() noexcept nogil
cdef void lf_config_free(lf_config *config) noexcept nogil

# Options by their names in Python: docs/options.md. What is dropped is a function of lf_args.seed and
# of the position: Philox4x32-10 (kernels/philox.py has the counters).
#
# Keys:
# The call:
#   input_size        >= 1, needed: I
#   hidden_size       >= 1, needed: H
#   batch_size        >= 1, default 1: the largest B of lf_step
#   precision         8, 16, 32 or 64, default 32: float or double; 16 and 8: float, but W_ih, W_hh
#                     and what they are multiplied with are rounded to bfloat16 or int8, sums are
#                     not; 8 with training LF_EVALUE of lf_build
#   training          0 or 1, default 0: lf_backward will be called (weights are packed a second
#                     time)
#   lengths           0 or 1, default 0: lf_args.lengths or lf_args.mask may be given (work space
#                     for that)
#   repeat            0 or 1, default 0: with them, y holds the last output where no step is taken;
#                     else zeros
#   reverse           0 or 1, default 0: steps are taken from the last to the first; y stays where x
#                     is
#   resets            0 or 1, default 0: lf_args.resets may be given (work space for that): rows
#                     that begin anew at a step, from reset_h and reset_c, or from zeros
#   cells             0 or 1, default 0: lf_args.cells and dcells may be given (work space for that)
# The stack:
#   num_layers        >= 1, default 1: L, each on the outputs of the one before; at most 64
#   bidirectional     0 or 1, default 0: D = 2: each layer has a part that takes the steps from the
#                     last to the first, and both outputs side by side; with reverse LF_EVALUE of
#                     lf_build
#   static_size       >= 0, default 0: S: W_static x_static joins W_ih x of the first layer in every
#                     step (lf_load, lf_args.x_static); 0: none
#   proj_size         >= 0, default 0: P: h = W_hr (o φ(c)) (lf_load); 0: none
#   layer_norm        0 or 1, default 0: z = LN(W_ih x) gain_x + LN(W_hh h) gain_h + b, h = o
#                     φ(LN(c) gain_c + b_c), LN(v) = (v - mean v) / sqrt(var v + 1e-5)
# The cell (lstmfast.CellOptions has the formulas):
#   peepholes         0 or 1, default 0: weights p (3, H) of i, f and o (lf_load)
#   candidate_kind    lf_activation_kind, default LF_TANH: τ, of g
#   candidate_alpha   a real number, default 0: its alpha
#   candidate_beta    a real number, default 0: its beta
#   gate_kind         lf_activation_kind, default LF_SIGMOID: σ, of i, f and o
#   gate_alpha        a real number, default 0: its alpha
#   gate_beta         a real number, default 0: its beta
#   output_kind       lf_activation_kind, default LF_TANH: φ, of c in h = o φ(c)
#   output_alpha      a real number, default 0: its alpha
#   output_beta       a real number, default 0: its beta
#   coupled           0 or 1, default 0: f = 1 - i; the rows of f in the weights are ignored
#   clip              > 0, default inf: z, peepholes included, is held in -clip..clip (ONNX's clip)
#   cell_clip         > 0, default inf: c is held in -cell_clip..cell_clip (TensorFlow's and
#                     cuDNN's)
# Noise (lstmfast.Noise): dropout, in training alone, scales the rest by 1 / (1 - rate):
#   input_dropout     in [0, 1), default 0: of x, the same for all steps
#   layer_dropout     in [0, 1), default 0: of what goes from layer to layer, anew in each step;
#                     with one layer LF_EVALUE of lf_build
#   recurrent_dropout in [0, 1), default 0: of h where W_hh is multiplied with it, the same for all
#                     steps
#   weight_drop       in [0, 1), default 0: of the weights W_hh
#   zoneout_h         in [0, 1), default 0: how much of h stays as it was: in training random units,
#                     in inference this part of all
#   zoneout_c         in [0, 1), default 0: the same of c
# The way back:
#   truncate          >= 0, default 0: k > 0: no gradient flows from step n to n - 1 where n is a
#                     multiple of k, counted as rows take them
#   recompute         >= 0, default 0: k > 0: the reserve holds the state before every k-th step
#                     alone, and lf_backward takes the steps forward again
# LF_EKEY for another key, LF_EVALUE for a value out of range: the configuration keeps what it had.
cdef int lf_config_set(lf_config *config, const char *key, double value) noexcept nogil

# ---- handle: opaque, owned by the caller until lf_free

cdef enum lf_activation_kind:
    LF_SIGMOID = 0
    LF_TANH = 1
    LF_RELU = 2
    LF_HARD_SIGMOID = 3     # alpha x + beta, held in 0..1
    LF_AFFINE = 4           # alpha x + beta
    LF_LEAKY_RELU = 5       # x, or alpha x below 0; training needs alpha > 0
    LF_THRESHOLDED_RELU = 6 # x from alpha on, else 0
    LF_SCALED_TANH = 7      # alpha tanh(beta x); training needs alpha != 0
    LF_ELU = 8              # x, or alpha (e^x - 1) below 0; training needs alpha > 0
    LF_SOFTSIGN = 9         # x / (1 + |x|)
    LF_SOFTPLUS = 10        # log(1 + e^x)

# *lstm becomes a new handle that no longer needs the configuration; unchanged on failure.
cdef int lf_build(const lf_config *config, lf_lstm **lstm) noexcept nogil
cdef void lf_free(lf_lstm *lstm) noexcept nogil

# Pack the weights W_ih (4H, I), W_hh (4H, P), b (4H,), all read and contiguous; b may be NULL
# (zeros). The handle keeps its own copy: the arrays are not needed afterwards. (One part only.)
cdef int lf_load_weights(lf_lstm *lstm, const void *W_ih, const void *W_hh,
                         const void *b) noexcept nogil

# The same for layers with options: L·D structures side by side, one for each part. Set size to
# sizeof(lf_weights) and what is not used to NULL. Layers but the first have D·P inputs.
cdef struct lf_weights:
    size_t size             # sizeof(lf_weights)
    void *W_ih              # (4H, I)
    void *W_hh              # (4H, P)
    void *b                 # (4H,); NULL: zeros
    void *p                 # (3, H), with "peepholes": of i, f and o
    # ---- since the second version of this structure
    void *W_hr              # (P, H), with "proj_size"
    void *gain_x            # (4H,), with "layer_norm"
    void *gain_h            # (4H,)
    void *gain_c            # (H,)
    void *b_c               # (H,)
    # ---- since the third version
    void *W_static          # (4H, S), with "static_size", of the first layer's parts
cdef int lf_load(lf_lstm *lstm, const lf_weights *weights) noexcept nogil

# ---- one step: streaming, no allocation

# x (B, I) read; h (L, B, P), c (L, B, H) read and replaced: the last h is the output. All
# contiguous; none may overlap another. B <= "batch_size". Not with "bidirectional" (LF_EOPTION).
cdef int lf_step(lf_lstm *lstm, int64_t B, const void *x, void *h, void *c) noexcept nogil

# With "static_size": x_static (B, S) of the steps to come, projected once; to be set again after
# lf_load. LF_ESTATE of a step of more rows than have been set.
cdef int lf_set_static(lf_lstm *lstm, int64_t B, const void *x_static) noexcept nogil

# ---- sequences

# Set size to sizeof(lf_args) and the rest to zero (memset), then fill in what is needed.
# Every output may be NULL: it is not wanted then. No output may overlap any other argument, with
# one exception: in inference h_n may be h0 and c_n may be c0. The extent of a strided array is all
# memory from its first element to its last.
cdef struct lf_args:
    size_t size             # sizeof(lf_args)
    int64_t T
    int64_t B
    # ---- forward
    const void *x           # IN   x[t, b] at t*x_t + b*x_b, (I,): batch-first and time-major alike
    int64_t x_t
    int64_t x_b
    const void *h0          # IN   (L·D, B, P); NULL: zeros
    const void *c0          # IN   (L·D, B, H); NULL: zeros
    void *y                 # OUT  h of the last layer, y[t, b] at t*y_t + b*y_b, (D·P,). Needed in
                            #      training
    int64_t y_t
    int64_t y_b
    void *h_n               # OUT  (L·D, B, P): h of the last step
    void *c_n               # OUT  (L·D, B, H)
    void *reserve           # OUT  lf_reserve_size() bytes: activations, kept for lf_backward.
                            #      NULL: inference
    void *work              # WORK lf_forward_work() or lf_backward_work() bytes, contents
    size_t work_size        #      meaningless before and after
    # ---- backward: x, h0, c0 and y as they were in forward (read); reserve is used up
    const void *dy          # IN   gradient to y, dy[t, b] at t*dy_t + b*dy_b, (D·P,); NULL: zeros
    int64_t dy_t
    int64_t dy_b
    const void *dh_n        # IN   (L·D, B, P) gradient to h_n, adds to dy's last step; NULL: zeros
    const void *dc_n        # IN   (L·D, B, H); NULL: zeros
    void *dx                # OUT  dx[t, b] at t*dx_t + b*dx_b, (I,)
    int64_t dx_t
    int64_t dx_b
    void *dh0               # OUT  (L·D, B, P)
    void *dc0               # OUT  (L·D, B, H)
    void *dW_ih             # OUT  (4H, I) of the only part; else `gradients`
    void *dW_hh             # OUT  (4H, P)
    void *db                # OUT  (4H,); needs dW_ih or dW_hh
    # ---- since the second version of this structure
    lf_weights *gradients   # OUT  in place of dW_ih, dW_hh and db (NULL then): the arrays to fill,
                            #      L·D structures side by side
    # One of these, or none; for lf_backward the same as for lf_forward. A row whose state no step
    # changes keeps h0 and c0; dx and y are zero where no step is taken (y: see "repeat").
    const int64_t *lengths  # IN   (B,): row b takes the steps 0..lengths[b], in any order of rows
    const uint8_t *mask     # IN   row b takes step t if mask[t*mask_t + b*mask_b] is not 0
    int64_t mask_t          #      strides >= 0
    int64_t mask_b
    # ---- since the third version, with "cells"
    void *cells             # OUT  c of the last layer after every step, (D·H,); 0 where none is taken
    int64_t cells_t
    int64_t cells_b
    const void *dcells      # IN   its gradient; NULL: zeros
    int64_t dcells_t
    int64_t dcells_b
    int64_t seed            # of what is drawn in training; for lf_backward the same as for lf_forward
    # ---- since the fourth version, with "resets"; for lf_backward the same as for lf_forward
    # A row whose resets[t*resets_t + b*resets_b] is not 0 begins anew between the steps t - 1 and t,
    # whichever of them is taken first: it goes on from reset_h and reset_c. So it does if a mask
    # leaves step t out; behind the length of a row there are no resets.
    const uint8_t *resets   # IN   strides >= 0; NULL: none
    int64_t resets_t
    int64_t resets_b
    const void *reset_h     # IN   (L·D, B, P); NULL: zeros
    const void *reset_c     # IN   (L·D, B, H); NULL: zeros
    void *dreset_h          # OUT  (L·D, B, P)
    void *dreset_c          # OUT  (L·D, B, H)
    # With "static_size"; x_static is needed then, for lf_backward the same as for lf_forward.
    const void *x_static    # IN   (B, S)
    void *dx_static         # OUT  (B, S)

# Bytes that lf_args.reserve and lf_args.work must have for these sizes (work: also for the number of
# threads now set); -1 if a pointer is NULL or a size out of range.
cdef int64_t lf_reserve_size(const lf_lstm *lstm, int64_t T, int64_t B) noexcept nogil
cdef int64_t lf_forward_work(const lf_lstm *lstm, int64_t T, int64_t B) noexcept nogil
cdef int64_t lf_backward_work(const lf_lstm *lstm, int64_t T, int64_t B) noexcept nogil

cdef int lf_forward(const lf_lstm *lstm, const lf_args *args) noexcept nogil
cdef int lf_backward(const lf_lstm *lstm, const lf_args *args) noexcept nogil
