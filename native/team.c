#define _GNU_SOURCE
#include "team.h"

#include <stdatomic.h>

#include "glibc.h"
#include "helpers.h"
#include "look.h"
#include "openmp.h"
#include "threads.h"

/* Waits of more than LF_LOOK for a thread that has lost its processor, in ns, after which it is not
 * waited for any longer if they are one ns in so many; and for how long nobody tries again. */
#define STALLED 3000000
#define STALLED_ONE_IN 3
#define CROWDED 50000000

/* Work, in ns, that is worth a call to any threads; from LF_LITTLE on to those that are awake. */
#define MUCH 50000

#define MOST_SHARES (4 * LF_MAX_THREADS)

/* A door for the threads that may help: the number of its region << 24 | the workers there may be
 * << 16 | helpers inside. They enter while there are workers: 0 means closed. */
typedef struct door {
    _Alignas(64) atomic_uint_fast64_t state;
} door;
#define INSIDE 0xffff
#define WORKERS(state) ((int64_t)((state) >> 16 & 0xff))
#define NUMBER(state) ((state) >> 24)

typedef struct region {
    lf_work work;
    void *context;
    int64_t times; /* shares for each thread of our own; of a region that is not together */
    lf_watch *watch;
    int together;
    int64_t patience; /* of a region together: ns until it begins */
    int64_t step;     /* ns that shares may differ from wait to wait */
} region;

static struct {
    pthread_mutex_t region; /* held while a region runs */
    uint64_t number;        /* of the region, whose threads come by one of the doors */
    door helpers, openmp;
    region now; /* for those inside, as all below */
    int64_t workers, shares;
    atomic_char taken[MOST_SHARES];
    _Alignas(64) atomic_uint_fast64_t begun; /* number << 8 | shares of the region together */
    _Alignas(64) atomic_int arrived;         /* lf_team_wait */
    _Alignas(64) atomic_int generation;
    int64_t opened;       /* when the region together was */
    atomic_llong stalled; /* ns in it, of all threads */
    atomic_int alone;     /* share 0 goes on alone */
    atomic_int ended;     /* nobody goes on: the watch has stopped */
    atomic_llong crowded; /* until when the processors are taken to have other work */
} team = {.region = PTHREAD_MUTEX_INITIALIZER};

static lf_pool pool = LF_ANY_POOL;

/* Of this thread: it has opened a region; is in a fork that has none of the region's helpers; and its
 * regions are for helpers of our own. */
static _Thread_local int leads, lost, keeps_own;

/* ---------------------------------------------------------------- shares */

/* Shares that nobody has begun, from a place of one's own on. */
static void take_shares(int64_t worker) {
    int64_t shares = team.shares, first = worker * shares / team.workers;
    for (int64_t i = 0; i < shares; i++) {
        int64_t share = (first + i) % shares;
        if (!atomic_exchange(&team.taken[share], 1)) team.now.work(team.now.context, share, shares);
    }
}

/* Do a helper's share of a region together: its own if all have come, else by order of entering. */
static void join(int64_t worker, int64_t workers, int64_t order, uint64_t number) {
    uint64_t begun;
    lf_look look = {0, 0};
    while ((begun = atomic_load(&team.begun)) >> 8 != number) lf_look_or_yield(&look);
    int64_t shares = (int64_t)(begun & 0xff);
    team.now.work(team.now.context, shares == workers ? worker : order, shares);
}

/* Enter the region of `state` if it is still open; returns one's place, 0 if it is closed. */
static int64_t enter(door *by, uint64_t state) {
    uint64_t number = NUMBER(state);
    while (NUMBER(state) == number && WORKERS(state))
        if (atomic_compare_exchange_weak(&by->state, &state, state + 1))
            return (int64_t)(state & INSIDE) + 1;
    return 0;
}

/* Do what there is for a helper behind a door; returns the number of the region. */
static uint64_t help(door *by, int64_t worker) {
    uint64_t state = atomic_load(&by->state), number = NUMBER(state);
    int64_t place = worker < WORKERS(state) ? enter(by, state) : 0;
    if (!place) return number;
    lf_flags flags = lf_use_kernel_flags();
    if (team.now.together) join(worker, WORKERS(state), place, number);
    else take_shares(worker);
    lf_set_flags(flags);
    atomic_fetch_sub(&by->state, 1);
    return number;
}

uint64_t lf_team_region(void) { return NUMBER(atomic_load(&team.helpers.state)); }

uint64_t lf_team_help(int64_t worker) { return help(&team.helpers, worker); }

/* ---------------------------------------------------------------- forks */

/* (Where a signal's handler has forked in the middle of a region, its shares are lost.) */
static void after_fork_in_child(void) {
    pthread_mutex_init(&team.region, NULL);
    if ((lost = leads)) pthread_mutex_lock(&team.region);
    atomic_store(&team.ended, lost);
    atomic_store(&team.helpers.state, 0);
    atomic_store(&team.openmp.state, 0);
    atomic_store(&team.begun, 0);
    lf_forget_helpers();
    lf_openmp_in_child();
    lf_threads_after_fork();
}

void lf_team_begin(lf_pool threads) {
    pool = threads;
    lf_openmp_look();
    pthread_atfork(lf_openmp_before_fork, lf_openmp_in_parent, after_fork_in_child);
}

int lf_team_is_lost(void) { return lost; }

/* ---------------------------------------------------------------- regions */

/* Let threads in by a door; nobody is inside the region before. */
static void open_door(door *by, int64_t workers) {
    int64_t shares = by == &team.helpers ? workers * team.now.times : workers;
    team.workers = workers;
    team.shares = shares > MOST_SHARES ? MOST_SHARES : shares;
    for (int64_t i = 0; i < team.shares; i++) atomic_store(&team.taken[i], 0);
    atomic_store(&by->state, ++team.number << 24 | (uint64_t)workers << 16);
}

/* Let nobody else in; returns the helpers inside. */
static int64_t close_door(door *by) {
    return (int64_t)(atomic_fetch_and(&by->state, ~(uint64_t)0xff0000) & INSIDE);
}

static void await_helpers(door *by) {
    lf_look look = {0, 0};
    while (atomic_load(&by->state) & INSIDE) {
        lf_look_or_yield(&look);
        if (look.end) lf_stop(team.now.watch); /* for the helpers to see */
    }
}

/* The shares of a region together: as many as helpers have come in time, and one. */
static int64_t gather(door *by, int64_t workers) {
    lf_look look = {0, 0};
    while ((int64_t)(atomic_load(&by->state) & INSIDE) < workers - 1 &&
           lf_look_on(&look, team.now.patience)) {}
    int64_t shares = close_door(by) + 1;
    team.opened = lf_nanoseconds();
    atomic_store(&team.arrived, 0); /* one may be left of a region that a fork has ended */
    atomic_store(&team.stalled, 0);
    atomic_store(&team.alone, 0);
    atomic_store(&team.ended, 0);
    atomic_store(&team.begun, team.number << 8 | (uint64_t)shares);
    return shares;
}

/* The caller's part of a region, which is open. */
static void lead(door *by, int64_t workers) {
    if (team.now.together) {
        team.now.work(team.now.context, 0, gather(by, workers));
        if (atomic_load(&team.alone)) atomic_store(&team.crowded, lf_nanoseconds() + CROWDED);
    } else {
        take_shares(0);
        close_door(by);
    }
    await_helpers(by);
}

/* The part of an OpenMP runtime's thread. (The caller knows only now how many it was granted.) */
static void on_openmp(int64_t thread, int64_t threads) {
    if (thread) help(&team.openmp, thread);
    else lead(&team.openmp, threads < team.workers ? threads : team.workers);
}

int lf_team_keep_own(int own) {
    int before = keeps_own;
    keeps_own = own;
    return before;
}

static int openmp_serves(void) {
    return (pool == LF_OPENMP_POOL || (pool == LF_ANY_POOL && !keeps_own)) && lf_openmp_serves();
}

const char *lf_team_openmp(void) {
    lf_openmp_look();
    return pool == LF_OWN_POOL ? NULL : lf_openmp_path();
}

/* The threads there are for a region, after a look for those of OpenMP. */
static int64_t workers_for(int64_t wanted, int *by_openmp) {
    lf_openmp_look();
    *by_openmp = openmp_serves();
    return *by_openmp ? wanted : pool == LF_OPENMP_POOL ? 1 : lf_recruit(wanted);
}

static void run_region(int64_t workers, int by_openmp) {
    open_door(by_openmp ? &team.openmp : &team.helpers, workers);
    if (by_openmp) {
        lf_openmp_run(on_openmp, workers);
    } else {
        lf_wake_helpers(workers);
        lead(&team.helpers, workers);
    }
}

/* Take the team for a region; returns its workers: 1 if it cannot be had, and then it is not. */
static int64_t take_team(int64_t wanted, int *by_openmp) {
    if (wanted > LF_MAX_THREADS) wanted = LF_MAX_THREADS;
    if (wanted < 2 || pthread_mutex_trylock(&team.region)) return 1;
    int64_t workers = workers_for(wanted, by_openmp);
    leads = workers >= 2;
    if (!leads) pthread_mutex_unlock(&team.region);
    return workers;
}

static void run(region now, int64_t wanted) {
    int by_openmp;
    int64_t workers = take_team(wanted, &by_openmp);
    lf_flags flags = lf_use_kernel_flags();
    if (workers < 2) now.work(now.context, 0, 1);
    else {
        team.now = now;
        run_region(workers, by_openmp);
        leads = lost = 0;
        pthread_mutex_unlock(&team.region);
    }
    lf_set_flags(flags);
}

void lf_team_run(lf_work work, void *context, int64_t wanted, int64_t times, lf_watch *watch) {
    run((region){work, context, times, watch, 0, 0, 0}, wanted);
}

void lf_team_run_together(lf_work work, void *context, int64_t wanted, int64_t patience,
                          int64_t step, lf_watch *watch) {
    if (lf_nanoseconds() < atomic_load(&team.crowded)) wanted = 1;
    run((region){work, context, 0, watch, 1, patience, step}, wanted);
}

int lf_team_is_worth(double ns) {
    static atomic_llong last; /* when work of this size was there before */
    if (ns < LF_LITTLE || ns >= MUCH) return ns >= MUCH;
    int64_t now = lf_nanoseconds();
    int follows = now - atomic_exchange(&last, now) < LF_LOOK;
    return follows || (!openmp_serves() && lf_helpers_are_awake());
}

/* ---------------------------------------------------------------- waits inside a region */

/* Decided by the last to arrive, before it lets the others go: all read the same. */
static void decide(void) {
    int64_t stalled = atomic_load(&team.stalled);
    if (stalled > STALLED && stalled > (lf_nanoseconds() - team.opened) / STALLED_ONE_IN)
        atomic_store(&team.alone, 1);
    if (lf_stop(team.now.watch)) atomic_store(&team.ended, 1);
}

static int decided(void) {
    return atomic_load(&team.ended) ? LF_END : atomic_load(&team.alone) ? LF_ALONE : LF_GO_ON;
}

/* Look on until the others are there; the caller of the region may have signals to look at. */
static void await_generation(int generation) {
    lf_look look = {0, 0};
    while (atomic_load(&team.generation) == generation && !atomic_load(&team.ended)) {
        lf_look_or_yield(&look);
        if (look.end) lf_stop(team.now.watch);
    }
    if (!look.end) return;
    int64_t waited = lf_nanoseconds() - (look.end - LF_LOOK);
    if (waited > LF_LOOK + team.now.step) atomic_fetch_add(&team.stalled, waited);
}

int lf_team_wait(int64_t shares) {
    if (shares < 2) return LF_GO_ON;
    int generation = atomic_load(&team.generation);
    if (atomic_fetch_add(&team.arrived, 1) == shares - 1) {
        atomic_store(&team.arrived, 0);
        decide();
        atomic_store(&team.generation, generation + 1);
    } else await_generation(generation);
    return decided();
}
