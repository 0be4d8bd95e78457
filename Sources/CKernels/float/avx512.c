// Float kernels: vectors of 16, AVX-512.
#if defined(__x86_64__)
#include "../include/float_kernels.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define VW 16
#define GEMM_ROWS 8
#define FN(name) name##_avx512
#define TO_HALVES(v) (vh) _mm512_cvtps_ph((__m512)(v), _MM_FROUND_TO_NEAREST_INT)
#define FROM_HALVES(h) (vf) _mm512_cvtph_ps((__m256i)(h))
#define KERNEL_NAME "avx512"
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma"))), apply_to = function)
#include "body.inc"
#pragma clang attribute pop
#endif
