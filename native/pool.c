#define _GNU_SOURCE
#include "pool.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "glibc.h"

#define LINE 64             /* before each block: its size, in a cache line of its own */
#define SMALL (64 << 10)    /* blocks up to this size are malloc's business */
#define HUGE_PAGE (2 << 20) /* blocks of two of these and more are put on huge pages where allowed */
#define SLOTS 8

static struct {
    pthread_mutex_t lock;
    char *blocks[SLOTS]; /* the oldest first */
    int count;
    int64_t bytes;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int64_t *size_of(char *block) { return (int64_t *)(block - LINE); }

static char *remove_block(int i) {
    char *block = pool.blocks[i];
    pool.bytes -= *size_of(block);
    pool.count--;
    memmove(pool.blocks + i, pool.blocks + i + 1, (pool.count - i) * sizeof *pool.blocks);
    return block;
}

/* The smallest kept block that fits and is not more than twice too large. */
static char *find_block(int64_t bytes) {
    int best = -1;
    for (int i = 0; i < pool.count; i++) {
        int64_t size = *size_of(pool.blocks[i]);
        if (size < bytes || size / 2 > bytes) continue;
        if (best < 0 || size < *size_of(pool.blocks[best])) best = i;
    }
    return best < 0 ? NULL : remove_block(best);
}

static char *new_block(int64_t bytes) {
    int huge = bytes >= 2 * HUGE_PAGE;
    size_t whole = (size_t)(bytes + LINE + LINE - 1) / LINE * LINE;
    void *start = NULL;
    if (posix_memalign(&start, huge ? HUGE_PAGE : LINE, whole)) return NULL;
    if (huge) madvise(start, whole, MADV_HUGEPAGE); /* advice: its failure changes nothing */
    char *block = (char *)start + LINE;
    *size_of(block) = bytes;
    return block;
}

static void free_block(char *block) { free(block - LINE); }

/* (A lock that is held, perhaps for ever in a forked child, means doing without the pool.) */
void *lf_take(int64_t bytes) {
    char *block = NULL;
    if (bytes > SMALL && !pthread_mutex_trylock(&pool.lock)) {
        block = find_block(bytes);
        pthread_mutex_unlock(&pool.lock);
    }
    return block ? block : new_block(bytes);
}

void lf_give(void *given) {
    char *block = given, *surplus[SLOTS + 1];
    int count = 0;
    if (!block) return;
    int64_t size = *size_of(block);
    if (size <= SMALL || size > LF_POOL_BYTES || pthread_mutex_trylock(&pool.lock)) {
        free_block(block);
        return;
    }
    while (pool.count == SLOTS || pool.bytes + size > LF_POOL_BYTES)
        surplus[count++] = remove_block(0);
    pool.blocks[pool.count++] = block;
    pool.bytes += size;
    pthread_mutex_unlock(&pool.lock);
    while (count) free_block(surplus[--count]);
}
