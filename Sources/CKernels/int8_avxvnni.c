// Integer kernels for AVX-VNNI: `vpdpbusd` in vectors of 256 bits, for processors without AVX-512.
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "include/int8_kernels.h"

#define FN(name) name##_avxvnni
#define KERNEL_NAME "avxvnni"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avxvnni"))), apply_to = function)
#define ADD_PRODUCTS(s, x, w) _mm256_dpbusd_avx_epi32(s, x, w)
#include "int8_x86.inc"
#include "int8_vnni.inc"

#define UNIT 4
#define STARTS(x) FN(starts)(x)
#define START(starts, i) _mm256_set1_epi32((starts)[i])
#define STEP(s, w, x) _mm256_dpbusd_avx_epi32(s, w, x)
#define SCALED(s, sw) \
  _mm256_fmadd_ps(_mm256_castsi256_ps(s), sw, _mm256_mul_ps(sw, _mm256_set1_ps(-SUM_MAGIC)))
#include "int8_tile256.inc"
#include "int8_table.inc"
#pragma clang attribute pop
#endif
