/* What the opaque types of lstmfast/capi.pxd hold. */
#ifndef LF_HANDLES_H
#define LF_HANDLES_H
#include "config.h"
#include "kernels.h"

struct lf_lstm {
    int64_t I, H, batch_size;
    int64_t item;  /* bytes of a number */
    int64_t width; /* lanes of a vector */
    int training, loaded, turn; /* turn: of the next lf_step */
    lf_config config;
    const lf_table *kernels;
    char *memory; /* one block; the pointers below lie in it */
    void *w_ih, *w_hh, *b, *p, *w_ih_back, *w_hh_back, *step_work;
    int64_t step_work_size;
};

#endif
