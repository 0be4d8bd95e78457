// Float kernels: vectors of 8, AVX2 with FMA.
#if defined(__x86_64__)
#include "include/float_kernels.h"

#include <math.h>
#include <string.h>

#define VW 8
#define GEMM_ROWS 6
#define FN(name) name##_avx2
#define KERNEL_NAME "avx2"
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#include "float_body.inc"
#pragma clang attribute pop
#endif
