/* Memory for handles, reserves, work spaces and results. A large block that is given back is kept
 * for the next call that needs its size: fresh pages of the system cost more than the work of a
 * small layer. */
#ifndef LF_POOL_H
#define LF_POOL_H
#include <stdint.h>

/* A block of at least `bytes`, aligned to 64 bytes, its contents undefined; NULL if there is none. */
void *lf_take(int64_t bytes);

/* Give back what lf_take returned; NULL is ignored. At most LF_POOL_BYTES stay with the process. */
void lf_give(void *block);

#define LF_POOL_BYTES (256 << 20)
#endif
