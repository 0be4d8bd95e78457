// Float kernels: vectors of 16, AVX-512 with products of bfloat16 and of 16-bit whole numbers.
#if defined(__x86_64__)
#include "../include/float_kernels.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define VW 16
#define GEMM_ROWS 8
#define FN(name) name##_avx512bf16
#define TO_HALVES(v) (vh) _mm512_cvtps_ph((__m512)(v), _MM_FROUND_TO_NEAREST_INT)
#define FROM_HALVES(h) (vf) _mm512_cvtph_ps((__m256i)(h))
#define KERNEL_NAME "avx512bf16"
#define MULTIPLY_PAIRS(a, b, c) FN(multiply_pairs)(a, b, c)
#define MULTIPLY_WORDS(a, b, c) _mm512_dpwssd_epi32(c, a, b)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,avx2,fma"))), \
                             apply_to = function)
// As assembly: clang 17 crashes over a broadcast word that becomes a pair of bfloat16.
static inline __attribute__((always_inline)) __m512 FN(multiply_pairs)(__m512 a, __m512 b, __m512 c) {
  __asm__("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
  return c;
}
#include "body.inc"
#pragma clang attribute pop
#endif
