#include "ragged.h"
#include "ranges.h"
#include "threads.h"
#include <string.h>

int64_t lf_order_size(int64_t T, int64_t B) {
    return (2 * B + (T + 1) + 2 * T * B) * (int64_t)sizeof(int64_t);
}

/* ---------------------------------------------------------------- who takes which step */

static int64_t count_steps(const lf_order *o, int64_t b, const uint8_t *mask, int64_t mask_t,
                           int64_t mask_b) {
    int64_t count = 0;
    for (int64_t t = 0; t < o->T; t++) count += mask[t * mask_t + b * mask_b] != 0;
    return count;
}

/* Rows of falling length, those of the same length in the caller's order: a counting sort, with
 * `offsets` (T + 1) to count in. `of_row`: each row's length. */
static void sort_rows(lf_order *o, const int64_t *of_row) {
    int64_t *first = o->offsets, at = 0;
    memset(first, 0, (o->T + 1) * sizeof *first);
    for (int64_t b = 0; b < o->B; b++) first[of_row[b]]++;
    for (int64_t length = o->T; length >= 0; length--) {
        int64_t count = first[length];
        first[length] = at;
        at += count;
    }
    for (int64_t b = 0; b < o->B; b++) o->row_ids[first[of_row[b]]++] = b;
    for (int64_t r = 0; r < o->B; r++) o->lengths[r] = of_row[o->row_ids[r]];
}

static void count_active(lf_order *o) {
    int64_t rows = o->B, n = 0;
    o->longest = o->lengths[0];
    for (int64_t t = 0; t < o->longest; t++) {
        o->offsets[t] = n;
        while (o->lengths[rows - 1] <= t) rows--;
        for (int64_t r = 0; r < rows; r++) o->active[n++] = t * o->B + r;
    }
    o->offsets[o->longest] = n;
}

static void list_steps(lf_order *o, int64_t r, const uint8_t *mask, int64_t mask_t, int64_t mask_b) {
    int64_t *steps = o->steps + r * o->T, k = 0, length = o->lengths[r];
    for (int64_t n = 0; k < length; n++) {
        int64_t t = !o->reversed ? n : mask ? o->T - 1 - n : length - 1 - n;
        if (!mask || mask[t * mask_t + o->row_ids[r] * mask_b]) steps[k++] = t;
    }
}

void lf_order_fill(lf_order *o, void *memory, const int64_t *lengths, const uint8_t *mask,
                   int64_t mask_t, int64_t mask_b) {
    o->row_ids = memory;
    o->lengths = o->row_ids + o->B;
    o->offsets = o->lengths + o->B;
    o->active = o->offsets + o->T + 1;
    o->steps = o->active + o->T * o->B;
    int64_t *of_row = o->steps; /* room for B numbers, as T >= 1 */
    for (int64_t b = 0; b < o->B; b++)
        of_row[b] = lengths ? lengths[b] : count_steps(o, b, mask, mask_t, mask_b);
    sort_rows(o, of_row);
    count_active(o);
    for (int64_t r = 0; r < o->B; r++) list_steps(o, r, mask, mask_t, mask_b);
}

/* Those of row r; the resets of steps not taken yet are `pending`. */
static int flag_row(const lf_order *o, int64_t r, const uint8_t *resets, int64_t t_stride, int masked,
                    uint8_t *flags, uint8_t *end) {
    int64_t k = 0, length = o->lengths[r];
    int pending = 0, found = 0;
    for (int64_t n = 0; n < o->T && (masked || k < length); n++) {
        int64_t t = o->reversed ? o->T - 1 - n : n, between = t + o->reversed;
        if (between < o->T && resets[between * t_stride]) pending = 1;
        if (k >= length || o->steps[r * o->T + k] != t) continue;
        if (!masked && o->reversed && k == 0) pending = 0;
        flags[k++ * o->B + r] = pending;
        found |= pending;
        pending = 0;
    }
    *end = masked && pending;
    return found;
}

int lf_order_resets(const lf_order *o, const uint8_t *resets, int64_t t_stride, int64_t b_stride,
                    int masked, uint8_t *flags, uint8_t *ends) {
    int found = 0;
    for (int64_t r = 0; r < o->B; r++)
        found |= flag_row(o, r, resets + o->row_ids[r] * b_stride, t_stride, masked, flags, ends + r);
    return found;
}

int64_t lf_segment_size(int64_t steps, int64_t B) {
    return (B + steps + 1 + steps * B) * (int64_t)sizeof(int64_t);
}

void lf_order_segment(const lf_order *o, int64_t first, int64_t steps, void *memory,
                      lf_order *segment) {
    *segment = *o;
    segment->lengths = memory;
    segment->offsets = segment->lengths + o->B;
    segment->active = segment->offsets + steps + 1;
    for (int64_t r = 0; r < o->B; r++) {
        int64_t left = o->lengths[r] - first;
        segment->lengths[r] = left < 0 ? 0 : left < steps ? left : steps;
    }
    for (int64_t t = 0; t <= steps; t++)
        segment->offsets[t] = o->offsets[first + t] - o->offsets[first];
    for (int64_t n = 0; n < segment->offsets[steps]; n++)
        segment->active[n] = o->active[o->offsets[first] + n] - first * o->B;
}

/* ---------------------------------------------------------------- there and back */

static char *of_caller(const lf_sequences *a, int64_t t, int64_t r) {
    return a->caller + (t * a->t_stride + a->order->row_ids[r] * a->b_stride) * a->item;
}

static char *of_sorted(const lf_sequences *a, int64_t k, int64_t r) {
    return a->sorted + (k * a->order->B + r) * a->columns * a->item;
}

static void add(char *sum, const char *term, int64_t columns, int64_t item) {
    for (int64_t j = 0; j < columns; j++)
        if (item == 8) ((double *)sum)[j] += ((const double *)term)[j];
        else ((float *)sum)[j] += ((const float *)term)[j];
}

static int32_t sort_share(void *context, int64_t begin, int64_t end, int64_t worker) {
    (void)worker;
    const lf_sequences *a = context;
    const lf_order *o = a->order;
    for (int64_t r = begin; r < end; r++)
        for (int64_t k = 0; k < o->lengths[r]; k++) {
            const int64_t *steps = o->steps + r * o->T;
            int64_t t = steps[k], by = o->reversed ? -1 : 1;
            int64_t next = k + 1 < o->lengths[r] ? steps[k + 1] : o->reversed ? -1 : o->T;
            memcpy(of_sorted(a, k, r), of_caller(a, t, r), a->columns * a->item);
            for (t += by; a->repeat && t != next; t += by)
                add(of_sorted(a, k, r), of_caller(a, t, r), a->columns, a->item);
        }
    return 0;
}

static int32_t unsort_share(void *context, int64_t begin, int64_t end, int64_t worker) {
    (void)worker;
    const lf_sequences *a = context;
    const lf_order *o = a->order;
    for (int64_t r = begin; r < end; r++)
        for (int64_t n = 0, k = 0; n < o->T; n++) {
            int64_t t = o->reversed ? o->T - 1 - n : n;
            int taken = k < o->lengths[r] && o->steps[r * o->T + k] == t;
            k += taken;
            if (taken || (a->repeat && k > 0))
                memcpy(of_caller(a, t, r), of_sorted(a, k - 1, r), a->columns * a->item);
            else memset(of_caller(a, t, r), 0, a->columns * a->item);
        }
    return 0;
}

static void sort_or_unsort(const lf_sequences *a, lf_range_kernel share) {
    double bytes = 2.0 * a->order->T * a->order->B * a->columns * a->item;
    lf_run_range(share, (void *)a, a->order->B, 1, bytes, lf_get_num_threads());
}

void lf_sort_sequences(const lf_sequences *a) { sort_or_unsort(a, sort_share); }

void lf_unsort_sequences(const lf_sequences *a) { sort_or_unsort(a, unsort_share); }

void lf_sort_states(const lf_order *o, const void *caller, void *sorted, int64_t bytes) {
    for (int64_t r = 0; r < o->B; r++)
        memcpy((char *)sorted + r * bytes, (const char *)caller + o->row_ids[r] * bytes, bytes);
}

void lf_unsort_states(const lf_order *o, const void *sorted, void *caller, int64_t bytes) {
    for (int64_t r = 0; r < o->B; r++)
        memcpy((char *)caller + o->row_ids[r] * bytes, (const char *)sorted + r * bytes, bytes);
}
