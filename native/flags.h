/* The processor's treatment of denormal numbers: flushed to zero while kernels run. */
#ifndef LF_FLAGS_H
#define LF_FLAGS_H

#if defined(__x86_64__)
#include <immintrin.h>
typedef unsigned int lf_flags;
static inline lf_flags lf_get_flags(void) { return _mm_getcsr(); }
static inline void lf_set_flags(lf_flags flags) { _mm_setcsr(flags); }
static inline lf_flags lf_flushing(lf_flags flags) { return flags | 0x8040; } /* FTZ, DAZ */
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
static inline lf_flags lf_flushing(lf_flags flags) { return flags | (1u << 24); }
#else
#error "lstmfast: only x86-64 and aarch64 are known here"
#endif

#endif
