#include "schedule.h"

#include <stdatomic.h>

#include "cuts.h"
#include "look.h"
#include "team.h"
#include "threads.h"

/* Rows that each weight which is read must serve at least, for LF_SPEED to hold. */
#define BUSY_ROWS 4
/* Operations of the cell for one unit and row, its exponentials and quotients. */
#define CELL 300.0
/* Work of one step and one worker that is worth a wait after every step: some µs. */
#define SMALL_STEP 2e5
/* Rows of one share that outweigh its reading all the weights, so that nobody need wait. */
#define ENOUGH_ROWS 8
/* Shares of rows for each thread of our own, if there are enough rows. */
#define ROW_SHARES 2
/* The fraction of its time, and the most ns, that work waits for its threads before it goes on with
 * those it has. */
#define PATIENCE 0.2
#define MOST_PATIENCE 5000000
/* Rows of a step beneath which a cut would cost time. */
#define PIECE_ROWS 64
/* The time that shares of a step may differ by, in times that of a step. */
#define UNEVEN 4

/* ---------------------------------------------------------------- layers: who does what
 *
 * BY_ROWS    each share takes batch rows, which never meet, through all steps
 * BY_PANELS  each share takes panels of hidden units, and waits for the others after every step
 * AHEAD      one share takes the steps, the others project x for the steps to come */
enum way { ALONE, BY_ROWS, BY_PANELS, AHEAD };

typedef struct layer_job {
    const lf_table *k;
    lf_layer *a;
    int64_t chunk, panels, workers, times; /* times: shares for each worker */
    enum way way;
    int packs;              /* each share packs the panels it needs, into rooms of its own */
    int together;           /* shares wait for each other, for */
    int64_t patience, step; /* so many ns until all are there; their steps may differ by so many */
    lf_watch *watch;
    double cost; /* operations of a step for one row and panel */
    atomic_int status;
    /* AHEAD: chunks of steps in units of GROUP panels, which are claimed in order */
    int64_t chunks, units;
    atomic_llong claimed, made[2], done; /* units; units of even and odd chunks; chunks */
} layer_job;

typedef struct range {
    int64_t row_begin, row_end, p_begin, p_end;
} range;

static double busy(int64_t B) { return B < BUSY_ROWS ? (double)BUSY_ROWS / B : 1; }

/* The fraction of the time on one thread that is left if x is projected ahead. */
static double left_ahead(const layer_job *job, double n, double project, double step) {
    double all = project + step, even = all / n > step ? all / n : step;
    return (job->a->T > job->chunk ? even : project / n + step) / all;
}

/* Who does what. `project`: operations of W_ih x for one step; `step`: of the rest. */
static void plan(layer_job *job, double project, double step, int64_t count) {
    int64_t n = lf_get_num_threads(), B = job->a->B;
    job->way = ALONE;
    job->workers = job->times = 1;
    if (n < 2 || !lf_team_is_worth((project + step) * count * busy(B) * LF_SPEED)) return;
    double by_rows = (double)ceil_div(B, at_most(n, B)) / B;
    if (B >= ENOUGH_ROWS * n && !job->packs) job->way = BY_ROWS;
    else if (job->panels > 1 && !job->a->row_cells && (count == 1 || step / n >= SMALL_STEP))
        job->way = BY_PANELS;
    else if (job->chunk > 1 && left_ahead(job, n, project, step) < by_rows) job->way = AHEAD;
    else if (B > 1 && !job->packs) job->way = BY_ROWS;
    else return;
    job->workers = job->way == AHEAD ? n : at_most(n, job->way == BY_ROWS ? B : job->panels);
    if (job->way == BY_ROWS) job->times = at_least(1, at_most(ROW_SHARES, B / (ENOUGH_ROWS * n)));
    job->together = job->way == BY_PANELS && count > 1;
    double ns = (project + step) * busy(B) * LF_SPEED;
    job->patience = at_most((int64_t)(ns * count * PATIENCE), MOST_PATIENCE);
    job->step = (int64_t)(ns * UNEVEN);
}

/* What one share does. No shares: nothing is left to do. */
typedef struct task {
    range r;
    int64_t share, shares;
} task;

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

static task task_of(const layer_job *job, int64_t share, int64_t shares) {
    task own = {everything(job), share, shares};
    if (job->way == BY_PANELS) {
        own.r.p_begin = share_begin(job->panels, 1, share, shares);
        own.r.p_end = share_begin(job->panels, 1, share + 1, shares);
    } else {
        own.r.row_begin = rows_begin(job->a, share, shares);
        own.r.row_end = rows_begin(job->a, share + 1, shares);
    }
    return own;
}

/* Wait for the step of the others. If the team gives up, share 0 goes on with all of it. */
static void wait_for_others(const layer_job *job, task *own) {
    int answer = lf_team_wait(own->shares);
    if (answer == LF_ALONE) {
        own->r = everything(job);
        own->shares = own->share == 0;
    }
    if (answer == LF_END || (own->shares == 1 && lf_stop(job->watch))) own->shares = 0;
}

/* ---------------------------------------------------------------- pieces
 *
 * What a kernel does with a range of rows and panels in some steps, cut so that a call which may be
 * stopped asks its watch often enough: into steps, then rows, then (if units are ready before their
 * row is) panels. Those that wait for each other leave no step before it is done. */

typedef int32_t (*share_kernel)(void *a, int64_t t, int64_t end, int64_t row_begin, int64_t row_end,
                                int64_t p_begin, int64_t p_end);

static int32_t step_in_pieces(const layer_job *job, share_kernel kernel, range r, int64_t t) {
    int64_t panels = r.p_end - r.p_begin, some = job->a->row_cells ? panels : LF_GROUP;
    int64_t rows = at_least(PIECE_ROWS, piece_of(job->cost * panels) / PIECE_ROWS * PIECE_ROWS);
    int32_t status = 0;
    if (job->cost * PIECE_ROWS * panels < LF_PIECE) some = panels;
    for (int64_t row = r.row_begin; row < r.row_end; row += rows)
        for (int64_t p = r.p_begin; p < r.p_end && !lf_stop(job->watch); p += some)
            status |= kernel(job->a, t, t + 1, row, at_most(row + rows, r.row_end), p,
                             at_most(p + some, r.p_end));
    return status;
}

/* The steps t..end, or end-1 down to t. */
static int32_t in_pieces(const layer_job *job, share_kernel kernel, range r, int64_t t, int64_t end,
                         int back) {
    double cost = job->cost * (r.row_end - r.row_begin) * (r.p_end - r.p_begin);
    int64_t some = piece_of(cost);
    int32_t status = 0;
    if (!job->watch) return kernel(job->a, t, end, r.row_begin, r.row_end, r.p_begin, r.p_end);
    for (int64_t left = end - t; left > 0 && !lf_stop(job->watch); left -= some) {
        int64_t first = back ? at_least(t, t + left - some) : end - left;
        int64_t last = back ? t + left : at_most(end, first + some);
        if (cost > LF_PIECE) status |= step_in_pieces(job, kernel, r, first);
        else status |= kernel(job->a, first, last, r.row_begin, r.row_end, r.p_begin, r.p_end);
    }
    return status;
}

/* ---------------------------------------------------------------- forward */

static int32_t project(const layer_job *job, range r, int64_t t, int64_t end) {
    int64_t some = piece_of(job->cost * (end - t) * (r.row_end - r.row_begin)), last = r.p_end;
    int32_t status = 0;
    some = job->watch ? at_least(1, some / LF_GROUP) * LF_GROUP : last;
    for (int64_t p = r.p_begin; p < last && !lf_stop(job->watch); p += some)
        status |= job->k->project(job->a, t, end, r.row_begin, r.row_end, p, at_most(p + some, last));
    return status;
}

static int32_t steps_together(const layer_job *job, task *own, int64_t t, int64_t end) {
    int32_t status = 0;
    for (; t < end && own->shares; t++) {
        status |= in_pieces(job, job->k->steps, own->r, t, t + 1, 0);
        wait_for_others(job, own);
    }
    return status;
}

static void forward_share(void *context, int64_t share, int64_t shares) {
    layer_job *job = context;
    task own = task_of(job, share, shares);
    int32_t status = 0;
    /* (Shares that wait for each other leave only where all do: in wait_for_others.) */
    for (int64_t t = 0; t < job->a->T && own.shares; t += job->chunk) {
        if (!job->together && lf_stop(job->watch)) break;
        int64_t end = at_most(t + job->chunk, job->a->T);
        if (!job->a->projects) status |= project(job, own.r, t, end);
        status |= job->together ? steps_together(job, &own, t, end)
                                : in_pieces(job, job->k->steps, own.r, t, end, 0);
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
        while (atomic_load(&job->claimed) < job->chunks * job->units && !lf_stop(job->watch))
            if (!project_unit(job)) lf_look_or_yield(&look);
        return;
    }
    for (int64_t chunk = 0; chunk < job->chunks; chunk++) {
        int64_t t = chunk * job->chunk, wanted = (chunk / 2 + 1) * job->units;
        while (atomic_load(&job->made[chunk % 2]) < wanted && !lf_stop(job->watch))
            if (!project_unit(job)) lf_look_or_yield(&look);
        if (lf_stop(job->watch)) return;
        int64_t end = at_most(t + job->chunk, job->a->T);
        int32_t status = in_pieces(job, job->k->steps, everything(job), t, end, 0);
        atomic_fetch_or(&job->status, status);
        atomic_fetch_add(&job->done, 1);
    }
}

/* How many rows take a step, on average. */
static double mean_rows(const lf_layer *a) {
    return a->offsets ? (double)a->offsets[a->T] / a->T : (double)a->B;
}

int lf_shares_step(int64_t I, int64_t H) {
    return H * (8.0 * (I + H) + CELL) * busy(1) * LF_SPEED >= LF_LITTLE;
}

int32_t lf_run_forward(const lf_table *k, lf_layer *a, int64_t chunk) {
    int64_t width = lanes(k);
    layer_job job = {.k = k, .a = a, .chunk = chunk, .panels = ceil_div(a->H, width)};
    double units = mean_rows(a) * a->H, x_cost = 8.0 * units * a->I;
    double h_cost = units * (8.0 * a->P + (a->w_hr ? 2.0 * a->P : 0) + CELL);
    job.chunks = ceil_div(a->T, chunk);
    job.units = ceil_div(job.panels, LF_GROUP);
    job.cost = (x_cost + h_cost) * busy(a->B) / ((double)a->B * job.panels);
    job.watch = lf_watch_for((x_cost + h_cost) * a->T * busy(a->B) * LF_SPEED);
    if (lf_stop(job.watch)) return LF_STOPPED;
    a->projects = chunk == 1;
    job.packs = a->W_ih != NULL;
    plan(&job, x_cost, h_cost, a->T);
    if (!a->keep && job.way != AHEAD) a->z_slots = chunk; /* the least memory passes the caches */
    lf_work work = job.way == AHEAD ? forward_ahead : forward_share;
    if (!job.together) lf_team_run(work, &job, job.workers, job.times, job.watch);
    else lf_team_run_together(work, &job, job.workers, job.patience, job.step, job.watch);
    return atomic_load(&job.status);
}

/* ---------------------------------------------------------------- backward */

static void backward_share(void *context, int64_t share, int64_t shares) {
    layer_job *job = context;
    task own = task_of(job, share, shares);
    int64_t first = job->a->dh0 ? -1 : 0;
    int32_t status = 0;
    if (!job->together) status = in_pieces(job, job->k->steps_backward, own.r, first, job->a->T, 1);
    for (int64_t t = job->a->T - 1; job->together && t >= first && own.shares; t--) {
        status |= in_pieces(job, job->k->steps_backward, own.r, t, t + 1, 1);
        wait_for_others(job, &own);
    }
    atomic_fetch_or(&job->status, status);
}

int32_t lf_run_backward(const lf_table *k, lf_layer *a) {
    int64_t width = lanes(k);
    layer_job job = {.k = k, .a = a, .chunk = 1, .panels = ceil_div(a->P, 4 * width)};
    double cost = mean_rows(a) * a->H * (8.0 * a->P + (a->w_hr ? 2.0 * a->P : 0) + CELL);
    int64_t count = a->T + (a->dh0 ? 1 : 0);
    job.cost = cost * busy(a->B) / ((double)a->B * job.panels);
    job.watch = lf_watch_for(cost * count * busy(a->B) * LF_SPEED);
    if (lf_stop(job.watch)) return LF_STOPPED;
    plan(&job, 0, cost, count);
    if (!job.together) lf_team_run(backward_share, &job, job.workers, job.times, job.watch);
    else lf_team_run_together(backward_share, &job, job.workers, job.patience, job.step, job.watch);
    return atomic_load(&job.status);
}
