// Float kernels: vectors of 4, NEON.
#if defined(__aarch64__)
#include "include/float_kernels.h"

#include <math.h>
#include <string.h>

// 8 rows x 2 vectors: 16 accumulators, and the row's values are multiplied by lane.
#define VW 4
#define GEMM_ROWS 8
#define FN(name) name##_neon
#define KERNEL_NAME "neon"
#include "float_body.inc"
#endif
