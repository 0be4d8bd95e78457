// Integer kernels for AVX-VNNI: `vpdpbusd` in vectors of 256 bits, for processors without AVX-512.
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "../include/int8_kernels.h"

#define FN(name) name##_avxvnni
#define KERNEL_NAME "avxvnni"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avxvnni"))), apply_to = function)
#define ADD_PRODUCTS(s, x, w) _mm256_dpbusd_avx_epi32(s, x, w)
#define DOT_UNSIGNED
#include "x86.inc"
#include "vnni.inc"

#define UNIT 4
#define TILED(name) FN(name)
#define STARTS(x, i) (FN(starts)(x) + (i))
#define START(starts, i) _mm256_set1_epi32((starts)[i])
#define STEP(s0, s1, w0, w1, x)                  \
  do {                                           \
    s0 = _mm256_dpbusd_avx_epi32(s0, w0, x);     \
    s1 = _mm256_dpbusd_avx_epi32(s1, w1, x);     \
    __asm__ volatile("" : "+x"(s0), "+x"(s1));   \
  } while (0)
#include "tile256.inc"
#include "table.inc"
#pragma clang attribute pop
#endif
