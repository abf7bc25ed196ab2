#define _GNU_SOURCE
#include "processors.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__linux__)
#define LONG_PATH 1024

/* The numbers of a file as text, in order; returns how many there are of the `wanted`. */
static int read_numbers(const char *folder, const char *name, double *numbers, int wanted) {
    char path[LONG_PATH + 64], text[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    char *rest = fgets(text, sizeof text, file), *end;
    fclose(file);
    int found = 0;
    for (; rest && found < wanted; rest = end, found++) {
        numbers[found] = strtod(rest, &end);
        if (end == rest) break; /* "max": no quota */
    }
    return found;
}

/* The processors that a folder's quota comes to: microseconds paid for in each period. */
static double quota_of(const char *folder) {
    double paid[2]; /* and its period; version 1 has two files and -1 for no quota */
    int known = read_numbers(folder, "cpu.max", paid, 2) == 2 ||
                (read_numbers(folder, "cpu.cfs_quota_us", paid, 1) == 1 &&
                 read_numbers(folder, "cpu.cfs_period_us", paid + 1, 1) == 1);
    return known && paid[0] > 0 && paid[1] > 0 ? paid[0] / paid[1] : INFINITY;
}

/* The smallest quota of mount/group and of the folders around it, up to `mount`. A container may see
 * its own group as the mount, and the name of another: folders that are not there are passed over. */
static double quota_up_from(const char *mount, const char *group, size_t length) {
    char folder[LONG_PATH];
    int size = snprintf(folder, sizeof folder, "%s%.*s", mount, (int)length, group);
    if (size < 0 || (size_t)size >= sizeof folder) return INFINITY;
    double least = quota_of(folder);
    while ((size_t)size > strlen(mount)) {
        *strrchr(folder, '/') = 0;
        size = (int)strlen(folder);
        least = fmin(least, quota_of(folder));
    }
    return least;
}

/* Is cpu among the controllers, which commas part and a colon ends? */
static int has_cpu(const char *names) {
    for (; *names != ':'; names += *names == ',') {
        size_t size = strcspn(names, ",:");
        if (size == 3 && !strncmp(names, "cpu", 3)) return 1;
        names += size;
    }
    return 0;
}

/* Of one line, number:controllers:/group; version 2 names no controllers. */
static double quota_of_line(const char *line, const char *mount) {
    char folder[LONG_PATH];
    const char *names = strchr(line, ':'), *group = names ? strchr(names + 1, ':') : NULL;
    if (!group || group[1] != '/') return INFINITY;
    int second = group == names + 1;
    if (!second && !has_cpu(names + 1)) return INFINITY;
    snprintf(folder, sizeof folder, second ? "%s" : "%s/cpu", mount);
    return quota_up_from(folder, group + 1, strcspn(group + 1, "\n"));
}

int64_t lf_quota(const char *membership, const char *mount) {
    char line[LONG_PATH];
    double least = INFINITY;
    FILE *file = fopen(membership, "re");
    if (!file) return 0;
    while (fgets(line, sizeof line, file)) least = fmin(least, quota_of_line(line, mount));
    fclose(file);
    return least < 1e6 ? (int64_t)ceil(least) : 0;
}

/* Those of the first thread, too: this one may be bound on its own. */
static int64_t allowed(void) {
    cpu_set_t set, own;
    if (sched_getaffinity(0, sizeof own, &own)) return sysconf(_SC_NPROCESSORS_ONLN);
    if (!sched_getaffinity(getpid(), sizeof set, &set)) CPU_OR(&own, &own, &set);
    return CPU_COUNT(&own);
}

int64_t lf_paid_processors(void) { return lf_quota("/proc/self/cgroup", "/sys/fs/cgroup"); }

int64_t lf_processors(void) {
    int64_t count = allowed(), paid = lf_paid_processors();
    if (paid && paid < count) count = paid;
    return count < 1 ? 1 : count;
}
#else
int64_t lf_paid_processors(void) { return 0; }
int64_t lf_processors(void) { return sysconf(_SC_NPROCESSORS_ONLN); }
#endif
