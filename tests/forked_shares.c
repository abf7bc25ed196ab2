/* Shares that wait for each other, and a signal's handler that forks wherever signals are looked at.
 *
 * The n-th look forks, for each n. The child's call is lost, and ends; in its next calls the shares
 * wait for each other again, as many times: where one were taken to be there already, the last would
 * wait for ever, and the alarm kills. Prints how many children there were. */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "schedule.h"
#include "team.h"
#include "threads.h"
#include "watch.h"

enum { ROWS = 15, UNITS = 2048, CHUNK = 4, STEPS = 40, CALLS = 3, SECONDS = 20 };

static int looks, last, is_child;

static int look(void) {
    if (++looks == last && !is_child) is_child = fork() == 0;
    return lf_team_is_lost();
}

static int32_t nothing(void *a, int64_t t, int64_t end, int64_t row_begin, int64_t row_end,
                       int64_t p_begin, int64_t p_end) {
    (void)a, (void)t, (void)end, (void)row_begin, (void)row_end, (void)p_begin, (void)p_end;
    return 0;
}

/* Returns LF_STOPPED where it was lost. */
static int call(void) {
    lf_table k = {.register_bytes = 64, .project = nothing, .steps = nothing};
    lf_layer a = {.T = STEPS, .B = ROWS, .I = UNITS, .H = UNITS, .P = UNITS};
    lf_watch watch;
    looks = 0;
    alarm(SECONDS);
    lf_watch_begin(&watch);
    lf_run_forward(&k, &a, CHUNK);
    return lf_watch_end(&watch);
}

int main(void) {
    int status = 0;
    lf_team_begin(LF_ANY_POOL);
    lf_set_num_threads(2);
    lf_watch_with(look);
    for (last = 1;; last++) {
        status = call();
        if (is_child) {
            for (int again = 0; again < CALLS; again++) status = call();
            _exit(status);
        }
        if (looks < last) break; /* fewer looks than that in the whole call */
        if (wait(&status) < 0 || status) return printf("look %d: child's status %d\n", last, status), 1;
    }
    printf("%d children\n", last - 1);
    return 0;
}
