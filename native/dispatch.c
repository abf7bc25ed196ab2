#include "dispatch.h"

#include <stddef.h>
#include <string.h>

static lf_table bound[LF_KINDS]; /* filled at run time */
static const lf_table *chosen = bound;
static const char *isa = "none";

/* Instruction sets, each with all that the ones before it have. */
typedef struct lf_isa {
    const char *name;
    const lf_table *tables;
} lf_isa;

#ifdef LF_AOT
#define LF_TABLES(isa) lf_tables_##isa
#else
#define LF_TABLES(isa) NULL
#endif

#if defined(__x86_64__)
static const lf_isa known[] = {
    {"v2", LF_TABLES(v2)},           {"v3", LF_TABLES(v3)},         {"v4", LF_TABLES(v4)},
    {"v4vnni", LF_TABLES(v4vnni)}, {"v4bf16", LF_TABLES(v4bf16)},
};

/* How many of them this processor has. */
static int level(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("popcnt")) return 0;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
        !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2"))
        return 1;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512cd") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512vl"))
        return 2;
    if (!__builtin_cpu_supports("avx512vnni")) return 3;
    return __builtin_cpu_supports("avx512bf16") ? 5 : 4;
}
#elif defined(__aarch64__)
static const lf_isa known[] = {{"neon", LF_TABLES(neon)}};
static int level(void) { return 1; }
#else
static const lf_isa known[] = {{"none", NULL}};
static int level(void) { return 0; }
#endif

const char *lf_best_isa(void) { return level() ? known[level() - 1].name : "none"; }

int lf_choose_isa(const char *wanted) {
#ifdef LF_AOT
    for (int n = level() - 1; n >= 0; n--)
        if (!wanted || !strcmp(wanted, known[n].name)) {
            isa = known[n].name;
            chosen = known[n].tables;
            return 0;
        }
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
        chosen = bound;
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
    isa = "jit";
    chosen = bound;
}
