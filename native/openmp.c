#define _GNU_SOURCE
#include "openmp.h"

#include <stddef.h>

#if defined(__linux__)
#include <dlfcn.h>
#include <link.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "glibc.h"
#include "team.h"

typedef struct runtime {
    void (*parallel)(void (*)(void *), void *, unsigned threads, unsigned flags);
    int (*thread)(void), (*threads)(void), (*most)(void), (*inside)(void);
    const char *path;
    int is_the_parents; /* this process was forked after it was loaded */
} runtime;

static runtime known[4]; /* in the order in which they were found */
static int found;
static _Atomic(runtime *) current;
static pthread_mutex_t looking = PTHREAD_MUTEX_INITIALIZER;
static unsigned long long loads; /* of libraries, at the last look */

/* ---------------------------------------------------------------- which one */

static int is_forked(void) {
    char line[512] = "", *rest;
    unsigned flags = 0;
    FILE *file = fopen("/proc/self/stat", "re");
    if (!file) return 0;
    rest = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    fclose(file);
    /* After the name: state, parent, group, session, terminal, its group, flags. */
    return rest && sscanf(rest, ") %*c %*d %*d %*d %*d %*d %u", &flags) == 1 && flags & 0x40;
}

static int count_loads(struct dl_phdr_info *of, size_t size, void *count) {
    (void)size;
    *(unsigned long long *)count = of->dlpi_adds;
    return 1;
}

typedef struct libraries {
    char torch[1024], first[1024]; /* paths, "" for none */
} libraries;

static int begins(const char *text, const char *with) { return !strncmp(text, with, strlen(with)); }

static int note_library(struct dl_phdr_info *of, size_t size, void *noted) {
    libraries *all = noted;
    const char *slash = strrchr(of->dlpi_name, '/'), *name = slash ? slash + 1 : of->dlpi_name;
    char *path = NULL;
    (void)size;
    if (begins(name, "libtorch_cpu.")) path = all->torch;
    if (begins(name, "libgomp") || begins(name, "libomp.") || begins(name, "libomp-") ||
        begins(name, "libiomp5."))
        path = *all->first ? NULL : all->first;
    if (path) snprintf(path, sizeof all->first, "%s", of->dlpi_name);
    return 0;
}

/* The entries that a loaded library has, or those that it needs; false where any is missing. (The
 * handle is kept: what is in use must not be unloaded.) */
static int find_entries(const char *path, runtime *r) {
    static const char *const names[] = {"GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads",
                                        "omp_get_max_threads", "omp_in_parallel"};
    void *entries[5], *library = *path ? dlopen(path, RTLD_LAZY | RTLD_NOLOAD) : NULL;
    Dl_info from;
    if (!library) return 0;
    for (int i = 0; i < 5; i++)
        if (!(entries[i] = dlsym(library, names[i]))) return 0;
    memcpy(&r->parallel, entries, sizeof entries);
    r->path = dladdr(entries[0], &from) ? from.dli_fname : "";
    return 1;
}

/* Make the runtime of `path` the current one; false if it has none. */
static int choose(const char *path, int is_the_parents) {
    runtime r = {.is_the_parents = is_the_parents};
    if (!find_entries(path, &r)) return 0;
    int i = 0;
    while (i < found && known[i].parallel != r.parallel) i++;
    if (i == sizeof known / sizeof *known) return 0;
    if (i == found) known[found++] = r;
    atomic_store(&current, &known[i]);
    return 1;
}

/* (`looking` is held while the loader's own lock is, which nobody frees in a forked child.) */
static void look(void) {
    unsigned long long now = 0;
    libraries all = {"", ""};
    dl_iterate_phdr(count_loads, &now);
    if (now == loads) return;
    int is_the_parents = !loads && is_forked();
    dl_iterate_phdr(note_library, &all);
    if (!choose(all.torch, is_the_parents)) choose(all.first, is_the_parents);
    loads = now;
}

void lf_openmp_look(void) {
    if (pthread_mutex_trylock(&looking)) return;
    look();
    pthread_mutex_unlock(&looking);
}

void lf_openmp_before_fork(void) {
    pthread_mutex_lock(&looking);
    look();
}

void lf_openmp_in_parent(void) { pthread_mutex_unlock(&looking); }

void lf_openmp_in_child(void) {
    pthread_mutex_init(&looking, NULL);
    for (int i = 0; i < found; i++) known[i].is_the_parents = 1;
}

/* ---------------------------------------------------------------- what it does */

static const runtime *usable(void) {
    const runtime *r = atomic_load(&current);
    return r && !r->is_the_parents ? r : NULL;
}

const char *lf_openmp_path(void) { return usable() ? usable()->path : NULL; }

int64_t lf_openmp_threads(void) {
    const runtime *r = atomic_load(&current);
    return r ? r->most() : 0;
}

int lf_openmp_serves(void) { return usable() && !usable()->inside(); }

typedef struct region {
    const runtime *by;
    void (*member)(int64_t, int64_t);
    jmp_buf back;
    atomic_int begun, left; /* say again what the runtime orders by futexes, which TSan cannot see */
} region;

/* (A fork in the middle, by a signal's handler, has only thread 0, which must not wait for others at
 * the region's end.) */
static void take_part(void *context) {
    region *r = context;
    atomic_load(&r->begun);
    int thread = r->by->thread();
    r->member(thread, r->by->threads());
    if (thread == 0 && lf_team_is_lost()) longjmp(r->back, 1);
    atomic_fetch_add(&r->left, 1);
}

/* (To ask for fewer threads than the runtime has would end the others.) */
void lf_openmp_run(void (*member)(int64_t, int64_t), int64_t wanted) {
    region r = {.by = usable(), .member = member};
    unsigned asked = wanted > r.by->most() ? (unsigned)wanted : 0;
    atomic_store(&r.begun, 1);
    if (!setjmp(r.back)) r.by->parallel(take_part, &r, asked, 0);
    atomic_load(&r.left);
}
#else
void lf_openmp_look(void) {}
const char *lf_openmp_path(void) { return NULL; }
int64_t lf_openmp_threads(void) { return 0; }
int lf_openmp_serves(void) { return 0; }
void lf_openmp_run(void (*member)(int64_t, int64_t), int64_t wanted) { (void)member, (void)wanted; }
void lf_openmp_before_fork(void) {}
void lf_openmp_in_parent(void) {}
void lf_openmp_in_child(void) {}
#endif
