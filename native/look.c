#include "look.h"

#include <sched.h>
#include <time.h>

#define LOOKS 64 /* at memory, for each at the clock */

#if defined(__x86_64__)
#include <immintrin.h>
#define PAUSE() _mm_pause()
#else
#define PAUSE() __asm__ volatile("yield")
#endif

int64_t lf_nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int lf_look_on(lf_look *look, int64_t patience) {
    PAUSE();
    if (++look->count % LOOKS) return 1;
    int64_t now = lf_nanoseconds();
    if (!look->end) look->end = now + patience;
    return now < look->end;
}

void lf_look_or_yield(lf_look *look) {
    if (!lf_look_on(look, LF_LOOK)) sched_yield();
}
