#include "layer.h"

#include <stdatomic.h>

#include "team.h"

/* ns of one operation, to tell small work from large, where each weight that is read serves so many
 * rows at least. */
#define SPEED 0.005
#define BUSY_ROWS 4
/* Operations of the cell for one unit and row, its exponentials and quotients. */
#define CELL 300.0
/* Work of one step and one worker that is worth a wait after every step: some µs. */
#define SMALL_STEP 2e5
/* Rows of one worker that outweigh its reading all the weights, so that nobody need wait. */
#define ENOUGH_ROWS 8
/* The part of its time, and the most ns, that work waits for its threads before it goes on with
 * those it has. */
#define PATIENCE 0.2
#define MOST_PATIENCE 5000000
/* The time that shares of a step may differ by, in times that of a step. */
#define UNEVEN 4

static int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* The first of `count` items for this share, a multiple of `grain`. */
static int64_t share_begin(int64_t count, int64_t grain, int64_t share, int64_t shares) {
    return at_most(count, ceil_div(count, grain) * share / shares * grain);
}

/* ---------------------------------------------------------------- ranges */

typedef struct range_job {
    lf_range_kernel kernel;
    void *a;
    int64_t count, grain;
    atomic_int status;
} range_job;

static void range_share(void *context, int64_t share, int64_t shares) {
    range_job *job = context;
    int64_t begin = share_begin(job->count, job->grain, share, shares);
    int64_t end = share_begin(job->count, job->grain, share + 1, shares);
    if (begin < end) atomic_fetch_or(&job->status, job->kernel(job->a, begin, end, share));
}

int32_t lf_run_range(lf_range_kernel kernel, void *a, int64_t count, int64_t grain, double cost,
                     int64_t workers) {
    range_job job = {kernel, a, count, grain, 0};
    workers = at_most(workers, ceil_div(count, grain));
    if (workers > 1 && !lf_team_is_worth(cost * SPEED)) workers = 1;
    lf_team_run(range_share, &job, workers);
    return atomic_load(&job.status);
}

/* ---------------------------------------------------------------- layers: who does what
 *
 * BY_ROWS    each share takes batch rows, which never meet, through all steps
 * BY_PANELS  each share takes panels of hidden units, and waits for the others after every step
 * AHEAD      one share takes the steps, the others project x for the steps to come */
enum way { ALONE, BY_ROWS, BY_PANELS, AHEAD };

typedef struct layer_job {
    const lf_table *k;
    lf_layer *a;
    int64_t chunk, panels, workers;
    enum way way;
    int together; /* shares wait for each other */
    atomic_int status;
    /* AHEAD: chunks of steps in units of GROUP panels, which are claimed in order */
    int64_t chunks, units;
    atomic_llong claimed, made[2], done; /* units; units of even and odd chunks; chunks */
} layer_job;

typedef struct range {
    int64_t row_begin, row_end, p_begin, p_end;
} range;

static double busy(int64_t B) { return B < BUSY_ROWS ? (double)BUSY_ROWS / B : 1; }

/* The part of the time on one thread that is left if x is projected ahead. */
static double left_ahead(const layer_job *job, double n, double project, double step) {
    double all = project + step, even = all / n > step ? all / n : step;
    return (job->a->T > job->chunk ? even : project / n + step) / all;
}

/* `project`: operations of W_ih x for one step; `step`: of the rest. */
static void plan(layer_job *job, double project, double step, int64_t count) {
    int64_t n = lf_get_num_threads(), B = job->a->B;
    job->way = ALONE;
    job->workers = 1;
    if (n < 2 || !lf_team_is_worth((project + step) * count * busy(B) * SPEED)) return;
    double by_rows = (double)ceil_div(B, at_most(n, B)) / B;
    if (B >= ENOUGH_ROWS * n) job->way = BY_ROWS;
    else if (job->panels > 1 && !job->a->whole_rows && (count == 1 || step / n >= SMALL_STEP)) job->way = BY_PANELS;
    else if (job->chunk > 1 && left_ahead(job, n, project, step) < by_rows) job->way = AHEAD;
    else if (B > 1) job->way = BY_ROWS;
    else return;
    job->workers = job->way == AHEAD ? n : at_most(n, job->way == BY_ROWS ? B : job->panels);
    job->together = job->way == BY_PANELS && count > 1;
}

static void run(layer_job *job, lf_work work, double cost, int64_t count) {
    double ns = cost * SPEED * busy(job->a->B);
    int64_t patience = at_most((int64_t)(ns * count * PATIENCE), MOST_PATIENCE);
    if (job->together)
        lf_team_run_together(work, job, job->workers, patience, (int64_t)(ns * UNEVEN));
    else lf_team_run(work, job, job->workers);
}

/* A share, and what is its own. No shares: nothing is left to do. */
typedef struct part {
    range r;
    int64_t share, shares;
} part;

static range everything(const layer_job *job) {
    return (range){0, job->a->B, 0, job->panels};
}

/* Rows that take a like number of steps: where share `share` of them begins. */
static int64_t rows_begin(const lf_layer *a, int64_t share, int64_t shares) {
    if (!a->lengths) return share_begin(a->B, 1, share, shares);
    int64_t row = 0, wanted = a->offsets[a->T] * share / shares;
    for (int64_t taken = 0; row < a->B && taken < wanted; row++) taken += a->lengths[row];
    return share == shares ? a->B : row;
}

static part part_of(const layer_job *job, int64_t share, int64_t shares) {
    part p = {everything(job), share, shares};
    if (job->way == BY_PANELS) {
        p.r.p_begin = share_begin(job->panels, 1, share, shares);
        p.r.p_end = share_begin(job->panels, 1, share + 1, shares);
    } else {
        p.r.row_begin = rows_begin(job->a, share, shares);
        p.r.row_end = rows_begin(job->a, share + 1, shares);
    }
    return p;
}

/* Wait for the step of the others. If the team gives up, share 0 goes on with all of it. */
static void wait_for_others(const layer_job *job, part *p) {
    if (!lf_team_wait(p->shares)) return;
    p->r = everything(job);
    p->shares = p->share == 0;
}

/* ---------------------------------------------------------------- forward */

static int32_t steps(const layer_job *job, range r, int64_t t, int64_t end) {
    return job->k->steps(job->a, t, end, r.row_begin, r.row_end, r.p_begin, r.p_end);
}

static int32_t project(const layer_job *job, range r, int64_t t, int64_t end) {
    return job->k->project(job->a, t, end, r.row_begin, r.row_end, r.p_begin, r.p_end);
}

static int32_t steps_together(const layer_job *job, part *p, int64_t t, int64_t end) {
    int32_t status = 0;
    for (; t < end && p->shares; t++) {
        status |= steps(job, p->r, t, t + 1);
        wait_for_others(job, p);
    }
    return status;
}

static void forward_share(void *context, int64_t share, int64_t shares) {
    layer_job *job = context;
    part p = part_of(job, share, shares);
    int32_t status = 0;
    for (int64_t t = 0; t < job->a->T && p.shares; t += job->chunk) {
        int64_t end = at_most(t + job->chunk, job->a->T);
        if (!job->a->projects) status |= project(job, p.r, t, end);
        status |= job->together ? steps_together(job, &p, t, end) : steps(job, p.r, t, end);
    }
    atomic_fetch_or(&job->status, status);
}

/* Project one unit, at most of the chunk after the one whose steps are taken; 0 if none is free. */
static int project_unit(layer_job *job) {
    long long unit = atomic_load(&job->claimed), chunk;
    do {
        chunk = unit / job->units;
        if (chunk >= job->chunks || chunk > atomic_load(&job->done) + 1) return 0;
    } while (!atomic_compare_exchange_weak(&job->claimed, &unit, unit + 1));
    int64_t p = unit % job->units * LF_GROUP, t = chunk * job->chunk;
    range r = {0, job->a->B, p, at_most(p + LF_GROUP, job->panels)};
    atomic_fetch_or(&job->status, project(job, r, t, at_most(t + job->chunk, job->a->T)));
    atomic_fetch_add(&job->made[chunk % 2], 1);
    return 1;
}

/* Share 0 takes the steps and projects when there is nothing else to do; the others project. */
static void forward_ahead(void *context, int64_t share, int64_t shares) {
    (void)shares;
    layer_job *job = context;
    lf_look look = {0, 0};
    if (share > 0) {
        while (atomic_load(&job->claimed) < job->chunks * job->units)
            if (!project_unit(job)) lf_look_or_yield(&look);
        return;
    }
    for (int64_t chunk = 0; chunk < job->chunks; chunk++) {
        int64_t t = chunk * job->chunk, wanted = (chunk / 2 + 1) * job->units;
        while (atomic_load(&job->made[chunk % 2]) < wanted)
            if (!project_unit(job)) lf_look_or_yield(&look);
        int32_t status = steps(job, everything(job), t, at_most(t + job->chunk, job->a->T));
        atomic_fetch_or(&job->status, status);
        atomic_fetch_add(&job->done, 1);
    }
}

static int64_t lanes(const lf_table *k, int is_double) {
    return k->register_bytes / (is_double ? (int64_t)sizeof(double) : (int64_t)sizeof(float));
}

/* How many rows take a step, on average. */
static double mean_rows(const lf_layer *a) {
    return a->offsets ? (double)a->offsets[a->T] / a->T : (double)a->B;
}

int32_t lf_run_forward(const lf_table *k, lf_layer *a, int64_t chunk) {
    int64_t width = lanes(k, k == lf_kernels(1));
    layer_job job = {.k = k, .a = a, .chunk = chunk, .panels = ceil_div(a->H, width)};
    double units = mean_rows(a) * a->H, x_cost = 8.0 * units * a->I;
    double h_cost = units * (8.0 * a->P + (a->w_hr ? 2.0 * a->P : 0) + CELL);
    job.chunks = ceil_div(a->T, chunk);
    job.units = ceil_div(job.panels, LF_GROUP);
    a->projects = chunk == 1;
    plan(&job, x_cost, h_cost, a->T);
    if (!a->keep && job.way != AHEAD) a->z_slots = chunk; /* the least memory passes the caches */
    run(&job, job.way == AHEAD ? forward_ahead : forward_share, x_cost + h_cost, a->T);
    return atomic_load(&job.status);
}

/* ---------------------------------------------------------------- backward */

static int32_t backward(const layer_job *job, range r, int64_t t, int64_t end) {
    return job->k->steps_backward(job->a, t, end, r.row_begin, r.row_end, r.p_begin, r.p_end);
}

static void backward_share(void *context, int64_t share, int64_t shares) {
    layer_job *job = context;
    part p = part_of(job, share, shares);
    int64_t first = job->a->dh0 ? -1 : 0;
    int32_t status = 0;
    if (!job->together) status = backward(job, p.r, first, job->a->T);
    for (int64_t t = job->a->T - 1; job->together && t >= first && p.shares; t--) {
        status |= backward(job, p.r, t, t + 1);
        wait_for_others(job, &p);
    }
    atomic_fetch_or(&job->status, status);
}

int32_t lf_run_backward(const lf_table *k, lf_layer *a) {
    int64_t width = lanes(k, k == lf_kernels(1));
    layer_job job = {.k = k, .a = a, .chunk = 1, .panels = ceil_div(a->P, 4 * width)};
    double cost = mean_rows(a) * a->H * (8.0 * a->P + (a->w_hr ? 2.0 * a->P : 0) + CELL);
    int64_t count = a->T + (a->dh0 ? 1 : 0);
    plan(&job, 0, cost, count);
    run(&job, backward_share, cost, count);
    return atomic_load(&job.status);
}
