/* How the processor treats floats: while kernels run, whatever their caller has set, it rounds to
 * nearest, flushes denormal numbers to zero and traps nothing. */
#ifndef LF_FLAGS_H
#define LF_FLAGS_H

#if defined(__x86_64__)
#include <immintrin.h>
typedef unsigned int lf_flags;
static inline lf_flags lf_get_flags(void) { return _mm_getcsr(); }
static inline void lf_set_flags(lf_flags flags) { _mm_setcsr(flags); }
#define LF_KERNEL_FLAGS ((lf_flags)0x9fc0) /* FTZ, DAZ, all exceptions masked */
#elif defined(__aarch64__)
#include <stdint.h>
typedef uint64_t lf_flags;
static inline lf_flags lf_get_flags(void) {
    lf_flags flags;
    __asm__ volatile("mrs %0, fpcr" : "=r"(flags));
    return flags;
}
static inline void lf_set_flags(lf_flags flags) {
    __asm__ volatile("msr fpcr, %0" : : "r"(flags));
}
#define LF_KERNEL_FLAGS ((lf_flags)1 << 24) /* FZ */
#else
#error "lstmfast: only x86-64 and aarch64 are known here"
#endif

/* Returns what was set before, for lf_set_flags. */
static inline lf_flags lf_use_kernel_flags(void) {
    lf_flags before = lf_get_flags();
    lf_set_flags(LF_KERNEL_FLAGS);
    return before;
}

#endif
