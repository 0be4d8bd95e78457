// Float kernels: vectors of 4, any processor (SSE2 on x86, NEON on ARM).
#if 1
#include "../include/float_kernels.h"

#include <math.h>
#include <string.h>

#define VW 4
#define GEMM_ROWS 4
#define FN(name) name##_portable
#define KERNEL_NAME "portable"
#include "body.inc"
#endif
