// Float kernels: vectors of 4, SSE4.2, which has no fused multiply-add.
#if defined(__x86_64__)
#include "../include/float_kernels.h"

#include <math.h>
#include <string.h>

#define VW 4
#define GEMM_ROWS 6
#define FN(name) name##_sse42
#define KERNEL_NAME "sse42"
#define NOT_FUSED
#pragma clang attribute push(__attribute__((target("sse4.2"))), apply_to = function)
#include "body.inc"
#pragma clang attribute pop
#endif
