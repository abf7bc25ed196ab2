#define _GNU_SOURCE
#include "team.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "affinity.h"
#include "flags.h"
#include "glibc.h"
#include "processors.h"

/* How long a thread looks at memory before it gives its processor away, ns: longer than most of
 * what comes between two calls. */
#define LOOK 100000
#define LOOKS 64 /* at memory, for each at the clock */

/* Waits of more than LOOK for a thread that has lost its processor, in ns, after which it is not
 * waited for any longer if they are one ns in so many; and for how long nobody tries again. */
#define STALLED 3000000
#define STALLED_ONE_IN 3
#define CROWDED 50000000

/* Work, in ns, that is worth a call to threads that are awake, and to any. */
#define LITTLE 8000
#define MUCH 50000

#if defined(__x86_64__)
#define PAUSE() _mm_pause()
#else
#define PAUSE() __asm__ volatile("yield")
#endif

static lf_flags use_kernel_flags(void) {
    lf_flags old = lf_get_flags();
    lf_set_flags(LF_KERNEL_FLAGS);
    return old;
}

typedef struct helper {
    int64_t worker;   /* 1, 2, ...: the share that it does first */
    int asleep;       /* guarded by team.lock, as all below */
    lf_affinity affinity;
} helper;

/* The state of the region: its number << 24 | its workers << 16 | helpers inside. A helper enters
 * while there are workers: 0 means closed. */
#define INSIDE 0xffff
#define WORKERS(state) ((int64_t)((state) >> 16 & 0xff))
#define NUMBER(state) ((state) >> 24)

static struct {
    pthread_mutex_t region; /* held while a region runs */
    pthread_mutex_t lock;   /* guards sleeping */
    pthread_cond_t wake;
    int64_t helpers;        /* started: workers 1..helpers */
    helper helper[LF_MAX_THREADS];
    lf_work work;           /* the region's, for those inside */
    void *context;
    int64_t shares;
    int together;
    lf_watch *watch; /* of the caller of a region together */
    atomic_char taken[LF_MAX_THREADS];
    _Alignas(64) atomic_uint_fast64_t state;
    _Alignas(64) atomic_uint_fast64_t begun; /* number << 8 | shares of the region together */
    _Alignas(64) atomic_int sleepers;
    _Alignas(64) atomic_int arrived; /* lf_team_wait */
    _Alignas(64) atomic_int generation;
    int64_t opened;       /* when the region together was */
    int64_t step;         /* ns that shares may differ from wait to wait */
    atomic_llong stalled; /* ns in it, of all threads */
    atomic_int alone;     /* share 0 goes on alone */
    atomic_int ended;     /* nobody goes on: the watch has stopped */
    atomic_llong crowded; /* until when the processors are taken to have other work */
} team = {.region = PTHREAD_MUTEX_INITIALIZER,
          .lock = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER};

static atomic_llong limit;  /* 0: not set yet */
static atomic_int is_asked; /* the limit: by set_num_threads */

/* Of this thread: it has opened a region; and is in a fork that has none of the region's helpers. */
static _Thread_local int leads, lost;

/* ---------------------------------------------------------------- waiting */

static int64_t nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A pause; false when `patience` ns have gone by since the first one. */
static int look_on(lf_look *l, int64_t patience) {
    PAUSE();
    if (++l->count % LOOKS) return 1;
    int64_t now = nanoseconds();
    if (!l->end) l->end = now + patience;
    return now < l->end;
}

void lf_look_or_yield(lf_look *l) {
    if (!look_on(l, LOOK)) sched_yield();
}

/* ---------------------------------------------------------------- sleep and wake */

static void wake_helpers(int64_t workers) {
    int here = lf_this_processor();
    pthread_mutex_lock(&team.lock);
    for (int64_t i = 1; i < workers; i++)
        if (team.helper[i].asleep) lf_keep_off(&team.helper[i].affinity, here);
    pthread_cond_broadcast(&team.wake);
    pthread_mutex_unlock(&team.lock);
}

static uint64_t sleep_until_other(helper *h, uint64_t seen) {
    uint64_t state;
    pthread_mutex_lock(&team.lock);
    lf_restore_processors(&h->affinity);
    h->asleep = 1;
    atomic_fetch_add(&team.sleepers, 1);
    while (NUMBER(state = atomic_load(&team.state)) == seen)
        pthread_cond_wait(&team.wake, &team.lock);
    atomic_fetch_sub(&team.sleepers, 1);
    h->asleep = 0;
    pthread_mutex_unlock(&team.lock);
    return state;
}

/* The state of the next region after number `seen`: look for a while, then sleep. */
static uint64_t next_region(helper *h, uint64_t seen) {
    lf_look l = {0, 0};
    do {
        uint64_t state = atomic_load(&team.state);
        if (NUMBER(state) != seen) return state;
    } while (look_on(&l, LOOK));
    return sleep_until_other(h, seen);
}

/* ---------------------------------------------------------------- shares */

/* Shares that nobody has begun, one's own first. */
static void take_shares(int64_t worker) {
    for (int64_t i = 0; i < team.shares; i++) {
        int64_t share = (worker + i) % team.shares;
        if (!atomic_exchange(&team.taken[share], 1)) team.work(team.context, share, team.shares);
    }
}

/* Do a helper's share of a region together: its own if all have come, else by order of entering. */
static void join(int64_t worker, int64_t workers, int64_t order, uint64_t number) {
    uint64_t begun;
    lf_look l = {0, 0};
    while ((begun = atomic_load(&team.begun)) >> 8 != number) lf_look_or_yield(&l);
    int64_t shares = (int64_t)(begun & 0xff);
    team.work(team.context, shares == workers ? worker : order, shares);
}

/* Enter the region of `state` if it is still open; returns one's place, 0 if it is closed. */
static int64_t enter(uint64_t state) {
    uint64_t number = NUMBER(state);
    while (NUMBER(state) == number && WORKERS(state))
        if (atomic_compare_exchange_weak(&team.state, &state, state + 1))
            return (int64_t)(state & INSIDE) + 1;
    return 0;
}

static void *help(void *argument) {
    helper *h = argument;
    uint64_t seen = 0;
    lf_know_thread(&h->affinity);
    for (;;) {
        uint64_t state = next_region(h, seen);
        seen = NUMBER(state);
        if (h->worker >= WORKERS(state)) continue;
        int64_t place = enter(state);
        if (!place) continue;
        lf_flags flags = use_kernel_flags();
        if (team.together) join(h->worker, WORKERS(state), place, seen);
        else take_shares(h->worker);
        lf_set_flags(flags);
        atomic_fetch_sub(&team.state, 1);
    }
    return NULL;
}

/* ---------------------------------------------------------------- forks, threads */

/* (Where a signal's handler has forked in the middle of a region, its shares are lost.) */
static void after_fork_in_child(void) {
    pthread_mutex_init(&team.region, NULL);
    if ((lost = leads)) pthread_mutex_lock(&team.region);
    atomic_store(&team.ended, lost);
    pthread_mutex_init(&team.lock, NULL);
    pthread_cond_init(&team.wake, NULL);
    team.helpers = 0;
    atomic_store(&team.state, 0);
    atomic_store(&team.begun, 0);
    atomic_store(&team.sleepers, 0);
    atomic_store(&team.arrived, 0);
    if (!atomic_load(&is_asked)) atomic_store(&limit, 0); /* the child may be bound elsewhere */
}

static void at_forks(void) { pthread_atfork(NULL, NULL, after_fork_in_child); }

static void watch_forks(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, at_forks);
}

int lf_team_is_lost(void) { return lost; }

/* What a helper does not take: signals are for threads that expect them. Faults are its own. */
static sigset_t signals_of_others(void) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t set;
    sigfillset(&set);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&set, faults[i]);
    return set;
}

static int start(helper *h) {
    pthread_t thread;
    pthread_attr_t detached;
    sigset_t others = signals_of_others(), before;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &others, &before);
    int failed = pthread_create(&thread, &detached, help, h);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&detached);
    return !failed;
}

/* Start helpers until there are `wanted` workers with the caller; returns the workers there are. */
static int64_t recruit(int64_t wanted) {
    watch_forks();
    while (team.helpers + 1 < wanted) {
        helper *h = &team.helper[team.helpers + 1];
        *h = (helper){.worker = team.helpers + 1};
        if (!start(h)) break;
        team.helpers++;
    }
    return wanted <= team.helpers + 1 ? wanted : team.helpers + 1;
}

/* ---------------------------------------------------------------- regions */

/* Open a region; returns its number. Nobody is inside the one before. */
static uint64_t open_region(lf_work work, void *context, int64_t workers, int together) {
    uint64_t number = NUMBER(atomic_load(&team.state)) + 1;
    team.work = work;
    team.context = context;
    team.shares = workers;
    team.together = together;
    for (int64_t i = 0; i < workers; i++) atomic_store(&team.taken[i], 0);
    atomic_store(&team.state, number << 24 | (uint64_t)workers << 16);
    if (atomic_load(&team.sleepers)) wake_helpers(workers);
    return number;
}

/* Let nobody else in; returns the helpers inside. */
static int64_t close_region(void) {
    return (int64_t)(atomic_fetch_and(&team.state, ~(uint64_t)0xff0000) & INSIDE);
}

static void await_helpers(lf_watch *watch) {
    lf_look l = {0, 0};
    while (atomic_load(&team.state) & INSIDE) {
        lf_look_or_yield(&l);
        if (l.end) lf_stop(watch); /* for the helpers to see */
    }
}

/* Take the team for a region; returns its workers: 1 if it cannot be had, and then it is not. */
static int64_t take_team(int64_t wanted) {
    if (wanted > LF_MAX_THREADS) wanted = LF_MAX_THREADS;
    if (wanted < 2 || pthread_mutex_trylock(&team.region)) return 1;
    int64_t workers = recruit(wanted);
    leads = workers >= 2;
    if (!leads) pthread_mutex_unlock(&team.region);
    return workers;
}

static void leave_team(void) {
    leads = lost = 0;
    pthread_mutex_unlock(&team.region);
}

int lf_team_is_worth(double ns) {
    static atomic_llong last; /* when work of this size was there before */
    if (ns < LITTLE || ns >= MUCH) return ns >= MUCH;
    int64_t now = nanoseconds();
    int follows = now - atomic_exchange(&last, now) < LOOK;
    return follows || !atomic_load(&team.sleepers);
}

void lf_team_run(lf_work work, void *context, int64_t wanted, lf_watch *watch) {
    int64_t workers = take_team(wanted);
    lf_flags flags = use_kernel_flags();
    if (workers < 2) work(context, 0, 1);
    else {
        open_region(work, context, workers, 0);
        take_shares(0);
        close_region();
        await_helpers(watch);
        leave_team();
    }
    lf_set_flags(flags);
}

/* The region's shares: as many as helpers have come in time, and one. */
static int64_t gather(int64_t workers, uint64_t number, int64_t patience) {
    lf_look l = {0, 0};
    while ((int64_t)(atomic_load(&team.state) & INSIDE) < workers - 1 && look_on(&l, patience)) {}
    int64_t shares = close_region() + 1;
    team.opened = nanoseconds();
    atomic_store(&team.arrived, 0); /* one may be left of a region that a fork has ended */
    atomic_store(&team.stalled, 0);
    atomic_store(&team.alone, 0);
    atomic_store(&team.ended, 0);
    atomic_store(&team.begun, number << 8 | (uint64_t)shares);
    return shares;
}

void lf_team_run_together(lf_work work, void *context, int64_t wanted, int64_t patience,
                          int64_t step, lf_watch *watch) {
    int64_t workers = nanoseconds() < atomic_load(&team.crowded) ? 1 : take_team(wanted);
    lf_flags flags = use_kernel_flags();
    if (workers < 2) work(context, 0, 1);
    else {
        team.watch = watch;
        uint64_t number = open_region(work, context, workers, 1);
        team.step = step;
        work(context, 0, gather(workers, number, patience));
        if (atomic_load(&team.alone)) atomic_store(&team.crowded, nanoseconds() + CROWDED);
        await_helpers(watch);
        leave_team();
    }
    lf_set_flags(flags);
}

/* Decided by the last to arrive, before it lets the others go: all read the same. */
static void decide(void) {
    int64_t stalled = atomic_load(&team.stalled);
    if (stalled > STALLED && stalled > (nanoseconds() - team.opened) / STALLED_ONE_IN)
        atomic_store(&team.alone, 1);
    if (lf_stop(team.watch)) atomic_store(&team.ended, 1);
}

static int decided(void) {
    return atomic_load(&team.ended) ? LF_END : atomic_load(&team.alone) ? LF_ALONE : LF_GO_ON;
}

/* Look on until the others are there; the caller of the region may have signals to look at. */
static void await_generation(int generation) {
    lf_look l = {0, 0};
    while (atomic_load(&team.generation) == generation && !atomic_load(&team.ended)) {
        lf_look_or_yield(&l);
        if (l.end) lf_stop(team.watch);
    }
    if (!l.end) return;
    int64_t waited = nanoseconds() - (l.end - LOOK);
    if (waited > LOOK + team.step) atomic_fetch_add(&team.stalled, waited);
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

/* ---------------------------------------------------------------- the number of threads */

static int64_t clip(long long count) {
    return count < 1 ? 1 : count > LF_MAX_THREADS ? LF_MAX_THREADS : count;
}

static int64_t default_threads(void) {
    const char *text = getenv("OMP_NUM_THREADS");
    long long asked = text ? strtoll(text, NULL, 10) : 0;
    if (asked > 0) return clip(asked);
    return clip(lf_processors());
}

int64_t lf_get_num_threads(void) {
    long long count = atomic_load(&limit);
    if (count) return count;
    watch_forks();
    long long first = default_threads(); /* unless another thread sets it meanwhile */
    return atomic_compare_exchange_strong(&limit, &count, first) ? first : count;
}

void lf_set_num_threads(int64_t count) {
    atomic_store(&is_asked, 1);
    atomic_store(&limit, clip(count));
}
