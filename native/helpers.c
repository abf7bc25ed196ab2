#define _GNU_SOURCE
#include "helpers.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

#include "affinity.h"
#include "glibc.h"
#include "look.h"
#include "team.h"
#include "threads.h"

typedef struct helper {
    int64_t worker; /* 1, 2, ...: the share that it does first */
    atomic_int at;  /* the processor where it looks for a region; negative: nowhere */
    int asleep;     /* guarded by `lock`, as all below */
    lf_affinity affinity;
} helper;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static helper all[LF_MAX_THREADS]; /* all[1..started] */
static int64_t started;
static _Alignas(64) atomic_int sleepers;

/* ---------------------------------------------------------------- sleep and wake */

/* Does one of them look for a region on the caller's processor, where it can see none? */
static int is_crowded(int64_t workers, int here) {
    for (int64_t i = 1; i < workers; i++)
        if (here >= 0 && atomic_load(&all[i].at) == here) return 1;
    return 0;
}

void lf_wake_helpers(int64_t workers) {
    int here = lf_this_processor();
    if (!atomic_load(&sleepers) && !is_crowded(workers, here)) return;
    pthread_mutex_lock(&lock);
    for (int64_t i = 1; i < workers; i++)
        if (all[i].asleep || atomic_load(&all[i].at) == here) {
            lf_keep_off(&all[i].affinity, here);
            atomic_store(&all[i].at, -1);
        }
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
}

int lf_helpers_are_awake(void) { return !atomic_load(&sleepers); }

static void sleep_until_other(helper *h, uint64_t seen) {
    pthread_mutex_lock(&lock);
    lf_restore_processors(&h->affinity);
    h->asleep = 1;
    atomic_store(&h->at, -1);
    atomic_fetch_add(&sleepers, 1);
    while (lf_team_region() == seen) pthread_cond_wait(&wake, &lock);
    atomic_fetch_sub(&sleepers, 1);
    h->asleep = 0;
    pthread_mutex_unlock(&lock);
}

/* Wait for another region than number `seen`: look for a while, then sleep. */
static void await_region(helper *h, uint64_t seen) {
    lf_look look = {0, 0};
    atomic_store(&h->at, lf_this_processor());
    while (lf_team_region() == seen)
        if (!lf_look_on(&look, LF_LOOK)) sleep_until_other(h, seen);
    atomic_store(&h->at, -1);
}

static void *help(void *argument) {
    helper *h = argument;
    uint64_t seen = 0;
    lf_know_thread(&h->affinity);
    for (;;) {
        await_region(h, seen);
        seen = lf_team_help(h->worker);
    }
    return NULL;
}

/* ---------------------------------------------------------------- threads */

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

int64_t lf_recruit(int64_t wanted) {
    while (started + 1 < wanted) {
        helper *h = &all[started + 1];
        *h = (helper){.worker = started + 1, .at = -1};
        if (!start(h)) break;
        started++;
    }
    return wanted <= started + 1 ? wanted : started + 1;
}

void lf_forget_helpers(void) {
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&wake, NULL);
    started = 0;
    atomic_store(&sleepers, 0);
}
