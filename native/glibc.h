#pragma once
/* What glibc 2.32 and 2.34 have moved, by the older names of the same functions: an extension that is
 * built on a new system runs on glibc 2.28, too. Before that they are libpthread's and libdl's, which
 * Python loads.
 */
#include <pthread.h>

#if defined(__GLIBC__) && defined(__x86_64__)
#define LF_OLDER(name) __asm__(".symver " #name "," #name "@GLIBC_2.2.5")
#elif defined(__GLIBC__) && defined(__aarch64__)
#define LF_OLDER(name) __asm__(".symver " #name "," #name "@GLIBC_2.17")
#else
#define LF_OLDER(name) struct lf_older
#endif

LF_OLDER(pthread_create);
LF_OLDER(pthread_mutex_trylock);
LF_OLDER(pthread_once);
LF_OLDER(pthread_sigmask);
LF_OLDER(dladdr);
LF_OLDER(dlopen);
LF_OLDER(dlsym);
