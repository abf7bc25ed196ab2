#include "dispatch.h"

#include <stddef.h>
#include <string.h>

static lf_table bound[LF_KINDS]; /* filled at run time */
static const lf_table *chosen = bound;
static const char *isa = "none";

#if defined(__x86_64__)
static int level(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("popcnt")) return 1;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
        !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2"))
        return 2;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512cd") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512vl"))
        return 3;
    return __builtin_cpu_supports("avx512bf16") ? 5 : 4;
}

const char *lf_best_isa(void) {
    static const char *const names[] = {"none", "none", "v2", "v3", "v4", "v4bf16"};
    return names[level()];
}
#elif defined(__aarch64__)
const char *lf_best_isa(void) { return "neon"; }
#else
const char *lf_best_isa(void) { return "none"; }
#endif

static int choose(const char *name, const lf_table *tables) {
    isa = name;
    chosen = tables;
    return 0;
}

int lf_choose_isa(const char *wanted) {
#if defined(LF_AOT) && defined(__x86_64__)
    const char *best = lf_best_isa();
    if (!wanted) wanted = best;
    if (strcmp(wanted, best) > 0) return -1; /* v2 < v3 < v4 < v4bf16; "none" stands for v1 */
    if (!strcmp(wanted, "v4bf16")) return choose("v4bf16", lf_tables_v4bf16);
    if (!strcmp(wanted, "v4")) return choose("v4", lf_tables_v4);
    if (!strcmp(wanted, "v3")) return choose("v3", lf_tables_v3);
    if (!strcmp(wanted, "v2") && strcmp(best, "none")) return choose("v2", lf_tables_v2);
    return -1;
#elif defined(LF_AOT) && defined(__aarch64__)
    if (!wanted || !strcmp(wanted, "neon")) return choose("neon", lf_tables_neon);
    return -1;
#else
    return wanted ? -1 : 0;
#endif
}

const char *lf_isa_name(void) { return isa; }

const lf_table *lf_kernels(int kind) { return &chosen[kind]; }

int lf_bind_kernel(int kind, const char *name, void *address) {
    static const char *const names[] = {LF_KERNEL_NAMES};
    if (chosen != bound) { /* the others stay as they are linked */
        memcpy(bound, chosen, sizeof bound);
        choose(isa, bound);
    }
    char *pointers = (char *)&bound[kind] + offsetof(lf_table, project);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) {
            memcpy(pointers + i * sizeof address, &address, sizeof address);
            return 0;
        }
    return -1;
}

void lf_bind_isa(int64_t register_bytes) {
    for (int i = 0; i < LF_KINDS; i++) bound[i].register_bytes = register_bytes;
    choose("jit", bound);
}
