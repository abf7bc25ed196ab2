/* Shares that wait for each other, ended by a signal that is seen at every place where one can be.
 *
 * The kernels do nothing, and signals are looked at wherever the caller may: the n-th look ends the
 * call, for each n. A share that leaves where the other waits for it hangs, and the alarm kills. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "schedule.h"
#include "team.h"
#include "threads.h"
#include "watch.h"

enum { ROWS = 15, UNITS = 2048, CHUNK = 4, STEPS = 40 };

static int looks, last;

static int look(void) { return ++looks >= last; }

static int32_t nothing(void *a, int64_t t, int64_t end, int64_t row_begin, int64_t row_end,
                       int64_t p_begin, int64_t p_end) {
    (void)a, (void)t, (void)end, (void)row_begin, (void)row_end, (void)p_begin, (void)p_end;
    return 0;
}

static int stopped(int backward) {
    lf_table k = {.register_bytes = 64, .project = nothing, .steps = nothing, .steps_backward = nothing};
    lf_layer a = {.T = STEPS, .B = ROWS, .I = UNITS, .H = UNITS, .P = UNITS};
    lf_watch watch;
    looks = 0;
    lf_watch_begin(&watch);
    if (backward) lf_run_backward(&k, &a);
    else lf_run_forward(&k, &a, CHUNK);
    return lf_watch_end(&watch) == LF_STOPPED;
}

int main(int count, char **arguments) {
    int backward = count > 1 && arguments[1][0] == 'b', ended = 0, most = 0;
    lf_team_begin(LF_ANY_POOL);
    lf_set_num_threads(2);
    lf_watch_with(look);
    for (int round = 0; round < 20; round++)
        for (last = 1;; last++) {
            alarm(10);
            int was = stopped(backward);
            ended += was;
            if (last > most) most = last;
            if (!was) break; /* fewer looks than that in the whole call */
        }
    printf("%d calls ended, at %d places\n", ended, most - 1);
    return 0;
}
