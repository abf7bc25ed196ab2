#include "layer.h"

#include <stdatomic.h>

#include "team.h"

/* Work below this many operations is not worth waking a second thread (some 50 µs). */
#define SMALL_WORK 1e7
/* Work of one step and one worker that is worth a wait after every step, also when a neighbour
 * holds a processor for a moment (some 10 µs). */
#define SMALL_STEP 1.5e6

/* Rows of one worker that outweigh its reading all the weights, so that nobody need wait. */
#define ENOUGH_ROWS 8

static int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* The first of `count` items for this worker, a multiple of `grain`. */
static int64_t share_begin(int64_t count, int64_t grain, int64_t worker, int64_t workers) {
    return at_most(count, ceil_div(count, grain) * worker / workers * grain);
}

typedef struct range_job {
    lf_range_kernel kernel;
    void *a;
    int64_t count, grain;
    atomic_int status;
} range_job;

static void range_share(void *context, int64_t worker, int64_t workers) {
    range_job *job = context;
    int64_t begin = share_begin(job->count, job->grain, worker, workers);
    int64_t end = share_begin(job->count, job->grain, worker + 1, workers);
    if (begin < end) atomic_fetch_or(&job->status, job->kernel(job->a, begin, end, worker));
}

int32_t lf_run_range(lf_range_kernel kernel, void *a, int64_t count, int64_t grain, double cost,
                     int64_t workers) {
    range_job job = {kernel, a, count, grain, 0};
    workers = cost < SMALL_WORK ? 1 : at_most(workers, ceil_div(count, grain));
    lf_team_run(range_share, &job, workers);
    return atomic_load(&job.status);
}

/* Who does what of a layer: workers take batch rows, which never meet, or panels of hidden units
 * with a wait after every step. */
typedef struct layer_job {
    const lf_table *k;
    lf_layer *a;
    int64_t chunk, panels, workers;
    int by_panels;
    atomic_int status;
} layer_job;

typedef struct share {
    int64_t row_begin, row_end, p_begin, p_end;
} share;

static void plan(layer_job *job, double step_cost) {
    int64_t threads = lf_get_num_threads(), B = job->a->B;
    job->workers = 1;
    job->by_panels = 0;
    if (step_cost * job->a->T < SMALL_WORK) return;
    if (B >= ENOUGH_ROWS * threads) {
        job->workers = threads;
    } else if (step_cost / threads >= SMALL_STEP && job->panels > 1) {
        job->by_panels = 1;
        job->workers = at_most(threads, job->panels);
    } else if (B > 1) {
        job->workers = at_most(threads, B);
    }
}

static share share_of(const layer_job *job, int64_t worker, int64_t workers) {
    share s = {0, job->a->B, 0, job->panels};
    if (job->by_panels) {
        s.p_begin = share_begin(job->panels, 1, worker, workers);
        s.p_end = share_begin(job->panels, 1, worker + 1, workers);
    } else {
        int64_t grain = job->a->B >= workers * job->k->tile_rows ? job->k->tile_rows : 1;
        s.row_begin = share_begin(job->a->B, grain, worker, workers);
        s.row_end = share_begin(job->a->B, grain, worker + 1, workers);
    }
    return s;
}

static int32_t forward_steps(layer_job *job, share s, int64_t t, int64_t end, int64_t workers) {
    if (!job->by_panels)
        return job->k->steps(job->a, t, end, s.row_begin, s.row_end, s.p_begin, s.p_end);
    int32_t status = 0;
    for (; t < end; t++) {
        status |= job->k->steps(job->a, t, t + 1, s.row_begin, s.row_end, s.p_begin, s.p_end);
        lf_team_wait(workers);
    }
    return status;
}

static void forward_share(void *context, int64_t worker, int64_t workers) {
    layer_job *job = context;
    share s = share_of(job, worker, workers);
    int32_t status = 0;
    for (int64_t t = 0; t < job->a->T; t += job->chunk) {
        int64_t end = at_most(t + job->chunk, job->a->T);
        if (!job->a->projects)
            status |= job->k->project(job->a, t, end, s.row_begin, s.row_end, s.p_begin, s.p_end);
        status |= forward_steps(job, s, t, end, workers);
    }
    atomic_fetch_or(&job->status, status);
}

static int64_t lanes(const lf_table *k, int is_double) {
    return k->register_bytes / (is_double ? (int64_t)sizeof(double) : (int64_t)sizeof(float));
}

int32_t lf_run_forward(const lf_table *k, lf_layer *a, int64_t chunk) {
    int64_t width = lanes(k, k == lf_kernels(1));
    layer_job job = {.k = k, .a = a, .chunk = chunk, .panels = ceil_div(a->H, width)};
    a->projects = chunk == 1;
    plan(&job, 8.0 * a->B * a->H * (a->H + a->I));
    lf_team_run(forward_share, &job, job.workers);
    return atomic_load(&job.status);
}

static void backward_share(void *context, int64_t worker, int64_t workers) {
    layer_job *job = context;
    lf_layer *a = job->a;
    share s = share_of(job, worker, workers);
    int64_t first = a->dh0 ? -1 : 0;
    int32_t status = 0;
    if (!job->by_panels) {
        status = job->k->steps_backward(a, first, a->T, s.row_begin, s.row_end, s.p_begin, s.p_end);
    } else {
        for (int64_t t = a->T - 1; t >= first; t--) {
            status |= job->k->steps_backward(a, t, t + 1, s.row_begin, s.row_end, s.p_begin,
                                             s.p_end);
            lf_team_wait(workers);
        }
    }
    atomic_fetch_or(&job->status, status);
}

int32_t lf_run_backward(const lf_table *k, lf_layer *a) {
    int64_t width = lanes(k, k == lf_kernels(1));
    layer_job job = {.k = k, .a = a, .panels = ceil_div(a->H, 4 * width)};
    plan(&job, 8.0 * a->B * a->H * a->H);
    lf_team_run(backward_share, &job, job.workers);
    return atomic_load(&job.status);
}
