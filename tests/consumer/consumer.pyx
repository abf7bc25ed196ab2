"""What a user of the C-level API writes: a stream, a sequence, and training, all without the GIL.

Arrays are time-major and contiguous; float and double go through one text.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from lstmfast.capi cimport (
    LF_EMEMORY, LF_OK, lf_args, lf_backward, lf_backward_work, lf_build, lf_config, lf_config_create,
    lf_config_free, lf_config_set, lf_forward, lf_forward_work, lf_free, lf_load_weights, lf_lstm,
    lf_reserve_size, lf_status_text, lf_step,
)

ctypedef fused real:
    float
    double


cdef int check(int status) except -1:
    if status != LF_OK:
        raise RuntimeError(lf_status_text(status).decode())
    return 0


cdef int new_lstm(int64_t I, int64_t H, int64_t B, int precision, int training,
                  lf_lstm **lstm) noexcept nogil:
    cdef lf_config *config = lf_config_create()
    cdef int status
    if config == NULL:
        return LF_EMEMORY
    status = lf_config_set(config, "input_size", I)
    if status == LF_OK:
        status = lf_config_set(config, "hidden_size", H)
    if status == LF_OK:
        status = lf_config_set(config, "batch_size", B)
    if status == LF_OK:
        status = lf_config_set(config, "precision", precision)
    if status == LF_OK:
        status = lf_config_set(config, "training", training)
    if status == LF_OK:
        status = lf_build(config, lstm)
    lf_config_free(config)
    return status


def stream(real[:, :, ::1] x, real[:, ::1] W_ih, real[:, ::1] W_hh, real[::1] b,
           real[:, ::1] h, real[:, ::1] c, real[:, :, ::1] y):
    """T steps of B rows: h and c are moved on to the last state, y[t] becomes the h of step t."""
    cdef lf_lstm *lstm = NULL
    cdef int64_t t, T = x.shape[0], B = x.shape[1], H = h.shape[1]
    cdef int status
    with nogil:
        status = new_lstm(x.shape[2], H, B, 8 * sizeof(real), 0, &lstm)
        if status == LF_OK:
            status = lf_load_weights(lstm, &W_ih[0, 0], &W_hh[0, 0], &b[0])
        for t in range(T):
            if status == LF_OK:
                status = lf_step(lstm, B, &x[t, 0, 0], &h[0, 0], &c[0, 0])
                memcpy(&y[t, 0, 0], &h[0, 0], B * H * sizeof(real))
        lf_free(lstm)
    check(status)


def infer(real[:, :, ::1] x, real[:, ::1] W_ih, real[:, ::1] W_hh, real[::1] b,
          real[:, ::1] h, real[:, ::1] c, real[:, :, ::1] y=None):
    """One call over the sequence: h and c are replaced, y is written unless it is None."""
    cdef lf_lstm *lstm = NULL
    cdef lf_args a
    cdef int status
    memset(&a, 0, sizeof(a))
    a.size, a.T, a.B = sizeof(a), x.shape[0], x.shape[1]
    a.x, a.x_t, a.x_b = &x[0, 0, 0], x.shape[1] * x.shape[2], x.shape[2]
    a.h0, a.c0, a.h_n, a.c_n = &h[0, 0], &c[0, 0], &h[0, 0], &c[0, 0]
    if y is not None:
        a.y, a.y_t, a.y_b = &y[0, 0, 0], y.shape[1] * y.shape[2], y.shape[2]
    with nogil:
        status = new_lstm(x.shape[2], h.shape[1], 1, 8 * sizeof(real), 0, &lstm)
        if status == LF_OK:
            status = lf_load_weights(lstm, &W_ih[0, 0], &W_hh[0, 0], &b[0])
        if status == LF_OK:
            a.work_size = lf_forward_work(lstm, a.T, a.B)
            a.work = malloc(a.work_size)
            status = lf_forward(lstm, &a) if a.work != NULL else LF_EMEMORY
            free(a.work)
        lf_free(lstm)
    check(status)


cdef double loss_gradient(const real *y, const real *target, real *dy, int64_t n) noexcept nogil:
    """The loss 0.5 Σ (y - target)²; dy becomes y - target."""
    cdef double loss = 0
    cdef int64_t k
    for k in range(n):
        dy[k] = y[k] - target[k]
        loss += 0.5 * dy[k] * dy[k]
    return loss


cdef void descend(real *w, const real *gradient, int64_t n, double rate) noexcept nogil:
    cdef int64_t k
    for k in range(n):
        w[k] -= <real> rate * gradient[k]


cdef int allocate(const lf_lstm *lstm, lf_args *a) noexcept nogil:
    """Room for reserve and for the work of both passes, in two blocks; free() them in any case."""
    a.work_size = max(lf_forward_work(lstm, a.T, a.B), lf_backward_work(lstm, a.T, a.B))
    a.work = malloc(a.work_size)
    a.reserve = malloc(lf_reserve_size(lstm, a.T, a.B))
    return LF_OK if a.work != NULL and a.reserve != NULL else LF_EMEMORY


def train(real[:, :, ::1] x, real[:, :, ::1] target, real[:, ::1] W_ih, real[:, ::1] W_hh,
          real[::1] b, double rate, real[:, :, ::1] y, real[:, :, ::1] dy, real[:, ::1] dW_ih,
          real[:, ::1] dW_hh, real[::1] db, double[::1] losses):
    """len(losses) steps of gradient descent from a state of zeros; the weights are replaced.

    y, dy and the gradients are work space that holds what the last step left.
    """
    cdef lf_lstm *lstm = NULL
    cdef lf_args a
    cdef int64_t step, I = x.shape[2], H = y.shape[2]
    cdef int status
    memset(&a, 0, sizeof(a))
    a.size, a.T, a.B = sizeof(a), x.shape[0], x.shape[1]
    a.x, a.x_t, a.x_b = &x[0, 0, 0], a.B * I, I
    a.y, a.y_t, a.y_b = &y[0, 0, 0], a.B * H, H
    a.dy, a.dy_t, a.dy_b = &dy[0, 0, 0], a.B * H, H
    a.dW_ih, a.dW_hh, a.db = &dW_ih[0, 0], &dW_hh[0, 0], &db[0]
    with nogil:
        status = new_lstm(I, H, 1, 8 * sizeof(real), 1, &lstm)
        if status == LF_OK:
            status = lf_load_weights(lstm, &W_ih[0, 0], &W_hh[0, 0], &b[0])
        if status == LF_OK:
            status = allocate(lstm, &a)
        for step in range(losses.shape[0]):
            if status == LF_OK:
                status = lf_forward(lstm, &a)
            if status == LF_OK:
                losses[step] = loss_gradient(&y[0, 0, 0], &target[0, 0, 0], &dy[0, 0, 0],
                                             a.T * a.B * H)
                status = lf_backward(lstm, &a)
            if status == LF_OK:
                descend(&W_ih[0, 0], &dW_ih[0, 0], 4 * H * I, rate)
                descend(&W_hh[0, 0], &dW_hh[0, 0], 4 * H * H, rate)
                descend(&b[0], &db[0], 4 * H, rate)
                status = lf_load_weights(lstm, &W_ih[0, 0], &W_hh[0, 0], &b[0])
        free(a.work)
        free(a.reserve)
        lf_free(lstm)
    check(status)
