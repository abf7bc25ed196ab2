#define _GNU_SOURCE
#include "team.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

/* How long a thread looks at memory before it gives its processor away: some tens of µs. */
#define SPINS 2000

#if defined(__x86_64__)
#include <immintrin.h>
#define PAUSE() _mm_pause()
typedef unsigned int float_flags;
static float_flags flush_to_zero(void) {
    float_flags old = _mm_getcsr();
    _mm_setcsr(old | 0x8040); /* FTZ, DAZ */
    return old;
}
static void restore_flags(float_flags old) { _mm_setcsr(old); }
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
typedef uint64_t float_flags;
static float_flags flush_to_zero(void) {
    float_flags old;
    __asm__ volatile("mrs %0, fpcr" : "=r"(old));
    __asm__ volatile("msr fpcr, %0" : : "r"(old | (1u << 24)));
    return old;
}
static void restore_flags(float_flags old) { __asm__ volatile("msr fpcr, %0" : : "r"(old)); }
#else
#error "lstmfast: only x86-64 and aarch64 are known here"
#endif

static struct {
    pthread_mutex_t region;        /* held while a region runs */
    pthread_mutex_t lock;          /* guards sleeping */
    pthread_cond_t wake;
    int threads;                   /* helpers started: workers 1..threads */
    lf_work work;                  /* the region's work, for its workers only */
    void *context;
    _Alignas(64) atomic_uint_fast64_t call; /* number of the region << 8 | its workers */
    _Alignas(64) atomic_int sleepers;
    _Alignas(64) atomic_int running;        /* helpers that have not finished the region */
    _Alignas(64) atomic_int arrived;        /* lf_team_wait */
    _Alignas(64) atomic_int generation;
} team = {.region = PTHREAD_MUTEX_INITIALIZER,
          .lock = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER};

static atomic_llong limit; /* 0: not set yet */

static void pause_or_yield(int *spins) {
    if (++*spins < SPINS) PAUSE();
    else sched_yield();
}

static void run_share(int64_t worker, int64_t workers) {
    float_flags flags = flush_to_zero();
    team.work(team.context, worker, workers);
    restore_flags(flags);
}

/* The number of the next region after `seen`: look for a while, then sleep. */
static uint64_t next_call(uint64_t seen) {
    uint64_t call;
    for (int spins = 0; spins < SPINS; spins++) {
        if ((call = atomic_load(&team.call)) != seen) return call;
        PAUSE();
    }
    pthread_mutex_lock(&team.lock);
    atomic_fetch_add(&team.sleepers, 1);
    while ((call = atomic_load(&team.call)) == seen) pthread_cond_wait(&team.wake, &team.lock);
    atomic_fetch_sub(&team.sleepers, 1);
    pthread_mutex_unlock(&team.lock);
    return call;
}

/* A region cannot end before its workers have, so a worker reads its work safely; a helper that is
 * no worker of a region learns so from the number itself and touches nothing. */
static void *helper(void *argument) {
    int64_t worker = (int64_t)(intptr_t)argument;
    uint64_t seen = 0;
    for (;;) {
        seen = next_call(seen);
        int64_t workers = (int64_t)(seen & 0xff);
        if (worker < workers) {
            run_share(worker, workers);
            atomic_fetch_sub(&team.running, 1);
        }
    }
    return NULL;
}

static void after_fork_in_child(void) {
    pthread_mutex_init(&team.region, NULL);
    pthread_mutex_init(&team.lock, NULL);
    pthread_cond_init(&team.wake, NULL);
    team.threads = 0;
    atomic_store(&team.call, 0);
    atomic_store(&team.sleepers, 0);
    atomic_store(&team.running, 0);
    atomic_store(&team.arrived, 0);
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, after_fork_in_child); }

/* Start helpers until there are `wanted` workers with the caller; returns the workers there are. */
static int64_t recruit(int64_t wanted) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    while (team.threads + 1 < wanted) {
        pthread_t thread;
        pthread_attr_t detached;
        pthread_attr_init(&detached);
        pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
        void *worker = (void *)(intptr_t)(team.threads + 1);
        int failed = pthread_create(&thread, &detached, helper, worker);
        pthread_attr_destroy(&detached);
        if (failed) break;
        team.threads++;
    }
    return wanted <= team.threads + 1 ? wanted : team.threads + 1;
}

static void call_helpers(int64_t workers) {
    uint64_t number = (atomic_load(&team.call) >> 8) + 1;
    atomic_store(&team.running, (int)workers - 1);
    atomic_store(&team.call, number << 8 | (uint64_t)workers);
    if (atomic_load(&team.sleepers)) {
        pthread_mutex_lock(&team.lock);
        pthread_cond_broadcast(&team.wake);
        pthread_mutex_unlock(&team.lock);
    }
}

static void run_alone(lf_work work, void *context) {
    float_flags flags = flush_to_zero();
    work(context, 0, 1);
    restore_flags(flags);
}

void lf_team_run(lf_work work, void *context, int64_t wanted) {
    if (wanted > LF_MAX_THREADS) wanted = LF_MAX_THREADS;
    if (wanted < 2 || pthread_mutex_trylock(&team.region)) {
        run_alone(work, context);
        return;
    }
    int64_t workers = recruit(wanted);
    team.work = work;
    team.context = context;
    if (workers > 1) call_helpers(workers);
    run_share(0, workers);
    for (int spins = 0; atomic_load(&team.running) > 0;) pause_or_yield(&spins);
    pthread_mutex_unlock(&team.region);
}

void lf_team_wait(int64_t workers) {
    if (workers < 2) return;
    int generation = atomic_load(&team.generation);
    if (atomic_fetch_add(&team.arrived, 1) == workers - 1) {
        atomic_store(&team.arrived, 0);
        atomic_store(&team.generation, generation + 1);
        return;
    }
    for (int spins = 0; atomic_load(&team.generation) == generation;) pause_or_yield(&spins);
}

static int64_t clip(long long count) {
    return count < 1 ? 1 : count > LF_MAX_THREADS ? LF_MAX_THREADS : count;
}

static int64_t default_threads(void) {
    const char *text = getenv("OMP_NUM_THREADS");
    long long asked = text ? strtoll(text, NULL, 10) : 0;
    if (asked > 0) return clip(asked);
#if defined(__linux__)
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set)) return clip(CPU_COUNT(&set));
#endif
    return clip(sysconf(_SC_NPROCESSORS_ONLN));
}

int64_t lf_get_num_threads(void) {
    long long count = atomic_load(&limit);
    if (!count) atomic_store(&limit, count = default_threads());
    return count;
}

void lf_set_num_threads(int64_t count) { atomic_store(&limit, clip(count)); }
