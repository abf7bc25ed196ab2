/* The configuration of a layer: a double for each key of lstmfast/kernels/options.py (LF_KEYS). */
#ifndef LF_CONFIG_H
#define LF_CONFIG_H
#include "kernel_table.h"

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
/* What dropout multiplies by what it leaves, so that the mean stays. */
double lf_dropout_scale(double rate);
/* The stream of random numbers (philox.py) of a part, for LF_ZONEOUT, ... */
int64_t lf_stream(int64_t part, int64_t purpose);

/* Can the gradient be told from the activations' values (kernels/activations.py)? */
int lf_is_differentiable(const lf_config *config);

/* Is the cell another than the plain one, or does anything become of its output? */
int lf_is_varied(const lf_config *config);

/* Do the units of a row need each other: normalised, projected, or quantised by their largest? */
int lf_needs_whole_rows(const lf_config *config);

/* Tell the kernels which cell this is. */
void lf_describe_cell(const lf_config *config, lf_layer *a);

#endif
