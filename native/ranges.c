#include "ranges.h"

#include <stdatomic.h>

#include "cuts.h"
#include "team.h"
#include "threads.h"

/* Rows of a product's factors beneath which a cut would cost time. */
#define PRODUCT_ROWS 512

/* ---------------------------------------------------------------- ranges */

typedef struct range_job {
    lf_range_kernel kernel;
    void *a;
    int64_t count, grain, piece; /* piece: items between two questions to the watch */
    lf_watch *watch;
    atomic_int status;
} range_job;

static void range_share(void *context, int64_t share, int64_t shares) {
    range_job *job = context;
    int64_t begin = share_begin(job->count, job->grain, share, shares), next;
    int64_t end = share_begin(job->count, job->grain, share + 1, shares);
    int32_t status = 0;
    for (; begin < end && !lf_stop(job->watch); begin = next) {
        next = job->watch ? at_most(begin + job->piece, end) : end;
        status |= job->kernel(job->a, begin, next, share);
    }
    atomic_fetch_or(&job->status, status);
}

static int32_t run_range(range_job *job, double cost, int64_t workers) {
    if (lf_stop(job->watch)) return LF_STOPPED;
    workers = at_most(workers, ceil_div(job->count, job->grain));
    if (workers > 1 && !lf_team_is_worth(cost * LF_SPEED)) workers = 1;
    lf_team_run(range_share, job, workers, 1, job->watch);
    return atomic_load(&job->status);
}

int32_t lf_run_range(lf_range_kernel kernel, void *a, int64_t count, int64_t grain, double cost,
                     int64_t workers) {
    range_job job = {.kernel = kernel, .a = a, .count = count, .grain = grain};
    job.piece = ceil_div(piece_of(cost / at_least(1, count)), grain) * grain;
    job.watch = lf_watch_for(cost * LF_SPEED);
    return run_range(&job, cost, workers);
}

/* ---------------------------------------------------------------- products in pieces
 *
 * An item of a product is a panel of the right factor with all rows of the left one: seconds of
 * work where there are millions of them. So shares of long ones are cut along both. */

typedef struct product_job {
    lf_range_kernel kernel;
    const void *a;
    lf_watch *watch;
    int64_t item, width; /* bytes of a number; numbers of a vector */
} product_job;

static product_job product_of(const lf_table *k, lf_range_kernel kernel, const void *a,
                              double cost) {
    return (product_job){kernel, a, lf_watch_for(cost * LF_SPEED), item_size(k), lanes(k)};
}

static void *moved(const product_job *job, void *p, int64_t count) {
    return p ? (char *)p + count * job->item : NULL;
}

/* The panels begin..end. */
static int32_t product_pieces(void *context, int64_t begin, int64_t end, int64_t worker) {
    const product_job *job = context;
    lf_product a = *(const lf_product *)job->a;
    int64_t M = a.M, next = end;
    double cost = 8.0 * job->width * LF_GROUP * a.K;
    int64_t rows = job->watch ? at_least(PRODUCT_ROWS, piece_of(cost)) : M;
    int32_t status = 0;
    for (; begin < end; begin = next) {
        if (job->watch) next = at_most(begin + LF_GROUP, end);
        for (int64_t m = 0; m < M && !lf_stop(job->watch); m += rows) {
            const lf_product *whole = job->a;
            a.M = at_most(rows, M - m);
            a.A = moved(job, whole->A, m * a.a_row);
            a.C = moved(job, whole->C, m * a.c_row);
            status |= job->kernel(&a, begin, next, worker);
        }
    }
    return status;
}

int32_t lf_run_product(const lf_table *k, lf_product *a, int64_t workers) {
    double cost = 2.0 * a->M * a->N * a->K;
    product_job pieces = product_of(k, k->product, a, cost);
    range_job job = {.kernel = product_pieces, .a = &pieces, .grain = 1, .watch = pieces.watch};
    job.count = job.piece = ceil_div(a->N, 4 * pieces.width);
    a->by_rows = job.count < 2 * lf_get_num_threads() && a->M > a->N;
    if (a->by_rows) {
        job.kernel = k->product, job.a = a, job.count = a->M;
        job.piece = at_least(PRODUCT_ROWS, piece_of(cost / a->M));
    }
    return run_range(&job, cost, workers);
}

/* Rows m..m_end (vectors of them) and columns n..n_end of a sum of outer products. */
static int32_t outer_piece(const product_job *job, int64_t m, int64_t m_end, int64_t n,
                           int64_t n_end, int64_t worker) {
    lf_outer a = *(const lf_outer *)job->a;
    a.by_columns = 0;
    a.N = n_end - n;
    a.first = moved(job, a.first, n);
    a.rest = moved(job, a.rest, n);
    a.C = moved(job, a.C, n);
    a.right_sums = moved(job, a.right_sums, n);
    if (n > 0) a.column_sums = NULL;
    return job->kernel(&a, m, m_end, worker);
}

/* The vectors of rows, or the panels of columns, begin..end. */
static int32_t outer_pieces(void *context, int64_t begin, int64_t end, int64_t worker) {
    const product_job *job = context;
    const lf_outer *a = job->a;
    if (!job->watch) return job->kernel((void *)a, begin, end, worker);
    int64_t panel = 4 * job->width, m_begin = begin, m_end = end, n_begin = 0, n_end = a->N;
    if (a->by_columns) {
        m_begin = 0, m_end = ceil_div(a->M, job->width);
        n_begin = begin * panel, n_end = at_most(end * panel, a->N);
    }
    int64_t columns = at_most(LF_OUTER_PANELS * panel, at_least(1, n_end - n_begin));
    double cost = 2.0 * job->width * columns * at_least(1, a->count);
    int64_t rows = at_least(12, piece_of(cost) / 3 * 3);
    int32_t status = 0;
    for (int64_t n = n_begin; n < n_end; n += columns)
        for (int64_t m = m_begin; m < m_end && !lf_stop(job->watch); m += rows)
            status |= outer_piece(job, m, at_most(m + rows, m_end), n, at_most(n + columns, n_end),
                                  worker);
    return status;
}

int32_t lf_run_outer(const lf_table *k, lf_outer *a, int64_t workers) {
    double cost = 2.0 * a->count * a->M * a->N;
    product_job pieces = product_of(k, k->outer, a, cost);
    range_job job = {.kernel = outer_pieces, .a = &pieces, .grain = 1, .watch = pieces.watch};
    int64_t items = a->by_columns ? ceil_div(a->N, 4 * pieces.width) : ceil_div(a->M, pieces.width);
    job.count = job.piece = items;
    return run_range(&job, cost, workers);
}
