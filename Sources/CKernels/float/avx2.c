// Float kernels: vectors of 8, AVX2 with FMA.
#if defined(__x86_64__)
#include "../include/float_kernels.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define VW 8
#define GEMM_ROWS 6
#define FN(name) name##_avx2
#define TO_HALVES(v) (vh) _mm256_cvtps_ph((__m256)(v), _MM_FROUND_TO_NEAREST_INT)
#define FROM_HALVES(h) (vf) _mm256_cvtph_ps((__m128i)(h))
#define KERNEL_NAME "avx2"
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#include "body.inc"
#pragma clang attribute pop
#endif
