/* The configuration of a layer: lstmfast/capi.pxd tells what each key means. */
#ifndef LF_CONFIG_H
#define LF_CONFIG_H
#include "kernel_table.h"

/* name, the values that it takes (config.c), default */
#define LF_KEYS(KEY)                  \
    KEY(input_size, COUNT, 0)         \
    KEY(hidden_size, COUNT, 0)        \
    KEY(batch_size, COUNT, 1)         \
    KEY(precision, PRECISION, 32)     \
    KEY(training, FLAG, 0)            \
    KEY(lengths, FLAG, 0)             \
    KEY(repeat, FLAG, 0)              \
    KEY(reverse, FLAG, 0)             \
    KEY(peepholes, FLAG, 0)           \
    KEY(coupled, FLAG, 0)             \
    KEY(clip, LIMIT, INFINITY)        \
    KEY(cell_clip, LIMIT, INFINITY)   \
    KEY(gate_kind, KIND, LF_KIND_SIGMOID)  \
    KEY(gate_alpha, REAL, 0)          \
    KEY(gate_beta, REAL, 0)           \
    KEY(candidate_kind, KIND, LF_KIND_TANH) \
    KEY(candidate_alpha, REAL, 0)     \
    KEY(candidate_beta, REAL, 0)      \
    KEY(output_kind, KIND, LF_KIND_TANH)   \
    KEY(output_alpha, REAL, 0)        \
    KEY(output_beta, REAL, 0)         \
    KEY(cells, FLAG, 0)               \
    KEY(num_layers, COUNT, 1)         \
    KEY(bidirectional, FLAG, 0)       \
    KEY(proj_size, COUNT_OR_NONE, 0)  \
    KEY(layer_norm, FLAG, 0)          \
    KEY(input_dropout, RATE, 0)       \
    KEY(layer_dropout, RATE, 0)       \
    KEY(recurrent_dropout, RATE, 0)   \
    KEY(weight_drop, RATE, 0)         \
    KEY(zoneout_h, RATE, 0)           \
    KEY(zoneout_c, RATE, 0)           \
    KEY(truncate, COUNT_OR_NONE, 0)   \
    KEY(recompute, COUNT_OR_NONE, 0)

typedef struct lf_config {
#define LF_FIELD(name, values, value) double name;
    LF_KEYS(LF_FIELD)
#undef LF_FIELD
} lf_config;

enum { LF_UNKNOWN_KEY = 1, LF_WRONG_VALUE = 2 };

void lf_set_defaults(lf_config *config);

/* Set one key: 0, or one of the above and nothing is changed. */
int lf_set_key(lf_config *config, const char *key, double value);

/* Of random words, how many in 2^32 are to lie below the threshold that this is. */
int64_t lf_threshold(double rate);
/* The stream of random numbers (philox.py) of a part, for LF_ZONEOUT, ... */
int64_t lf_stream(int64_t part, int64_t purpose);

/* Can the gradient be told from the activations' values (kernels/activations.py)? */
int lf_is_differentiable(const lf_config *config);

/* Tell the kernels which cell this is. */
void lf_describe_cell(const lf_config *config, lf_layer *a);

#endif
