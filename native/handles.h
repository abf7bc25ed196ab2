/* What the opaque types of lstmfast/capi.pxd hold. */
#ifndef LF_HANDLES_H
#define LF_HANDLES_H
#include "config.h"
#include "dispatch.h"

/* One layer in one direction. */
typedef struct lf_part {
    int64_t I, H, P;
    int64_t S; /* static inputs, of the first layer */
    int64_t index; /* layer · directions + direction: whose random numbers are drawn */
    int64_t item;  /* bytes of a number */
    int64_t width; /* lanes of a vector */
    int training, reverse, turn; /* turn: of the next lf_step */
    lf_config config;
    const lf_table *kernels;
    const lf_table *products; /* by W_ih and W_hh: those kernels, or ones that take bfloat16 */
    char *memory; /* one block; the pointers below lie in it */
    void *w_ih, *w_hh, *b, *p, *w_hr, *norm, *w_ih_back, *w_hh_back, *w_hr_back;
    void *plain_w_hh; /* W_hh as it was loaded, for weight_drop; in the block */
    const void *source_w_hh; /* that, or an array that is borrowed */
    void *plain_w_static; /* (4H, S), the same */
    const void *source_w_static;
    void *step_rows;         /* (batch_size, 4H): what lf_set_static has projected for lf_step */
    int turned; /* weights that are given are (K, 4H), as Keras has them */
    /* Of a call that takes one step (lend_weights): */
    const void *W_ih, *W_hh; /* weights as they are given, for kernels */
    int reads_forward;       /* w_ih and w_hh are but rooms for what forward packs on the way */
    int reads_backward;
    int writes_turned; /* gradients come out turned, too */
    lf_one_step step;        /* of one row, where the handle is_quick */
} lf_part;

struct lf_lstm {
    int64_t layers, directions, count; /* count: of parts, layer by layer */
    int64_t I, H, P, batch_size, item;
    int training, loaded;
    int64_t static_batch; /* rows of lf_set_static */
    int is_quick;    /* plain small layers, whose step of one row is a kernel of its own */
    int shares_step; /* but, with several threads, not of those that are worth sharing */
    lf_config config;
    lf_part *parts;
    char *step_work;
    int64_t step_work_size;
};

#endif
