/* Time, and waits for something in memory: a call between two looks at it. */
#ifndef LF_LOOK_H
#define LF_LOOK_H
#include <stdint.h>

/* How long a thread looks at memory before it gives its processor away, ns: longer than most of
 * what comes between two calls. */
#define LF_LOOK 100000

int64_t lf_nanoseconds(void);

typedef struct lf_look {
    int count;
    int64_t end; /* 0 until the clock has been looked at */
} lf_look;

/* A pause; false when `patience` ns have gone by since the first one. */
int lf_look_on(lf_look *look, int64_t patience);

/* A pause; after LF_LOOK the processor is offered to others, too. */
void lf_look_or_yield(lf_look *look);

#endif
