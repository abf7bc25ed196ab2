#include "config.h"
#include <math.h>
#include <string.h>

enum values { COUNT, COUNT_OR_NONE, PRECISION, FLAG, LIMIT, KIND, PARAMETER, RATE, REAL };

static const double MOST = 1 << 24;

static int fits(enum values values, double value) {
    switch (values) {
    case COUNT: return value >= 1 && value <= MOST && floor(value) == value;
    case COUNT_OR_NONE: return value >= 0 && value <= MOST && floor(value) == value;
    case RATE: return value >= 0 && value < 1;
    case PRECISION: return value == 8 || value == 16 || value == 32 || value == 64;
    case FLAG: return value == 0 || value == 1;
    case LIMIT: return value > 0;
    case KIND: return value >= 0 && value < LF_ACTIVATIONS && floor(value) == value;
    default: return isfinite(value);
    }
}

void lf_set_defaults(lf_config *config) {
#define LF_DEFAULT(name, values, value) config->name = value;
    LF_KEYS(LF_DEFAULT)
}

int lf_set_key(lf_config *config, const char *key, double value) {
#define LF_SET(name, values, unused)                   \
    if (strcmp(key, #name) == 0) {                     \
        if (!fits(values, value)) return LF_WRONG_VALUE; \
        config->name = value;                          \
        return 0;                                      \
    }
    LF_KEYS(LF_SET)
    return LF_UNKNOWN_KEY;
}

static int slope_is_known(double kind, double alpha) {
    if (kind == LF_KIND_LEAKY_RELU || kind == LF_KIND_ELU) return alpha > 0;
    return kind != LF_KIND_SCALED_TANH || alpha != 0;
}

int lf_is_differentiable(const lf_config *config) {
    return slope_is_known(config->gate_kind, config->gate_alpha) &&
           slope_is_known(config->candidate_kind, config->candidate_alpha) &&
           slope_is_known(config->output_kind, config->output_alpha);
}

/* Does an activation stay in -1..1? */
static int is_bounded(double kind) {
    return kind == LF_KIND_SIGMOID || kind == LF_KIND_TANH || kind == LF_KIND_SOFTSIGN ||
           kind == LF_KIND_HARD_SIGMOID;
}

/* (Outputs that may be larger than 1 are quantised by the largest of their row.) */
int lf_needs_whole_rows(const lf_config *config) {
    if (config->layer_norm != 0 || config->proj_size > 0) return 1;
    return config->precision == 8 && (config->zoneout_h > 0 || !is_bounded(config->gate_kind) ||
                                      !is_bounded(config->output_kind));
}

int64_t lf_threshold(double rate) { return (int64_t)floor(rate * 4294967296.0); }

double lf_dropout_scale(double rate) { return 1 / (1 - rate); }

int64_t lf_stream(int64_t part, int64_t purpose) { return 4 * part + purpose; }

/* Has a key of the cell another value than the plain one's? (Parameters are told by their kinds.) */
static int differs(const lf_config *config) {
#define LF_DIFFERS(name, values, value) \
    if (values != PARAMETER && config->name != value) return 1;
    LF_CELL(LF_DIFFERS)
    return 0;
}

int lf_is_varied(const lf_config *config) {
    return config->layer_norm != 0 || config->proj_size > 0 || config->zoneout_h > 0 ||
           config->zoneout_c > 0 || config->recurrent_dropout > 0 || differs(config);
}

void lf_describe_cell(const lf_config *config, lf_layer *a) {
#define LF_COPY(name, values, value) a->name = config->name;
    LF_CELL(LF_COPY)
    a->layer_norm = config->layer_norm != 0;
    a->row_cells = lf_needs_whole_rows(config);
    a->zoneout_h = config->zoneout_h;
    a->zoneout_c = config->zoneout_c;
    a->zoneout = config->zoneout_h > 0 || config->zoneout_c > 0;
    a->h_threshold = lf_threshold(config->zoneout_h);
    a->c_threshold = lf_threshold(config->zoneout_c);
    a->truncate = (int64_t)config->truncate;
    a->varied = lf_is_varied(config);
}
