// Float kernels: vectors of 16, AVX-512.
#if defined(__x86_64__)
#include "include/float_kernels.h"

#include <math.h>
#include <string.h>

#define VW 16
#define GEMM_ROWS 8
#define FN(name) name##_avx512
#define KERNEL_NAME "avx512"
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma"))), apply_to = function)
#include "float_body.inc"
#pragma clang attribute pop
#endif
